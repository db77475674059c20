package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// RunConfig is how an Engine is run. All fields are set.
type RunConfig struct {
	Workers        int
	CommitInterval time.Duration
	MaxEpochBytes  int64
	StopTimeout    time.Duration
	// Alarm tells when the engine's clock has come to a time: the channel is closed, or sent to. stop gives that up.
	Alarm func(at time.Time) (rings <-chan struct{}, stop func())
	// HeldBytes of one partition wait in memory before its fetching is paused, until half is processed.
	HeldBytes int
}

// Runner runs an Engine: workers process, a poller fetches, and the goroutine of Run, the coordinator,
// owns the engine and decides when the epoch ends.
//
// A task is processed by one worker at a time and changes hands under mu, between two records. While
// paused is set no worker takes a task and no reader begins (read.go), and once none of either is left the
// coordinator may touch them all.
type Runner struct {
	e   *Engine
	cfg RunConfig

	events chan event    // from the poller, one at a time
	wake   chan struct{} // tells the coordinator to look again; holds one
	quiet  chan struct{} // the last of working and reading was done; holds one
	ended  chan struct{} // closed when Run returns

	followers sync.WaitGroup // of global stores

	polls      sync.WaitGroup
	cancelPoll context.CancelFunc
	alarm      alarm
	kept       log.Event // the poller's, which it had when it was stopped; the next poller leaves it to the coordinator

	mu       sync.Mutex
	work     sync.Cond // there is a task to take, or none will be
	ready    []*Slot
	working  []*Slot         // taken by workers
	reading  int             // readers that have begun
	readers  []chan struct{} // that wait to begin; each is closed when its reader has
	paused   bool
	closed   bool
	assigned bool  // it is known which partitions are ours: not before the first came, nor between a loss and what follows
	err      error // the first failure of a worker or the poller
	waiters  []chan struct{}
}

// queue is what a Runner keeps for a task, under Runner.mu.
type queue struct {
	inbox   []log.Fetched
	load    map[log.TopicPartition]int // bytes fetched and not yet processed
	held    map[log.TopicPartition]bool
	listed  bool // in ready
	working bool // in working
	// By the clock, the task has something to do without a record at due, in ms since the epoch; if timed.
	due   int64
	timed bool
}

// event is what the poller leaves to the coordinator; done is closed when the poller may go on.
type event struct {
	event log.Event
	done  chan struct{}
}

const (
	// slice is how many records a worker processes before it looks for another task.
	slice = 4096
	// flushOnStop is how long a clean stop may write state to Pebble once the epoch is committed. It only
	// spares the next start the work of restoring.
	flushOnStop = 700 * time.Millisecond
	// warnEvery is how often a function that holds up the epoch is named.
	warnEvery = 10 * time.Second
)

// NewRunner prepares a run of e.
func NewRunner(e *Engine, cfg RunConfig) *Runner {
	r := &Runner{e: e, cfg: cfg, events: make(chan event), wake: make(chan struct{}, 1), quiet: make(chan struct{}, 1), ended: make(chan struct{})}
	r.work.L = &r.mu
	return r
}

// Run processes until ctx is done, then commits and returns nil, or until something fails.
func (r *Runner) Run(ctx context.Context) error {
	defer close(r.ended)
	var workers sync.WaitGroup
	for range r.cfg.Workers {
		workers.Go(r.worker)
	}
	following, stopFollowing := context.WithCancel(context.Background())
	defer stopFollowing()
	r.e.followGlobals(following, r.followers.Go, r.fail)
	r.startPolling()
	err := r.coordinate(ctx)
	r.stopPolling()
	r.mu.Lock()
	r.closed = true
	stuck := len(r.working) > 0
	r.work.Broadcast()
	r.mu.Unlock()
	if !stuck { // else the user's function has not returned: its goroutine is left behind
		workers.Wait()
	}
	stopFollowing()
	err = errors.Join(err, r.waitFollowers())
	if closeErr := r.closeTasks(); err == nil {
		err = closeErr
	} else if closeErr != nil {
		r.e.cfg.Logger.Warn("a processor's Close failed after the application had", "cause", closeErr)
	}
	return err
}

// waitFollowers waits for those who maintain global stores to end, and no longer than for a worker.
func (r *Runner) waitFollowers() error {
	ended := make(chan struct{})
	go func() { r.followers.Wait(); close(ended) }()
	began := time.Now()
	timer := time.NewTimer(r.cfg.StopTimeout)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return r.e.stuckGlobals(time.Since(began))
	}
}

// WaitIdle returns when every input is read to its end, and all that was processed is committed, and the global
// stores have what is in their topics.
func (r *Runner) WaitIdle(ctx context.Context) error {
	c := make(chan struct{})
	r.mu.Lock()
	r.waiters = append(r.waiters, c)
	r.mu.Unlock()
	r.poke()
	select {
	case <-c:
		return r.e.waitGlobals(ctx, r.ended)
	case <-r.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stores are the stores of all tasks. It is for tests, which may read them while the run is idle.
func (r *Runner) Stores() []state.Store { return r.e.Stores() }

// Dropped is what each operator dropped, as far as it is committed. It may be called at any time.
func (r *Runner) Dropped() map[*graph.Node]task.Dropped { return r.e.Dropped() }

// Globals lists the global stores. Each is a *state.GlobalStore, of which readers may be made and used as long as the
// run lasts.
func (r *Runner) Globals() []state.Global { return r.e.Globals() }

// ErrStopped says that the run has ended.
var ErrStopped = errors.New("the application has stopped")

func (r *Runner) poke() { signal(r.wake) }

// signal sends to a channel that holds one, unless it does.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (r *Runner) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.pause()
	r.mu.Unlock()
	r.poke()
}

// pause keeps workers and readers from beginning, and asks tasks to return after the record at hand. mu is held.
func (r *Runner) pause() {
	r.paused = true
	for _, s := range r.working {
		s.stop.Store(true)
	}
}

func (r *Runner) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// worker takes tasks that have something to do, one after another.
func (r *Runner) worker() {
	for {
		s := r.take()
		if s == nil {
			return
		}
		more, err := r.process(s)
		if err != nil {
			r.fail(err)
		}
		r.putBack(s, more)
	}
}

// process lets a task process a slice.
func (r *Runner) process(s *Slot) (more bool, err error) {
	defer r.occupy(s)()
	_, more, err = s.Task.Run(slice, &s.stop)
	if err == nil && !more {
		// Whoever reads what this task wrote may have nothing else to do.
		err = s.Task.FlushOutputs()
	}
	return more, err
}

// take waits for a task; nil means that there will be none.
func (r *Runner) take() *Slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed && (r.paused || len(r.ready) == 0) {
		r.work.Wait()
	}
	if r.closed {
		return nil
	}
	s := r.ready[0]
	r.ready = r.ready[1:]
	s.queue.listed, s.queue.working = false, true
	r.working = append(r.working, s)
	for _, f := range s.queue.inbox {
		s.Task.Deliver(f)
	}
	s.queue.inbox = s.queue.inbox[:0]
	return s
}

func (r *Runner) putBack(s *Slot, more bool) {
	var resume []log.TopicPartition
	r.mu.Lock()
	q := &s.queue
	q.working = false
	at := slices.Index(r.working, s)
	r.working = slices.Delete(r.working, at, at+1)
	for tp := range q.load {
		q.load[tp] = s.Task.Queued(tp)
	}
	for _, f := range q.inbox {
		q.load[f.Partition] += f.Records.Bytes()
	}
	for tp := range q.held {
		if q.load[tp] <= r.cfg.HeldBytes/2 {
			delete(q.held, tp)
			resume = append(resume, tp)
		}
	}
	if more || len(q.inbox) > 0 {
		r.list(s)
	}
	r.calm()
	q.due, q.timed = s.Task.WallDue()
	look := len(r.working) == 0 && len(r.ready) == 0 || q.timed
	if len(resume) > 0 {
		r.e.Member().Resume(resume)
	}
	r.mu.Unlock()
	if look || r.e.Appended() >= r.cfg.MaxEpochBytes {
		r.poke()
	}
}

// calm tells the coordinator if nobody works or reads any more. mu is held.
func (r *Runner) calm() {
	if len(r.working) == 0 && r.reading == 0 {
		signal(r.quiet)
	}
}

// list makes a task available to workers. mu is held.
func (r *Runner) list(s *Slot) {
	if s.queue.listed || s.queue.working {
		return
	}
	s.queue.listed = true
	r.ready = append(r.ready, s)
	r.work.Signal()
}

func (r *Runner) startPolling() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancelPoll = cancel
	r.polls.Go(func() { r.poll(ctx) })
}

func (r *Runner) stopPolling() {
	r.cancelPoll()
	r.polls.Wait()
}

func (r *Runner) poll(ctx context.Context) {
	for {
		ev := r.kept
		if ev == nil {
			var err error
			if ev, err = r.e.Member().Next(ctx); err != nil {
				if ctx.Err() == nil {
					r.fail(fmt.Errorf("read input: %w", err))
				}
				return
			}
		}
		r.kept = nil
		if f, ok := ev.(log.Fetched); ok {
			r.deliver(f)
			continue
		}
		x := event{ev, make(chan struct{})}
		select {
		case r.events <- x:
		case <-ctx.Done():
			r.kept = ev // the member says it once
			return
		}
		select {
		case <-x.done:
		case <-ctx.Done():
			return
		}
	}
}

// deliver puts fetched records into their task's inbox.
func (r *Runner) deliver(f log.Fetched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.e.Slot(f.Partition)
	if s == nil { // fetched before its partition was taken away
		return
	}
	q := &s.queue
	if q.load == nil {
		q.load, q.held = map[log.TopicPartition]int{}, map[log.TopicPartition]bool{}
	}
	q.inbox = append(q.inbox, f)
	q.load[f.Partition] += f.Records.Bytes()
	if q.load[f.Partition] >= r.cfg.HeldBytes && !q.held[f.Partition] {
		// Under mu, or a Resume could overtake it, and the partition be paused for good.
		q.held[f.Partition] = true
		r.e.Member().Pause([]log.TopicPartition{f.Partition})
	}
	r.list(s)
}

// barrier waits until no task runs, or is read. Once ctx is done it waits for StopTimeout more at most, and then fails,
// naming the function that has not returned.
func (r *Runner) barrier(ctx context.Context) error {
	r.mu.Lock()
	r.pause()
	r.mu.Unlock()
	warn := time.NewTicker(warnEvery)
	defer warn.Stop()
	done := ctx.Done()
	var expired <-chan time.Time
	for began := time.Now(); ; {
		n, calm := r.busy()
		if calm {
			return nil
		}
		select {
		case <-r.quiet:
		case <-warn.C:
			if n == nil {
				r.e.cfg.Logger.Warn("waiting for a query to be answered, so that the epoch can end", "for", time.Since(began).Round(time.Second))
				continue
			}
			r.e.cfg.Logger.Warn("waiting for a function to return, so that the epoch can end",
				"operator", n.Name, "op", n.Op, "at", n.At, "for", time.Since(began).Round(time.Second))
		case <-done:
			done = nil
			timer := time.NewTimer(r.cfg.StopTimeout)
			defer timer.Stop()
			expired = timer.C
		case <-expired:
			if n == nil {
				return fmt.Errorf("a query has not been answered for %v, and the application cannot stop before it is: the epoch is aborted",
					time.Since(began).Round(time.Millisecond))
			}
			return fmt.Errorf("%s: %s %q: the function has not returned for %v, and the application cannot stop before it does: the epoch is aborted",
				n.At, n.Op, n.Name, time.Since(began).Round(time.Millisecond))
		}
	}
}

// busy is the operator at which a working task is, nil if none works. calm: nobody reads either.
func (r *Runner) busy() (at *graph.Node, calm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.working) > 0 {
		return r.working[0].Task.Running(), false
	}
	return nil, r.reading == 0
}

// release lets workers and readers go on after a barrier. Readers that wait begin at once: the next barrier
// must not come before them for ever.
func (r *Runner) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	r.paused = false
	r.work.Broadcast()
	r.admit()
}

// coordinate is the life of a run.
func (r *Runner) coordinate(ctx context.Context) error {
	p := pace{interval: r.cfg.CommitInterval, start: time.Now()}
	timer := time.NewTimer(r.cfg.CommitInterval)
	defer timer.Stop()
	defer r.alarm.clear()
	for {
		select {
		case <-ctx.Done():
			return r.shutDown(ctx)
		case <-r.alarm.c:
			r.alarm.clear()
		case <-r.e.StateFailed():
			return r.abandon(fmt.Errorf("write state: %w", r.e.StateErr()))
		case ev := <-r.events:
			if err := r.handle(ctx, ev); err != nil {
				return r.abandon(err)
			}
		case <-timer.C:
		case <-r.wake:
		}
		if err := r.failure(); err != nil {
			return r.abandon(err)
		}
		r.wakeDue()
		idle, dirty := r.idle()
		if now := time.Now(); p.due(now, idle, dirty) || r.e.Appended() >= r.cfg.MaxEpochBytes {
			if err := r.commit(ctx); err != nil {
				return err
			}
			p.committed(now, time.Now())
			idle, dirty = r.idle()
		}
		if idle && !dirty {
			r.wakeWaiters()
			p.start = time.Now()
		}
		timer.Reset(p.wait(time.Now(), idle && dirty))
	}
}

// idle reports whether nothing is left to process, and whether something is to be committed. The answer
// holds until the next record arrives.
func (r *Runner) idle() (idle, dirty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.assigned || len(r.working) > 0 || len(r.ready) > 0 {
		return false, false
	}
	return r.e.Drained(), r.e.Dirty()
}

func (r *Runner) wakeWaiters() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.waiters {
		close(c)
	}
	r.waiters = nil
}

// commit ends the epoch and lets the workers go on.
func (r *Runner) commit(ctx context.Context) error {
	committed, err := r.settle(ctx)
	if err != nil {
		return err
	}
	if !committed {
		r.stopPolling()
		if err := r.restart(ctx); err != nil {
			return err
		}
		r.startPolling()
	}
	r.release()
	return nil
}

// settle brings the tasks to a barrier and commits. committed is false if the broker aborted the epoch.
// After an error it is aborted too, and the run is at its end.
func (r *Runner) settle(ctx context.Context) (committed bool, err error) {
	if err := r.barrier(ctx); err != nil {
		return false, r.e.giveUp(ctx, err)
	}
	if err := r.failure(); err != nil {
		return false, r.e.giveUp(ctx, err)
	}
	return r.e.Commit(context.WithoutCancel(ctx))
}

// restart brings all tasks back to the last commit. The poller must not be in Next.
func (r *Runner) restart(ctx context.Context) error {
	if err := r.e.Restart(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	r.forget()
	r.listUnstarted()
	return nil
}

// forget drops what was fetched before tasks started again, and lets all partitions be fetched.
func (r *Runner) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = nil
	for _, s := range r.e.slots {
		r.e.Member().Resume(slices.Collect(maps.Keys(s.queue.held)))
		s.queue = queue{}
	}
}

// unlistDropped keeps workers from tasks that are gone.
func (r *Runner) unlistDropped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = slices.DeleteFunc(r.ready, func(s *Slot) bool { return r.e.slots[s.ID] != s })
}

// handle deals with a change of what this instance owns. The poller waits for it, so Next is not under way.
func (r *Runner) handle(ctx context.Context, ev event) error {
	defer close(ev.done)
	switch v := ev.event.(type) {
	case log.Assigned:
		if err := r.barrier(ctx); err != nil {
			return err
		}
		if err := r.e.Assign(ctx, v.Partitions); err != nil {
			return err
		}
		r.listUnstarted()
		r.mu.Lock()
		r.assigned = true
		r.mu.Unlock()
	case log.Revoking:
		r.unassign()
		committed, err := r.settle(ctx)
		if err != nil {
			return err
		}
		r.e.Member().Resume(v.Partitions) // whoever has them next is not to find them paused
		if err := r.e.Drop(v.Partitions); err != nil {
			return err
		}
		r.unlistDropped()
		if !committed {
			if err := r.restart(ctx); err != nil {
				return err
			}
		}
		r.e.Member().Done(v)
	case log.Lost:
		r.unassign()
		if err := r.barrier(ctx); err != nil {
			return err
		}
		r.e.Member().Resume(v.Partitions)
		if err := r.e.Lose(ctx, v.Partitions); err != nil {
			return err
		}
		r.forget()
		r.listUnstarted()
	}
	r.release()
	return nil
}

// unassign notes that partitions go: what is left may be processed, and yet the input not be at its end.
func (r *Runner) unassign() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.assigned = false
}

// shutDown commits what is done and leaves the rest to the next run.
func (r *Runner) shutDown(ctx context.Context) error {
	committed, err := r.settle(ctx)
	if err != nil || !committed { // what was not committed is the next run's
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushOnStop)
	defer cancel()
	return r.e.Flush(ctx)
}

// abandon aborts the epoch because of err, which it returns.
func (r *Runner) abandon(err error) error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if stuck := r.barrier(now); stuck != nil {
		err = errors.Join(err, stuck)
	}
	return r.e.giveUp(now, err)
}
