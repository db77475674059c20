package state

import (
	"encoding/binary"
	"fmt"
	"math"
)

// clock is what a store whose rows expire remembers beside its rows: its time, which is the highest time that
// was ever put, and the number that its next duplicate gets. An abort takes both back; both go to Pebble with
// the rows, since what a store shows must be the same after a restart.
//
// In Pebble:
//
//	+---------+-------------+----------------------+---------+
//	| time 8  | sequence 4  | segment interval 8   | set 1   |   as numbers; set is 0 while nothing was put
//	+---------+-------------+----------------------+---------+
type clock struct {
	now, committed moment
}

type moment struct {
	timeMs   int64
	set      bool // timeMs means something
	sequence uint32
}

const clockLen = 8 + 4 + 8 + 1

// see moves the open epoch's time.
func (c *clock) see(timeMs int64) {
	if !c.now.set || timeMs > c.now.timeMs {
		c.now.timeMs, c.now.set = timeMs, true
	}
}

func (c *clock) commit() { c.committed = c.now }
func (c *clock) abort()  { c.now = c.committed }

// floor is the highest time that retention hides: rows at or before it are not shown.
func (m moment) floor(retentionMs int64) int64 {
	if !m.set || m.timeMs < math.MinInt64+retentionMs {
		return math.MinInt64
	}
	return m.timeMs - retentionMs
}

func appendClock(dst []byte, m moment, intervalMs int64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.timeMs))
	dst = binary.BigEndian.AppendUint32(dst, m.sequence)
	dst = binary.BigEndian.AppendUint64(dst, uint64(intervalMs))
	if m.set {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func parseClock(b []byte) (m moment, intervalMs int64, err error) {
	if len(b) != clockLen || b[20] > 1 {
		return m, 0, fmt.Errorf("%w: time of %d bytes, expected %d", ErrCorrupt, len(b), clockLen)
	}
	m.timeMs = int64(binary.BigEndian.Uint64(b))
	m.sequence = binary.BigEndian.Uint32(b[8:])
	m.set = b[20] == 1
	return m, int64(binary.BigEndian.Uint64(b[12:])), nil
}
