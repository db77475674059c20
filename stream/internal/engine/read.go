package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// This file owns how stores are read while the application runs. A reader has a task to itself, as a worker has,
// between two records; what an open epoch did stands beside what is committed (state/cache.go), so it can read
// either. A barrier waits for readers that have begun and keeps others from it: all that a reader sees is as of one
// commit, though it has the tasks one after another.
//
// A worker that is waited for is asked to return after turn, so that readers without end leave it as much at a time;
// and the lock, a channel, goes to who waits longest: no worker waits but for the readers that came before it.
//
// A global store is no task's, and no part of the epoch: whoever reads it waits for nobody.

// turn is how long a worker has a task before a reader may ask for it.
const turn = 200 * time.Microsecond

// ErrUnassigned says that it is not known for now which partitions are this instance's, or they are being restored.
var ErrUnassigned = errors.New("its partitions are being assigned and restored")

// ErrElsewhere says that a partition is another instance's.
var ErrElsewhere = errors.New("the partition is with another instance of the application")

// Reading is what is read: a store, in all of its tasks, or a global one.
type Reading struct {
	Store *graph.Store
	// Partition chooses among n partitions by a key's bytes.
	Partition func(key []byte, n int32) int32
}

// Read calls f for the store's part in one task after another until it reports that it is done, or fails. key, if it
// is not nil, gives the bytes of the key that f looks for: tasks that cannot have it are left out, and the one that
// most likely has it comes first.
//
// It is for who drives the engine without a Runner.
func (e *Engine) Read(what Reading, key func(state.Part) ([]byte, error), f func(state.Part) (done bool, err error)) error {
	if e.isGlobal(what) {
		return e.readGlobal(what, f)
	}
	return e.read(what, key, func(s *Slot) (bool, error) { return f(s.stores[what.Store.Name]) })
}

func (e *Engine) isGlobal(what Reading) bool {
	return e.cfg.Plan.Graph.Subs[what.Store.Node.Sub].Global
}

// readGlobal is read of a store that is whole here. It may be called concurrently.
func (e *Engine) readGlobal(what Reading, f func(state.Part) (done bool, err error)) error {
	_, err := f(e.globalStores[what.Store.Name])
	return err
}

func (e *Engine) read(what Reading, key func(state.Part) ([]byte, error), visit func(*Slot) (done bool, err error)) error {
	var slots []*Slot
	for _, s := range e.Slots() {
		if s.ID.Sub == what.Store.Node.Sub && s.stores[what.Store.Name] != nil {
			slots = append(slots, s)
		}
	}
	if len(slots) == 0 {
		return ErrElsewhere
	}
	var likely *Slot
	n, same := e.sourcePartitions(what.Store.Node.Sub)
	if key != nil {
		b, err := key(slots[0].stores[what.Store.Name])
		if err != nil {
			return err
		}
		likely = e.find(slots, what.Partition(b, n))
		if likely == nil && what.Store.ByKey && same {
			return ErrElsewhere
		}
	}
	if likely != nil {
		if done, err := visit(likely); done || err != nil || what.Store.ByKey && same {
			return err
		}
	}
	for _, s := range slots {
		if s == likely {
			continue
		}
		if done, err := visit(s); done || err != nil {
			return err
		}
	}
	if key != nil && likely == nil {
		return ErrElsewhere
	}
	return nil
}

func (e *Engine) find(slots []*Slot, partition int32) *Slot {
	for _, s := range slots {
		if s.ID.Partition == partition {
			return s
		}
	}
	return nil
}

// sourcePartitions is how many partitions the first topic that the sub-topology reads has. same: all of them have as
// many.
func (e *Engine) sourcePartitions(sub int) (n int32, same bool) {
	for i, t := range e.cfg.Plan.Graph.Subs[sub].Sources() {
		p := e.topics[t.FullName(e.cfg.Application)].Partitions
		if i == 0 {
			n, same = p, true
		}
		same = same && p == n
	}
	return n, same
}

// Read is Engine's Read while the application runs; it may be called concurrently. f is called while the task does
// nothing else, and all calls of f happen within one epoch. Read waits for an epoch that is being committed or
// aborted, and for the records at hand, but not once ctx is done.
func (r *Runner) Read(ctx context.Context, what Reading, key func(state.Part) ([]byte, error), f func(state.Part) (done bool, err error)) error {
	if r.e.isGlobal(what) {
		select {
		case <-r.ended: // one in memory could still answer
			return ErrStopped
		default:
			return r.e.readGlobal(what, f)
		}
	}
	if err := r.beginReading(ctx); err != nil {
		return err
	}
	defer r.endReading()
	return r.e.read(what, key, func(s *Slot) (bool, error) {
		if err := r.hold(ctx, s); err != nil {
			return false, err
		}
		defer func() { <-s.lock }()
		return f(s.stores[what.Store.Name])
	})
}

// beginReading waits until no barrier is in the way.
func (r *Runner) beginReading(ctx context.Context) error {
	r.mu.Lock()
	switch {
	case r.closed:
		r.mu.Unlock()
		return ErrStopped
	case !r.assigned:
		r.mu.Unlock()
		return ErrUnassigned
	case !r.paused:
		r.reading++
		r.mu.Unlock()
		return nil
	}
	begun := make(chan struct{})
	r.readers = append(r.readers, begun)
	r.mu.Unlock()
	var err error
	select {
	case <-begun:
	case <-ctx.Done():
		err = fmt.Errorf("wait for the epoch to end: %w", ctx.Err())
	case <-r.ended:
		err = ErrStopped
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-begun: // at last
		if err == nil && !r.assigned {
			err = ErrUnassigned // while it waited, partitions went
		}
		if err != nil {
			r.endReadingLocked()
		}
		return err
	default:
	}
	for i, c := range r.readers {
		if c == begun {
			r.readers = append(r.readers[:i], r.readers[i+1:]...)
			break
		}
	}
	return err
}

// admit lets all readers that wait begin. mu is held.
func (r *Runner) admit() {
	for _, c := range r.readers {
		r.reading++
		close(c)
	}
	r.readers = nil
}

func (r *Runner) endReading() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endReadingLocked()
}

func (r *Runner) endReadingLocked() {
	r.reading--
	r.calm()
}

// hold waits for the task, for a reader.
func (r *Runner) hold(ctx context.Context, s *Slot) error {
	select {
	case s.lock <- struct{}{}:
		return nil
	default:
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	defer s.ask().Stop()
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-r.ended:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("wait for task %s to finish the record at hand: %w", s.ID, ctx.Err())
	}
}

// occupy waits for the task, for a worker, and returns how it is left.
func (r *Runner) occupy(s *Slot) (leave func()) {
	s.lock <- struct{}{}
	r.mu.Lock()
	if !r.paused {
		s.stop.Store(false) // readers asked whoever had the task before
	}
	r.mu.Unlock()
	if s.waiting.Load() == 0 {
		return func() { <-s.lock }
	}
	ask := s.ask()
	return func() {
		ask.Stop()
		<-s.lock
	}
}

// ask has the task asked to return, once its worker has had its turn.
func (s *Slot) ask() *time.Timer { return time.AfterFunc(turn, func() { s.stop.Store(true) }) }
