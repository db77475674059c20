package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/moldau-io/moldau/serde"
)

// WindowSettings are a window store's settings. Times are those of windows' starts.
type WindowSettings struct {
	// Retention is how long a window is shown: while its start is above the store's time, which is the highest
	// start that was put, less Retention. It has no default, and less than a millisecond is an error.
	Retention time.Duration
	// Size is what a window's end is after its start. EndOf, if it is not nil, says the end of windows that
	// differ in length.
	Size  time.Duration
	EndOf func(startMs int64) int64
	// SegmentInterval is the length of time whose rows lie together. 0: half of Retention, at least a second,
	// which suits whoever fetches many windows of one key. Windows of all keys come cheapest, and in the order
	// of their starts, with the distance between two starts.
	SegmentInterval time.Duration
	// RetainDuplicates keeps every value that is put for a key and start, in the order they were put in. Such a
	// store has no Entry, Fetch, or Delete.
	RetainDuplicates bool
	// InMemory: see the setting of that name.
	InMemory bool
}

// WindowStore is one task's part of a window store: values by key and window, which expire. It belongs to the
// task's goroutine, as a KeyValueStore does; what a call returns is the caller's to keep and to change.
type WindowStore[K, V any] struct {
	rowStore[V]
	*timed
	keySerde serde.Serde[K]
	settings WindowSettings

	from, to []byte // bounds of the scan under way, unless scans are nested
}

// WindowRow is a window of a key, or a session, and what a store has for it. Times are in milliseconds since
// the epoch.
type WindowRow[K, V any] struct {
	Key        K
	Start, End int64
	Value      V
	Timestamp  int64
}

// OpenWindow opens the task's part of a window store, as OpenKeyValue does.
func OpenWindow[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V], o WindowSettings) (*WindowStore[K, V], error) {
	if o.Retention < time.Millisecond {
		return nil, fmt.Errorf("state: window store %s: a retention of %s is less than a millisecond", name, o.Retention)
	}
	if o.SegmentInterval == 0 {
		o.SegmentInterval = defaultInterval(o.Retention)
	}
	base, complete, err := openBase(t, name, memorySetting(o.InMemory))
	if err != nil {
		return nil, err
	}
	s := &WindowStore[K, V]{keySerde: k, settings: o}
	s.rowStore = newRowStore(base, complete, v, s.logKey)
	if s.timed, err = openTimed(base, s.cache(), o.Retention, o.SegmentInterval); err != nil {
		return nil, err
	}
	s.parseLog = s.parseLogKey
	t.add(base, s.timed)
	return s, nil
}

func memorySetting(inMemory bool) []Setting {
	if inMemory {
		return []Setting{InMemory()}
	}
	return nil
}

const sequenceLen = 4

// tailLen is what follows the key in a row's.
func (s *WindowStore[K, V]) tailLen() int {
	if s.settings.RetainDuplicates {
		return timeLen + sequenceLen
	}
	return timeLen
}

// logKey is the changelog's key: Kafka's WindowKeySchema.
func (s *WindowStore[K, V]) logKey(dst, row []byte) []byte {
	n := len(row) - s.tailLen()
	dst = append(dst, row[segmentLen:n]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(timeAt(row[n:])))
	if s.settings.RetainDuplicates {
		return append(dst, row[n+timeLen:]...)
	}
	return append(dst, 0, 0, 0, 0)
}

func (s *WindowStore[K, V]) parseLogKey(dst, key []byte) (row []byte, timeMs int64, err error) {
	n := len(key) - timeLen - sequenceLen
	if n < 0 {
		return dst, 0, fmt.Errorf("key of %d bytes has no window", len(key))
	}
	timeMs = int64(binary.BigEndian.Uint64(key[n:]))
	row = appendTime(append(dst, key[:n]...), timeMs)
	if s.settings.RetainDuplicates {
		row = append(row, key[n+timeLen:]...)
		if seq := binary.BigEndian.Uint32(key[n+timeLen:]); seq >= s.clock.now.sequence {
			s.clock.now.sequence = seq + 1
		}
	}
	return row, timeMs, nil
}

// appendRow makes the row's key in s.row.
func (s *WindowStore[K, V]) appendRow(k K, startMs int64) error {
	row, err := s.keySerde.Append(appendSegment(s.row[:idLen], s.segmentOf(startMs)), k)
	if err != nil {
		return s.fault("encode key", err)
	}
	s.row = appendTime(row, startMs)
	return nil
}

func (s *WindowStore[K, V]) end(startMs int64) int64 {
	if s.settings.EndOf != nil {
		return s.settings.EndOf(startMs)
	}
	if end := startMs + s.settings.Size.Milliseconds(); end >= startMs {
		return end
	}
	return math.MaxInt64
}

// ObservedTime is the store's time: the highest start that was put, or deleted, in the open epoch or before. ok
// is false if there was none.
func (s *WindowStore[K, V]) ObservedTime() (ms int64, ok bool) {
	return s.clock.now.timeMs, s.clock.now.set
}

// Dropped is how many puts and deletes were too old since the store was opened.
func (s *WindowStore[K, V]) Dropped() int64 { return s.dropped }

var errDuplicates = errors.New("the store keeps duplicates")

// WindowEntry is the place of a key's window in a store, found once for a read and a write. It is valid until
// the next call on the store.
type WindowEntry[K, V any] struct {
	s     *WindowStore[K, V]
	start int64
	i     uint32
	found bool // else the window is too old to be shown
}

// Entry finds the key's window that starts at startMs, in the cache or else in Pebble, and caches it.
func (s *WindowStore[K, V]) Entry(k K, startMs int64) (WindowEntry[K, V], error) {
	if s.settings.RetainDuplicates {
		return WindowEntry[K, V]{}, s.fault("entry", errDuplicates)
	}
	e := WindowEntry[K, V]{s: s, start: startMs}
	if !s.visible(startMs) {
		return e, nil
	}
	if err := s.appendRow(k, startMs); err != nil {
		return e, err
	}
	var err error
	e.i, err = s.find(s.row)
	e.found = err == nil
	return e, err
}

// Get returns the window's value, as the open epoch sees it.
func (e WindowEntry[K, V]) Get() (Value[V], error) {
	if !e.found || !e.s.visible(e.start) {
		return Value[V]{}, nil
	}
	return e.s.get(e.i)
}

// Put sets the window's value in the open epoch; one that is too old is dropped and counted.
func (e WindowEntry[K, V]) Put(v V, timestampMs int64) error {
	if !e.s.admits(e.start) {
		return nil
	}
	return e.s.put(e.i, v, timestampMs)
}

// Delete removes the window in the open epoch; one that is too old is dropped and counted.
func (e WindowEntry[K, V]) Delete(timestampMs int64) error {
	if !e.s.admits(e.start) {
		return nil
	}
	return e.s.delete(e.i, timestampMs)
}

// Put sets the value of the key's window that starts at startMs, in the open epoch; one that is too old is
// dropped and counted. A store that keeps duplicates adds the value to those it has.
func (s *WindowStore[K, V]) Put(k K, startMs int64, v V, timestampMs int64) error {
	if !s.settings.RetainDuplicates {
		e, err := s.Entry(k, startMs)
		if err != nil {
			return err
		}
		return e.Put(v, timestampMs)
	}
	if s.task.epoch == 0 {
		return s.fault("put", errNoEpoch)
	}
	if !s.admits(startMs) {
		return nil
	}
	if err := s.appendRow(k, startMs); err != nil {
		return err
	}
	s.row = binary.BigEndian.AppendUint32(s.row, s.clock.now.sequence)
	s.clock.now.sequence = (s.clock.now.sequence + 1) & math.MaxInt32 // Kafka's are not negative
	return s.rowStore.put(s.fresh(s.row), v, timestampMs)
}

// Delete removes the key's window that starts at startMs, in the open epoch.
func (s *WindowStore[K, V]) Delete(k K, startMs int64, timestampMs int64) error {
	e, err := s.Entry(k, startMs)
	if err != nil {
		return err
	}
	return e.Delete(timestampMs)
}

// Fetch returns the value of the key's window that starts at startMs, as the open epoch sees it.
func (s *WindowStore[K, V]) Fetch(k K, startMs int64) (Value[V], error) {
	e, err := s.Entry(k, startMs)
	if err != nil {
		return Value[V]{}, err
	}
	return e.Get()
}

// FetchRange ranges over the key's windows whose starts lie in [fromMs, toMs], both included, as the open epoch
// sees them, in the order of their starts, duplicates in the order they were put in. An error comes last. The
// loop may use the store: rows that it changes may or may not be seen with the change.
func (s *WindowStore[K, V]) FetchRange(k K, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return seq(func(yield func(WindowRow[K, V]) bool) error { return s.each(k, fromMs, toMs, false, yield) })
}

// BackwardFetchRange is FetchRange backward.
func (s *WindowStore[K, V]) BackwardFetchRange(k K, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return seq(func(yield func(WindowRow[K, V]) bool) error { return s.each(k, fromMs, toMs, true, yield) })
}

// Each is FetchRange, or backward BackwardFetchRange, without what these allocate: it calls yield for each
// window until that returns an error, which Each returns. The Key of the rows is k.
func (s *WindowStore[K, V]) Each(k K, fromMs, toMs int64, backward bool, yield func(WindowRow[K, V]) error) (err error) {
	e := s.each(k, fromMs, toMs, backward, func(r WindowRow[K, V]) bool {
		err = yield(r)
		return err == nil
	})
	if err == nil {
		err = e
	}
	return err
}

func (s *WindowStore[K, V]) each(k K, fromMs, toMs int64, backward bool, yield func(WindowRow[K, V]) bool) error {
	fromMs, toMs, some := s.clamp(fromMs, toMs)
	if !some {
		return nil
	}
	from, err := s.keySerde.Append(s.from[:0], k)
	if err != nil {
		return s.fault("encode key", err)
	}
	key := len(from)
	from = appendTime(from, fromMs)
	to := appendAfter(append(s.to[:0], from[:key]...), toMs)
	s.from, s.to = nil, nil // the loop may come here again
	err = s.eachOfKey(s.timed, keyRange{from, to, key, key + s.tailLen(), fromMs, toMs, backward}, func(w *walk[V]) (bool, error) {
		v, err := w.value()
		if err != nil {
			return false, err
		}
		start := timeAt(w.key[key:])
		return yield(WindowRow[K, V]{k, start, s.end(start), v.V, v.Timestamp}), nil
	})
	s.from, s.to = from, to
	return err
}

// FetchAll ranges over the windows of all keys whose starts lie in [fromMs, toMs], both included, by start and
// then by the bytes of the key, otherwise as FetchRange does.
func (s *WindowStore[K, V]) FetchAll(fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return seq(func(yield func(WindowRow[K, V]) bool) error { return s.eachOfAll(fromMs, toMs, yield) })
}

// All is FetchAll of all windows that are shown.
func (s *WindowStore[K, V]) All() iter.Seq2[WindowRow[K, V], error] {
	return s.FetchAll(math.MinInt64, math.MaxInt64)
}

func (s *WindowStore[K, V]) eachOfAll(fromMs, toMs int64, yield func(WindowRow[K, V]) bool) error {
	fromMs, toMs, some := s.clamp(fromMs, toMs)
	if !some {
		return nil
	}
	tail := s.tailLen()
	return s.eachInTime(s.timed, fromMs, toMs, tail, compareWindows(tail), func(row []byte, v Value[V]) (bool, error) {
		at := len(row) - tail
		key, err := s.keySerde.Decode(s.own(row[:at]))
		if err != nil {
			return false, s.fault("decode key", err)
		}
		start := timeAt(row[at:])
		return yield(WindowRow[K, V]{key, start, s.end(start), v.V, v.Timestamp}), nil
	})
}

// compareWindows orders rows by start, key and sequence.
func compareWindows(tail int) func(a, b []byte) int {
	return func(a, b []byte) int {
		atA, atB := len(a)-tail, len(b)-tail
		return cmp.Or(
			bytes.Compare(a[atA:atA+timeLen], b[atB:atB+timeLen]),
			bytes.Compare(a[:atA], b[:atB]),
			bytes.Compare(a[atA:], b[atB:]),
		)
	}
}

// EachTouched calls yield for each window that the open epoch has put or deleted, in the order of first touch,
// with its value now and its value when the epoch began, as KeyValueStore.EachTouched does. Value and Timestamp
// of w are not set. Windows that are too old by now come too.
func (s *WindowStore[K, V]) EachTouched(yield func(w WindowRow[K, V], now, before Value[V]) error) error {
	for n := 0; n < s.touchedCount(); n++ {
		row, now, before, err := s.touchedAt(n)
		if err != nil {
			return err
		}
		at := len(row) - s.tailLen()
		k, err := s.keySerde.Decode(row[segmentLen:at])
		if err != nil {
			return s.fault("decode key", err)
		}
		start := timeAt(row[at:])
		if err := yield(WindowRow[K, V]{Key: k, Start: start, End: s.end(start)}, now, before); err != nil {
			return err
		}
	}
	return nil
}
