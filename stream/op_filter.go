package stream

import "github.com/moldau-io/moldau/stream/internal/task"

// filter passes records for which f gives want, and those f cannot be called with.
func filter[K, V any](p *node[K, V], op string, f func(K, V) bool, want bool, opts []Option) *node[K, V] {
	n := same(p, op, operatorSettings(opts))
	n.given(f)
	pass := uncallable[K, V]()
	attach(p, n, func(t *task.Task, next edge[K, V]) (edge[K, V], error) {
		return func(r Record[K, V]) error {
			if r.null&pass == 0 {
				t.Enter(n.g.Index)
				if f(r.Key, r.Value) != want {
					return nil
				}
			}
			return next(r)
		}, nil
	})
	return n
}

// peek calls f with records on their way.
func peek[K, V any](p *node[K, V], op string, f func(K, V), opts []Option) *node[K, V] {
	n := filter(p, op, func(k K, v V) bool { f(k, v); return true }, true, opts)
	n.given(f)
	return n
}

// mergeInto sends p's records to n as they are.
func mergeInto[K, V any](p, n *node[K, V]) {
	p.kids = append(p.kids, n.edge)
}
