package state

import (
	"errors"
	"fmt"
	"iter"
)

// KeyValues is a key-value store as a processor has it: ordered by the bytes of the keys. It belongs to the task,
// so it is for use within the processor's methods and punctuators, and not by other goroutines. It shows what the
// open epoch has put, which an abort takes back. What a call returns is the caller's to keep and to change, and
// what it is given stays the caller's.
//
// Each row has a timestamp. Put gives it that of what is being processed: the record, or in a punctuator its time.
//
// A global store is changed by the processor that maintains it alone; for all others it is to be read: to change it is
// an error that matches ErrReadOnly. It is in no epoch, so an abort takes nothing of it back.
type KeyValues[K, V any] struct {
	s     keyValueRows[K, V]
	at    *int64
	isNil func(V) bool
}

// keyValueRows is what a processor's key-value store is made of: an OrderedStore, a GlobalStore, or what that gives
// for reading.
type keyValueRows[K, V any] interface {
	keyRows[K, V]
	Put(k K, v V, timestampMs int64) error
	Delete(k K, timestampMs int64) error
}

// keyRows is what of that reads.
type keyRows[K, V any] interface {
	Name() string
	Get(k K) (Value[V], error)
	All() iter.Seq2[Row[K, V], error]
	BackwardAll() iter.Seq2[Row[K, V], error]
	Range(from, to K) iter.Seq2[Row[K, V], error]
	BackwardRange(from, to K) iter.Seq2[Row[K, V], error]
	Prefix(prefix []byte) iter.Seq2[Row[K, V], error]
	count() (int, error)
}

// ErrReadOnly is matched by the error of a change to a store by a processor that may only read it: a global store that
// it does not maintain, or that of a table with ReuseTopic.
var ErrReadOnly = errors.New("state: read only")

// readOnly is a store that a processor must not change. why completes the error.
type readOnly[K, V any] struct {
	keyRows[K, V]
	fault func(step string, err error) error
	why   string
}

func (r readOnly[K, V]) Put(K, V, int64) error {
	return r.fault("put", fmt.Errorf("%w: %s", ErrReadOnly, r.why))
}

func (r readOnly[K, V]) Delete(K, int64) error {
	return r.fault("delete", fmt.Errorf("%w: %s", ErrReadOnly, r.why))
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
	if before, err = s.s.Get(k); err != nil || before.OK || s.isNil != nil && s.isNil(v) {
		return before, err
	}
	return before, s.s.Put(k, v, *s.at)
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

func (h KeyValue[K, V]) access(s any, at *int64) (*KeyValues[K, V], error) {
	rows, ok := s.(keyValueRows[K, V])
	if !ok {
		return nil, wrongStore(h, s)
	}
	return &KeyValues[K, V]{rows, at, nilTest[V]()}, nil
}
