package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// GlobalTable is a table of which every instance of the application has all rows, whatever partition of its topic
// they are in. So a stream is joined with it by any key, and the two need not have the same number of partitions.
type GlobalTable[K, V any] struct {
	n        *node[K, V] // of its source's records
	store    *graph.Node
	settings []state.Setting

	handle       state.AnyHandle // given with As
	handleAt     string
	setKey       serde.Serde[K]
	setValue     serde.Serde[V]
	inheritKey   func() serde.Serde[K]
	inheritValue func() serde.Serde[V]
}

// GlobalTableFrom reads a topic as a global table: each record is the new value of its key's row, null deletes it.
// Records without a key are dropped and counted. Of a key that is in several partitions the last record read counts,
// whichever that is.
//
// Before the application processes anything, the topic is read to its end; then the table follows it, at its own
// pace: the table is no part of the epoch. It sees what is committed, shortly after that, and knows nothing of time:
// a record of a stream is joined with what the table has when it is processed. What the topology itself writes to the
// topic, the table has once it is committed. Nothing waits for a record of the table to be read, but WaitIdle.
//
// The table is kept in a store, on disk unless As has another, with its place in the topic, which is its changelog.
// The topic should be compacted, and nothing else in the topology can read it.
func GlobalTableFrom[K, V any](b *Builder, t Topic[K, V], opts ...SourceOption) *GlobalTable[K, V] {
	set := sourceSettings(opts)
	in := globalSource(b, t, "GlobalTableFrom", set)
	n := newNode[K, V](b, "GlobalTableFrom", set, in.g)
	n.g.Store = &graph.Store{Node: n.g}
	g := &GlobalTable[K, V]{n: in, store: n.g, inheritKey: in.keySerde, inheritValue: in.valueSerde}
	b.maintains(n.g, func() state.AnyHandle { return g.handle })
	attach(in, n, func(tk *task.Task, _ edge[K, V]) (edge[K, V], error) {
		rows, err := openGlobal(tk, n.g, g.keySerde(), g.valueSerde(), g.settings)
		if err != nil {
			return nil, err
		}
		return func(r Record[K, V]) error {
			switch {
			case r.null&nullKey != 0:
				countDropped(tk, n.g.Index, nullKey)
				return nil
			case r.null&nullValue != 0:
				return rows.Delete(r.Key, r.Timestamp)
			}
			return rows.Put(r.Key, r.Value, r.Timestamp)
		}, nil
	})
	return g
}

func (t *GlobalTable[K, V]) keySerde() serde.Serde[K]   { return resolve(t.setKey, t.inheritKey) }
func (t *GlobalTable[K, V]) valueSerde() serde.Serde[V] { return resolve(t.setValue, t.inheritValue) }

// As keeps the table in the store of the given handle: its name, its serdes, and whether it is in memory. A table can
// be kept in one store.
func (t *GlobalTable[K, V]) As(store state.KeyValue[K, V]) *GlobalTable[K, V] {
	b := t.n.b
	if t.handle != nil {
		b.fail(t.store, "As(%s) at %s: the table is kept in store %q already, by As at %s", store.Name(), caller(), t.handle.Name(), t.handleAt)
		return t
	}
	t.handle, t.handleAt = store, caller()
	if store.Name() == "" {
		b.fail(t.store, "As at %s: the store has no name", t.handleAt)
		return t
	}
	t.store.Store.Name = store.Name()
	t.setKey, t.setValue = store.Serdes()
	t.settings = store.Settings()
	return t
}

// globalSource makes the node that reads all of a topic, to maintain a global store.
func globalSource[K, V any](b *Builder, t Topic[K, V], op string, s settings) *node[K, V] {
	n := &node[K, V]{b: b, g: b.graph.Add(&graph.Node{
		Kind:  graph.GlobalSource,
		Op:    op,
		At:    caller(),
		Topic: &graph.Topic{Name: t.name},
	})}
	n.setKey, n.setValue = t.key, t.value
	if err := declare(b, t, n.g.At); err != nil {
		b.fail(n.g, "%v", err)
	}
	if s.start.at == Latest {
		b.fail(n.g, "StartAt(Latest): the topic of a global store is read from its start")
	}
	b.demand(func() { // before names are given, since this would be found then as one name for two
		for _, other := range b.graph.Nodes {
			if reads := other.Kind == graph.Source || other.Kind == graph.GlobalSource && other.Index < n.g.Index; reads && other.Topic.Name == t.name {
				b.fail(n.g, "topic %q is read by %s at %s, too; a topic of which every instance reads all is read by nothing else", t.name, other.Op, other.At)
			}
		}
	})
	n.opens(t)
	return n
}

// openGlobal opens a global store, once in an instance.
func openGlobal[K, V any](tk *task.Task, g *graph.Node, key serde.Serde[K], value serde.Serde[V], settings []state.Setting) (*state.GlobalStore[K, V], error) {
	name, topic := g.Store.Name, g.Parents[0].Topic.Name
	k, err := serde.Bind(key, topic, true)
	if err != nil {
		return nil, fmt.Errorf("key serde for global store %s: %w", name, err)
	}
	v, err := serde.Bind(value, topic, false)
	if err != nil {
		return nil, fmt.Errorf("value serde for global store %s: %w", name, err)
	}
	s, err := state.OpenGlobal(tk.Env.State, name, k, v, settings...)
	if err != nil {
		return nil, fmt.Errorf("open global store %s: %w", name, err)
	}
	tk.Env.Globals[name] = s
	return s, nil
}

// globalReader reads a global store in a task.
func globalReader[K, V any](tk *task.Task, g *graph.Node) (*state.GlobalReader[K, V], error) {
	s, ok := tk.Env.Globals[g.Store.Name].(*state.GlobalStore[K, V])
	if !ok {
		return nil, fmt.Errorf("global store %s is not open", g.Store.Name)
	}
	return s.Reader(), nil
}
