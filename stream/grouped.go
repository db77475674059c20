package stream

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// Grouped is a stream whose records with equal keys come together, ready to be aggregated. Several
// aggregations of one grouping share its repartition topic.
type Grouped[K, V any] struct {
	from     *node[K, V]
	rekeyed  bool
	settings settings
	owner    *graph.Node // GroupBy's node; nil for GroupByKey
	setKey   serde.Serde[K]
	setValue serde.Serde[V]
	read     *node[K, V] // what aggregations hang on, once one asked for it
	late     lateSide[K, V]
}

// GroupByKey groups a stream by its keys as they are. If an operator before it changed them, the stream
// goes through a repartition topic first, in which records without a key are dropped and counted.
//
// It is a function, though it keeps the types: as a method, it would begin a chain that leads back to
// Stream with a wrapped key, which Go does not allow.
func GroupByKey[K, V any](s *Stream[K, V], opts ...RepartitionOption) *Grouped[K, V] {
	return &Grouped[K, V]{from: s.n, rekeyed: s.rekeyed, settings: repartitionSettings(opts)}
}

// GroupBy groups a stream by a new key, which f chooses. The stream goes through a repartition topic, in
// which records without a key are dropped and counted.
//
// A null that is not nil in its type is dropped and counted.
func GroupBy[K, V, K2 any](s *Stream[K, V], f func(K, V) K2, opts ...RepartitionOption) *Grouped[K2, V] {
	set := repartitionSettings(opts)
	n := selectKey(s.n, "GroupBy", f, set)
	return &Grouped[K2, V]{from: n, rekeyed: true, settings: set, owner: n.g}
}

// With sets how keys and values are encoded in the repartition topic and in the stores of what is
// aggregated with the same types.
func (g *Grouped[K, V]) With(key serde.Serde[K], value serde.Serde[V]) *Grouped[K, V] {
	g.setKey, g.setValue = key, value
	return g
}

func (g *Grouped[K, V]) keySerde() serde.Serde[K]   { return resolve(g.setKey, g.from.keySerde) }
func (g *Grouped[K, V]) valueSerde() serde.Serde[V] { return resolve(g.setValue, g.from.valueSerde) }

func (g *Grouped[K, V]) lateRecords() (*lateSide[K, V], *node[K, V]) { return &g.late, g.input() }

// input is the node that aggregations hang on.
func (g *Grouped[K, V]) input() *node[K, V] {
	if g.read != nil {
		return g.read
	}
	g.read = g.from
	switch {
	case g.rekeyed:
		op := "GroupByKey"
		if g.owner != nil {
			op = "Repartition"
		}
		g.read = repartition(g.from, op, g.settings, g.owner, g.keySerde, g.valueSerde)
	case g.settings.named || g.settings.partitions > 0:
		n := &graph.Node{Op: "GroupByKey", At: caller(), Parents: []*graph.Node{g.from.g}}
		g.from.b.fail(n, "options for a repartition topic are given, but the keys did not change, so there is none")
	}
	return g.read
}

// Count counts the records of each key. A null value does not count.
func (g *Grouped[K, V]) Count(opts ...Option) *Table[K, int64] {
	return aggregate(g, "Count", Zero[int64], func(_ Record[K, V], n int64, _ bool) int64 { return n + 1 }, nil, opts)
}

// Reduce folds the values of each key into one: the first as it is, each further one by f. A null value is
// passed over. A result that is nil deletes the row.
func (g *Grouped[K, V]) Reduce(f func(old, v V) V, opts ...Option) *Table[K, V] {
	return aggregate(g, "Reduce", nil, func(r Record[K, V], old V, ok bool) V {
		if !ok {
			return r.Value
		}
		return f(old, r.Value)
	}, g.valueSerde, opts).given(f)
}

// Aggregate folds the values of each key into an A, which begins as init gives it. A null value is passed
// over. A result that is nil deletes the row.
//
// add may change the A it is given and return it: it is its own, decoded afresh unless its type is free of
// pointers.
func Aggregate[K, V, A any](g *Grouped[K, V], init func() A, add func(K, V, A) A, opts ...Option) *Table[K, A] {
	return aggregate(g, "Aggregate", init, func(r Record[K, V], a A, ok bool) A {
		if !ok {
			a = init()
		}
		return add(r.Key, r.Value, a)
	}, nil, opts).given(init, add)
}
