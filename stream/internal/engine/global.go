package engine

// This file owns the global stores: each is maintained by a task of its own, which reads all partitions of one
// topic, in every instance, and is no part of the epoch. Its offsets are not the group's; they are committed with
// the store's content, and to the same place (state.Global.Apply). So an abort takes nothing of it back, and a
// restart goes on from where the store is.
//
// Before any other task runs the topic is read to its end, and then on as records come. Its end is its last stable
// offset: someone's open transaction would hold up the start for as long as it likes otherwise.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

const (
	// globalRecords is how many records are read at a time, and made visible together.
	globalRecords = 512
	// restoredBytes of changes are written together while a global store is brought up to date.
	restoredBytes = 1 << 20
)

// global is a global store and what maintains it.
type global struct {
	e       *Engine
	topic   string
	topicID uuid.UUID
	state   *state.Task
	readers []*globalReader // by partition

	mu    sync.Mutex // held by the follower at work, which uses what follows
	store state.Global
	task  *task.Task
	epoch uint64

	movedMu sync.Mutex
	moved   chan struct{} // closed, and made anew, after a reader's next has changed
}

// globalReader reads a partition of a global store's topic. It is its follower's.
type globalReader struct {
	g           *global
	tp          log.TopicPartition
	reader      log.Reader
	leaderEpoch int32
	recs        []log.Record
	next        atomic.Int64 // where the store is
}

// openGlobals makes the global stores and reads their topics to their ends.
func (e *Engine) openGlobals(ctx context.Context) error {
	for _, sub := range e.cfg.Plan.Graph.Subs {
		if !sub.Global {
			continue
		}
		n := sub.GlobalSource()
		g, err := e.openGlobal(ctx, sub, n)
		if g != nil {
			e.globals = append(e.globals, g)
		}
		if err == nil {
			err = g.restore(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %s: global store of topic %s: %w", n.At, n.Op, n.Topic.Name, err)
		}
	}
	return nil
}

func (e *Engine) openGlobal(ctx context.Context, sub *graph.Sub, n *graph.Node) (*global, error) {
	st, err := e.db.Task(sub.Name() + "/global")
	if err != nil {
		return nil, err
	}
	g := &global{e: e, topic: n.Topic.Name, topicID: e.topics[n.Topic.Name].ID, state: st, moved: make(chan struct{})}
	tps := make([]log.TopicPartition, e.topics[g.topic].Partitions)
	for i := range tps {
		tps[i] = log.TopicPartition{Topic: g.topic, Partition: int32(i)}
	}
	bounds, err := e.cfg.Broker.Offsets(ctx, tps)
	if err != nil {
		return g, fmt.Errorf("read the log's bounds: %w", err)
	}
	if g.task, err = task.Open(task.ID{Sub: sub.ID}, e.cfg.Plan, task.Env{
		Application: e.cfg.Application,
		State:       st,
		Stores:      map[string]state.Store{},
		Globals:     e.globalStores,
		Partitions:  e.partitionCount,
		CaughtUp:    func(log.TopicPartition, int64) bool { return true }, // partitions do not wait for each other
		Handlers:    e.globalHandlers(),
	}, nil); err != nil {
		return g, err
	}
	g.store = e.globalStores[sub.Stores()[0].Name]
	committed, err := g.committed(tps, bounds)
	if err != nil {
		return g, err
	}
	if err := g.task.Resume(committed); err != nil {
		return g, err
	}
	for _, tp := range tps {
		from := committed[tp].Offset
		r, err := e.cfg.Broker.Open(ctx, tp, from, log.ReadCommitted)
		if err != nil {
			return g, err
		}
		gr := &globalReader{g: g, tp: tp, reader: r, leaderEpoch: bounds[tp].LeaderEpoch, recs: make([]log.Record, globalRecords)}
		gr.next.Store(from)
		g.readers = append(g.readers, gr)
	}
	return g, nil
}

// globalHandlers are the handlers, but what is to go to a dead-letter topic is passed over: there is no epoch to write
// it in. (Nor has Kafka Streams dead letters for its global thread, KIP-1034.)
func (e *Engine) globalHandlers() *task.Handlers {
	if e.cfg.Handlers == nil {
		return nil
	}
	global := &task.Handlers{}
	for kind, on := range e.cfg.Handlers.On {
		if on == nil {
			continue
		}
		global.On[kind] = func(f *task.Failure) task.Answer {
			a := on(f)
			if a.Action == task.DeadLetter {
				e.cfg.Logger.Warn("a record of a global table is skipped, and not written to a dead-letter topic: global tables are no part of a transaction",
					"operator", f.Node.Name, "at", f.Node.At, "partition", f.Partition.String(), "error", f.Err)
				a = task.Answer{Action: task.Skip}
			}
			return a
		}
	}
	return global
}

// committed is where to go on in each partition: where the store is, if that can be trusted, else at the log's start,
// with an empty store. A row does not tell of which partition it is, so one position that is of no use is enough.
func (g *global) committed(tps []log.TopicPartition, bounds map[log.TopicPartition]log.PartitionOffsets) (map[log.TopicPartition]log.CommittedOffset, error) {
	at, err := g.store.Positions()
	if err != nil {
		return nil, err
	}
	for _, tp := range tps {
		p, ok := at[tp.Partition]
		if !ok {
			continue // none of its records was there
		}
		if usable, reason := state.Usable(p.Position, true, g.e.facts(g.topicID, bounds[tp])); !usable {
			g.e.cfg.Logger.Info("the global store on disk cannot be used and is read from its topic again",
				"store", g.store.Name(), "partition", tp.String(), "reason", reason)
			if err := g.store.Discard(); err != nil {
				return nil, err
			}
			clear(at)
			break
		}
	}
	out := map[log.TopicPartition]log.CommittedOffset{}
	for _, tp := range tps {
		out[tp] = log.CommittedOffset{Offset: bounds[tp].Start}
		if p, ok := at[tp.Partition]; ok {
			out[tp] = log.CommittedOffset{Offset: p.Offset, Metadata: p.Metadata}
		}
	}
	return out, nil
}

// restore reads the topic's partitions to where they end now.
func (g *global) restore(ctx context.Context) error {
	bounds, err := g.bounds(ctx)
	if err != nil {
		return err
	}
	said := time.Now()
	for _, r := range g.readers {
		from, end := r.next.Load(), bounds[r.tp].LastStable
		for r.next.Load() < end {
			err := ctx.Err() // a read that need not wait does not look
			if err == nil {
				err = r.follow(ctx, restoredBytes)
			}
			if err != nil {
				return err
			}
			if time.Since(said) >= progressEvery {
				said = time.Now()
				g.e.cfg.Logger.Info("reading a global store's topic", "store", g.store.Name(), "partition", r.tp.String(),
					"done", r.next.Load()-from, "of", end-from)
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.apply()
}

func (g *global) bounds(ctx context.Context) (map[log.TopicPartition]log.PartitionOffsets, error) {
	var tps []log.TopicPartition
	for _, r := range g.readers {
		tps = append(tps, r.tp)
	}
	bounds, err := g.e.cfg.Broker.Offsets(ctx, tps)
	if err != nil {
		return nil, fmt.Errorf("read the bounds of topic %s: %w", g.topic, err)
	}
	return bounds, nil
}

// never asks no task to stop.
var never atomic.Bool

// follow waits for records and has them processed. The changes they make are visible if there are more than
// that many bytes.
func (r *globalReader) follow(ctx context.Context, bytes int) error {
	n, err := r.reader.Read(ctx, r.recs)
	if err != nil {
		return err
	}
	g := r.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.task.Deliver(log.Fetched{Partition: r.tp, Records: &cursor{rest: r.recs[:n], end: r.reader.Position()}})
	if _, _, err := g.task.Run(math.MaxInt, &never); err != nil {
		return err
	}
	if g.store.Pending() >= bytes {
		if err := g.apply(); err != nil {
			return err
		}
	}
	r.next.Store(r.reader.Position())
	g.movedMu.Lock()
	defer g.movedMu.Unlock()
	close(g.moved)
	g.moved = make(chan struct{})
	return nil
}

// apply makes the changes of what was processed visible, and keeps them with the offsets. mu is held.
func (g *global) apply() error {
	next := map[log.TopicPartition]log.CommittedOffset{}
	g.task.Next(next)
	if len(next) == 0 {
		return nil
	}
	now := g.e.cfg.Now()
	at := make(map[int32]state.GlobalPosition, len(next))
	for tp, c := range next {
		at[tp.Partition] = state.GlobalPosition{
			Position: state.Position{TopicID: g.topicID, LeaderEpoch: g.readers[tp.Partition].leaderEpoch, Offset: c.Offset, WallTime: now},
			Metadata: c.Metadata,
		}
	}
	if err := g.store.Apply(at); err != nil {
		return err
	}
	g.epoch++
	g.state.BeginEpoch(g.epoch)
	g.e.drops.committed(g.task, now)
	g.task.Committed(now)
	return nil
}

// cursor gives the records of one read.
type cursor struct {
	rest []log.Record
	end  int64
}

func (c *cursor) Next(dst []log.Record) (int, error) {
	n := copy(dst, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
func (c *cursor) End() int64 { return c.end }
func (c *cursor) Bytes() int { return 0 } // what it reads is in memory anyway

// updateGlobals brings the global stores to what is in their topics now. It never waits.
func (e *Engine) updateGlobals() error {
	for _, g := range e.globals {
		for _, r := range g.readers {
			for {
				if err := r.follow(done, 0); errors.Is(err, context.Canceled) {
					break
				} else if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// followGlobals has followers keep the global stores up to date until ctx is done, each in a goroutine that start
// starts. One that fails calls fail.
func (e *Engine) followGlobals(ctx context.Context, start func(func()), fail func(error)) {
	for _, g := range e.globals {
		for _, r := range g.readers {
			start(func() {
				for {
					if err := r.follow(ctx, 0); err != nil {
						if ctx.Err() == nil {
							fail(fmt.Errorf("global store of topic %s: %w", g.topic, err))
						}
						return
					}
				}
			})
		}
	}
}

// waitGlobals waits until the global stores are where their topics end now, or stop is closed.
func (e *Engine) waitGlobals(ctx context.Context, stop <-chan struct{}) error {
	for _, g := range e.globals {
		bounds, err := g.bounds(ctx)
		if err != nil {
			return err
		}
		for _, r := range g.readers {
			for {
				g.movedMu.Lock()
				moved := g.moved
				g.movedMu.Unlock()
				if r.next.Load() >= bounds[r.tp].LastStable {
					break
				}
				select {
				case <-moved:
				case <-stop:
					return ErrStopped
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	}
	return nil
}

// stuckGlobals says which operator has not returned for so long.
func (e *Engine) stuckGlobals(d time.Duration) error {
	for _, g := range e.globals {
		if g.mu.TryLock() {
			g.mu.Unlock()
			continue
		}
		n := g.task.Running()
		return fmt.Errorf("%s: %s %q: it has not returned for %v, and the application cannot stop before it does", n.At, n.Op, n.Name, d.Round(time.Millisecond))
	}
	return nil
}

// Globals lists the global stores. Each is a *state.GlobalStore, which may be read while it is maintained.
func (e *Engine) Globals() []state.Global {
	var stores []state.Global
	for _, g := range e.globals {
		stores = append(stores, g.store)
	}
	return stores
}

func (e *Engine) closeGlobals() error {
	var errs []error
	for _, g := range e.globals {
		for _, r := range g.readers {
			errs = append(errs, r.reader.Close())
		}
		if g.task != nil {
			errs = append(errs, g.task.Close())
		}
		errs = append(errs, g.state.Close())
	}
	return errors.Join(errs...)
}
