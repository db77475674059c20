package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// This file owns what a database holds. All stores of all tasks lie in one Pebble, each under an id of four
// bytes; keys are compared as bytes, all numbers are big-endian, and serdes write keys so that this is the
// order of the store.
//
//	key                                             value
//	+-----------+-------------------------+         +--------------+--------------------------+
//	| id 4      | the key, as its serde   |         | timestamp 8  | the value, as its serde  |
//	| (from 1)  | writes it               |         | (ms)         | writes it                |
//	+-----------+-------------------------+         +--------------+--------------------------+
//
// The value is that of Kafka Streams' timestamped stores. Id 0 is the database's own:
//
//	+-----------+-----+-------+--------+---------+  +-----------+
//	| 0         | 'c' | len 2 | task   | store   |  | id 4      |  the catalog: which id a store has
//	+-----------+-----+-------+--------+---------+  +-----------+
//	| 0         | 'p' | id 4  |                     position: topic id 16, leader epoch 4, offset 8,
//	+-----------+-----+-------+                               wall time 8 (ms)
//	| 0         | 'v' |                             version of this layout: 1 byte
//	+-----------+-----+-----------+
//	| 0         | 'b' | number 8  |                 mark of the last batch: nothing
//	+-----------+-----+-------+---+
//	| 0         | 't' | id 4  |                     time of a store whose rows expire: clock.go
//	+-----------+-----+-------+
//	| 0         | 'g' | id 4  | partition 4 |       of a global store: position in a partition of its topic, as
//	+-----------+-----+-------+-------------+       above, and the metadata of a committed offset
//
// The keys of stores whose rows expire are drawn in segments.go.
//
// Invariants:
//  1. A position lies in the batch of the rows that made it true, or in a later one. Pebble comes back from a
//     crash with a prefix of its batches, so a position never says more than the rows beside it.
//  2. A store with rows and no position is one whose restore, or first flush, did not get far. Its rows mean
//     nothing: opening it discards them.
//  3. Ids are never given to another store.
//  4. Each batch sets its mark and deletes that of the batch before, so there is one mark. With batches missing
//     in between there are two: the mark before them was not deleted.
const layoutVersion = 1

const (
	idLen    = 4
	metaID   = 0
	maxID    = 1<<32 - 2 // the id after it still bounds its range
	kindID   = 'c'
	kindPos  = 'p'
	kindVers = 'v'
	kindMark = 'b'
	kindTime = 't'
	kindGlob = 'g'

	timestampLen = 8
	positionLen  = 16 + 4 + 8 + 8
)

// ErrCorrupt is matched by every error that means that bytes of the database cannot be trusted. Its stores
// can be restored from their changelogs: stop, move the directory away, start.
var ErrCorrupt = errors.New("state: corrupt")

// ErrVersion is matched by the error for a database that has another layout, of a newer release say.
var ErrVersion = errors.New("state: unknown version")

// Position says what a store's content reflects: the changelog of topic TopicID before Offset, the next
// offset, as it was under LeaderEpoch. WallTime is when that was so.
type Position struct {
	TopicID     uuid.UUID
	LeaderEpoch int32
	Offset      int64
	WallTime    time.Time
}

// appendID begins a key of the store with that id.
func appendID(dst []byte, id uint32) []byte { return binary.BigEndian.AppendUint32(dst, id) }

func versionKey() []byte { return append(appendID(nil, metaID), kindVers) }

func positionKey(id uint32) []byte {
	return appendID(append(appendID(nil, metaID), kindPos), id)
}

func clockKey(id uint32) []byte {
	return appendID(append(appendID(nil, metaID), kindTime), id)
}

func globalKey(id uint32, partition int32) []byte {
	return binary.BigEndian.AppendUint32(appendID(append(appendID(nil, metaID), kindGlob), id), uint32(partition))
}

func markKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(appendID(nil, metaID), kindMark), number)
}

func parseMark(key []byte) (number uint64, ok bool) {
	if len(key) != idLen+1+8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[idLen+1:]), true
}

// maxTaskName is the longest name whose length the catalog's key can say.
const maxTaskName = 1<<16 - 1

func catalogKey(task, store string) []byte {
	b := append(appendID(nil, metaID), kindID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(task)))
	return append(append(b, task...), store...)
}

// parseCatalogKey takes apart what follows the kind.
func parseCatalogKey(b []byte) (task, store string, err error) {
	if len(b) >= 2 {
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) >= n {
			return string(b[:n]), string(b[n:]), nil
		}
	}
	return "", "", fmt.Errorf("%w: catalog entry of %d bytes is shorter than it says", ErrCorrupt, len(b))
}

func appendPosition(dst []byte, p Position) []byte {
	dst = append(dst, p.TopicID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.LeaderEpoch))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Offset))
	return binary.BigEndian.AppendUint64(dst, uint64(p.WallTime.UnixMilli()))
}

func parsePosition(b []byte) (Position, error) {
	if len(b) != positionLen {
		return Position{}, fmt.Errorf("%w: position of %d bytes, expected %d", ErrCorrupt, len(b), positionLen)
	}
	return Position{
		TopicID:     uuid.UUID(b[:16]),
		LeaderEpoch: int32(binary.BigEndian.Uint32(b[16:])),
		Offset:      int64(binary.BigEndian.Uint64(b[20:])),
		WallTime:    time.UnixMilli(int64(binary.BigEndian.Uint64(b[28:]))).UTC(),
	}, nil
}

// parseRow splits a stored value; value aliases b.
func parseRow(b []byte) (timestampMs int64, value []byte, err error) {
	if len(b) < timestampLen {
		return 0, nil, fmt.Errorf("%w: row of %d bytes has no room for its timestamp", ErrCorrupt, len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), b[timestampLen:], nil
}
