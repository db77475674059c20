package state

import (
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/moldau-io/moldau/serde"
)

// VersionedSettings are a versioned store's settings.
type VersionedSettings struct {
	// HistoryRetention is how far back of the store's time, which is the highest timestamp that was put, the past
	// can be asked for and changed. Less than a millisecond is an error.
	HistoryRetention time.Duration
	// SegmentInterval is the length of time whose rows lie together; 0: half of HistoryRetention, at least a
	// second.
	SegmentInterval time.Duration
	// InMemory: see the setting of that name.
	InMemory bool
}

// VersionedStore is one task's part of a versioned key-value store (KIP-889): each key has one value, or a
// tombstone, per timestamp, valid until the next. The latest never expires. It belongs to the task's goroutine,
// as a KeyValueStore does; what a call returns is the caller's to keep and to change.
//
// Each put is a record of the changelog, in the order of the puts. Compaction keeps the last record of a key, so
// after a put that was late the latest value is appended once more.
type VersionedStore[K, V any] struct {
	rowStore[[]byte] // values as below
	*timed
	keySerde   serde.Serde[K]
	valueSerde serde.Serde[V]

	puts  []versionPut // of the open epoch
	arena []byte       // their keys and values
	seek  [2][]byte    // bounds of the look-up under way
	key   []byte       // of the call under way
	value []byte       // likewise
}

// Version is a value and when it was, or is, valid: from From until before To, in milliseconds since the epoch.
type Version[V any] struct {
	Value    V
	From, To int64
}

const (
	// Latest is the To of a version that no other has followed.
	Latest = math.MaxInt64
	// NotPut is what Put returns for what came too late.
	NotPut = math.MinInt64
)

// The value of a row begins with a byte that says whether there is one.
const (
	tombstone = 0
	present   = 1
)

// The keys of versions that are not the latest end in the time of the next version and a byte that says which
// sort of row it is. The row's timestamp is when the version became valid.
const (
	versionTail = timeLen + 1
	ended       = 0 // until that time the version was valid
	open        = 1 // since that time the key has been deleted, and not put again
)

type versionPut struct {
	key, value int // lengths; value -1: a tombstone
	start      int // in the arena
	timestamp  int64
	late       bool
	latestFrom int64 // if late: since when the latest was valid
}

// OpenVersioned opens the task's part of a versioned store, as OpenKeyValue does.
func OpenVersioned[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V], o VersionedSettings) (*VersionedStore[K, V], error) {
	if o.HistoryRetention < time.Millisecond {
		return nil, fmt.Errorf("state: versioned store %s: a history retention of %s is less than a millisecond", name, o.HistoryRetention)
	}
	if o.SegmentInterval == 0 {
		o.SegmentInterval = defaultInterval(o.HistoryRetention)
	}
	base, complete, err := openBase(t, name, memorySetting(o.InMemory))
	if err != nil {
		return nil, err
	}
	s := &VersionedStore[K, V]{keySerde: k, valueSerde: v}
	s.rowStore = newRowStore[[]byte](base, complete, raw{}, nil)
	if s.timed, err = openTimed(base, s.cache(), o.HistoryRetention, o.SegmentInterval); err != nil {
		return nil, err
	}
	base.restorePut = s.restorePut
	t.add(base, s)
	return s, nil
}

// raw takes bytes as they are.
type raw struct{}

func (raw) Append(dst []byte, b []byte) ([]byte, error) { return append(dst, b...), nil }
func (raw) Decode(b []byte) ([]byte, error)             { return b, nil }

// ObservedTime is the store's time: the highest timestamp that was put, or deleted, in the open epoch or before.
// ok is false if there was none.
func (s *VersionedStore[K, V]) ObservedTime() (ms int64, ok bool) {
	return s.clock.now.timeMs, s.clock.now.set
}

// Dropped is how many puts and deletes were too late since the store was opened.
func (s *VersionedStore[K, V]) Dropped() int64 { return s.dropped }

// Put sets the key's value from timestampMs on, until the next timestamp that the key has, in the open epoch. It
// returns when that is: Latest if there is none, or NotPut if the value came later than HistoryRetention allows;
// it is then dropped and counted. A value with the same timestamp is replaced.
func (s *VersionedStore[K, V]) Put(k K, v V, timestampMs int64) (validTo int64, err error) {
	value, err := s.valueSerde.Append(append(s.value[:0], present), v)
	if err != nil {
		return NotPut, s.fault("encode value", err)
	}
	s.value = value
	return s.putVersion(k, value, timestampMs)
}

// Delete puts a tombstone: the key has no value from timestampMs on, until the next timestamp that it has. It
// returns what Put does.
func (s *VersionedStore[K, V]) Delete(k K, timestampMs int64) (validTo int64, err error) {
	return s.putVersion(k, noValue, timestampMs)
}

var noValue = []byte{tombstone}

func (s *VersionedStore[K, V]) putVersion(k K, value []byte, timestampMs int64) (validTo int64, err error) {
	if s.task.epoch == 0 {
		return NotPut, s.fault("put", errNoEpoch)
	}
	key, err := s.keySerde.Append(s.key[:0], k)
	if err != nil {
		return NotPut, s.fault("encode key", err)
	}
	s.key = key
	latest, err := s.latest(key)
	if err != nil {
		return NotPut, err
	}
	if validTo, err = s.insert(key, value, timestampMs, latest); err != nil || validTo == NotPut {
		return validTo, err
	}
	p := versionPut{len(key), len(value) - 1, len(s.arena), timestampMs, validTo != Latest, latest.from}
	if value[0] == tombstone {
		p.value = -1
	}
	s.arena = append(append(s.arena, key...), value[1:]...)
	s.puts = append(s.puts, p)
	return validTo, nil
}

// version is a row. There is none if value is nil.
type version struct {
	value    []byte
	from, to int64
}

// latest returns the latest version of the key, or its tombstone.
func (s *VersionedStore[K, V]) latest(key []byte) (version, error) {
	s.row = append(appendSegment(s.row[:idLen], permanent), key...)
	v, err := s.peek(s.row)
	if err != nil || v.OK {
		return version{v.V, v.Timestamp, Latest}, err
	}
	// Of a key that was deleted, what is left is its tombstone, and older versions, as long as they are shown.
	first, last, some := s.clamp(math.MinInt64, math.MaxInt64)
	if !some {
		return version{}, nil
	}
	var found version
	err = s.eachOfKey(s.timed, s.bounds(key, first, last, true), func(w *walk[[]byte]) (bool, error) {
		if w.key[len(w.key)-1] == open {
			found = version{noValue, timeAt(w.key[len(key):]), Latest}
		}
		return false, nil
	})
	return found, err
}

func (s *VersionedStore[K, V]) bounds(key []byte, firstMs, lastMs int64, backward bool) keyRange {
	from := appendTime(append(s.seek[0][:0], key...), firstMs)
	to := appendAfter(append(s.seek[1][:0], key...), lastMs)
	s.seek = [2][]byte{from, to}
	return keyRange{from, to, len(key), len(key) + versionTail, firstMs, lastMs, backward}
}

// after returns the first version of the key that ended after timestampMs, which it may have begun after too.
func (s *VersionedStore[K, V]) after(key []byte, timestampMs int64) (version, error) {
	first, last, some := s.clamp(timestampMs+1, math.MaxInt64)
	if !some {
		return version{}, nil
	}
	var found version
	err := s.eachOfKey(s.timed, s.bounds(key, first, last, false), func(w *walk[[]byte]) (bool, error) {
		if w.key[len(w.key)-1] == open {
			return true, nil
		}
		v, err := w.value()
		found = version{v.V, v.Timestamp, timeAt(w.key[len(key):])}
		return false, err
	})
	return found, err
}

// insert puts a version in among the others.
func (s *VersionedStore[K, V]) insert(key, value []byte, timestampMs int64, latest version) (validTo int64, err error) {
	if s.clock.now.set && timestampMs < s.floor() {
		s.dropped++
		return NotPut, nil
	}
	s.clock.see(timestampMs)
	if latest.value == nil || timestampMs >= latest.from {
		return Latest, s.insertLatest(key, value, timestampMs, latest)
	}
	next, err := s.after(key, timestampMs)
	switch {
	case err != nil:
		return NotPut, err
	case next.value == nil: // before all that is shown
		return latest.from, s.setEnded(key, value, timestampMs, latest.from)
	case next.from > timestampMs: // likewise
		return next.from, s.setEnded(key, value, timestampMs, next.from)
	case next.from < timestampMs:
		if err := s.setEnded(key, next.value, next.from, timestampMs); err != nil {
			return NotPut, err
		}
	}
	return next.to, s.setEnded(key, value, timestampMs, next.to)
}

func (s *VersionedStore[K, V]) insertLatest(key, value []byte, timestampMs int64, latest version) error {
	deleted := latest.value != nil && latest.value[0] == tombstone
	if latest.value != nil && timestampMs > latest.from {
		if err := s.setEnded(key, latest.value, latest.from, timestampMs); err != nil {
			return err
		}
	}
	if deleted {
		if err := s.remove(s.rowAt(key, latest.from, open), timestampMs); err != nil {
			return err
		}
	}
	s.row = append(appendSegment(s.row[:idLen], permanent), key...)
	if value[0] == present {
		return s.set(s.row, value, timestampMs)
	}
	if latest.value != nil && !deleted {
		if err := s.remove(s.row, timestampMs); err != nil {
			return err
		}
	}
	if !s.visible(timestampMs) {
		return nil
	}
	return s.set(s.rowAt(key, timestampMs, open), value, timestampMs)
}

// setEnded sets the version that was valid from fromMs until toMs, if it is to be kept.
func (s *VersionedStore[K, V]) setEnded(key, value []byte, fromMs, toMs int64) error {
	if !s.visible(toMs) {
		return nil
	}
	return s.set(s.rowAt(key, toMs, ended), value, fromMs)
}

// rowAt makes a row's key in s.row.
func (s *VersionedStore[K, V]) rowAt(key []byte, ms int64, sort byte) []byte {
	s.row = append(appendSegment(s.row[:idLen], s.segmentOf(ms)), key...)
	s.row = append(appendTime(s.row, ms), sort)
	return s.row
}

func (s *VersionedStore[K, V]) set(row, value []byte, timestampMs int64) error {
	i, err := s.find(row)
	if err != nil {
		return err
	}
	return s.put(i, value, timestampMs)
}

func (s *VersionedStore[K, V]) remove(row []byte, timestampMs int64) error {
	i, err := s.find(row)
	if err != nil {
		return err
	}
	return s.delete(i, timestampMs)
}

// Get returns the key's latest value, as the open epoch sees it. Its Timestamp is when it became valid.
func (s *VersionedStore[K, V]) Get(k K) (Value[V], error) {
	row, err := s.keySerde.Append(appendSegment(s.row[:idLen], permanent), k)
	if err != nil {
		return Value[V]{}, s.fault("encode key", err)
	}
	s.row = row
	i, err := s.find(row)
	if err != nil {
		return Value[V]{}, err
	}
	v, err := s.get(i)
	if err != nil || !v.OK {
		return Value[V]{}, err
	}
	return s.decodeVersion(v.V, v.Timestamp)
}

func (s *VersionedStore[K, V]) decodeVersion(b []byte, timestampMs int64) (Value[V], error) {
	if len(b) == 0 {
		return Value[V]{}, s.fault("read", fmt.Errorf("%w: a version without a byte", ErrCorrupt))
	}
	if b[0] == tombstone {
		return Value[V]{}, nil
	}
	v, err := s.valueSerde.Decode(b[1:])
	if err != nil {
		return Value[V]{}, s.fault("decode value", err)
	}
	return Value[V]{v, timestampMs, true}, nil
}

// GetAsOf returns the value that the key had at timestampMs, as the open epoch sees it: the latest if it was
// valid then, else one that HistoryRetention still covers.
func (s *VersionedStore[K, V]) GetAsOf(k K, timestampMs int64) (Value[V], error) {
	key, err := s.keySerde.Append(s.key[:0], k)
	if err != nil {
		return Value[V]{}, s.fault("encode key", err)
	}
	s.key = key
	v, err := s.latest(key)
	if err != nil || v.value == nil {
		return Value[V]{}, err
	}
	if v.from > timestampMs {
		if timestampMs < s.floor() {
			return Value[V]{}, nil
		}
		if v, err = s.after(key, timestampMs); err != nil || v.value == nil || v.from > timestampMs {
			return Value[V]{}, err
		}
	}
	return s.decodeVersion(v.value, v.from)
}

// Versions ranges over the key's values that were valid at some time in [fromMs, toMs] and are still kept, oldest
// first, the latest last. An error comes last.
func (s *VersionedStore[K, V]) Versions(k K, fromMs, toMs int64) iter.Seq2[Version[V], error] {
	return seq(func(yield func(Version[V]) bool) error {
		key, err := s.keySerde.Append(nil, k)
		if err != nil {
			return s.fault("encode key", err)
		}
		latest, err := s.latest(key)
		if err != nil || latest.value == nil {
			return err
		}
		var all []version
		if first, last, some := s.clamp(max(fromMs, math.MinInt64+1), math.MaxInt64); some {
			if err := s.eachOfKey(s.timed, s.bounds(key, first, last, false), func(w *walk[[]byte]) (bool, error) {
				v, err := w.value()
				if to := timeAt(w.key[len(key):]); err == nil && w.key[len(w.key)-1] == ended && v.Timestamp <= toMs && to > fromMs {
					all = append(all, version{v.V, v.Timestamp, to})
				}
				return true, err
			}); err != nil {
				return err
			}
		}
		if latest.from <= toMs {
			all = append(all, latest)
		}
		for _, v := range all {
			d, err := s.decodeVersion(v.value, v.from)
			if err != nil {
				return err
			}
			if d.OK && !yield(Version[V]{d.V, v.from, v.to}) {
				return nil
			}
		}
		return nil
	})
}

// All ranges over the latest values of all keys, in the order of the keys' bytes. An error comes last. The loop
// may use the store: rows that it changes may or may not be seen with the change.
func (s *VersionedStore[K, V]) All() iter.Seq2[Row[K, V], error] {
	return seq(func(yield func(Row[K, V]) bool) (err error) {
		seg := s.order.find(permanent)
		if seg == nil {
			return nil
		}
		w := s.walkRows(s.order, false)
		defer func() {
			if e := w.end(); err == nil {
				err = e
			}
		}()
		w.enter(seg, nil, nil)
		for w.next() {
			k, err := s.keySerde.Decode(w.ownKey(w.key))
			if err != nil {
				return s.fault("decode key", err)
			}
			b, err := w.value()
			if err != nil {
				return err
			}
			v, err := s.decodeVersion(b.V, b.Timestamp)
			if err != nil {
				return err
			}
			if v.OK && !yield(Row[K, V]{k, v.V, v.Timestamp}) {
				return nil
			}
		}
		return nil
	})
}
