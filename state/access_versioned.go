package state

import (
	"errors"
	"iter"
	"time"
)

// Versions is a versioned store as a processor has it: each key has one value, or none, at each time. The past is
// kept, and can be changed, for the store's history retention: from the highest timestamp that was put, of any key.
// It is the task's, as KeyValues is.
type Versions[K, V any] struct {
	s     *VersionedStore[K, V]
	isNil func(V) bool
}

// Name is the store's name.
func (s *Versions[K, V]) Name() string { return s.s.Name() }

// Get returns the key's latest value. Its Timestamp is when it became valid.
func (s *Versions[K, V]) Get(k K) (Value[V], error) { return s.s.Get(k) }

// GetAsOf returns the value that the key had at timestampMs, as far as the store keeps the past.
func (s *Versions[K, V]) GetAsOf(k K, timestampMs int64) (Value[V], error) {
	return s.s.GetAsOf(k, timestampMs)
}

// Put sets the key's value from timestampMs on, until the next timestamp that the key has; a value with the same
// timestamp is replaced, and one that is nil is a deletion. It returns until when the value is valid: Latest if no
// other follows, or NotPut if it came later than the history retention allows, so that it was dropped.
func (s *Versions[K, V]) Put(k K, v V, timestampMs int64) (validTo int64, err error) {
	if s.isNil != nil && s.isNil(v) {
		return s.s.Delete(k, timestampMs)
	}
	return s.s.Put(k, v, timestampMs)
}

// Delete has the key without a value from timestampMs on, until the next timestamp that it has. It returns what Put
// does.
func (s *Versions[K, V]) Delete(k K, timestampMs int64) (validTo int64, err error) {
	return s.s.Delete(k, timestampMs)
}

// History ranges over the key's values that were valid at some time in [fromMs, toMs] and are still kept, oldest
// first. An error comes last.
func (s *Versions[K, V]) History(k K, fromMs, toMs int64) iter.Seq2[Version[V], error] {
	return s.s.Versions(k, fromMs, toMs)
}

// All ranges over the latest values of all keys, in the order of the keys' bytes. An error comes last. The loop may
// use the store: rows that it changes may or may not be seen with the change.
func (s *Versions[K, V]) All() iter.Seq2[Row[K, V], error] { return s.s.All() }

// ObservedTime is the highest timestamp that was put; ok is false if there was none.
func (s *Versions[K, V]) ObservedTime() (ms int64, ok bool) { return s.s.ObservedTime() }

func (h Versioned[K, V]) problem() error {
	if h.settings.HistoryRetention < time.Millisecond {
		return errors.New("the store's history retention is less than a millisecond")
	}
	return lacksSerdes(h.key, h.value)
}

func (h Versioned[K, V]) open(t *Task, changelog string) (Store, error) {
	k, v, err := bindBoth(h.key, h.value, changelog)
	if err != nil {
		return nil, err
	}
	return OpenVersioned(t, h.name, k, v, h.settings)
}

func (h Versioned[K, V]) changelogConfig() map[string]string { return h.settings.ChangelogConfig() }

func (h Versioned[K, V]) same(other AnyHandle) error {
	o := other.(Versioned[K, V])
	if h.settings != o.settings {
		return errSettings
	}
	return sameSerdes(h.key, o.key, h.value, o.value)
}

func (h Versioned[K, V]) access(s any, _ *int64) (*Versions[K, V], error) {
	o, ok := s.(*VersionedStore[K, V])
	if !ok {
		return nil, wrongStore(h, s)
	}
	return &Versions[K, V]{o, nilTest[V]()}, nil
}

var _ Openable[*Versions[string, string]] = Versioned[string, string]{}
