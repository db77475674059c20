// Package task runs one partition of one sub-topology: records come in through its queues, the one with
// the lowest timestamp is taken next, and what it sets off is gathered in blocks on its way out. A Task
// does no I/O of its own and has no goroutine and no clock: whoever owns it calls it.
package task

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// ID names a task: a sub-topology and a partition.
type ID struct {
	Sub       int
	Partition int32
}

// String gives Kafka Streams' form, for example "1_3".
func (id ID) String() string { return fmt.Sprintf("%d_%d", id.Sub, id.Partition) }

// Source is a source operator of a task.
type Source interface {
	// Decode makes r the record that Push sends on, and tells its timestamp in milliseconds. ok is false
	// if the record is to be dropped. partitionTime is the highest timestamp seen in r's partition, -1 at
	// first.
	Decode(r *log.Record, partitionTime int64) (timestampMs int64, ok bool, err error)
	// Push sends the decoded record through the operators, to the end.
	Push() error
}

// Plan is a topology as tasks need it.
type Plan struct {
	Graph *graph.Graph
	// Open makes a source and everything below it, afresh for each task and each start of it. Operators
	// that several parents share are made once (Task.Memo).
	Open map[*graph.Node]func(t *Task) (Source, error)
	// OnCommit: tables send their changes on when the epoch commits, the last one for each key, rather
	// than each as it is made.
	OnCommit bool
}

// Env is what a task needs of the outside.
type Env struct {
	Application string
	State       *state.Task
	// Stores keeps the task's open stores by name over restarts of the task within the process.
	Stores map[string]state.Store
	// Globals are the global stores by name. The task of a global sub-topology adds its own when it is opened, which
	// is before all other tasks.
	Globals map[string]state.Global
	// Partitions tells how many partitions a topic has; it is asked for topics of the graph only.
	Partitions func(topic string) int32
	// Lookup is Partitions for any topic: it asks the broker the first time. It may be called by several tasks
	// at a time, and fails with an error that matches log.ErrUnknownTopic if there is no such topic.
	Lookup func(topic string) (partitions int32, err error)
	// Handlers answer for records that fail; nil: every failure is a fault.
	Handlers *Handlers
	// KeyPartition is the partition of an encoded key.
	KeyPartition func(key []byte, partitions int32) int32
	// MaxRecordBytes is the largest record that a topic takes, one of the graph or one that Lookup found; nil: not known.
	MaxRecordBytes func(topic string) int
	// Append hands a block to the epoch. It may be called by several tasks at a time.
	Append func(tp log.TopicPartition, b *log.Block) (base int64, err error)
	// CaughtUp reports whether a partition has no record at or after next for now (KIP-695).
	CaughtUp func(tp log.TopicPartition, next int64) bool
	// Now is the wall clock's time.
	Now func() time.Time
}

// Task is owned by one goroutine at a time, which may hand it over between two calls.
type Task struct {
	ID  ID
	Env Env

	// Memo holds what operators made for this task, by their node, or by the store that several share. Used
	// while the task is opened.
	Memo map[any]any

	plan       *Plan
	inputs     []*input
	streamTime int64
	at         *input   // the input of the record being processed
	op         operator // at work; see Enter
	outputs    []*Output
	stores     []*Store
	flushers   []func() error
	remembered []remembered
	memory     map[string]int64 // as of the commit that the task was opened from
	commits    int64            // number of the next commit
	dropped    []Dropped        // in the open epoch, by operator

	starters, closers []hook
	started           bool
	acted             bool // did something since the last commit without taking a record

	stream, wall clockwork
	// deadLetters are outputs to topics that failed records went to.
	deadLetters map[string]*Output
}

// Open makes the task's operators and queues. committed holds what the group committed for its
// partitions; those without an entry start afresh. The one task of a global sub-topology reads all partitions.
func Open(id ID, plan *Plan, env Env, committed map[log.TopicPartition]log.CommittedOffset) (*Task, error) {
	t := &Task{ID: id, Env: env, plan: plan, Memo: map[any]any{}, streamTime: -1, dropped: make([]Dropped, len(plan.Graph.Nodes))}
	t.stream.due, t.wall.due = never, never
	for _, n := range plan.Graph.Subs[id.Sub].Nodes {
		var err error
		switch n.Kind {
		case graph.Source:
			err = t.openSource(n, id.Partition)
		case graph.GlobalSource:
			for p := range env.Partitions(n.Topic.Name) {
				err = errors.Join(err, t.openSource(n, p))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	t.Memo = nil
	return t, t.recall(committed)
}

// openSource makes a source that reads a partition of its topic, if there is such a partition.
func (t *Task) openSource(n *graph.Node, partition int32) error {
	src, err := t.plan.Open[n](t)
	if err != nil {
		return t.fault(n, err)
	}
	tp := log.TopicPartition{Topic: n.Topic.FullName(t.Env.Application), Partition: partition}
	if partition < t.Env.Partitions(tp.Topic) {
		t.inputs = append(t.inputs, &input{tp: tp, src: src, node: n, partitionTime: -1})
	}
	return nil
}

// StreamTime is the highest timestamp of the records that were processed, -1 before the first.
func (t *Task) StreamTime() int64 { return t.streamTime }

// Epoch numbers the epochs: it is what the open one is committed as.
func (t *Task) Epoch() int64 { return t.commits }

// OnCommit reports whether tables send their changes on at commit (see Plan).
func (t *Task) OnCommit() bool { return t.plan.OnCommit }

// BeforeCommit has f called when an epoch ends, before outputs are flushed. Operators register theirs
// while the task is opened, those of parents after their children's (they are opened bottom up), and are
// called the other way round.
func (t *Task) BeforeCommit(f func() error) { t.flushers = append(t.flushers, f) }

// Enter notes that the operator with the given index in the graph is about to run code that may fail.
// One store to memory: it is what a panic in a user's function, or a function that does not return, is
// reported with.
func (t *Task) Enter(node int) { t.op.set(node) }

// Running names the operator that was last entered. It may be called while the task runs, by someone who
// gave up waiting for it; then the answer is a good guess.
func (t *Task) Running() *graph.Node { return t.plan.Graph.Nodes[t.op.get()] }

// Run starts the task, if it is not, calls what the wall clock has come to, and processes up to limit records, but
// returns after the one at hand once stop is set. It reports how many, and whether more could be processed now. After
// an error the task must be opened again.
func (t *Task) Run(limit int, stop *atomic.Bool) (n int, more bool, err error) {
	defer t.recovered(&err)
	if err := t.Start(); err != nil {
		return 0, false, err
	}
	if stop.Load() {
		return 0, true, nil
	}
	if _, err := t.runDue(); err != nil {
		return 0, false, err
	}
	for n < limit && !stop.Load() {
		in, err := t.choose()
		if err != nil {
			return n, false, err
		}
		if in == nil {
			return n, false, nil
		}
		t.at = in
		in.partitionTime = max(in.partitionTime, in.headTime)
		t.streamTime = max(t.streamTime, in.headTime)
		if err := in.src.Push(); err != nil {
			return n, false, t.fault(t.Running(), err)
		}
		in.pop()
		t.at = nil
		n++
		if t.streamTime >= t.stream.due {
			if err := t.punctuate(&t.stream, t.streamTime); err != nil {
				return n, false, err
			}
		}
	}
	return n, true, nil
}

// Finish ends the task's part of an epoch: changes that tables held back are sent on, and all output and
// changelog records are appended.
func (t *Task) Finish() (err error) {
	defer t.recovered(&err)
	for i := len(t.flushers) - 1; i >= 0; i-- {
		if err := t.flushers[i](); err != nil {
			return t.fault(t.Running(), err)
		}
	}
	if err := t.FlushOutputs(); err != nil {
		return err
	}
	return t.appendChanges()
}

// Next lists the offsets to go on from, and what to remember with them, of every input of which something
// was taken since the last commit; of one that was not, if the task did something without any.
func (t *Task) Next(next map[log.TopicPartition]log.CommittedOffset) {
	moved := false
	for _, in := range t.inputs {
		if in.moved {
			next[in.tp] = t.offset(in)
			moved = true
		}
	}
	if t.acted && !moved && len(t.inputs) > 0 { // what is remembered travels with an offset
		next[t.inputs[0].tp] = t.offset(t.inputs[0])
	}
}

func (t *Task) offset(in *input) log.CommittedOffset {
	return log.CommittedOffset{Offset: in.next(), Metadata: encodeMemory(in.partitionTime, t.commits, t.remembered)}
}

// Dirty reports whether the task took or did anything since the last commit.
func (t *Task) Dirty() bool {
	if t.acted {
		return true
	}
	for _, in := range t.inputs {
		if in.moved {
			return true
		}
	}
	return false
}

// Committed tells the task that its epoch is committed.
func (t *Task) Committed(now time.Time) {
	t.Env.State.CommitEpoch()
	t.commits++
	clear(t.dropped)
	t.acted = false
	for _, s := range t.stores {
		if in := t.input(s.Changelog); s.Change != nil && in != nil && in.moved {
			s.end = in.next()
		}
	}
	for _, in := range t.inputs {
		in.moved = false
	}
	for _, s := range t.stores {
		s.commit(now)
	}
}

// Fault is where and why processing failed.
type Fault struct {
	Node      *graph.Node
	Partition log.TopicPartition // of the record being processed; no topic: none was
	Offset    int64
	Err       error
}

func (f *Fault) Error() string {
	where := fmt.Sprintf("%s: %s %q", f.Node.At, f.Node.Op, f.Node.Name)
	if f.Partition.Topic != "" {
		where += fmt.Sprintf(", record at %s offset %d", f.Partition, f.Offset)
	}
	return where + ": " + f.Err.Error()
}

func (f *Fault) Unwrap() error { return f.Err }

// PanicError is a panic in a user's function.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Unwrap gives the value if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// fault adds the place to err, unless it has one.
func (t *Task) fault(n *graph.Node, err error) error {
	var f *Fault
	if errors.As(err, &f) {
		return err
	}
	f = &Fault{Node: n, Err: err}
	if t.at != nil {
		f.Partition, f.Offset = t.at.tp, t.at.recs[t.at.i].Offset
	}
	return f
}
