package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Context is how a processor sends records on, and what it can ask about where it is. It is the task's: it is for
// use within the processor's methods and punctuators, and not by other goroutines, nor after Close.
type Context[KO, VO any] struct {
	processing
	next  edge[KO, VO]
	named map[string]edge[KO, VO]
	nilK  func(KO) bool
	nilV  func(VO) bool
}

// Forward sends a record to all children, in the order in which they were added, and returns when all that follows
// from it within the task is done. Its error is one of an operator below, and ends the epoch, whether it is passed
// on or not. The record's timestamp must not be negative.
func (c *Context[KO, VO]) Forward(r Record[KO, VO]) error { return c.send(c.next, r) }

// ForwardTo sends a record to the child with the given name, which is what Named gave it, otherwise as Forward
// does. A name that no child has is an error; with the option Children it is one when the topology is built.
func (c *Context[KO, VO]) ForwardTo(child string, r Record[KO, VO]) error {
	next, ok := c.named[child]
	if !ok {
		return c.fail(fmt.Errorf("ForwardTo at %s: %w", caller(), noChild(child, childNames(c.n))))
	}
	return c.send(next, r)
}

func (c *Context[KO, VO]) send(next edge[KO, VO], r Record[KO, VO]) error {
	if err := c.sending(r.Timestamp); err != nil {
		return err
	}
	if c.nilK != nil {
		r.null &^= nullKey
	}
	if c.nilV != nil {
		r.null &^= nullValue
	}
	r.null |= nullsOf(c.nilK, c.nilV, r.Key, r.Value)
	return c.sent(next(r))
}

// Metadata is where the record that is being processed was read.
type Metadata struct {
	Topic     string
	Partition int32
	Offset    int64
}

// processing is what the contexts of all kinds of processors have in common.
type processing struct {
	t      *task.Task
	n      *graph.Node
	stores map[string]*openedStore
	clock  *stampClock
	at     int64 // what is being processed is stamped with
	err    error // of Forward, or of a call that has no way to return one
	begun  bool
	closed bool
	global bool // it maintains a global store

	beginning bool   // Init is called
	schedules [2]int // how many Init made, by PunctuationType
}

// stampClock is the timestamp that rows get in the stores of a task's processors.
type stampClock struct{ at int64 }

// openedStore is a task's part of a store that processors share.
type openedStore struct {
	handle state.AnyHandle
	store  any         // see state.Access
	views  []storeView // what StoreIn has given for it
}

// storeView is what StoreIn gives for a store, and which handle it is of: see state.Identity.
type storeView struct{ of, view any }

func newProcessing(t *task.Task, n *graph.Node, stores []*sharedStore) (processing, error) {
	p := processing{t: t, n: n, stores: map[string]*openedStore{}}
	type clockKey struct{}
	clock, ok := t.Memo[clockKey{}].(*stampClock)
	if !ok {
		clock = &stampClock{}
		t.Memo[clockKey{}] = clock
	}
	p.clock = clock
	for _, s := range stores {
		opened, err := openShared(t, s)
		if err != nil {
			return p, err
		}
		p.stores[s.handle.Name()] = opened
	}
	return p, nil
}

// openShared opens a store that operators share for a task, once. A task that starts again has it open already.
func openShared(t *task.Task, s *sharedStore) (*openedStore, error) {
	if o, ok := t.Memo[s].(*openedStore); ok {
		return o, nil
	}
	if s.global {
		return openGlobalView(t, s)
	}
	if s.table != nil {
		store, err := s.table.openKept(t)
		o := &openedStore{handle: s.handle, store: store}
		t.Memo[s] = o
		return o, err
	}
	name := s.handle.Name()
	store, ok := t.Env.Stores[name]
	if !ok {
		var err error
		if store, err = state.OpenHandle(t.Env.State, s.handle, s.store.Changelog(t.Env.Application)); err != nil {
			return nil, fmt.Errorf("open store %s: %w", name, err)
		}
		t.Env.Stores[name] = store
	}
	t.AddSharedStore(s.store.Node, s.store, store)
	o := &openedStore{handle: s.handle, store: store}
	t.Memo[s] = o
	return o, nil
}

// enter notes that the processor is about to process something that is stamped with the given time.
func (p *processing) enter(at int64) {
	p.at, p.clock.at, p.err = at, at, nil
	p.t.Enter(p.n.Index)
}

// done returns the error that the processor's function ends with.
func (p *processing) done(err error) error {
	if err == nil && p.err != nil {
		err = p.err // one that the function did not pass on
	}
	p.err = nil
	return err
}

// fail notes an error that processing ends with.
func (p *processing) fail(err error) error {
	if p.err == nil {
		p.err = err
	}
	return err
}

var errClosed = errors.New("the processor's task has ended: its context is not for use any more")

func (p *processing) sending(timestampMs int64) error {
	switch {
	case p.closed:
		return errClosed
	case timestampMs < 0:
		return p.fail(fmt.Errorf("Forward at %s: the record's timestamp is %d, and must not be negative", caller(), timestampMs))
	}
	return nil
}

// sent takes note of how a record that was sent on fared.
func (p *processing) sent(err error) error {
	if err != nil {
		return p.fail(err)
	}
	p.clock.at = p.at
	p.t.Enter(p.n.Index) // the processor's own code goes on
	return nil
}

// Metadata is where the record that is being processed was read: the one of the task's input, through whichever
// operators it came. ok is false where there is none: in Init, in punctuators, and for changes that a table sends on
// at commit.
func (p *processing) Metadata() (m Metadata, ok bool) {
	m.Topic, m.Partition, m.Offset, ok = p.t.Place()
	return m, ok
}

// StreamTime is the highest timestamp of the records that the task has processed, this one included, in milliseconds
// since the epoch; -1 before the first.
func (p *processing) StreamTime() int64 { return p.t.StreamTime() }

// Now is the wall clock's time: that of Config.Clock.
func (p *processing) Now() time.Time { return p.t.Env.Now() }

// TaskID is the task's, as Kafka Streams writes it: the number of its sub-topology, "_", and that of its partition.
func (p *processing) TaskID() string { return p.t.ID.String() }

// Application is the application's id.
func (p *processing) Application() string { return p.t.Env.Application }

func (p *processing) base() *processing { return p }

// StoreContext is a context of any kind of processor.
type StoreContext interface{ base() *processing }

// StoreIn gives the processor the store of a handle that it was given with Stores, in the type that goes with the
// handle: a *state.KeyValues for a state.KeyValue, and for a state.Custom a type of your own. It is for Init, or later;
// the store is always the same one.
//
// A handle that was not given ends processing with an error that names the processor and the caller.
func StoreIn[S any](ctx StoreContext, h state.Openable[S]) S {
	p := ctx.base()
	o := p.stores[h.Name()]
	if o == nil {
		panic(task.Abandon{Err: fmt.Errorf("StoreIn at %s: the store %q was not given to the operator; give it with Stores. It has %s", caller(), h.Name(), p.storeNames())})
	}
	of := state.Identity(h)
	for _, v := range o.views {
		if s, ok := v.view.(S); ok && v.of == of {
			return s
		}
	}
	s, err := state.Access(h, o.store, &p.clock.at)
	if err != nil {
		if bare, bareErr := state.Bare(h); bareErr == nil {
			if differ := state.Conflict(o.handle, bare); differ != nil {
				err = differ
			}
		}
		panic(task.Abandon{Err: fmt.Errorf("StoreIn at %s: the store %q was given by a different handle: %w", caller(), h.Name(), err)})
	}
	o.views = append(o.views, storeView{of, s})
	return s
}

func (p *processing) storeNames() string {
	if len(p.stores) == 0 {
		return "none"
	}
	var names []string
	for name := range p.stores {
		names = append(names, fmt.Sprintf("%q", name))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
