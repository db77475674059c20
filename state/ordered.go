package state

import (
	"bytes"
	"iter"

	"github.com/moldau-io/moldau/serde"
)

// OrderedStore is a KeyValueStore that is gone through in the order of its keys' bytes: a range of keys costs
// what the range holds, not what the store holds. For that its cache keeps an index, which makes a new key dearer.
type OrderedStore[K, V any] struct {
	*KeyValueStore[K, V]
	order *keyOrder
}

// OpenOrdered opens the task's part of the store, as OpenKeyValue does. What lies in Pebble is the same.
func OpenOrdered[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V], settings ...Setting) (*OrderedStore[K, V], error) {
	s, err := newKeyValue(t, name, k, v, settings)
	if err != nil {
		return nil, err
	}
	o := &keyOrder{}
	s.cache().inOrder(o)
	t.add(s.storeBase, s.cache())
	return &OrderedStore[K, V]{s, o}, nil
}

// OrderedRows is an OrderedStore as a table uses it that processors share with it.
type OrderedRows[K, V any] interface {
	Store
	// KeyValueRows is the store without its order.
	KeyValueRows() *KeyValueStore[K, V]
	// ReadOnly is the store for processors that must not change it, for Access. why completes the error.
	ReadOnly(why string) any
}

// OpenRows is OpenOrdered with the handle's settings.
func (h KeyValue[K, V]) OpenRows(t *Task, name string, k serde.Serde[K], v serde.Serde[V]) (OrderedRows[K, V], error) {
	return OpenOrdered(t, name, k, v, h.Settings()...)
}

// KeyValueRows is part of OrderedRows.
func (s *OrderedStore[K, V]) KeyValueRows() *KeyValueStore[K, V] { return s.KeyValueStore }

// ReadOnly is part of OrderedRows.
func (s *OrderedStore[K, V]) ReadOnly(why string) any { return readOnly[K, V]{s, s.fault, why} }

// Range ranges over the rows whose keys' bytes lie in [from, to], both included, as the open epoch sees them, in
// ascending order. An error comes last. The loop may use the store: rows that it changes may or may not be seen
// with the change.
func (s *OrderedStore[K, V]) Range(from, to K) iter.Seq2[Row[K, V], error] {
	return s.keyRange(from, to, false)
}

// BackwardRange is Range in descending order.
func (s *OrderedStore[K, V]) BackwardRange(from, to K) iter.Seq2[Row[K, V], error] {
	return s.keyRange(from, to, true)
}

func (s *OrderedStore[K, V]) keyRange(from, to K, backward bool) iter.Seq2[Row[K, V], error] {
	return seq(func(yield func(Row[K, V]) bool) error {
		first, err := s.keySerde.Append(nil, from)
		if err != nil {
			return s.fault("encode key", err)
		}
		last, err := s.keySerde.Append(nil, to)
		if err != nil {
			return s.fault("encode key", err)
		}
		if bytes.Compare(first, last) > 0 {
			return nil
		}
		return s.each(first, append(last, 0), backward, yield)
	})
}

// All ranges over all rows, otherwise as Range does.
func (s *OrderedStore[K, V]) All() iter.Seq2[Row[K, V], error] {
	return seq(func(yield func(Row[K, V]) bool) error { return s.each(nil, nil, false, yield) })
}

// BackwardAll is All in descending order.
func (s *OrderedStore[K, V]) BackwardAll() iter.Seq2[Row[K, V], error] {
	return seq(func(yield func(Row[K, V]) bool) error { return s.each(nil, nil, true, yield) })
}

// Prefix ranges over the rows whose keys' bytes begin with prefix, otherwise as Range does.
func (s *OrderedStore[K, V]) Prefix(prefix []byte) iter.Seq2[Row[K, V], error] {
	return seq(func(yield func(Row[K, V]) bool) error {
		return s.each(prefix, afterPrefix(prefix), false, yield)
	})
}

// Each calls yield for each row whose key's bytes lie in [from, to), in ascending order, until yield returns an
// error, which Each returns; a nil bound is none. It is the other ranges without what these allocate. The slices
// must not change meanwhile.
func (s *OrderedStore[K, V]) Each(from, to []byte, yield func(Row[K, V]) error) (err error) {
	if e := s.each(from, to, false, func(r Row[K, V]) bool {
		err = yield(r)
		return err == nil
	}); err == nil {
		err = e
	}
	return err
}

// afterPrefix is the first key after those that begin with prefix; nil if there is none.
func afterPrefix(prefix []byte) []byte {
	after := bytes.Clone(prefix)
	for i := len(after) - 1; i >= 0; i-- {
		if after[i]++; after[i] != 0 {
			return after[:i+1]
		}
	}
	return nil
}

func (s *OrderedStore[K, V]) each(from, to []byte, backward bool, yield func(Row[K, V]) bool) (err error) {
	w := s.walkRows(s.order, backward)
	defer func() {
		if e := w.end(); err == nil {
			err = e
		}
	}()
	w.enter(s.order.ensure(0), from, to)
	for w.next() {
		k, err := s.keySerde.Decode(w.ownKey(w.key))
		if err != nil {
			return s.fault("decode key", err)
		}
		v, err := w.value()
		if err != nil {
			return err
		}
		if !yield(Row[K, V]{k, v.V, v.Timestamp}) {
			return nil
		}
	}
	return nil
}

// count goes through all rows.
func (s *OrderedStore[K, V]) count() (n int, err error) {
	w := s.walkRows(s.order, false)
	defer func() {
		if e := w.end(); err == nil {
			err = e
		}
	}()
	for w.enter(s.order.ensure(0), nil, nil); w.next(); {
		n++
	}
	return n, nil
}
