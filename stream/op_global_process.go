package stream

import (
	"fmt"
	"slices"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Nothing is what a processor sends on that sends nothing on: one that maintains a global store.
type Nothing struct{}

// GlobalProcess maintains a global store: a store that every instance has in full, as with GlobalTableFrom, but what
// the records of the topic make of it is up to a Processor. It gets the store with StoreIn, and changes it; all other
// processors that are given the handle with Stores can read it. The store need have neither the topic's types nor its
// keys.
//
// In every instance one processor gets all records of the topic, of each partition in order. What it does is no part
// of the epoch: what a record changes counts once, and shows to others together with what some records after it
// change. If the store on disk cannot be used any more, a new processor is given all of the topic again. What has to
// last belongs into the store.
func GlobalProcess[K, V, SK, SV any, P Processor[K, V, Nothing, Nothing]](b *Builder, t Topic[K, V], store state.KeyValue[SK, SV], newP func() P, opts ...SourceOption) {
	globalProcess[K, V](b, "GlobalProcess", t, store, newP, opts)
}

// GlobalProcessFunc is GlobalProcess with a function that keeps nothing but in the store.
func GlobalProcessFunc[K, V, SK, SV any](b *Builder, t Topic[K, V], store state.KeyValue[SK, SV], f func(*Context[Nothing, Nothing], Record[K, V]) error, opts ...SourceOption) {
	var newP func() processorFunc[K, V, Nothing, Nothing]
	if f != nil {
		newP = func() processorFunc[K, V, Nothing, Nothing] { return f }
	}
	globalProcess[K, V](b, "GlobalProcessFunc", t, store, newP, opts)
}

func globalProcess[K, V, SK, SV any, P Processor[K, V, Nothing, Nothing]](b *Builder, op string, t Topic[K, V], store state.KeyValue[SK, SV], newP func() P, opts []SourceOption) {
	set := sourceSettings(opts)
	in := globalSource(b, t, op, set)
	n := newNode[Nothing, Nothing](b, op, set, in.g)
	n.g.Store = &graph.Store{Name: store.Name(), Node: n.g}
	prepareProcessor[*Context[Nothing, Nothing]](b, n.g, settings{}, newP)
	if err := state.Check(store); err != nil {
		b.fail(n.g, "store %q: %w", store.Name(), err)
	}
	b.maintains(n.g, func() state.AnyHandle { return store })
	key, value := store.Serdes()
	attach(in, n, func(tk *task.Task, next edge[Nothing, Nothing]) (edge[K, V], error) {
		s, err := openGlobal(tk, n.g, key, value, store.Settings())
		if err != nil {
			return nil, err
		}
		p, err := newProcessing(tk, n.g, nil)
		if err != nil {
			return nil, err
		}
		p.stores[store.Name()] = &openedStore{handle: store, store: s}
		p.global = true
		o := &processOp[K, V, Nothing, Nothing, P]{ctx: &Context[Nothing, Nothing]{processing: p, next: next}}
		runProcessor(&o.ctx.processing, o.ctx, newP, &o.p)
		return o.process, nil
	})
}

// maintains says that n maintains a global store: whoever is given its handle reads that. handle gives it, or nil if it
// has none.
func (b *Builder) maintains(n *graph.Node, handle func() state.AnyHandle) {
	b.demand(func() {
		h := handle()
		if h == nil {
			return
		}
		b.queryable(h, n.Store)
		s := b.shared[h.Name()]
		if s == nil {
			return
		}
		if err := state.Conflict(h, s.handle); err != nil {
			b.fail(s.store.Node, "Stores: the store %q is maintained by %s at %s with a different handle: %w", h.Name(), n.Op, n.At, err)
		}
		s.global = true
		for _, user := range b.graph.Nodes { // it ties no sub-topologies together, and has no changelog
			user.Uses = slices.DeleteFunc(user.Uses, func(u *graph.Store) bool { return u == s.store })
		}
	})
}

// openGlobalView opens a global store for the processors of a task, to be read.
func openGlobalView(t *task.Task, s *sharedStore) (*openedStore, error) {
	name := s.handle.Name()
	g := t.Env.Globals[name]
	if g == nil {
		return nil, fmt.Errorf("global store %s is not open", name)
	}
	o := &openedStore{handle: s.handle, store: state.ReadOnly(g)}
	t.Memo[s] = o
	return o, nil
}
