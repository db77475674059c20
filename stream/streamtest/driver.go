// Package streamtest drives a topology in a test, one step at a time: the same tasks, stores, epochs and
// log as in an application, on an in-memory file system, in the goroutine of the test, with a clock that
// the test moves.
//
//	d := streamtest.New(t, topology)
//	streamtest.Input(d, lines).Pipe(nil, "all streams lead to Kafka", 0)
//	r, ok := streamtest.Output(d, wordCounts).Next()
//
// In between, a test may commit, abort, kill and start again, and have the power fail: Driver's Commit, Abort, Restart,
// and CrashInCommit.
package streamtest

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moldau-io/moldau/internal/crashfs"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/internal/engine"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

const (
	logDir   = "log"
	stateDir = "state"
)

// Driver holds a topology and everything below it. It is for one goroutine. What goes wrong fails the
// test, but for the errors that methods return.
type Driver struct {
	t        testing.TB
	options  options
	topology *stream.Topology
	plan     *task.Plan
	fs       *crashfs.FS
	clock    *Clock
	log      *log.Log
	engine   *engine.Engine
	input    *log.Producer
	outputs  []output
	// startErr is what kept tasks from being started: the next Step's.
	startErr error
}

// output is an Output of any types.
type output interface {
	committed()
	aborted()
	crashed()
}

type options struct {
	application string
	partitions  int32
	of          map[string]int32 // partitions, by topic
	shuffle     *rand.Rand       // of the tasks at each step; nil: they have their order
	guarantee   stream.Guarantee
	emit        stream.Emit
	cacheBytes  int64
	topics      []string
	handlers    stream.Config
	sync        log.Sync
	broker      func(*log.Log) log.Broker // what the application gets for the log
}

// Option changes how a Driver runs its topology.
type Option func(*options)

// Partitions gives the topics that the topology reads and writes n partitions; without it they have one.
func Partitions(n int) Option { return func(o *options) { o.partitions = int32(n) } }

// PartitionsOf gives one of these topics n partitions, whatever the others have.
func PartitionsOf(topic string, n int) Option {
	return func(o *options) {
		if o.of == nil {
			o.of = map[string]int32{}
		}
		o.of[topic] = int32(n)
	}
}

// Shuffle makes each Step, and all that is made of steps, take a task at random among those that have a record, in
// place of the first: so tasks get ahead of each other in ways in which they do in an application.
func Shuffle(seed uint64) Option {
	return func(o *options) { o.shuffle = rand.New(rand.NewPCG(seed, 0)) }
}

// Guarantee sets the guarantee; without it, it is stream.ExactlyOnce.
func Guarantee(g stream.Guarantee) Option { return func(o *options) { o.guarantee = g } }

// Emit sets when tables send their changes on; without it, it is stream.EachUpdate.
func Emit(e stream.Emit) Option { return func(o *options) { o.emit = e } }

// CacheBytes bounds the memory of the stores' cache, which has a size as in an application otherwise.
func CacheBytes(n int64) Option { return func(o *options) { o.cacheBytes = n } }

// Topics creates more topics than those that the topology names: those of its ToFunc.
func Topics(names ...string) Option {
	return func(o *options) { o.topics = append(o.topics, names...) }
}

// OnDeserializationError is the field of stream.Config.
func OnDeserializationError(h stream.ErrorHandler) Option {
	return func(o *options) { o.handlers.OnDeserializationError = h }
}

// OnProcessingError is the field of stream.Config.
func OnProcessingError(h stream.ErrorHandler) Option {
	return func(o *options) { o.handlers.OnProcessingError = h }
}

// OnProductionError is the field of stream.Config.
func OnProductionError(h stream.ErrorHandler) Option {
	return func(o *options) { o.handlers.OnProductionError = h }
}

// DeadLetterTopic is the field of stream.Config. The topic is created.
func DeadLetterTopic(name string) Option {
	return func(o *options) {
		o.handlers.DeadLetterTopic = name
		o.topics = append(o.topics, name)
	}
}

// Sync sets when what is appended to the log is safe from a power failure; without it, the log's mode is log.SyncOS, in
// which it never is for sure. Before CrashInCommit and its like it has to be log.SyncCommit. In that mode an Output has
// records once they are on the disk: with the next commit at the latest.
func Sync(s log.Sync) Option { return func(o *options) { o.sync = s } }

// New starts a topology. It stops when the test ends.
func New(t testing.TB, topology *stream.Topology, opts ...Option) *Driver {
	t.Helper()
	d := &Driver{
		t:        t,
		topology: topology,
		options: options{
			application: "test", partitions: 1, cacheBytes: 16 << 20, sync: log.SyncOS,
			broker: func(lg *log.Log) log.Broker { return lg },
		},
		fs:    crashfs.New(crashfs.Options{}),
		clock: NewClock(time.Unix(0, 0)),
	}
	for _, o := range opts {
		o(&d.options)
	}
	d.plan = bridge.Plan(topology, d.options.emit == stream.OnCommit)
	d.openLog()
	d.createTopics()
	d.start()
	t.Cleanup(d.close)
	return d
}

func (d *Driver) openLog() {
	d.t.Helper()
	lg, err := log.Open(logDir, log.Options{Sync: d.options.sync, FS: d.fs, Logger: discard, JournalBytes: 1 << 20})
	if err != nil {
		d.t.Fatalf("streamtest: open log: %v", err)
	}
	d.log = lg
	if d.input, err = lg.NewProducer(log.ProducerSpec{}); err != nil {
		d.t.Fatalf("streamtest: %v", err)
	}
}

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

// partitionsOf is how many partitions a topic of the topology has.
func (o *options) partitionsOf(topic string) int32 {
	if n, ok := o.of[topic]; ok {
		return n
	}
	return o.partitions
}

func (d *Driver) createTopics() {
	d.t.Helper()
	var specs []log.TopicSpec
	seen := map[string]bool{}
	compacted := map[string]map[string]string{} // those that stores are restored from
	for _, n := range d.plan.Graph.Nodes {
		if n.Store != nil && n.Store.Input != nil {
			compacted[n.Store.Input.Name] = map[string]string{"cleanup.policy": "compact"}
		}
	}
	create := func(name string) {
		if !seen[name] {
			seen[name] = true
			specs = append(specs, log.TopicSpec{Name: name, Partitions: d.options.partitionsOf(name), Config: compacted[name]})
		}
	}
	for _, n := range d.plan.Graph.Nodes {
		if n.Topic != nil && !n.Topic.Repartition {
			create(n.Topic.Name)
		}
	}
	for _, name := range d.options.topics {
		create(name)
	}
	if err := d.log.CreateTopics(context.Background(), specs); err != nil {
		d.t.Fatalf("streamtest: create topics: %v", err)
	}
}

func (d *Driver) start() {
	d.t.Helper()
	e, err := engine.Open(context.Background(), engine.Config{
		Application:  d.options.application,
		Broker:       d.options.broker(d.log),
		Guarantee:    d.options.guarantee,
		Plan:         d.plan,
		StateDir:     stateDir,
		StateFS:      d.fs,
		CacheBytes:   d.options.cacheBytes,
		Parallel:     1,
		Handlers:     bridge.Handlers(d.options.handlers),
		KeyPartition: bridge.KeyPartition,
		Now:          d.clock.Now,
		Logger:       discard,
	})
	if err != nil {
		d.t.Fatalf("streamtest: start: %v", err)
	}
	d.engine = e
	if err := d.engine.Fetch(); err != nil {
		d.t.Fatalf("streamtest: %v", err)
	}
	d.startErr = d.engine.StartTasks()
}

func (d *Driver) close() {
	if err := d.engine.CloseTasks(func(*engine.Slot) bool { return false }); err != nil {
		d.t.Errorf("streamtest: stop: %v", bridge.Public(err))
	}
	if err := d.engine.Close(); err != nil {
		d.t.Errorf("streamtest: stop: %v", err)
	}
	if err := d.log.Close(); err != nil {
		d.t.Errorf("streamtest: close log: %v", err)
	}
}

// Advance moves the wall clock, which begins at the start of 1970, and processes all that follows from it: punctuators
// that are due run, once each. An error of the topology fails the test. Event time moves with records alone.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	d.MoveClock(by)
	if err := d.Settle(); err != nil {
		d.t.Fatal(err)
	}
}

// MoveClock moves the wall clock and leaves what follows from that to the next Step or Settle.
func (d *Driver) MoveClock(by time.Duration) { d.clock.Advance(by) }

// done is a context that never lets anyone wait.
var done = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// never asks no task to stop.
var never atomic.Bool

// Step processes one record, or the punctuators that the wall clock has come to, of the first task that has any (see
// Shuffle), and reports whether there was one. What it sends to another task is that task's next step. An error is one
// of the topology, as stream.App's Run gives it; after it the driver is of no use but for Abort and Restart.
func (d *Driver) Step() (bool, error) {
	if d.startErr != nil {
		return false, bridge.Public(d.startErr)
	}
	if err := d.engine.Fetch(); err != nil {
		return false, bridge.Public(err)
	}
	slots := d.engine.Slots()
	if r := d.options.shuffle; r != nil {
		r.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
	}
	for _, s := range slots {
		ran, err := s.Task.RunDue()
		n := 0
		if err == nil && !ran {
			n, _, err = s.Task.Run(1, &never)
		}
		if err == nil {
			err = s.Task.FlushOutputs()
		}
		if err != nil {
			return false, bridge.Public(err)
		}
		if n > 0 || ran {
			return true, nil
		}
	}
	return false, nil
}

// Settle processes until nothing is left.
func (d *Driver) Settle() error {
	for {
		more, err := d.Step()
		if err != nil || !more {
			return err
		}
	}
}

// Commit ends the epoch, and settles what tables that held changes back have sent on.
func (d *Driver) Commit() error {
	for _, o := range d.outputs {
		o.committed()
	}
	ok, err := d.engine.Commit(context.Background())
	if err != nil {
		return bridge.Public(err)
	}
	if !ok {
		d.t.Fatal("streamtest: the log aborted an epoch")
	}
	for _, o := range d.outputs {
		o.committed()
	}
	return d.Settle()
}

// Abort takes back everything since the last commit, as when a transaction fails: outputs that were not
// read are gone, stores are as they were, and every task starts again. What was taken back is processed by
// the next Step, Settle or Pipe.
func (d *Driver) Abort() {
	d.t.Helper()
	if err := d.engine.Abort(context.Background()); err != nil {
		d.t.Fatalf("streamtest: abort: %v", err)
	}
	for _, o := range d.outputs {
		o.aborted()
	}
	d.startErr = d.engine.StartTasks()
}

// Restart kills the application and its log, and starts both again on the files as they were written.
func (d *Driver) Restart() {
	d.t.Helper()
	d.restart(false)
}

// RestartWithoutState is Restart with the state directory deleted in between.
func (d *Driver) RestartWithoutState() {
	d.t.Helper()
	d.restart(true)
}

func (d *Driver) restart(deleteState bool) {
	d.t.Helper()
	killed := d.fs.Clone(100, nil)
	d.close() // on files that nobody reads again
	d.fs = killed
	if deleteState {
		if err := d.fs.RemoveAll(stateDir); err != nil {
			d.t.Fatalf("streamtest: %v", err)
		}
	}
	d.openLog()
	for _, o := range d.outputs {
		o.aborted()
	}
	d.start()
}

// FlushState writes the committed state to disk, as an application does from time to time between two
// epochs: right after Commit, Abort or a restart.
func (d *Driver) FlushState() {
	d.t.Helper()
	if d.engine.Dirty() {
		d.t.Fatal("streamtest: FlushState in the middle of an epoch; call Commit or Abort first")
	}
	if err := d.engine.Flush(context.Background()); err != nil {
		d.t.Fatalf("streamtest: flush state: %v", err)
	}
}

// Dropped counts records that were dropped, by reason.
type Dropped = stream.Dropped

// Dropped is what all operators dropped since the application last started, committed or not.
func (d *Driver) Dropped() Dropped { return d.dropped(func(*graph.Node) bool { return true }) }

// DroppedBy is Dropped of the operator of that name.
func (d *Driver) DroppedBy(operator string) Dropped {
	d.t.Helper()
	if !slices.ContainsFunc(d.plan.Graph.Nodes, func(n *graph.Node) bool { return n.Name == operator }) {
		d.t.Fatalf("streamtest: the topology has no operator %q; it is\n%s", operator, d.plan.Graph.Describe(""))
	}
	return d.dropped(func(n *graph.Node) bool { return n.Name == operator })
}

func (d *Driver) dropped(of func(*graph.Node) bool) Dropped {
	var sum task.Dropped
	add := func(n *graph.Node, x task.Dropped) {
		if of(n) {
			sum.Add(x)
		}
	}
	for n, x := range d.engine.Dropped() {
		add(n, x)
	}
	for _, s := range d.engine.Slots() {
		s.Task.EachDropped(add)
	}
	return Dropped(sum)
}
