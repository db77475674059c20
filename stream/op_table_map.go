package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// MapTable is the table whose rows have the values that f makes of t's. A row of which f makes nil is not
// there. f is called for values only, never for a deleted row. Unless the table has a store, f may be
// called again for a row when it is looked at, or for its value before: it has to give the same then.
func MapTable[K, V, W any](t *Table[K, V], f func(K, V) W, opts ...Option) *Table[K, W] {
	n := newNode[K, change[W]](t.n.b, "MapTable", operatorSettings(opts), t.n.g)
	n.given(f)
	o := newTable[K, W](n, t.keySerde, nil)
	o.closes = t.closes
	isNil := nilCheck[W]()
	o.computed(func(tk *task.Task) (tableRows[K, W], error) {
		rows, err := t.rows(tk)
		return mapRows(rows, func(k K, v state.Value[V]) state.Value[W] {
			tk.Enter(n.g.Index)
			w := f(k, v.V)
			if isNil != nil && isNil(w) {
				return state.Value[W]{}
			}
			return state.Value[W]{V: w, Timestamp: v.Timestamp, OK: true}
		}), err
	}, t)
	attach(t.n, n, func(tk *task.Task, next edge[K, change[W]]) (edge[K, change[V]], error) {
		keep, err := o.keep(tk, next)
		if err != nil {
			return nil, err
		}
		old := o.sendOld && n.g.Store == nil
		return func(r Record[K, change[V]]) error {
			tk.Enter(n.g.Index)
			m := Record[K, change[W]]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers}
			m.Value.Late = r.Value.Late
			if r.Value.HasNew {
				m.Value.New = f(r.Key, r.Value.New)
				m.Value.HasNew = isNil == nil || !isNil(m.Value.New)
			}
			if old && r.Value.HasOld {
				m.Value.Old = f(r.Key, r.Value.Old)
				m.Value.HasOld = isNil == nil || !isNil(m.Value.Old)
			}
			return keep(m)
		}, nil
	})
	return o
}
