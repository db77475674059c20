package state

import "github.com/moldau-io/moldau/serde"

// KeyValueStore is one task's part of a key-value store. It belongs to the task's goroutine, as do the
// values' encoded forms: what a call returns is the caller's to keep and to change.
type KeyValueStore[K, V any] struct {
	rowStore[V]
	keySerde serde.Serde[K]
}

// Value is what a store has for a key. OK is false if it has nothing; V is then the zero value. Timestamp
// is in milliseconds since the epoch.
type Value[V any] struct {
	V         V
	Timestamp int64
	OK        bool
}

// OpenKeyValue opens the task's part of the store. It is for before the task's first epoch, or between two.
// If its rows in Pebble cannot be used, because no position says what they are, they are deleted.
//
// Values are kept live or encoded (see serde.SharesNothing). Encoded ones are encoded when they are put;
// live ones when the epoch's changes are appended, which is then where a value that cannot be encoded is
// reported.
func OpenKeyValue[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V], settings ...Setting) (*KeyValueStore[K, V], error) {
	s, err := newKeyValue(t, name, k, v, settings)
	if err != nil {
		return nil, err
	}
	t.add(s.storeBase, s.cache())
	return s, nil
}

func newKeyValue[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V], settings []Setting) (*KeyValueStore[K, V], error) {
	base, complete, err := openBase(t, name, settings)
	if err != nil {
		return nil, err
	}
	return &KeyValueStore[K, V]{newRowStore(base, complete, v, nil), k}, nil
}

// Setting is a setting of a store of any kind.
type Setting func(*storeBase)

// InMemory keeps the store in memory only: it is restored from its changelog at each start, and takes as much
// memory as its rows, which CacheBytes does not bound.
func InMemory() Setting { return func(s *storeBase) { s.memory = true } }

// Entry is a key's place in a store, found once for a read and a write. It is valid until the next call on
// the store.
type Entry[K, V any] struct {
	s *KeyValueStore[K, V]
	i uint32
}

// Entry finds the key, in the cache or else in Pebble, and caches it.
func (s *KeyValueStore[K, V]) Entry(k K) (Entry[K, V], error) {
	row, err := s.keySerde.Append(s.row[:idLen], k)
	if err != nil {
		return Entry[K, V]{}, s.fault("encode key", err)
	}
	s.row = row
	i, err := s.find(row)
	return Entry[K, V]{s, i}, err
}

// Get returns the key's value, as the open epoch sees it.
func (e Entry[K, V]) Get() (Value[V], error) { return e.s.get(e.i) }

// Put sets the key's value in the open epoch. timestampMs is in milliseconds since the epoch.
func (e Entry[K, V]) Put(v V, timestampMs int64) error { return e.s.put(e.i, v, timestampMs) }

// Delete removes the key in the open epoch.
func (e Entry[K, V]) Delete(timestampMs int64) error { return e.s.delete(e.i, timestampMs) }

// Get returns the key's value, as the open epoch sees it.
func (s *KeyValueStore[K, V]) Get(k K) (Value[V], error) {
	e, err := s.Entry(k)
	if err != nil {
		return Value[V]{}, err
	}
	return e.Get()
}

// Put sets the key's value in the open epoch. timestampMs is in milliseconds since the epoch.
func (s *KeyValueStore[K, V]) Put(k K, v V, timestampMs int64) error {
	e, err := s.Entry(k)
	if err != nil {
		return err
	}
	return e.Put(v, timestampMs)
}

// Delete removes the key in the open epoch.
func (s *KeyValueStore[K, V]) Delete(k K, timestampMs int64) error {
	e, err := s.Entry(k)
	if err != nil {
		return err
	}
	return e.Delete(timestampMs)
}

// EachTouched calls yield for each key that the open epoch has put or deleted, in the order of first touch,
// with its value now and its value when the epoch began. The Timestamp of a key that is now absent is that of
// its deletion. yield may use the store: keys that it touches come last. It stops at the first error.
func (s *KeyValueStore[K, V]) EachTouched(yield func(k K, now, before Value[V]) error) error {
	for n := 0; n < s.touchedCount(); n++ {
		key, now, before, err := s.touchedAt(n)
		if err != nil {
			return err
		}
		k, err := s.keySerde.Decode(key)
		if err != nil {
			return s.fault("decode key", err)
		}
		if err := yield(k, now, before); err != nil {
			return err
		}
	}
	return nil
}
