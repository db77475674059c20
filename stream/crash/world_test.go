package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/internal/engine"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// setup is what a run and all recoveries of its crashes have in common.
type setup struct {
	shape      shape
	topology   *stream.Topology
	plan       *task.Plan
	emit       stream.Emit
	sync       log.Sync
	partitions int32
	cacheBytes int64
	lines      []line
	promises   bool // acknowledged means durable
	app        bool // the application runs by itself, and is not stepped

	// broker is what the engine gets for the log; nil: the log itself. Faults are planted there.
	broker func(w *world) log.Broker
	// abort takes an epoch back; nil: the engine's Abort.
	abort func(w *world) error
}

// promised is what was acknowledged, and so must outlive a crash. It only grows.
type promised struct {
	input   int                             // lines
	outputs map[log.TopicPartition][]string // committed, and seen by a reader
}

// acks is what was promised so far. It is read while the run goes on.
type acks struct {
	mu sync.Mutex
	promised
}

func newAcks(p promised) *acks {
	if p.outputs == nil {
		p.outputs = map[log.TopicPartition][]string{}
	}
	return &acks{promised: p}
}

func (a *acks) now() promised {
	a.mu.Lock()
	defer a.mu.Unlock()
	return promised{a.input, maps.Clone(a.outputs)}
}

// world is a log and an application on one file system. It is for one goroutine: the engine is stepped, and
// what runs beside it is what log and Pebble do in the background.
type world struct {
	*setup
	fs   vfs.FS
	rng  *rand.Rand
	acks *acks

	clock  atomic.Int64 // ns
	lg     *log.Log
	input  *log.Producer
	sent   int // lines in the log
	engine *engine.Engine
	logger *slog.Logger // of the application
	putOff func() error // what a planted fault has put off; nil: nothing
}

const (
	logDir   = "log"
	stateDir = "state"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// done is a context that never lets anyone wait.
var done = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func newWorld(s *setup, fs vfs.FS, seed uint64, p promised) *world {
	return &world{setup: s, fs: fs, rng: rand.New(rand.NewPCG(seed, 1)), acks: newAcks(p), logger: quiet}
}

// start opens log and application as they are on the files, and holds what the log has against what was
// promised before.
func (w *world) start() error {
	if err := w.openLog(); err != nil || w.app {
		return err
	}
	return w.openEngine()
}

func (w *world) openLog() error {
	var err error
	// A small journal has checkpoints made often, and its files used again.
	if w.lg, err = log.Open(logDir, log.Options{Sync: w.sync, FS: w.fs, Logger: quiet, JournalBytes: 6 << 10}); err != nil {
		return err
	}
	if w.input, err = w.lg.NewProducer(log.ProducerSpec{}); err != nil {
		return err
	}
	config := map[string]string{"segment.bytes": "1500", "index.interval.bytes": "300"}
	specs := []log.TopicSpec{{Name: lines.Name(), Partitions: w.partitions, Config: config}}
	for _, t := range w.shape.tables {
		specs = append(specs, log.TopicSpec{Name: t.name, Partitions: w.partitions, Config: config})
	}
	if err := w.lg.CreateTopics(context.Background(), specs); err != nil {
		return err
	}
	if err := w.countInput(); err != nil {
		return err
	}
	return w.checkPromised()
}

func (w *world) openEngine() error {
	broker := log.Broker(w.lg)
	if w.broker != nil {
		broker = w.broker(w)
	}
	e, err := engine.Open(context.Background(), engine.Config{
		Application:   application,
		Broker:        broker,
		Guarantee:     log.ExactlyOnce,
		Plan:          w.plan,
		StateDir:      stateDir,
		StateFS:       w.fs,
		CacheBytes:    w.cacheBytes,
		Parallel:      1,
		MaxFetchBytes: 200,
		Now:           w.now,
		Logger:        w.logger,
	})
	if err != nil {
		return err
	}
	w.engine = e
	return w.engine.Fetch()
}

func (w *world) now() time.Time { return time.Unix(0, w.clock.Load()) }

func (w *world) close() error {
	var err error
	if w.engine != nil {
		err = w.engine.Close()
		w.engine = nil
	}
	if w.lg != nil {
		err = errors.Join(err, w.lg.Close())
		w.lg = nil
	}
	return err
}

// countInput finds out how many lines are in the log. They must be the first ones, each once: lines are
// appended one by one, and the journal keeps the order over the partitions.
func (w *world) countInput() error {
	found := make([]bool, len(w.lines))
	w.sent = 0
	for p := range w.partitions {
		next := int(p)
		if err := w.read(log.TopicPartition{Topic: lines.Name(), Partition: p}, func(r *log.Record) error {
			number, err := strconv.Atoi(string(r.Key))
			if err != nil || number != next || number >= len(found) || string(r.Value) != strings.Join(w.lines[number], " ") {
				return fault(input, "record at offset %d of partition %d is line %q (%q), want line %d", r.Offset, p, r.Key, r.Value, next)
			}
			next += int(w.partitions)
			found[number] = true
			w.sent++
			return nil
		}); err != nil {
			return err
		}
	}
	for i := range w.sent {
		if !found[i] {
			return fault(input, "line %d is not there, and later ones are", i)
		}
	}
	if w.sent < w.acks.input {
		return fault(input, "%d lines were acknowledged, and %d are there", w.acks.input, w.sent)
	}
	return nil
}

// checkPromised holds the committed output against what readers have seen of it before.
func (w *world) checkPromised() error {
	for tp, want := range w.acks.outputs {
		var got []string
		if err := w.read(tp, func(r *log.Record) error {
			got = append(got, show(r))
			return nil
		}); err != nil {
			return err
		}
		for i := range want {
			if i >= len(got) {
				return fault(takenBack, "readers saw %d committed records of %s, and %d are there", len(want), tp, len(got))
			}
			if got[i] != want[i] {
				return fault(takenBack, "committed record %d of %s is %s, and readers saw %s", i, tp, got[i], want[i])
			}
		}
	}
	return nil
}

func show(r *log.Record) string { return fmt.Sprintf("%d:%s=%x", r.Offset, r.Key, r.Value) }

// read calls f with every committed record of a partition.
func (w *world) read(tp log.TopicPartition, f func(r *log.Record) error) error {
	r, err := w.lg.Open(context.Background(), tp, log.Earliest, log.ReadCommitted)
	if err != nil {
		return err
	}
	defer r.Close()
	recs := make([]log.Record, 64)
	for {
		n, err := r.Read(done, recs)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", tp, err)
		}
		for i := range recs[:n] {
			if err := f(&recs[i]); err != nil {
				return err
			}
		}
	}
}

// promise takes note of what is acknowledged: after a crash nobody may miss it. Under SyncOS nothing is.
func (w *world) promise() error {
	if !w.promises {
		return nil
	}
	seen := map[log.TopicPartition][]string{}
	for _, t := range w.shape.tables {
		for p := range w.partitions {
			tp := log.TopicPartition{Topic: t.name, Partition: p}
			if err := w.read(tp, func(r *log.Record) error {
				seen[tp] = append(seen[tp], show(r))
				return nil
			}); err != nil {
				return err
			}
		}
	}
	w.acks.mu.Lock()
	defer w.acks.mu.Unlock()
	w.acks.input, w.acks.outputs = w.sent, seen
	return nil
}

// send appends the next line.
func (w *world) send() error {
	b := log.NewBlock()
	b.Append(int64(w.sent), []byte(strconv.Itoa(w.sent)), []byte(strings.Join(w.lines[w.sent], " ")), nil)
	tp := log.TopicPartition{Topic: lines.Name(), Partition: int32(w.sent) % w.partitions}
	if _, err := w.input.Append(context.Background(), tp, b); err != nil {
		return err
	}
	w.sent++
	if w.promises {
		w.acks.mu.Lock()
		w.acks.input = w.sent
		w.acks.mu.Unlock()
	}
	return nil
}

// never asks no task to stop.
var never atomic.Bool

// step processes up to limit records of one task that has some, and reports whether there was one.
func (w *world) step(limit int) (bool, error) {
	if err := w.engine.Fetch(); err != nil {
		return false, err
	}
	slots := w.engine.Slots()
	w.rng.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
	for _, s := range slots {
		n, more, err := s.Task.Run(limit, &never)
		if err == nil && !more {
			err = s.Task.FlushOutputs()
		}
		if err != nil {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}

func (w *world) commit() error {
	committed, err := w.engine.Commit(context.Background())
	if err != nil {
		return err
	}
	if !committed {
		if err := w.engine.Restart(context.Background()); err != nil {
			return err
		}
	}
	return w.promise()
}

func (w *world) takeBack() error {
	if w.abort != nil {
		return w.abort(w)
	}
	return w.engine.Abort(context.Background())
}

// flush writes the state, as a stop does.
func (w *world) flush() error {
	if err := w.commit(); err != nil {
		return err
	}
	return w.engine.Flush(context.Background())
}

// restart stops the application, with an epoch open, and starts it again; the log too if all.
func (w *world) restart(all bool) error {
	err := w.engine.Close()
	w.engine = nil
	if err == nil && all {
		if err = w.lg.Close(); err == nil {
			err = w.openLog()
		}
	}
	if err != nil {
		return err
	}
	return w.openEngine()
}

// run takes the input in, with everything in between that may happen to an application.
func (w *world) run() error {
	for w.sent < len(w.lines) {
		var err error
		switch n := w.rng.IntN(100); {
		case n < 25:
			err = w.send()
		case n < 70:
			_, err = w.step(1 + w.rng.IntN(5))
		case n < 84:
			err = w.commit()
		case n < 88:
			err = w.takeBack()
		case n < 92:
			w.clock.Add(int64(time.Minute)) // the next commit begins to flush, in the background
		case n < 96:
			err = w.flush()
		case n < 99:
			err = w.restart(false)
		default:
			err = w.restart(true)
		}
		if err != nil {
			return err
		}
	}
	return w.finish()
}

// finish takes the rest of the input in and processes all of it.
func (w *world) finish() error {
	for w.sent < len(w.lines) {
		if err := w.send(); err != nil {
			return err
		}
	}
	for {
		more, err := w.step(1 + w.rng.IntN(20))
		if err != nil {
			return err
		}
		if more && w.rng.IntN(4) > 0 {
			continue
		}
		if !more && !w.engine.Dirty() {
			if w.putOff != nil {
				return w.putOff()
			}
			return nil
		}
		if err := w.commit(); err != nil {
			return err
		}
	}
}

// newSetup draws what is not said.
func newSetup(s shape, emit stream.Emit, sync log.Sync, numLines int, rng *rand.Rand) (*setup, error) {
	topology, err := s.topology()
	if err != nil {
		return nil, err
	}
	return &setup{
		shape: s, topology: topology, plan: bridge.Plan(topology, emit == stream.OnCommit), emit: emit, sync: sync,
		partitions: 1 + rng.Int32N(3), cacheBytes: []int64{1 << 10, 1 << 20}[rng.IntN(2)], lines: makeLines(rng, numLines),
		promises: sync == log.SyncCommit,
	}, nil
}
