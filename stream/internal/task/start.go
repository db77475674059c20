package task

import (
	"errors"
	"runtime/debug"
	"slices"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// hook is a user's function that is called when the task starts or ends.
type hook struct {
	node int
	f    func() error
}

// OnStart has f called when the task starts: in an epoch, with its stores restored, and before anything is
// processed. Operators register theirs while the task is opened, children before their parents, and are called
// in that order: what one sends on finds those below it started.
func (t *Task) OnStart(node int, f func() error) { t.starters = append(t.starters, hook{node, f}) }

// OnClose has f called when the task ends, on whatever way.
func (t *Task) OnClose(node int, f func() error) { t.closers = append(t.closers, hook{node, f}) }

// Started reports whether there is nothing to be done before the task can wait for its first record.
func (t *Task) Started() bool { return t.started || len(t.starters) == 0 }

// Start calls what was registered with OnStart, once. Run does it too; it is for whoever cannot wait for a record.
func (t *Task) Start() (err error) {
	if t.started {
		return nil
	}
	t.started = true
	defer t.recovered(&err)
	for _, h := range t.starters {
		t.Enter(h.node)
		if err := h.f(); err != nil {
			return t.fault(t.Running(), err)
		}
	}
	t.acted = t.acted || t.wrote()
	return nil
}

// wrote reports whether a store has changes.
func (t *Task) wrote() bool {
	return slices.ContainsFunc(t.stores, func(s *Store) bool { return s.Touched() > 0 })
}

// Close ends the task: what was registered with OnClose is called, once, whether the task was started or not. What
// they write is in no epoch.
func (t *Task) Close() error {
	var errs []error
	closers := t.closers
	t.closers = nil
	for _, h := range closers {
		if err := t.closeOne(h); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *Task) closeOne(h hook) (err error) {
	defer t.recovered(&err)
	t.at = nil
	t.Enter(h.node)
	if err := h.f(); err != nil {
		return t.fault(t.Running(), err)
	}
	return nil
}

// Abandon is what code panics with that has no other way to end processing with an error.
type Abandon struct{ Err error }

// recovered makes an error of a panic of a user's function. It is for a defer.
func (t *Task) recovered(err *error) {
	switch r := recover().(type) {
	case nil:
	case Abandon:
		*err = t.fault(t.Running(), r.Err)
	default:
		*err = t.fault(t.Running(), &PanicError{Value: r, Stack: debug.Stack()})
	}
}

// AddSharedStore makes s, which is the task's part of a store that several operators use, one of the task's stores.
// n is the operator that errors are reported with. Used while the task is opened.
func (t *Task) AddSharedStore(n *graph.Node, store *graph.Store, s state.Store) {
	t.addStore(n, store, s)
}

// Place tells where the record being processed was read. ok is false if none is.
func (t *Task) Place() (topic string, partition int32, offset int64, ok bool) {
	if t.at == nil {
		return "", 0, 0, false
	}
	return t.at.tp.Topic, t.at.tp.Partition, t.at.recs[t.at.i].Offset, true
}
