package stream

import (
	"maps"
	"slices"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// This file owns tables whose stores are given to processors: by Stores, with the handle of As. The table opens its
// store, for a task, and they get that very one; so all are in one sub-topology.
//
// Such a table sends each change as it is made, whatever the application's Emit. The last of each key in an epoch is
// what the store has then, and that may be a processor's, which is not the table's to send.

// keptTable is a table of any type that is kept in a store with a handle.
type keptTable interface {
	place() *graph.Node
	share()
	// openKept opens the store for a task, once: as processors may have it, if they may only read it, in a
	// form that refuses changes.
	openKept(*task.Task) (store any, err error)
}

func (t *Table[K, V]) place() *graph.Node { return t.n.g }
func (t *Table[K, V]) share()             { t.shared = true }

func (t *Table[K, V]) openKept(tk *task.Task) (any, error) {
	if t.openTimed != nil {
		return t.openTimed(tk)
	}
	s, err := t.store(tk)
	switch {
	case err != nil:
		return nil, err
	case s.versioned != nil:
		return s.versioned, nil
	case t.follow != nil:
		return s.ordered.ReadOnly("it is restored from the topic of its table (ReuseTopic), which a processor does not write"), nil
	}
	return s.ordered, nil
}

// kept notes that a table is kept in the store of a handle.
func (b *Builder) kept(t keptTable, h state.AnyHandle) {
	b.queryable(h, t.place().Store)
	if b.tables[h.Name()].table == nil { // else a name is given twice, which is said by checkNames
		b.tables[h.Name()] = tableHandle{t, h}
	}
}

// tableHandle is a table and the handle of its store.
type tableHandle struct {
	table  keptTable
	handle state.AnyHandle
}

// shareStores decides who opens the stores that processors were given: the table that is kept in one, who maintains
// it if it is a global one, or they themselves.
func (b *Builder) shareStores() {
	for _, name := range slices.Sorted(maps.Keys(b.shared)) {
		s := b.shared[name]
		if x, ok := b.tables[name]; ok && !s.global {
			b.shareTable(s, x)
		} else if err := state.Check(s.handle); err != nil && !s.global {
			b.fail(s.store.Node, "Stores: store %q: %w", name, err)
		}
	}
}

// shareTable makes a store that processors were given the table's.
func (b *Builder) shareTable(s *sharedStore, x tableHandle) {
	n := x.table.place()
	if err := state.Conflict(x.handle, s.handle); err != nil {
		b.fail(s.store.Node, "Stores: the store %q is that of %s at %s, kept by As with a different handle: %w", s.store.Name, n.Op, n.At, err)
	}
	for _, user := range b.graph.Nodes {
		if i := slices.Index(user.Uses, s.store); i >= 0 && user == n { // a TransformTable with a view of its own rows
			user.Uses = slices.Delete(user.Uses, i, i+1)
		} else if i >= 0 {
			user.Uses[i] = n.Store
		}
	}
	s.store, s.table = n.Store, x.table
	b.queryable(x.handle, n.Store)
	x.table.share()
}
