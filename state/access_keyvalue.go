package state

import "iter"

// KeyValues is a key-value store as a processor has it: ordered by the bytes of the keys. It belongs to the task,
// so it is for use within the processor's methods and punctuators, and not by other goroutines. It shows what the
// open epoch has put, which an abort takes back. What a call returns is the caller's to keep and to change, and
// what it is given stays the caller's.
//
// Each row has a timestamp. Put gives it that of what is being processed: the record, or in a punctuator its time.
type KeyValues[K, V any] struct {
	s     *OrderedStore[K, V]
	at    *int64
	isNil func(V) bool
}

// Name is the store's name.
func (s *KeyValues[K, V]) Name() string { return s.s.Name() }

// Get returns the key's value.
func (s *KeyValues[K, V]) Get(k K) (Value[V], error) { return s.s.Get(k) }

// Put sets the key's value. A value that is nil deletes the key.
func (s *KeyValues[K, V]) Put(k K, v V) error { return s.PutAt(k, v, *s.at) }

// PutAt sets the key's value and its timestamp, in milliseconds since the epoch. A value that is nil deletes the
// key.
func (s *KeyValues[K, V]) PutAt(k K, v V, timestampMs int64) error {
	if s.isNil != nil && s.isNil(v) {
		return s.s.Delete(k, timestampMs)
	}
	return s.s.Put(k, v, timestampMs)
}

// PutIfAbsent sets the key's value if it has none. Otherwise it changes nothing and returns the value there is.
func (s *KeyValues[K, V]) PutIfAbsent(k K, v V) (before Value[V], err error) {
	e, err := s.s.Entry(k)
	if err != nil {
		return before, err
	}
	if before, err = e.Get(); err != nil || before.OK || s.isNil != nil && s.isNil(v) {
		return before, err
	}
	return before, e.Put(v, *s.at)
}

// Delete removes the key; one that is not there is no error.
func (s *KeyValues[K, V]) Delete(k K) error { return s.s.Delete(k, *s.at) }

// All ranges over all rows, in the order of their keys' bytes. An error comes last. The loop may use the store: rows
// that it changes may or may not be seen with the change.
func (s *KeyValues[K, V]) All() iter.Seq2[Row[K, V], error] { return s.s.All() }

// BackwardAll is All in descending order.
func (s *KeyValues[K, V]) BackwardAll() iter.Seq2[Row[K, V], error] { return s.s.BackwardAll() }

// Range ranges over the rows whose keys' bytes lie in [from, to], both included, otherwise as All does.
func (s *KeyValues[K, V]) Range(from, to K) iter.Seq2[Row[K, V], error] { return s.s.Range(from, to) }

// BackwardRange is Range in descending order.
func (s *KeyValues[K, V]) BackwardRange(from, to K) iter.Seq2[Row[K, V], error] {
	return s.s.BackwardRange(from, to)
}

// Prefix ranges over the rows whose keys' bytes begin with prefix, otherwise as All does.
func (s *KeyValues[K, V]) Prefix(prefix []byte) iter.Seq2[Row[K, V], error] {
	return s.s.Prefix(prefix)
}

// Count is the number of rows. It goes through all of them, so it is dear in a store that is large.
func (s *KeyValues[K, V]) Count() (int, error) { return s.s.count() }

func (h KeyValue[K, V]) problem() error { return lacksSerdes(h.key, h.value) }

func (h KeyValue[K, V]) open(t *Task, changelog string) (Store, error) {
	k, v, err := bindBoth(h.key, h.value, changelog)
	if err != nil {
		return nil, err
	}
	return OpenOrdered(t, h.name, k, v, h.Settings()...)
}

func (h KeyValue[K, V]) changelogConfig() map[string]string { return compacted() }

func (h KeyValue[K, V]) same(other AnyHandle) error {
	o := other.(KeyValue[K, V])
	if h.inMemory != o.inMemory {
		return errSettings
	}
	return sameSerdes(h.key, o.key, h.value, o.value)
}

func (h KeyValue[K, V]) access(s Store, at *int64) (*KeyValues[K, V], error) {
	o, ok := s.(*OrderedStore[K, V])
	if !ok {
		return nil, wrongStore(h, s)
	}
	return &KeyValues[K, V]{o, at, nilTest[V]()}, nil
}
