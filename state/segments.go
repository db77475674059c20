package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// This file owns how rows that expire lie in Pebble, and how they go. Time is cut into segments of one length,
// the store's segment interval, and a row's key begins with the number of the segment its time falls in:
//
//	+------+------------+-----+---------+-------------+
//	| id 4 | segment 8  | key | start 8 | sequence 4  |   window store; the sequence only with duplicates
//	+------+------------+-----+---------+-------------+     time: start
//	| id 4 | segment 8  | key | end 8   | start 8     |   session store
//	+------+------------+-----+---------+-------------+     time: end
//	| id 4 | segment 8  | key | until 8 | kind 1      |   versioned store, what is no longer the latest
//	+------+------------+-----+---------+-------------+     time: until
//	| id 4 | permanent  | key |                           versioned store, the latest value
//	+------+------------+-----+
//
// Numbers in keys are big-endian with the sign bit flipped, so that their order is that of the bytes; permanent
// is the lowest. So one segment's rows lie together, a key's rows of one segment lie together in the order of
// their times, and expiry is one range delete.
//
// A store's time is the highest time that was put into it (clock.go). A row whose time is at or before
// time - retention is never shown, exactly, whether it is still there or not; that is by the time of the open
// epoch. Rows are dropped, by whole segments, by the committed time only, which never goes back.
//
// The changelog has Kafka's keys, in which numbers are plain: key, start, sequence (0 without duplicates) for
// windows; key, end, start for sessions; the key alone for versions.

const (
	segmentLen = 8
	timeLen    = 8
	permanent  = math.MinInt64 // the number of a segment that does not expire

	// minInterval keeps the segments of a store few.
	minInterval = time.Second
)

// sortable turns a number as it is in a row's key to what it means, and back.
func sortable(u uint64) int64 { return int64(u ^ 1<<63) }

func appendTime(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(ms)^1<<63)
}

func timeAt(b []byte) int64 { return sortable(binary.BigEndian.Uint64(b)) }

func appendSegment(dst []byte, number int64) []byte { return appendTime(dst, number) }

// timed is what stores whose rows expire have in common. It stands between their cache and the task.
type timed struct {
	entryCache
	base      *storeBase
	order     *keyOrder
	clock     clock
	retention int64 // ms
	interval  int64 // ms

	dropped int64 // puts that were too old

	// keep is the first segment whose rows are kept; rows before it are to be deleted in Pebble if dropDue.
	keep    int64
	dropDue bool

	// parseLog splits a key of the changelog: it appends what follows the segment's number in a row's key to
	// dst, and says the row's time. It may look at the sequence.
	parseLog func(dst, key []byte) (row []byte, timeMs int64, err error)
}

// defaultInterval is Kafka's, but for its lower bound, which is a minute.
func defaultInterval(retention time.Duration) time.Duration { return max(retention/2, minInterval) }

// openTimed finds the store's time and segments in Pebble. Rows that lie there by another interval are
// discarded.
func openTimed(base *storeBase, c entryCache, retention, interval time.Duration) (*timed, error) {
	t := &timed{
		entryCache: c, base: base, order: &keyOrder{prefix: segmentLen},
		retention: max(retention.Milliseconds(), 0), interval: max(interval.Milliseconds(), 1),
		keep: math.MinInt64,
	}
	c.inOrder(t.order)
	base.timed = t
	if !base.hasStored {
		return t, nil // and no rows
	}
	if err := t.readClock(); err != nil {
		return nil, base.fault("read time", err)
	}
	if err := t.findSegments(); err != nil {
		return nil, base.fault("look for segments", err)
	}
	return t, nil
}

func (t *timed) readClock() error {
	b, closer, err := t.base.task.db.pebble.Get(clockKey(t.base.id))
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	var interval int64
	if err == nil {
		t.clock.committed, interval, err = parseClock(b)
		if err := errors.Join(err, closer.Close()); err != nil {
			return err
		}
	}
	if interval == t.interval {
		t.clock.now = t.clock.committed
		return nil
	}
	if err := t.base.clear(); err != nil {
		return err
	}
	t.reset(true)
	return nil
}

func (t *timed) reset(complete bool) {
	t.entryCache.reset(complete)
	if complete {
		t.clock, t.keep, t.dropDue = clock{}, math.MinInt64, false
	}
}

// findSegments looks which segments have rows in Pebble: one seek for each.
func (t *timed) findSegments() (err error) {
	it, err := t.base.iterate()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	for more := it.First(); more; {
		key := it.Key()
		if len(key) < idLen+segmentLen {
			return fmt.Errorf("%w: key of %d bytes has no segment", ErrCorrupt, len(key))
		}
		number := timeAt(key[idLen:])
		t.order.hasRows(number)
		if number == math.MaxInt64 {
			return nil
		}
		more = it.SeekGE(appendSegment(appendID(nil, t.base.id), number+1))
	}
	return nil
}

// segmentOf is the number of the segment that the time falls in.
func (t *timed) segmentOf(timeMs int64) int64 {
	n := timeMs / t.interval
	if timeMs%t.interval < 0 {
		n--
	}
	return max(n, permanent+1)
}

// floor is the highest time that is hidden now.
func (t *timed) floor() int64 { return t.clock.now.floor(t.retention) }

// visible reports whether rows of that time are shown.
func (t *timed) visible(timeMs int64) bool { return timeMs > t.floor() || !t.clock.now.set }

// admits moves the store's time and reports whether a row of that time is still to be kept.
func (t *timed) admits(timeMs int64) bool {
	t.clock.see(timeMs)
	if t.visible(timeMs) {
		return true
	}
	t.dropped++
	return false
}

func (t *timed) commit() {
	t.clock.commit()
	t.entryCache.commit()
	t.expire()
}

func (t *timed) abort() {
	t.clock.abort()
	t.entryCache.abort()
}

// expire drops the segments of which no row will be shown again.
func (t *timed) expire() {
	if !t.clock.committed.set {
		return
	}
	floor := t.clock.committed.floor(t.retention)
	if floor == math.MinInt64 {
		return
	}
	keep := t.segmentOf(floor + 1)
	if keep <= t.keep {
		return
	}
	t.keep = keep
	for _, s := range t.order.remove(keep) {
		t.dropDue = true
		for _, i := range t.order.entries(s) {
			t.entryCache.expire(i)
		}
	}
}

func (t *timed) gather(r *rows) error {
	if err := t.entryCache.gather(r); err != nil {
		return err
	}
	r.clock = t.clockRow()
	if t.dropDue {
		r.expired = appendSegment(nil, t.keep)
	}
	return nil
}

func (t *timed) handedOver(flushID uint32) {
	t.entryCache.handedOver(flushID)
	t.dropDue = false
}

func (t *timed) clockRow() []byte { return appendClock(nil, t.clock.committed, t.interval) }

// restoreKey turns a changelog's key into a row's, and moves the store's time. live is false for a row that is
// not to be kept.
func (t *timed) restoreKey(dst, key []byte) (row []byte, live bool, err error) {
	row, timeMs, err := t.parseLog(appendSegment(dst, 0), key)
	if err != nil {
		return dst, false, err
	}
	number := t.segmentOf(timeMs)
	binary.BigEndian.PutUint64(row[len(dst):], uint64(number)^1<<63)
	t.clock.see(timeMs)
	t.clock.commit()
	if !t.visible(timeMs) {
		return row, false, nil
	}
	t.order.hasRows(number)
	return row, true, nil
}

// clamp cuts a range of starts to what is shown.
func (t *timed) clamp(fromMs, toMs int64) (from, to int64, any bool) {
	return t.clampAt(t.clock.now, fromMs, toMs)
}

// clampAt is clamp when the store's time is now.
func (t *timed) clampAt(now moment, fromMs, toMs int64) (from, to int64, any bool) {
	if !now.set {
		return 0, 0, false
	}
	from, to = fromMs, min(toMs, now.timeMs)
	if floor := now.floor(t.retention); floor >= from {
		if floor == math.MaxInt64 {
			return 0, 0, false
		}
		from = floor + 1
	}
	return from, to, from <= to
}

// firstSegment is the segment where a scan of the rows of [fromMs, toMs] begins, or nil.
func (t *timed) firstSegment(fromMs, toMs int64, backward bool) *segment {
	if backward {
		return t.within(t.order.previous(t.segmentOf(toMs)), fromMs, toMs)
	}
	return t.within(t.order.next(t.segmentOf(fromMs)), fromMs, toMs)
}

func (t *timed) segmentAfter(seg *segment, fromMs, toMs int64, backward bool) *segment {
	if backward {
		return t.within(t.order.previous(seg.number-1), fromMs, toMs)
	}
	return t.within(t.order.next(seg.number+1), fromMs, toMs)
}

func (t *timed) within(seg *segment, fromMs, toMs int64) *segment {
	if seg == nil || seg.number < t.segmentOf(fromMs) || seg.number > t.segmentOf(toMs) {
		return nil
	}
	return seg
}
