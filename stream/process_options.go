package stream

import (
	"fmt"
	"slices"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// ProcessOption is an option of operators that run a processor: Named, Stores and Children.
type ProcessOption interface{ process(*settings) }

func (n Name) process(s *settings) { n.operator(s) }

// StoreList is an option of operators that run a processor. See Stores.
type StoreList struct{ handles []state.AnyHandle }

// Stores gives a processor the stores that it asks for with StoreIn. A store is made once for each task, with a
// changelog, and its content is committed and aborted with everything else. Processors that are given the same
// handle share the store; that makes them, and what is above and below them, one sub-topology, whose tasks read
// the same partition number of all their topics.
//
// The handle of a table's store, that of its As, gives processors the very store: they see each row as it is now, and
// may change rows. The table's next change of a row begins with what is there, but a processor's change is none of the
// table's: it is not sent on. Such a table sends its own changes on as they are made, also with Emit OnCommit. With
// ReuseTopic processors can only read the store.
//
// The handle of a global store, that of a GlobalTable's As or of GlobalProcess, gives processors the store to read.
func Stores(handles ...state.AnyHandle) StoreList { return StoreList{handles} }

func (l StoreList) process(s *settings) { s.stores = append(s.stores, l.handles...) }

// ChildList is an option of operators that run a processor. See Children.
type ChildList struct{ names []string }

// Children says which children a processor sends to by name (ForwardTo): that they are there is then checked
// when the topology is built, rather than when the first record goes to one.
func Children(names ...string) ChildList { return ChildList{names} }

func (l ChildList) process(s *settings) { s.children = append(s.children, l.names...) }

func processSettings(opts []ProcessOption) (s settings) {
	for _, o := range opts {
		o.process(&s)
	}
	return s
}

// sharedStore is a store that operators share by its handle.
type sharedStore struct {
	handle state.AnyHandle
	at     string // where it was given first
	store  *graph.Store
	global bool      // it is a global store, which they read
	table  keptTable // it is the table's; nil: it is theirs
}

// useStores gives n the stores of its settings.
func (b *Builder) useStores(n *graph.Node, handles []state.AnyHandle) []*sharedStore {
	var used []*sharedStore
	for _, h := range handles {
		if h == nil {
			b.fail(n, "Stores: a handle is nil")
			continue
		}
		h, err := state.Bare(h)
		if err != nil {
			b.fail(n, "Stores: %w", err)
			continue
		}
		if h.Name() == "" {
			b.fail(n, "Stores: the store has no name")
			continue
		}
		s := b.shared[h.Name()]
		if s == nil {
			s = &sharedStore{handle: h, at: n.At, store: &graph.Store{Name: h.Name(), Node: n, Config: state.ChangelogConfig(h)}}
			b.shared[h.Name()] = s
			b.queryable(h, s.store)
		} else if err := state.Conflict(s.handle, h); err != nil {
			b.fail(n, "Stores: the store %q was given to %s at %s by a different handle: %w", h.Name(), s.store.Node.Op, s.at, err)
			continue
		}
		if !slices.Contains(n.Uses, s.store) { // else it is given twice, perhaps in different forms (state.Custom)
			used = append(used, s)
			n.Uses = append(n.Uses, s.store)
		}
	}
	return used
}

// checkChildren makes it a fault of n's if it says names of children that it does not have.
func (b *Builder) checkChildren(n *graph.Node, names []string) {
	b.checks = append(b.checks, func() {
		have := childNames(n)
		for _, name := range names {
			if !slices.Contains(have, name) {
				b.fail(n, "Children: %w", noChild(name, have))
			}
		}
	})
}

// childNames lists the names that the children of n were given.
func childNames(n *graph.Node) []string {
	var names []string
	for _, c := range n.Children() {
		if c.Pinned != "" {
			names = append(names, c.Pinned)
		}
	}
	return names
}

func noChild(name string, have []string) error {
	if len(have) == 0 {
		return fmt.Errorf("there is no child named %q, and no other with a name; give children theirs with Named", name)
	}
	return fmt.Errorf("there is no child named %q; those with a name are %q", name, have)
}
