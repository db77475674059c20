package state

import (
	"errors"
	"iter"
	"time"
)

// Windows is a window store as a processor has it: values by key and window, which expire. A window is shown while
// its start is above the highest start that was put, of any key, less the store's retention. It is the task's, as
// KeyValues is, and rows get their timestamps in the same way.
type Windows[K, V any] struct {
	s     *WindowStore[K, V]
	at    *int64
	isNil func(V) bool
}

// Name is the store's name.
func (s *Windows[K, V]) Name() string { return s.s.Name() }

// Put sets the value of the key's window that starts at startMs, in milliseconds since the epoch. A value that is nil
// deletes the window. One that is too old to be shown is dropped. A store with duplicates adds the value to those it
// has.
func (s *Windows[K, V]) Put(k K, startMs int64, v V) error { return s.PutAt(k, startMs, v, *s.at) }

// PutAt is Put with a timestamp, in milliseconds since the epoch, for the row.
func (s *Windows[K, V]) PutAt(k K, startMs int64, v V, timestampMs int64) error {
	if s.isNil != nil && s.isNil(v) {
		return s.s.Delete(k, startMs, timestampMs)
	}
	return s.s.Put(k, startMs, v, timestampMs)
}

// Delete removes the key's window that starts at startMs. A store with duplicates cannot.
func (s *Windows[K, V]) Delete(k K, startMs int64) error { return s.s.Delete(k, startMs, *s.at) }

// Fetch returns the value of the key's window that starts at startMs. A store with duplicates cannot: see FetchRange.
func (s *Windows[K, V]) Fetch(k K, startMs int64) (Value[V], error) { return s.s.Fetch(k, startMs) }

// FetchRange ranges over the key's windows whose starts lie in [fromMs, toMs], both included, in the order of their
// starts, duplicates in the order they were put in. An error comes last. The loop may use the store: rows that it
// changes may or may not be seen with the change.
func (s *Windows[K, V]) FetchRange(k K, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return s.s.FetchRange(k, fromMs, toMs)
}

// BackwardFetchRange is FetchRange backward.
func (s *Windows[K, V]) BackwardFetchRange(k K, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return s.s.BackwardFetchRange(k, fromMs, toMs)
}

// FetchAll ranges over the windows of all keys whose starts lie in [fromMs, toMs], both included, by start and then
// by the bytes of the key, otherwise as FetchRange does.
func (s *Windows[K, V]) FetchAll(fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return s.s.FetchAll(fromMs, toMs)
}

// All is FetchAll of all windows that are shown.
func (s *Windows[K, V]) All() iter.Seq2[WindowRow[K, V], error] { return s.s.All() }

// ObservedTime is the highest start that was put; ok is false if there was none.
func (s *Windows[K, V]) ObservedTime() (ms int64, ok bool) { return s.s.ObservedTime() }

// Sessions is a session store as a processor has it: values by key, start and end, which expire. A session is shown
// while its end is above the highest end that was put, of any key, less the store's retention. It is the task's, as
// KeyValues is, and rows get their timestamps in the same way.
type Sessions[K, V any] struct {
	s     *SessionStore[K, V]
	at    *int64
	isNil func(V) bool
}

// Name is the store's name.
func (s *Sessions[K, V]) Name() string { return s.s.Name() }

// Put sets the value of the key's session from startMs to endMs, in milliseconds since the epoch. A value that is nil
// removes the session. One that is too old to be shown is dropped.
func (s *Sessions[K, V]) Put(k K, startMs, endMs int64, v V) error {
	return s.PutAt(k, startMs, endMs, v, *s.at)
}

// PutAt is Put with a timestamp, in milliseconds since the epoch, for the row.
func (s *Sessions[K, V]) PutAt(k K, startMs, endMs int64, v V, timestampMs int64) error {
	if s.isNil != nil && s.isNil(v) {
		return s.s.Delete(k, startMs, endMs, timestampMs)
	}
	return s.s.Put(k, startMs, endMs, v, timestampMs)
}

// Remove removes the key's session from startMs to endMs.
func (s *Sessions[K, V]) Remove(k K, startMs, endMs int64) error {
	return s.s.Delete(k, startMs, endMs, *s.at)
}

// Fetch returns the value of the key's session from startMs to endMs.
func (s *Sessions[K, V]) Fetch(k K, startMs, endMs int64) (Value[V], error) {
	return s.s.Fetch(k, startMs, endMs)
}

// Find ranges over the key's sessions that end at earliestEndMs or later and start at latestStartMs or earlier, in
// the order of their ends and then of their starts. An error comes last. The loop may use the store: rows that it
// changes may or may not be seen with the change.
func (s *Sessions[K, V]) Find(k K, earliestEndMs, latestStartMs int64) iter.Seq2[WindowRow[K, V], error] {
	return s.s.FindSessions(k, earliestEndMs, latestStartMs)
}

// BackwardFind is Find backward.
func (s *Sessions[K, V]) BackwardFind(k K, earliestEndMs, latestStartMs int64) iter.Seq2[WindowRow[K, V], error] {
	return s.s.BackwardFindSessions(k, earliestEndMs, latestStartMs)
}

// FindAll ranges over the sessions of all keys that end in [firstEndMs, lastEndMs], both included, by end, start and
// the bytes of the key, otherwise as Find does.
func (s *Sessions[K, V]) FindAll(firstEndMs, lastEndMs int64) iter.Seq2[WindowRow[K, V], error] {
	return s.s.FindAll(firstEndMs, lastEndMs)
}

// Of is Find of all sessions of the key that are shown.
func (s *Sessions[K, V]) Of(k K) iter.Seq2[WindowRow[K, V], error] { return s.s.Sessions(k) }

// All is FindAll of all sessions that are shown.
func (s *Sessions[K, V]) All() iter.Seq2[WindowRow[K, V], error] { return s.s.All() }

// ObservedTime is the highest end that was put; ok is false if there was none.
func (s *Sessions[K, V]) ObservedTime() (ms int64, ok bool) { return s.s.ObservedTime() }

var errNoRetention = errors.New("the store's handle has no retention; give it one with WithRetention")

func (h timedHandle[K, V]) problem() error {
	if h.retention < time.Millisecond {
		return errNoRetention
	}
	return lacksSerdes(h.key, h.value)
}

func (h timedHandle[K, V]) changelogConfig() map[string]string { return Expiring(h.retention) }

func (h timedHandle[K, V]) sameAs(o timedHandle[K, V]) error {
	if h.retention != o.retention || h.inMemory != o.inMemory {
		return errSettings
	}
	return sameSerdes(h.key, o.key, h.value, o.value)
}

func (h Window[K, V]) open(t *Task, changelog string) (Store, error) {
	k, v, err := bindBoth(h.key, h.value, changelog)
	if err != nil {
		return nil, err
	}
	return OpenWindow(t, h.name, k, v, WindowSettings{
		Retention: h.retention, Size: h.size, RetainDuplicates: h.duplicates, InMemory: h.inMemory,
	})
}

func (h Window[K, V]) same(other AnyHandle) error {
	o := other.(Window[K, V])
	if h.size != o.size || h.duplicates != o.duplicates {
		return errSettings
	}
	return h.sameAs(o.timedHandle)
}

func (h Window[K, V]) access(s any, at *int64) (*Windows[K, V], error) {
	o, ok := s.(*WindowStore[K, V])
	if !ok {
		return nil, wrongStore(h, s)
	}
	return &Windows[K, V]{o, at, nilTest[V]()}, nil
}

func (h Session[K, V]) open(t *Task, changelog string) (Store, error) {
	k, v, err := bindBoth(h.key, h.value, changelog)
	if err != nil {
		return nil, err
	}
	return OpenSession(t, h.name, k, v, SessionSettings{Retention: h.retention, InMemory: h.inMemory})
}

func (h Session[K, V]) same(other AnyHandle) error {
	return h.sameAs(other.(Session[K, V]).timedHandle)
}

func (h Session[K, V]) access(s any, at *int64) (*Sessions[K, V], error) {
	o, ok := s.(*SessionStore[K, V])
	if !ok {
		return nil, wrongStore(h, s)
	}
	return &Sessions[K, V]{o, at, nilTest[V]()}, nil
}
