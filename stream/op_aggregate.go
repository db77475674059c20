package stream

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// aggregate folds each key's records into a row of a store. inheritValue is the serde of A where that is a
// type the operator keeps, else nil. init, unless nil, gives what a key has before its first record.
func aggregate[K, V, A any](g *Grouped[K, V], op string, init func() A, fold func(r Record[K, V], a A, ok bool) A, inheritValue func() serde.Serde[A], opts []Option) *Table[K, A] {
	in := g.input()
	n := newNode[K, change[A]](in.b, op, operatorSettings(opts), in.g)
	t := newTable[K, A](n, g.keySerde, inheritValue)
	t.materialize()
	foldInto(in, t, init, fold)
	return t
}

// foldInto attaches an aggregation of in's records below it, whose rows are t's.
func foldInto[K, V, A any](in *node[K, V], t *Table[K, A], init func() A, fold func(r Record[K, V], a A, ok bool) A) {
	n := t.n
	attach(in, n, func(tk *task.Task, next edge[K, change[A]]) (edge[K, V], error) {
		store, err := t.store(tk)
		if err != nil {
			return nil, err
		}
		store.sendTo(next)
		a := &aggregateOp[K, V, A]{t: tk, node: n.g.Index, fold: fold, store: store, isNil: nilCheck[A]()}
		if t.sendOld {
			a.init = init
		}
		return a.process, nil
	})
}

// aggregateOp is an aggregation in one task.
type aggregateOp[K, V, A any] struct {
	t     *task.Task
	node  int
	fold  func(r Record[K, V], a A, ok bool) A
	store *tableStore[K, A]
	init  func() A // nil: not to be sent as an old value
	isNil func(A) bool
}

func (a *aggregateOp[K, V, A]) process(r Record[K, V]) error {
	if r.null != 0 {
		if r.null&nullKey != 0 {
			countDropped(a.t, a.node, nullKey)
		}
		return nil // Kafka Streams passes over null values too (KStreamAggregate)
	}
	a.t.Enter(a.node)
	row, err := a.store.row(r.Key)
	if err != nil {
		return err
	}
	before, err := a.store.getAt(row)
	if err != nil {
		return err
	}
	// fold may change before.V in place. The store is not hurt by that, and the old value that is sent on
	// is read again.
	o := Record[K, change[A]]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers}
	o.Value.New = a.fold(r, before.V, before.OK)
	o.Value.HasNew = a.isNil == nil || !a.isNil(o.Value.New)
	switch {
	case before.OK:
		o.Timestamp = max(o.Timestamp, before.Timestamp)
	case a.init != nil:
		// KStreamAggregate sends what init gave as the value before. GroupTable below takes it out of its
		// group, though nobody put it in. At commit a table sends what its row was: nothing.
		o.Value.Old = a.init()
		o.Value.HasOld = a.isNil == nil || !a.isNil(o.Value.Old)
	}
	return a.store.putAt(row, o)
}
