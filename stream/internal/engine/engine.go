// Package engine runs the tasks of one application instance: it resolves topics, restores stores, and
// commits or aborts the epoch. Engine itself has no goroutine, so that a test can drive it step by step;
// Runner puts workers, a poller and a clock around it.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Config is what an Engine is made of. All fields are set.
type Config struct {
	Application   string
	Broker        log.Broker
	Guarantee     log.Guarantee
	Plan          *task.Plan
	StateDir      string
	StateFS       vfs.FS
	CacheBytes    int64
	Parallel      int // tasks that may finish an epoch at a time
	MaxFetchBytes int
	Handlers      *task.Handlers // nil: none
	KeyPartition  func(key []byte, partitions int32) int32
	Now           func() time.Time
	Logger        *slog.Logger
}

// Engine is one instance of an application. Its methods are for one goroutine; in between, each task may
// be run by another one.
type Engine struct {
	cfg    Config
	topics map[string]log.TopicInfo
	tasks  []int32 // number of tasks of each sub-topology
	db     *state.DB
	member log.Member

	globals      []*global // what follows is set when the engine is opened
	globalStores map[string]state.Global

	slots       map[task.ID]*Slot
	byPartition map[log.TopicPartition]*Slot

	leaderEpochs map[log.TopicPartition]int32 // of the changelogs, when they were restored
	lookups      lookups
	drops        drops
	// ends is where partitions began that had no committed offset, and were to be read from their end.
	ends map[log.TopicPartition]int64

	epoch    log.Epoch
	epochID  uint64
	appended atomic.Int64 // bytes appended in the open epoch
	aborts   int          // by the broker, since the last commit
	gaveUp   bool         // the epoch was aborted for good
}

// Slot is the place of a task, which is opened anew after an abort.
type Slot struct {
	ID     task.ID
	Task   *task.Task
	state  *state.Task
	stores map[string]state.Store
	// restored: the stores are as of the changelogs' ends.
	restored bool

	// The Runner's.
	queue   queue
	lock    chan struct{} // full while a worker or a reader has the task
	waiting atomic.Int32  // readers that wait for lock
	stop    atomic.Bool   // asks the task to return after the record at hand
}

// Open resolves the topology's topics, creates those that are its own, opens the state, brings the global stores up
// to date and joins the group.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	e := &Engine{
		cfg: cfg, globalStores: map[string]state.Global{},
		slots: map[task.ID]*Slot{}, byPartition: map[log.TopicPartition]*Slot{},
		leaderEpochs: map[log.TopicPartition]int32{}, ends: map[log.TopicPartition]int64{},
	}
	e.drops.logger, e.drops.said, e.drops.all = cfg.Logger, map[*graph.Node]time.Time{}, map[*graph.Node]task.Dropped{}
	if err := e.resolveTopics(ctx); err != nil {
		return nil, err
	}
	db, err := state.Open(cfg.StateDir, state.Options{
		FS: cfg.StateFS, CacheBytes: cfg.CacheBytes, Now: cfg.Now, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open state in %s: %w", cfg.StateDir, err)
	}
	e.db = db
	// Before joining, since it may take long, and there is no task that could go without.
	if err := e.openGlobals(ctx); err != nil {
		return nil, errors.Join(err, e.closeGlobals(), db.Close())
	}
	if err := e.join(ctx); err != nil {
		return nil, errors.Join(err, e.closeGlobals(), db.Close())
	}
	return e, nil
}

func (e *Engine) join(ctx context.Context) error {
	spec := log.MemberSpec{Group: e.cfg.Application, Guarantee: e.cfg.Guarantee, MaxFetchBytes: e.cfg.MaxFetchBytes}
	sole := e.cfg.Broker.Capabilities().SoleWriter && e.cfg.Guarantee == log.ExactlyOnce
	for _, s := range e.cfg.Plan.Graph.Subs {
		for _, t := range s.Sources() {
			name := t.FullName(e.cfg.Application)
			spec.Topics = append(spec.Topics, name)
			if t.Repartition && sole {
				spec.SameEpoch = append(spec.SameEpoch, name)
			}
		}
	}
	m, err := e.cfg.Broker.Join(ctx, spec)
	if err != nil {
		return fmt.Errorf("join group %s: %w", spec.Group, err)
	}
	e.member = m
	if err := e.begin(); err != nil {
		return errors.Join(err, m.Close())
	}
	return nil
}

// begin starts the next epoch.
func (e *Engine) begin() error {
	epoch, err := e.member.Begin()
	if err != nil {
		return fmt.Errorf("begin epoch: %w", err)
	}
	e.epoch = epoch
	e.appended.Store(0)
	e.beginState()
	return nil
}

func (e *Engine) beginState() {
	e.epochID++
	for _, s := range e.slots {
		s.state.BeginEpoch(e.epochID)
	}
}

// Member is where input comes from.
func (e *Engine) Member() log.Member { return e.member }

// done is a context that never lets anyone wait.
var done = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Fetch brings global stores up to date, hands what there is to read now to the tasks, and makes those of partitions that are new. It never waits.
// It is for who drives the engine step by step, without a Runner and without ever losing a partition.
func (e *Engine) Fetch() error {
	if err := e.updateGlobals(); err != nil {
		return err
	}
	for {
		ev, err := e.member.Next(done)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		switch v := ev.(type) {
		case log.Assigned:
			if err := e.Assign(context.Background(), v.Partitions); err != nil {
				return err
			}
		case log.Fetched:
			e.byPartition[v.Partition].Task.Deliver(v)
		}
	}
}

// Slot finds the task that reads a partition.
func (e *Engine) Slot(tp log.TopicPartition) *Slot { return e.byPartition[tp] }

// Slots lists the tasks, by sub-topology and partition.
func (e *Engine) Slots() []*Slot {
	var out []*Slot
	for _, s := range e.slots {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Slot) int {
		if a.ID.Sub != b.ID.Sub {
			return a.ID.Sub - b.ID.Sub
		}
		return int(a.ID.Partition - b.ID.Partition)
	})
	return out
}

// Stores lists the stores of all tasks, by sub-topology and partition. No task may run.
func (e *Engine) Stores() []state.Store {
	var out []state.Store
	for _, s := range e.Slots() {
		for _, st := range s.Task.Stores() {
			out = append(out, st.Store)
		}
	}
	return out
}

// Appended is the number of bytes appended in the open epoch.
func (e *Engine) Appended() int64 { return e.appended.Load() }

// StateFailed is closed when the state can no longer be written; StateErr tells why.
func (e *Engine) StateFailed() <-chan struct{} { return e.db.Failed() }

// StateErr is the first failure to write the state in the background.
func (e *Engine) StateErr() error { return e.db.Err() }

// Drained reports whether every partition is read to its end and all of it processed. No task may run.
func (e *Engine) Drained() bool {
	for _, s := range e.slots {
		if !s.Task.Drained() {
			return false
		}
	}
	return true
}

// Dirty reports whether there is anything to commit. No task may run.
func (e *Engine) Dirty() bool {
	for _, s := range e.slots {
		if s.Task.Dirty() {
			return true
		}
	}
	return false
}

// Assign makes and starts the tasks of newly assigned partitions.
func (e *Engine) Assign(ctx context.Context, tps []log.TopicPartition) error {
	var added []*Slot
	for _, tp := range tps {
		sub, ok := e.reader(tp.Topic)
		if !ok {
			return fmt.Errorf("partition %s was assigned, but the topology does not read it", tp)
		}
		id := task.ID{Sub: sub, Partition: tp.Partition}
		s := e.slots[id]
		if s == nil {
			st, err := e.openState(id)
			if err != nil {
				return err
			}
			s = &Slot{ID: id, state: st, stores: map[string]state.Store{}, lock: make(chan struct{}, 1)}
			e.slots[id] = s
			added = append(added, s)
		}
		e.byPartition[tp] = s
	}
	if err := e.start(ctx, added); err != nil {
		return err
	}
	for _, s := range added {
		s.state.BeginEpoch(e.epochID)
	}
	at := map[log.TopicPartition]int64{}
	for _, tp := range tps {
		if end, ok := e.ends[tp]; ok {
			at[tp] = end
		}
	}
	if len(at) > 0 {
		e.member.Seek(at)
	}
	return nil
}

// start opens tasks from what is committed. It is the one way in: for tasks that are new here, after an
// abort, and after others were lost.
func (e *Engine) start(ctx context.Context, slots []*Slot) error {
	for _, s := range slots {
		tps := e.partitions(s)
		committed, err := e.startOffsets(ctx, tps)
		if err != nil {
			return fmt.Errorf("task %s: %w", s.ID, err)
		}
		t, err := task.Open(s.ID, e.cfg.Plan, task.Env{
			Application: e.cfg.Application,
			State:       s.state,
			Stores:      s.stores,
			Globals:     e.globalStores,
			Partitions:  e.partitionCount,
			Lookup:      e.lookup,
			Append:      e.append,
			CaughtUp:    e.caughtUp,
			Now:         e.cfg.Now,

			Handlers:       e.cfg.Handlers,
			KeyPartition:   e.cfg.KeyPartition,
			MaxRecordBytes: e.maxRecordBytes,
		}, committed)
		if err != nil {
			return err
		}
		s.Task = t
		for _, tp := range tps {
			if _, ok := e.ends[tp]; ok {
				t.StartsAt(tp)
			}
		}
		if s.restored {
			e.place(t)
			continue
		}
		for _, store := range t.Stores() {
			if err := e.restore(ctx, s.ID, store, committed); err != nil {
				return fmt.Errorf("restore store %s of task %s: %w", store.Name(), s.ID, err)
			}
		}
		s.restored = true
	}
	return nil
}

// startOffsets are the committed offsets; where there is none, the log's start, or its end if the topic is to be
// read from there.
func (e *Engine) startOffsets(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.CommittedOffset, error) {
	committed, err := e.member.Committed(ctx, tps)
	if err != nil {
		return nil, fmt.Errorf("read committed offsets: %w", err)
	}
	bounds, err := e.cfg.Broker.Offsets(ctx, tps)
	if err != nil {
		return nil, fmt.Errorf("read the log's bounds: %w", err)
	}
	out := make(map[log.TopicPartition]log.CommittedOffset, len(tps))
	for _, tp := range tps {
		c, ok := committed[tp]
		switch end, began := e.ends[tp]; {
		case ok:
			delete(e.ends, tp)
			out[tp] = c
		case began: // and aborted, or nothing was committed yet
			out[tp] = log.CommittedOffset{Offset: end}
		case e.fromEnd(tp.Topic):
			e.ends[tp] = bounds[tp].LastStable
			out[tp] = log.CommittedOffset{Offset: e.ends[tp]}
		default:
			out[tp] = log.CommittedOffset{Offset: bounds[tp].Start}
		}
	}
	return out, nil
}

// fromEnd reports whether a topic is to be read from its end where nothing is committed.
func (e *Engine) fromEnd(topic string) bool {
	for _, s := range e.cfg.Plan.Graph.Subs {
		for _, t := range s.Sources() {
			if t.FromEnd && t.FullName(e.cfg.Application) == topic {
				return true
			}
		}
	}
	return false
}

func (e *Engine) partitions(s *Slot) []log.TopicPartition {
	var tps []log.TopicPartition
	for tp, slot := range e.byPartition {
		if slot == s {
			tps = append(tps, tp)
		}
	}
	return tps
}

func (e *Engine) partitionCount(topic string) int32 { return e.topics[topic].Partitions }

func (e *Engine) append(tp log.TopicPartition, b *log.Block) (int64, error) {
	e.appended.Add(int64(b.Bytes()))
	return e.epoch.Append(tp, b)
}

func (e *Engine) caughtUp(tp log.TopicPartition, next int64) bool {
	end, known := e.member.End(tp)
	return known && next >= end
}

// Close leaves the group and closes the state. What was not committed is lost, and what was is safe.
func (e *Engine) Close() error {
	return errors.Join(e.member.Close(), e.closeGlobals(), e.db.Close())
}
