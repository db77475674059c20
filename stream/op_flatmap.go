package stream

import (
	"iter"

	"github.com/moldau-io/moldau/stream/internal/task"
)

// FlatMap makes any number of records of one, keys and all. Where the new stream's equal keys must come
// together next, it goes through a repartition topic. A nil sequence is an empty one.
//
// A null that is not nil in its type is dropped and counted.
func FlatMap[K, V, K2, V2 any](s *Stream[K, V], f func(K, V) iter.Seq2[K2, V2], opts ...Option) *Stream[K2, V2] {
	n := newNode[K2, V2](s.n.b, "FlatMap", operatorSettings(opts), s.n.g)
	n.given(f)
	drop := uncallable[K, V]()
	attach(s.n, n, func(t *task.Task, next edge[K2, V2]) (edge[K, V], error) {
		e := newExpander(t, n, next)
		// One function value for all records: a closure for each would be an allocation for each.
		yield := func(k K2, v V2) bool { return e.send(k, v, e.nulls(k, v)) }
		return func(r Record[K, V]) error {
			if r.null&drop != 0 {
				countDropped(t, n.g.Index, r.null&drop)
				return nil
			}
			e.begin(r.Timestamp, r.Headers)
			if seq := f(r.Key, r.Value); seq != nil {
				seq(yield)
			}
			return e.err
		}, nil
	})
	return &Stream[K2, V2]{n, true}
}

// FlatMapValues makes any number of values of one, all with its key. A nil sequence is an empty one.
//
// A null value that is not nil in its type gives none, without a call.
func FlatMapValues[K, V, W any](s *Stream[K, V], f func(V) iter.Seq[W], opts ...Option) *Stream[K, W] {
	n := flatMapValues(s.n, "FlatMapValues", uncallable[K, V]()&nullValue, func(_ K, v V) iter.Seq[W] { return f(v) }, opts)
	n.given(f)
	return &Stream[K, W]{n, s.rekeyed}
}

// FlatMapValuesWithKey makes any number of values of one, knowing its key, which must not be changed.
//
// A null that is not nil in its type gives none, without a call; a null key is counted as dropped.
func FlatMapValuesWithKey[K, V, W any](s *Stream[K, V], f func(K, V) iter.Seq[W], opts ...Option) *Stream[K, W] {
	n := flatMapValues(s.n, "FlatMapValuesWithKey", uncallable[K, V](), f, opts)
	n.given(f)
	return &Stream[K, W]{n, s.rekeyed}
}

func flatMapValues[K, V, W any](p *node[K, V], op string, drop nulls, f func(K, V) iter.Seq[W], opts []Option) *node[K, W] {
	n := newNode[K, W](p.b, op, operatorSettings(opts), p.g)
	n.inheritKey = p.keySerde
	attach(p, n, func(t *task.Task, next edge[K, W]) (edge[K, V], error) {
		e := newExpander(t, n, next)
		var key K
		var keyNull nulls
		yield := func(w W) bool { return e.send(key, w, keyNull|e.nulls(key, w)&nullValue) }
		return func(r Record[K, V]) error {
			if r.null&drop != 0 {
				if r.null&drop&nullKey != 0 {
					countDropped(t, n.g.Index, nullKey)
				}
				return nil
			}
			key, keyNull = r.Key, r.null&nullKey
			e.begin(r.Timestamp, r.Headers)
			if seq := f(r.Key, r.Value); seq != nil {
				seq(yield)
			}
			return e.err
		}, nil
	})
	return n
}

// expander sends on what a sequence yields. It holds what is common to the records made of one.
type expander[K, V any] struct {
	t         *task.Task
	node      int
	next      edge[K, V]
	nilK      func(K) bool
	nilV      func(V) bool
	timestamp int64
	headers   Headers
	err       error
}

func newExpander[K, V any](t *task.Task, n *node[K, V], next edge[K, V]) *expander[K, V] {
	return &expander[K, V]{t: t, node: n.g.Index, next: next, nilK: nilCheck[K](), nilV: nilCheck[V]()}
}

func (e *expander[K, V]) begin(timestamp int64, headers Headers) {
	e.timestamp, e.headers, e.err = timestamp, headers, nil
	e.t.Enter(e.node)
}

func (e *expander[K, V]) nulls(k K, v V) nulls { return nullsOf(e.nilK, e.nilV, k, v) }

// send reports whether the sequence is to go on.
func (e *expander[K, V]) send(k K, v V, null nulls) bool {
	if e.err != nil {
		return false
	}
	if e.err = e.next(Record[K, V]{k, v, e.timestamp, e.headers, null}); e.err != nil {
		return false
	}
	e.t.Enter(e.node) // the sequence's own code goes on
	return true
}
