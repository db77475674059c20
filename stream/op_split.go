package stream

import "github.com/moldau-io/moldau/stream/internal/task"

// Split sends each record of a stream down one of several branches. See Stream.Split.
type Split[K, V any] struct {
	in       *Stream[K, V]
	n        *node[K, V]
	branches []branch[K, V]
	rest     *node[K, V] // nil: what no branch takes is dropped
}

type branch[K, V any] struct {
	take func(K, V) bool
	n    *node[K, V]
}

// Split prepares branches of the stream: each record goes down the first one that takes it, in the order in
// which they were made, or to Rest. What no branch takes is dropped, and not counted, if there is no Rest.
//
//	sp := orders.Split()
//	large := sp.Branch(func(_ string, o Order) bool { return o.Amount > 1000 })
//	others := sp.Rest()
//
// A null in a type without nil goes to Rest.
func (s *Stream[K, V]) Split(opts ...Option) *Split[K, V] {
	sp := &Split[K, V]{in: s, n: same(s.n, "Split", operatorSettings(opts))}
	pass := uncallable[K, V]()
	// Not by attach: the split has no edge of its own, but one for each branch.
	s.n.lead(sp.n.g, func(t *task.Task) (edge[K, V], error) {
		type way struct {
			take func(K, V) bool
			node int
			next edge[K, V]
		}
		ways := make([]way, len(sp.branches))
		for i, b := range sp.branches {
			next, err := b.n.edge(t)
			if err != nil {
				return nil, err
			}
			ways[i] = way{b.take, b.n.g.Index, next}
		}
		rest := func(Record[K, V]) error { return nil }
		if sp.rest != nil {
			var err error
			if rest, err = sp.rest.edge(t); err != nil {
				return nil, err
			}
		}
		return guarded(t, sp.n.g, func(r Record[K, V]) error {
			if r.null&pass == 0 {
				for i := range ways {
					w := &ways[i]
					t.Enter(w.node)
					if w.take(r.Key, r.Value) {
						return w.next(r)
					}
				}
			}
			return rest(r)
		}), nil
	})
	return sp
}

// Branch is the stream of those records that take is true for, and that no branch made before it took.
func (p *Split[K, V]) Branch(take func(K, V) bool, opts ...Option) *Stream[K, V] {
	n := same(p.n, "Branch", operatorSettings(opts))
	n.given(take)
	p.branches = append(p.branches, branch[K, V]{take, n})
	return &Stream[K, V]{n, p.in.rekeyed}
}

// Rest is the stream of those records that no branch takes, whether made before or after it. There is one.
func (p *Split[K, V]) Rest(opts ...Option) *Stream[K, V] {
	n := same(p.n, "Rest", operatorSettings(opts))
	if p.rest != nil {
		p.n.b.fail(n.g, "Rest was called before, at %s; use the stream that it gave", p.rest.g.At)
		return &Stream[K, V]{n, p.in.rekeyed}
	}
	p.rest = n
	return &Stream[K, V]{n, p.in.rekeyed}
}
