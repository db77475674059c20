package stream

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// groupFold is how a grouped table is aggregated. first is for a group without an aggregate.
type groupFold[K, V, A any] struct {
	first    func(K, V) A
	add, sub func(K, V, A) A
}

// aggregateTable folds each group's values into a row of a store.
func aggregateTable[K, V, A any](g *GroupedTable[K, V], op string, fold groupFold[K, V, A], inheritValue func() serde.Serde[A], opts []Option) *Table[K, A] {
	in := g.input()
	n := newNode[K, change[A]](in.b, op, operatorSettings(opts), in.g)
	t := newTable(n, g.keySerde, inheritValue)
	t.materialize()
	attach(in, n, func(tk *task.Task, next edge[K, change[A]]) (edge[K, change[V]], error) {
		store, err := t.store(tk)
		if err != nil {
			return nil, err
		}
		store.sendTo(next)
		a := &aggregateTableOp[K, V, A]{tk: tk, node: n.g.Index, groupFold: fold, store: store, isNil: nilCheck[A]()}
		return a.process, nil
	})
	return t
}

// aggregateTableOp is an aggregation of a grouped table in one task.
type aggregateTableOp[K, V, A any] struct {
	groupFold[K, V, A]
	tk    *task.Task
	node  int
	store *tableStore[K, A]
	isNil func(A) bool
}

func (a *aggregateTableOp[K, V, A]) process(r Record[K, change[V]]) error {
	a.tk.Enter(a.node)
	row, err := a.store.row(r.Key)
	if err != nil {
		return err
	}
	before, err := a.store.getAt(row)
	if err != nil {
		return err
	}
	o := Record[K, change[A]]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers}
	if before.OK {
		o.Timestamp = max(o.Timestamp, before.Timestamp)
	}
	now, ok := before.V, before.OK
	if ok && r.Value.HasOld {
		now = a.sub(r.Key, r.Value.Old, now)
		ok = a.isNil == nil || !a.isNil(now)
	}
	if r.Value.HasNew {
		if ok {
			now = a.add(r.Key, r.Value.New, now)
		} else {
			now = a.first(r.Key, r.Value.New)
		}
		ok = a.isNil == nil || !a.isNil(now)
	}
	o.Value = change[A]{New: now, HasNew: ok}
	return a.store.putAt(row, o)
}
