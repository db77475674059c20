package stream

import (
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Table is a stream of changes to rows: at each time it has one value for each key, or none.
type Table[K, V any] struct {
	n *node[K, change[V]]

	// sendOld: changes carry the value that the row had before. Known when the topology is built; see
	// table_rows.go, as for the next two.
	sendOld bool
	parents []tableParent
	compute func(*task.Task) (tableRows[K, V], error)
	// oneOrigin: the table joins two that may change with one and the same change. When the first of them
	// does, the other is changed already, so what a row was can only be known from a store.
	oneOrigin bool

	// Of the table of a windowed aggregation, and closes of what follows it with the same keys; see window_table.go.
	openRows func(*task.Task) (tableRows[K, V], error)
	refuses  func(state.AnyHandle) error
	// openTimed opens the store of such a table for processors.
	openTimed func(*task.Task) (state.Store, error)
	closes    func(K) (streamTimeMs int64) // when the key's window takes no more records

	follow func(*task.Task) (task.Change, error) // its store's, if it has one, of the topic's records; see ReuseTopic

	shared bool // processors were given its store; see table_share.go

	handle       state.AnyHandle // given with As
	handleAt     string
	setKey       serde.Serde[K]
	setValue     serde.Serde[V]
	inheritKey   func() serde.Serde[K]
	inheritValue func() serde.Serde[V]
}

func newTable[K, V any](n *node[K, change[V]], inheritKey func() serde.Serde[K], inheritValue func() serde.Serde[V]) *Table[K, V] {
	return &Table[K, V]{n: n, inheritKey: inheritKey, inheritValue: inheritValue}
}

// materialize gives the table a store of its own.
func (t *Table[K, V]) materialize() {
	t.n.g.Store = &graph.Store{Node: t.n.g, KeySerde: func() any { return t.keySerde() }}
	needSerdes(t.n.b, t.n.g, t.keySerde, t.valueSerde, " of the store", "As(store) or With(keySerde, valueSerde)")
}

func (t *Table[K, V]) keySerde() serde.Serde[K]   { return resolve(t.setKey, t.inheritKey) }
func (t *Table[K, V]) valueSerde() serde.Serde[V] { return resolve(t.setValue, t.inheritValue) }

// As keeps the table in the store of the given handle: its name, and its serdes. A table can be kept in
// one store. Processors that are given the handle (Stores) read and change the same store.
//
// In a versioned store (state.NewVersioned) the table keeps its past (KIP-889). An update that is older than what
// the key has becomes a version of the past, and does not change what the row is; one that is older than the
// store's history retention allows, counted from the newest update of any key, is dropped and counted. Filters, MapTable and
// ToStream pass all updates on, and a table made by the first two is versioned too, unless it has a key-value
// store; joins with other tables and aggregations go by what rows are now, and pass over older updates (KIP-914).
// A join with a stream finds the row as it was at the stream record's time. Updates of a versioned table are sent
// on as they are made, also with Emit OnCommit.
func (t *Table[K, V]) As(store state.Handle[K, V]) *Table[K, V] {
	if t.handle != nil {
		t.n.b.fail(t.n.g, "As(%s) at %s: the table is kept in store %q already, by As at %s", store.Name(), caller(), t.handle.Name(), t.handleAt)
		return t
	}
	t.handle, t.handleAt = store, caller()
	if store.Name() == "" {
		t.n.b.fail(t.n.g, "As at %s: the store has no name", t.handleAt)
		return t
	}
	if t.refuses != nil {
		if err := t.refuses(store); err != nil {
			t.n.b.fail(t.n.g, "As at %s: %w", t.handleAt, err)
			return t
		}
		t.n.g.Store.Name = store.Name()
		t.n.b.kept(t, store)
		_, t.setValue = store.Serdes() // how windowed keys are written is their windows' to say
		return t
	}
	var config map[string]string
	switch h := store.(type) {
	case keyValueHandle[K, V]:
	case versionedHandle[K, V]:
		if d := h.Settings().HistoryRetention; d < time.Millisecond {
			t.n.b.fail(t.n.g, "As at %s: store %q has a history retention of %s; a millisecond is the least", t.handleAt, store.Name(), d)
			return t
		}
		config = h.Settings().ChangelogConfig()
	default:
		t.n.b.fail(t.n.g, "As at %s: %q is a %s; this table is kept in a key-value store or a versioned store", t.handleAt, store.Name(), store.Kind())
		return t
	}
	if t.n.g.Store == nil {
		t.materialize()
	}
	t.n.g.Store.Name, t.n.g.Store.Config = store.Name(), config
	t.n.b.kept(t, store)
	t.setKey, t.setValue = store.Serdes()
	return t
}

// given is node's given.
func (t *Table[K, V]) given(functions ...any) *Table[K, V] {
	t.n.given(functions...)
	return t
}

// With sets how the table's keys and values are encoded, in its store and below it.
func (t *Table[K, V]) With(key serde.Serde[K], value serde.Serde[V]) *Table[K, V] {
	t.setKey, t.setValue = key, value
	return t
}

// ToStream gives the table's changes as a stream: for each, the row's new value, null where the row is
// gone.
func (t *Table[K, V]) ToStream(opts ...Option) *Stream[K, V] {
	n := newNode[K, V](t.n.b, "ToStream", operatorSettings(opts), t.n.g)
	n.inheritKey, n.inheritValue = t.keySerde, t.valueSerde
	attach(t.n, n, func(_ *task.Task, next edge[K, V]) (edge[K, change[V]], error) {
		return func(r Record[K, change[V]]) error {
			o := Record[K, V]{Key: r.Key, Value: r.Value.New, Timestamp: r.Timestamp, Headers: r.Headers}
			if !r.Value.HasNew {
				o.null = nullValue
			}
			return next(o)
		}, nil
	})
	return &Stream[K, V]{n: n}
}
