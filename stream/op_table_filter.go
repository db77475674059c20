package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Filter is the table of those rows for which keep is true. A row that no longer is among them is deleted.
//
// A deletion is sent on for rows that were not there before, too, unless this table, or one above it, was
// asked for the values before, or has a store. Of a versioned table all updates are sent on: what is old may come
// after what is new, and a deletion that tells nothing now may be a version of the past.
func (t *Table[K, V]) Filter(keep func(K, V) bool, opts ...Option) *Table[K, V] {
	return filterTable(t, "Filter", keep, true, opts)
}

// FilterNot is the table of those rows for which drop is false. It is Filter otherwise.
func (t *Table[K, V]) FilterNot(drop func(K, V) bool, opts ...Option) *Table[K, V] {
	return filterTable(t, "FilterNot", drop, false, opts)
}

func filterTable[K, V any](t *Table[K, V], op string, f func(K, V) bool, want bool, opts []Option) *Table[K, V] {
	n := newNode[K, change[V]](t.n.b, op, operatorSettings(opts), t.n.g)
	n.given(f)
	o := newTable(n, t.keySerde, t.valueSerde)
	o.closes = t.closes
	// With the old values, if they are to be had, deletions of rows that were not there are known and kept
	// back. They are not worth a store (KTableFilter).
	n.b.demand(func() { o.sendOld = t.askOld(false) })
	o.computed(func(tk *task.Task) (tableRows[K, V], error) {
		rows, err := t.rows(tk)
		return mapRows(rows, func(k K, v state.Value[V]) state.Value[V] {
			tk.Enter(n.g.Index)
			if f(k, v.V) != want {
				return state.Value[V]{}
			}
			return v
		}), err
	}, t)
	attach(t.n, n, func(tk *task.Task, next edge[K, change[V]]) (edge[K, change[V]], error) {
		keep, err := o.keep(tk, next)
		if err != nil {
			return nil, err
		}
		was := func(r Record[K, change[V]]) (bool, error) {
			return r.Value.HasOld && f(r.Key, r.Value.Old) == want, nil
		}
		if o.n.g.Store != nil {
			s, err := o.store(tk)
			if err != nil {
				return nil, err
			}
			was = func(r Record[K, change[V]]) (bool, error) {
				old, err := s.get(r.Key)
				return old.OK, err
			}
		}
		versioned := t.isVersioned()
		var zero V
		return func(r Record[K, change[V]]) error {
			tk.Enter(n.g.Index)
			if r.Value.HasNew && f(r.Key, r.Value.New) != want {
				r.Value.New, r.Value.HasNew = zero, false
			}
			if o.sendOld {
				had, err := was(r)
				if err != nil || !had && !r.Value.HasNew && !versioned {
					return err
				}
				if !had {
					r.Value.Old, r.Value.HasOld = zero, false
				}
			}
			return keep(r)
		}, nil
	})
	return o
}
