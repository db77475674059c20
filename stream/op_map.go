package stream

import "github.com/moldau-io/moldau/stream/internal/task"

// Map makes one record of another, key and all. Where the new stream's equal keys must come together
// next, it goes through a repartition topic.
//
// A null that is not nil in its type is dropped and counted.
func Map[K, V, K2, V2 any](s *Stream[K, V], f func(K, V) (K2, V2), opts ...Option) *Stream[K2, V2] {
	n := newNode[K2, V2](s.n.b, "Map", operatorSettings(opts), s.n.g)
	n.given(f)
	nilK, nilV, drop := nilCheck[K2](), nilCheck[V2](), uncallable[K, V]()
	attach(s.n, n, func(t *task.Task, next edge[K2, V2]) (edge[K, V], error) {
		return func(r Record[K, V]) error {
			if r.null&drop != 0 {
				countDropped(t, n.g.Index, r.null&drop)
				return nil
			}
			t.Enter(n.g.Index)
			k, v := f(r.Key, r.Value)
			return next(Record[K2, V2]{k, v, r.Timestamp, r.Headers, nullsOf(nilK, nilV, k, v)})
		}, nil
	})
	return &Stream[K2, V2]{n, true}
}

// MapValues replaces each value. Keys stay, and so does their place: no repartition follows from it.
//
// A null value that is not nil in its type stays null, without a call.
func MapValues[K, V, W any](s *Stream[K, V], f func(V) W, opts ...Option) *Stream[K, W] {
	n := newNode[K, W](s.n.b, "MapValues", operatorSettings(opts), s.n.g)
	n.given(f)
	n.inheritKey = s.n.keySerde
	nilV, pass := nilCheck[W](), uncallable[K, V]()&nullValue
	attach(s.n, n, func(t *task.Task, next edge[K, W]) (edge[K, V], error) {
		return func(r Record[K, V]) error {
			o := Record[K, W]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers, null: r.null}
			if r.null&pass == 0 {
				t.Enter(n.g.Index)
				o.Value = f(r.Value)
				o.null = r.null&nullKey | nullsOf[K](nil, nilV, r.Key, o.Value)
			}
			return next(o)
		}, nil
	})
	return &Stream[K, W]{n, s.rekeyed}
}

// MapValuesWithKey replaces each value, knowing its key, which must not be changed.
//
// A null value that is not nil in its type stays null, without a call; a null key that is not nil in its
// type is dropped and counted.
func MapValuesWithKey[K, V, W any](s *Stream[K, V], f func(K, V) W, opts ...Option) *Stream[K, W] {
	n := newNode[K, W](s.n.b, "MapValuesWithKey", operatorSettings(opts), s.n.g)
	n.given(f)
	n.inheritKey = s.n.keySerde
	nilV := nilCheck[W]()
	drop, pass := uncallable[K, V]()&nullKey, uncallable[K, V]()&nullValue
	attach(s.n, n, func(t *task.Task, next edge[K, W]) (edge[K, V], error) {
		return func(r Record[K, V]) error {
			if r.null&drop != 0 {
				countDropped(t, n.g.Index, r.null&drop)
				return nil
			}
			o := Record[K, W]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers, null: r.null}
			if r.null&pass == 0 {
				t.Enter(n.g.Index)
				o.Value = f(r.Key, r.Value)
				o.null = r.null&nullKey | nullsOf[K](nil, nilV, r.Key, o.Value)
			}
			return next(o)
		}, nil
	})
	return &Stream[K, W]{n, s.rekeyed}
}

// SelectKey gives each record a new key. Where equal keys must come together next, the stream goes through
// a repartition topic.
//
// A null that is not nil in its type is dropped and counted.
func SelectKey[K, V, K2 any](s *Stream[K, V], f func(K, V) K2, opts ...Option) *Stream[K2, V] {
	return &Stream[K2, V]{selectKey(s.n, "SelectKey", f, operatorSettings(opts)), true}
}

func selectKey[K, V, K2 any](p *node[K, V], op string, f func(K, V) K2, s settings) *node[K2, V] {
	n := newNode[K2, V](p.b, op, s, p.g)
	n.given(f)
	n.inheritValue = p.valueSerde
	nilK, drop := nilCheck[K2](), uncallable[K, V]()
	attach(p, n, func(t *task.Task, next edge[K2, V]) (edge[K, V], error) {
		return func(r Record[K, V]) error {
			if r.null&drop != 0 {
				countDropped(t, n.g.Index, r.null&drop)
				return nil
			}
			t.Enter(n.g.Index)
			k := f(r.Key, r.Value)
			return next(Record[K2, V]{k, r.Value, r.Timestamp, r.Headers, r.null&nullValue | nullsOf[K2, V](nilK, nil, k, r.Value)})
		}, nil
	})
	return n
}

// countDropped counts a record that the operator of the given index drops for its nulls.
func countDropped(t *task.Task, node int, why nulls) {
	if why&nullKey != 0 {
		t.Dropped(node).NullKey++
	} else {
		t.Dropped(node).NullValue++
	}
}
