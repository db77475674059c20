package stream

import (
	"bytes"
	"fmt"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// GroupedTable is a table whose rows come together by a new key, ready to be aggregated. When a row
// changes, what it was is taken out of its group and what it is put into its group. Several aggregations of
// one grouping share its repartition topic.
type GroupedTable[K, V any] struct {
	n        *node[K, change[V]]
	settings settings
	setKey   serde.Serde[K]
	setValue serde.Serde[V]
	topic    *node[K, change[V]] // what writes the repartition topic, once an aggregation asked for it
	read     *node[K, change[V]] // what reads it
}

// GroupTable groups a table's rows by a new key; f makes key and value of a row. Changes go through a
// repartition topic. Rows to which f gives a nil key or value are in no group.
//
// f is called for what a row is and for what it was: it has to give the same for the same row.
func GroupTable[K, V, K2, V2 any](t *Table[K, V], f func(K, V) (K2, V2), opts ...RepartitionOption) *GroupedTable[K2, V2] {
	set := repartitionSettings(opts)
	g := &GroupedTable[K2, V2]{n: newNode[K2, change[V2]](t.n.b, "GroupTable", set, t.n.g), settings: set}
	g.n.given(f)
	t.wantOld()
	attach(t.n, g.n, func(tk *task.Task, next edge[K2, change[V2]]) (edge[K, change[V]], error) {
		if g.read == nil {
			return func(Record[K, change[V]]) error { return nil }, nil
		}
		topic := g.topic.g.Topic.FullName(tk.Env.Application)
		key, err := serde.Bind(g.keySerde(), topic, true)
		if err != nil {
			return nil, fmt.Errorf("key serde for topic %s: %w", topic, err)
		}
		op := &groupTableOp[K, V, K2, V2]{tk: tk, node: g.n.g.Index, f: f, key: key, nilK: nilCheck[K2](), nilV: nilCheck[V2](), next: next}
		return op.process, nil
	})
	return g
}

// groupTableOp tells the groups of a change.
type groupTableOp[K, V, K2, V2 any] struct {
	tk       *task.Task
	node     int
	f        func(K, V) (K2, V2)
	key      serde.Serde[K2]
	nilK     func(K2) bool
	nilV     func(V2) bool
	next     edge[K2, change[V2]]
	old, new []byte // keys, encoded to be compared
}

func (g *groupTableOp[K, V, K2, V2]) process(r Record[K, change[V]]) error {
	if r.Value.Late {
		return nil // the groups are of what rows are now
	}
	g.tk.Enter(g.node)
	var oldKey, newKey K2
	var c change[V2]
	if r.Value.HasOld {
		oldKey, c.Old = g.f(r.Key, r.Value.Old)
		c.HasOld = nullsOf(g.nilK, g.nilV, oldKey, c.Old) == 0
	}
	if r.Value.HasNew {
		newKey, c.New = g.f(r.Key, r.Value.New)
		nulls := nullsOf(g.nilK, g.nilV, newKey, c.New)
		c.HasNew = nulls == 0
		if !c.HasNew {
			countDropped(g.tk, g.node, nulls)
		}
	}
	send := func(k K2, c change[V2]) error {
		return g.next(Record[K2, change[V2]]{Key: k, Value: c, Timestamp: r.Timestamp, Headers: r.Headers})
	}
	if c.HasOld && c.HasNew {
		same, err := g.equal(oldKey, newKey)
		if err != nil {
			return err
		}
		if same {
			return send(newKey, c)
		}
	}
	// Out of the old group first, which is what one aggregation of both does too.
	if c.HasOld {
		if err := send(oldKey, change[V2]{Old: c.Old, HasOld: true}); err != nil {
			return err
		}
	}
	if c.HasNew {
		return send(newKey, change[V2]{New: c.New, HasNew: true})
	}
	return nil
}

// equal compares two keys by their bytes, which is what makes them one group.
func (g *groupTableOp[K, V, K2, V2]) equal(a, b K2) (same bool, err error) {
	if g.old, err = g.key.Append(g.old[:0], a); err != nil {
		return false, fmt.Errorf("encode key: %w", err)
	}
	if g.new, err = g.key.Append(g.new[:0], b); err != nil {
		return false, fmt.Errorf("encode key: %w", err)
	}
	return bytes.Equal(g.old, g.new), nil
}

// With sets how keys and values are encoded in the repartition topic and in the stores of what is
// aggregated with the same types.
func (g *GroupedTable[K, V]) With(key serde.Serde[K], value serde.Serde[V]) *GroupedTable[K, V] {
	g.setKey, g.setValue = key, value
	return g
}

func (g *GroupedTable[K, V]) keySerde() serde.Serde[K]   { return resolve(g.setKey, nil) }
func (g *GroupedTable[K, V]) valueSerde() serde.Serde[V] { return resolve(g.setValue, nil) }

// input is the node that aggregations hang on.
func (g *GroupedTable[K, V]) input() *node[K, change[V]] {
	if g.read == nil {
		changes := func() serde.Serde[change[V]] {
			inner := g.valueSerde()
			if inner == nil {
				return nil
			}
			return changeSerde[V]{inner}
		}
		g.topic, g.read = through(g.n, "Repartition", g.settings, g.n.g, g.keySerde, changes)
		needSerdes(g.n.b, g.topic.g, g.keySerde, g.valueSerde, "", "With(keySerde, valueSerde)")
		g.topic.g.Topic.KeySerde = func() any { return g.keySerde() }
	}
	return g.read
}

// Count counts the rows of each group. A group that has no rows any more has a count of 0.
func (g *GroupedTable[K, V]) Count(opts ...Option) *Table[K, int64] {
	return aggregateTable(g, "Count", groupFold[K, V, int64]{
		first: func(K, V) int64 { return 1 },
		add:   func(_ K, _ V, n int64) int64 { return n + 1 },
		sub:   func(_ K, _ V, n int64) int64 { return n - 1 },
	}, nil, opts)
}

// Reduce folds the values of each group into one: the first as it is, each further one by add; what a row
// was is taken out again by sub. A result that is nil deletes the group's row, and the next value is the
// first again.
func (g *GroupedTable[K, V]) Reduce(add, sub func(old, v V) V, opts ...Option) *Table[K, V] {
	return aggregateTable(g, "Reduce", groupFold[K, V, V]{
		first: func(_ K, v V) V { return v },
		add:   func(_ K, v, old V) V { return add(old, v) },
		sub:   func(_ K, v, old V) V { return sub(old, v) },
	}, g.valueSerde, opts).given(add, sub)
}

// AggregateTable folds the values of each group into an A, which begins as init gives it: add puts a value
// in, sub takes one out that was put in before. A change within a group is taken out and put in at once. A
// result that is nil deletes the group's row, and the next value begins with init.
//
// add and sub may change the A they are given and return it.
func AggregateTable[K, V, A any](g *GroupedTable[K, V], init func() A, add, sub func(K, V, A) A, opts ...Option) *Table[K, A] {
	return aggregateTable(g, "AggregateTable", groupFold[K, V, A]{
		first: func(k K, v V) A { return add(k, v, init()) },
		add:   add,
		sub:   sub,
	}, nil, opts).given(init, add, sub)
}
