package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/moldau-io/moldau/serde"
)

// SessionSettings are a session store's settings. Times are those of sessions' ends.
type SessionSettings struct {
	// Retention is how long a session is shown: while its end is above the store's time, which is the highest
	// end that was put, less Retention. It has no default, and less than a millisecond is an error.
	Retention time.Duration
	// SegmentInterval is the length of time whose rows lie together; 0: half of Retention, at least a second.
	SegmentInterval time.Duration
	// InMemory: see the setting of that name.
	InMemory bool
}

// SessionStore is one task's part of a session store: values by key, start and end, which expire. It belongs to
// the task's goroutine, as a KeyValueStore does; what a call returns is the caller's to keep and to change.
type SessionStore[K, V any] struct {
	rowStore[V]
	*timed
	keySerde serde.Serde[K]

	from, to []byte // bounds of the scan under way, unless scans are nested
}

// OpenSession opens the task's part of a session store, as OpenKeyValue does.
func OpenSession[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V], o SessionSettings) (*SessionStore[K, V], error) {
	if o.Retention < time.Millisecond {
		return nil, fmt.Errorf("state: session store %s: a retention of %s is less than a millisecond", name, o.Retention)
	}
	if o.SegmentInterval == 0 {
		o.SegmentInterval = defaultInterval(o.Retention)
	}
	base, complete, err := openBase(t, name, memorySetting(o.InMemory))
	if err != nil {
		return nil, err
	}
	s := &SessionStore[K, V]{keySerde: k}
	s.rowStore = newRowStore(base, complete, v, sessionLogKey)
	if s.timed, err = openTimed(base, s.cache(), o.Retention, o.SegmentInterval); err != nil {
		return nil, err
	}
	s.parseLog = parseSessionLogKey
	t.add(base, s.timed)
	return s, nil
}

// sessionTail is what follows the key in a row's: end and start.
const sessionTail = 2 * timeLen

// sessionLogKey is the changelog's key: Kafka's SessionKeySchema.
func sessionLogKey(dst, row []byte) []byte {
	n := len(row) - sessionTail
	dst = append(dst, row[segmentLen:n]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(timeAt(row[n:])))
	return binary.BigEndian.AppendUint64(dst, uint64(timeAt(row[n+timeLen:])))
}

func parseSessionLogKey(dst, key []byte) (row []byte, timeMs int64, err error) {
	n := len(key) - sessionTail
	if n < 0 {
		return dst, 0, fmt.Errorf("key of %d bytes has no session", len(key))
	}
	timeMs = int64(binary.BigEndian.Uint64(key[n:]))
	row = appendTime(append(dst, key[:n]...), timeMs)
	return appendTime(row, int64(binary.BigEndian.Uint64(key[n+timeLen:]))), timeMs, nil
}

// place finds the session's entry.
func (s *SessionStore[K, V]) place(k K, startMs, endMs int64) (uint32, error) {
	if err := s.appendRow(k, startMs, endMs); err != nil {
		return 0, err
	}
	return s.find(s.row)
}

// appendRow makes the row's key in s.row.
func (s *SessionStore[K, V]) appendRow(k K, startMs, endMs int64) error {
	row, err := s.keySerde.Append(appendSegment(s.row[:idLen], s.segmentOf(endMs)), k)
	if err != nil {
		return s.fault("encode key", err)
	}
	s.row = appendTime(appendTime(row, endMs), startMs)
	return nil
}

// ObservedTime is the store's time: the highest end that was put, or deleted, in the open epoch or before. ok is
// false if there was none.
func (s *SessionStore[K, V]) ObservedTime() (ms int64, ok bool) {
	return s.clock.now.timeMs, s.clock.now.set
}

// Dropped is how many puts and deletes were too old since the store was opened.
func (s *SessionStore[K, V]) Dropped() int64 { return s.dropped }

// Put sets the value of the key's session from startMs to endMs, in the open epoch; one that is too old is
// dropped and counted.
func (s *SessionStore[K, V]) Put(k K, startMs, endMs int64, v V, timestampMs int64) error {
	if s.task.epoch == 0 {
		return s.fault("put", errNoEpoch)
	}
	if !s.admits(endMs) {
		return nil
	}
	i, err := s.place(k, startMs, endMs)
	if err != nil {
		return err
	}
	return s.put(i, v, timestampMs)
}

// Delete removes the key's session from startMs to endMs, in the open epoch; one that is too old is counted as
// dropped.
func (s *SessionStore[K, V]) Delete(k K, startMs, endMs int64, timestampMs int64) error {
	if s.task.epoch == 0 {
		return s.fault("delete", errNoEpoch)
	}
	if !s.admits(endMs) {
		return nil
	}
	i, err := s.place(k, startMs, endMs)
	if err != nil {
		return err
	}
	return s.delete(i, timestampMs)
}

// Fetch returns the value of the key's session from startMs to endMs, as the open epoch sees it.
func (s *SessionStore[K, V]) Fetch(k K, startMs, endMs int64) (Value[V], error) {
	if !s.visible(endMs) {
		return Value[V]{}, nil
	}
	i, err := s.place(k, startMs, endMs)
	if err != nil {
		return Value[V]{}, err
	}
	return s.get(i)
}

// FindSessions ranges over the key's sessions that end at earliestEndMs or later and start at latestStartMs or
// earlier, as the open epoch sees them, in the order of their ends and then of their starts. An error comes last.
// The loop may use the store: rows that it changes may or may not be seen with the change.
func (s *SessionStore[K, V]) FindSessions(k K, earliestEndMs, latestStartMs int64) iter.Seq2[WindowRow[K, V], error] {
	return seq(func(yield func(WindowRow[K, V]) bool) error {
		return s.each(k, earliestEndMs, latestStartMs, false, yield)
	})
}

// BackwardFindSessions is FindSessions backward.
func (s *SessionStore[K, V]) BackwardFindSessions(k K, earliestEndMs, latestStartMs int64) iter.Seq2[WindowRow[K, V], error] {
	return seq(func(yield func(WindowRow[K, V]) bool) error {
		return s.each(k, earliestEndMs, latestStartMs, true, yield)
	})
}

// Sessions is FindSessions of all sessions of the key that are shown.
func (s *SessionStore[K, V]) Sessions(k K) iter.Seq2[WindowRow[K, V], error] {
	return s.FindSessions(k, math.MinInt64, math.MaxInt64)
}

// Each is FindSessions without what it allocates: it calls yield for each session until that returns an error,
// which Each returns. The Key of the rows is k.
func (s *SessionStore[K, V]) Each(k K, earliestEndMs, latestStartMs int64, yield func(WindowRow[K, V]) error) (err error) {
	if e := s.each(k, earliestEndMs, latestStartMs, false, func(r WindowRow[K, V]) bool {
		err = yield(r)
		return err == nil
	}); err == nil {
		err = e
	}
	return err
}

func (s *SessionStore[K, V]) each(k K, earliestEndMs, latestStartMs int64, backward bool, yield func(WindowRow[K, V]) bool) error {
	firstMs, lastMs, some := s.clamp(earliestEndMs, math.MaxInt64)
	if !some {
		return nil
	}
	from, err := s.keySerde.Append(s.from[:0], k)
	if err != nil {
		return s.fault("encode key", err)
	}
	key := len(from)
	from = appendTime(from, firstMs)
	to := appendAfter(append(s.to[:0], from[:key]...), lastMs)
	s.from, s.to = nil, nil // the loop may come here again
	err = s.eachOfKey(s.timed, keyRange{from, to, key, key + sessionTail, firstMs, lastMs, backward}, func(w *walk[V]) (bool, error) {
		end, start := timeAt(w.key[key:]), timeAt(w.key[key+timeLen:])
		if start > latestStartMs {
			return true, nil
		}
		v, err := w.value()
		if err != nil {
			return false, err
		}
		return yield(WindowRow[K, V]{k, start, end, v.V, v.Timestamp}), nil
	})
	s.from, s.to = from, to
	return err
}

// FindAll ranges over the sessions of all keys that end in [firstEndMs, lastEndMs], both included, by end, start
// and the bytes of the key, otherwise as FindSessions does.
func (s *SessionStore[K, V]) FindAll(firstEndMs, lastEndMs int64) iter.Seq2[WindowRow[K, V], error] {
	return seq(func(yield func(WindowRow[K, V]) bool) error {
		firstMs, lastMs, some := s.clamp(firstEndMs, lastEndMs)
		if !some {
			return nil
		}
		return s.eachInTime(s.timed, firstMs, lastMs, sessionTail, compareSessions, func(row []byte, v Value[V]) (bool, error) {
			at := len(row) - sessionTail
			k, err := s.keySerde.Decode(s.own(row[:at]))
			if err != nil {
				return false, s.fault("decode key", err)
			}
			return yield(WindowRow[K, V]{k, timeAt(row[at+timeLen:]), timeAt(row[at:]), v.V, v.Timestamp}), nil
		})
	})
}

// All is FindAll of all sessions that are shown.
func (s *SessionStore[K, V]) All() iter.Seq2[WindowRow[K, V], error] {
	return s.FindAll(math.MinInt64, math.MaxInt64)
}

// compareSessions orders rows by end, start and key.
func compareSessions(a, b []byte) int {
	atA, atB := len(a)-sessionTail, len(b)-sessionTail
	return cmp.Or(bytes.Compare(a[atA:], b[atB:]), bytes.Compare(a[:atA], b[:atB]))
}

// EachTouched calls yield for each session that the open epoch has put or deleted, in the order of first touch,
// with its value now and its value when the epoch began, as KeyValueStore.EachTouched does. Value and Timestamp
// of w are not set. Sessions that are too old by now come too.
func (s *SessionStore[K, V]) EachTouched(yield func(w WindowRow[K, V], now, before Value[V]) error) error {
	for n := 0; n < s.touchedCount(); n++ {
		row, now, before, err := s.touchedAt(n)
		if err != nil {
			return err
		}
		at := len(row) - sessionTail
		k, err := s.keySerde.Decode(row[segmentLen:at])
		if err != nil {
			return s.fault("decode key", err)
		}
		if err := yield(WindowRow[K, V]{Key: k, Start: timeAt(row[at+timeLen:]), End: timeAt(row[at:])}, now, before); err != nil {
			return err
		}
	}
	return nil
}
