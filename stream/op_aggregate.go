package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// aggregate folds each key's records into a row of a store. inheritValue is the serde of A where that is a
// type the operator keeps, else nil.
func aggregate[K, V, A any](g *Grouped[K, V], op string, fold func(r Record[K, V], a A, ok bool) A, inheritValue func() serde.Serde[A], opts []Option) *Table[K, A] {
	in := g.input()
	n := newNode[K, change[A]](in.b, op, operatorSettings(opts), in.g)
	t := newTable[K, A](n, g.keySerde, inheritValue)
	t.materialize()
	attach(in, n, func(tk *task.Task, next edge[K, change[A]]) (edge[K, V], error) {
		store, err := openKeyValue(tk, t)
		if err != nil {
			return nil, err
		}
		a := &aggregateOp[K, V, A]{t: tk, node: n.g.Index, fold: fold, store: store, isNil: nilCheck[A](), sendOld: t.sendOld, next: next}
		a.each = !tk.OnCommit()
		if !a.each {
			tk.BeforeCommit(a.sendTouched)
		}
		return a.process, nil
	})
	return t
}

// aggregateOp is an aggregation in one task.
type aggregateOp[K, V, A any] struct {
	t       *task.Task
	node    int
	fold    func(r Record[K, V], a A, ok bool) A
	store   *state.KeyValueStore[K, A]
	isNil   func(A) bool
	each    bool // send every update on at once
	sendOld bool // and with it, the value the row had
	next    edge[K, change[A]]
}

func (a *aggregateOp[K, V, A]) process(r Record[K, V]) error {
	if r.null != 0 {
		if r.null&nullKey != 0 {
			countDropped(a.t, nullKey)
		}
		return nil // Kafka Streams passes over null values too (KStreamAggregate)
	}
	a.t.Enter(a.node)
	row, err := a.store.Entry(r.Key)
	if err != nil {
		return err
	}
	before, err := row.Get()
	if err != nil {
		return err
	}
	// fold may change before.V in place. The store is not hurt by that, and the old value that is sent on
	// is read again.
	now := a.fold(r, before.V, before.OK)
	timestamp := r.Timestamp
	if before.OK {
		timestamp = max(timestamp, before.Timestamp)
	}
	var sent change[A]
	if a.each && a.sendOld && before.OK {
		old, err := row.Get()
		if err != nil {
			return err
		}
		sent.Old, sent.HasOld = old.V, true
	}
	if a.isNil != nil && a.isNil(now) {
		err = row.Delete(timestamp)
	} else {
		sent.New, sent.HasNew = now, true
		err = row.Put(now, timestamp)
	}
	if err != nil || !a.each {
		return err
	}
	return a.next(Record[K, change[A]]{Key: r.Key, Value: sent, Timestamp: timestamp, Headers: r.Headers})
}

// sendTouched sends what became of each key in the epoch, in the order of their first update in it.
func (a *aggregateOp[K, V, A]) sendTouched() error {
	a.t.Enter(a.node)
	return a.store.EachTouched(func(k K, now, before state.Value[A]) error {
		if !now.OK && !before.OK {
			return nil
		}
		sent := change[A]{New: now.V, Old: before.V, HasNew: now.OK, HasOld: before.OK}
		return a.next(Record[K, change[A]]{Key: k, Value: sent, Timestamp: now.Timestamp})
	})
}

// openKeyValue opens a table's store for a task. A task that starts again has it open already.
func openKeyValue[K, V any](tk *task.Task, t *Table[K, V]) (*state.KeyValueStore[K, V], error) {
	g := t.n.g
	if s, ok := tk.Env.Stores[g.Store.Name].(*state.KeyValueStore[K, V]); ok {
		tk.AddStore(g, s)
		return s, nil
	}
	changelog := g.Store.Changelog(tk.Env.Application)
	key, err := serde.Bind(t.keySerde(), changelog, true)
	if err != nil {
		return nil, fmt.Errorf("key serde for store %s: %w", g.Store.Name, err)
	}
	value, err := serde.Bind(t.valueSerde(), changelog, false)
	if err != nil {
		return nil, fmt.Errorf("value serde for store %s: %w", g.Store.Name, err)
	}
	s, err := state.OpenKeyValue(tk.Env.State, g.Store.Name, key, value)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", g.Store.Name, err)
	}
	tk.Env.Stores[g.Store.Name] = s
	tk.AddStore(g, s)
	return s, nil
}
