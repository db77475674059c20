package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// This file runs the workload and crashes it: before each operation of the file system that changes something,
// with nothing, some and all of what was not synced, and again at each such operation of the recovery.
//
// MOLDAU_CRASH is how much: "" for a few seconds, "ci" for one or two minutes, "full" for tens of minutes.
// MOLDAU_CRASH_SEED runs one seed, with all its points.

var crashFractions = []int{0, 30, 100} // per cent of what was not synced

// crashSpec is one run.
type crashSpec struct {
	seed     uint64
	mode     Sync
	workers  int
	steps    int // of each worker, in each of the two lives of its log
	every    int // one of so many points is crashed at
	nested   int // one of so many recoveries is crashed as well
	inject   func(fs *crashfs.FS, l func() *Log)
	mutate   func(l *Log) // plants a fault in each recovered log
	planted  func(w *crashWorker, x *Txn, i int, tps []TopicPartition) error
	parallel int
}

func (s crashSpec) String() string {
	return fmt.Sprintf("seed %d, %v, %d workers", s.seed, s.mode, s.workers)
}

// crashStats count over all runs.
type crashStats struct {
	runs, points, crashes, nested, cut atomic.Int64
	slowest                            atomic.Int64 // opening, in nanoseconds
}

func (s *crashStats) String() string {
	return fmt.Sprintf("%d runs, %d points, %d crashes recovered, %d of them while recovering, %d had lost steps; slowest open %v",
		s.runs.Load(), s.points.Load(), s.crashes.Load(), s.nested.Load(), s.cut.Load(), time.Duration(s.slowest.Load()).Round(time.Millisecond))
}

// crashOpenLimit bounds recovery: of logs of some kilobytes, on a machine that does other things too.
const crashOpenLimit = 20 * time.Second

// crashJob is a file system as a crash left it, and what must be on it.
type crashJob struct {
	fs      *crashfs.FS
	hs      []history
	where   string
	seed    uint64
	nest    bool
	inOpen  bool
	percent int
}

// crashRun is one run under way.
type crashRun struct {
	crashSpec
	stats   *crashStats
	fs      *crashfs.FS
	l       atomic.Pointer[Log]
	workers []*crashWorker
	jobs    chan crashJob
	failure atomic.Pointer[error]
}

func crashLogOptions(fs FS, mode Sync) Options {
	return Options{FS: fs, Sync: mode, Logger: quiet, JournalBytes: 5 << 10}
}

// run runs one spec and returns the first thing that is wrong.
func (s crashSpec) run(stats *crashStats) error {
	r := &crashRun{crashSpec: s, stats: stats, fs: crashfs.New(crashfs.Options{}), jobs: make(chan crashJob)}
	stats.runs.Add(1)
	clock := new(atomic.Int64)
	for i := range s.workers {
		w := newCrashWorker(i, s.seed, clock)
		w.planted = s.planted
		r.workers = append(r.workers, w)
	}
	var recoveries sync.WaitGroup
	for range max(s.parallel, 1) {
		recoveries.Go(func() {
			for j := range r.jobs {
				if r.failure.Load() == nil {
					r.fail(r.recover(j))
				}
			}
		})
	}
	r.fs.OnPoint(r.point)
	if s.inject != nil {
		s.inject(r.fs, r.l.Load)
	}
	err := r.work()
	r.fs.OnPoint(nil)
	close(r.jobs)
	recoveries.Wait()
	if failed := r.failure.Load(); failed != nil {
		return *failed // what it did to the run does not matter
	}
	return err
}

func (r *crashRun) fail(err error) {
	if err != nil {
		r.failure.CompareAndSwap(nil, &err)
	}
}

// work is the workload: two lives of a log, the first ended by a clean stop.
func (r *crashRun) work() error {
	for range 2 {
		l, err := Open("data/log", crashLogOptions(r.fs, r.mode))
		if err != nil {
			return err
		}
		r.l.Store(l)
		errs := make([]error, len(r.workers))
		var done sync.WaitGroup
		for i, w := range r.workers {
			done.Go(func() {
				errs[i] = w.start(l)
				for n := 0; n < r.steps && errs[i] == nil && r.failure.Load() == nil; n++ {
					errs[i] = w.step()
				}
			})
		}
		done.Wait()
		if err := errors.Join(append(errs, l.Close())...); err != nil {
			return err
		}
		for _, w := range r.workers {
			w.stopped()
		}
		if r.failure.Load() != nil {
			break
		}
	}
	return nil
}

// point crashes the log before an operation.
func (r *crashRun) point(p crashfs.Point) {
	r.stats.points.Add(1)
	rng := rand.New(rand.NewPCG(r.seed, uint64(p.N)))
	if rng.IntN(r.every) != 0 || r.failure.Load() != nil {
		return
	}
	for _, percent := range crashFractions {
		seed := rng.Uint64()
		// What is promised before the clone is made must be in it.
		hs := r.promised(percent)
		r.jobs <- crashJob{
			fs: crashClone(p, percent, rng), hs: hs, seed: seed, percent: percent,
			nest:  r.nested > 0 && rng.IntN(r.nested) == 0,
			where: fmt.Sprintf("point %d, before %v, %d%% of what was unsynced", p.N, p.Op, percent),
		}
	}
}

// crashClone is what a crash leaves: of the machine, or of the process alone, after which that of the machine may
// come while the log is being opened.
func crashClone(p crashfs.Point, percent int, rng *rand.Rand) *crashfs.FS {
	if percent >= 100 {
		return p.Fork()
	}
	return p.Clone(percent, rng)
}

// promised is what a crash now must leave. The end of the process loses nothing; power loss nothing that is
// acknowledged under SyncCommit, nor anything that was visible, or known to be synced, under SyncInterval.
func (r *crashRun) promised(percent int) []history {
	var synced uint64
	l := r.l.Load()
	if l != nil {
		synced = l.journal.synced.Load()
	}
	var hs []history
	for _, w := range r.workers {
		visible := make(map[TopicPartition]int64)
		if l != nil && (percent >= 100 || !r.mode.os) {
			w.mu.Lock()
			tps := partitionsOf(w.steps)
			w.mu.Unlock()
			for _, tp := range tps {
				if p, err := l.Partition(tp); err == nil {
					visible[tp] = p.highWatermark.Load()
				}
			}
		}
		w.mu.Lock()
		returned, acked := w.returned, w.acked
		w.mu.Unlock()
		h := w.history()
		h.visible = visible
		if h.floor = 0; r.mode == SyncCommit {
			h.floor = acked
		}
		for k := h.floor; k < len(h.steps) && h.steps[k].sequence > 0 && h.steps[k].sequence <= synced; k++ {
			h.floor = k + 1
		}
		if h.durable = h.floor; percent >= 100 {
			h.floor = returned
		}
		hs = append(hs, h)
	}
	return hs
}

// recover opens the log as a crash left it, holds it against what must be there, goes on with it, and does so
// after another crash while it is being opened.
func (r *crashRun) recover(j crashJob) error {
	err := r.tryRecover(j)
	if err != nil {
		name := "TestCrashPoints"
		return fmt.Errorf("%s: %w\nagain: MOLDAU_CRASH_SEED=%d go test ./log -count=1 -run '^%s$'", j.where, err, r.seed, name)
	}
	return nil
}

func (r *crashRun) tryRecover(j crashJob) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*crashOpenLimit)
	defer cancel()
	r.stats.crashes.Add(1)
	if j.inOpen {
		r.stats.nested.Add(1)
	}
	rng := rand.New(rand.NewPCG(j.seed, 1))
	var again []crashJob
	if j.nest {
		j.fs.OnPoint(func(p crashfs.Point) {
			if rng.IntN(4) != 0 {
				return
			}
			for _, percent := range crashFractions {
				again = append(again, crashJob{
					fs: crashClone(p, percent, rng), seed: rng.Uint64(), percent: percent, inOpen: true,
					where: fmt.Sprintf("and then while opening, %s, %d%%", p.Op, percent),
				})
			}
		})
	}
	began := time.Now()
	l, err := Open("data/log", crashLogOptions(j.fs, r.mode))
	j.fs.OnPoint(nil)
	took := time.Since(began)
	for old := r.stats.slowest.Load(); int64(took) > old && !r.stats.slowest.CompareAndSwap(old, int64(took)); {
		old = r.stats.slowest.Load()
	}
	if err != nil {
		return err
	}
	if took > crashOpenLimit {
		return errors.Join(fmt.Errorf("opening took %v", took), l.Close())
	}
	if r.mutate != nil {
		r.mutate(l)
	}
	found, err := recovered{}, error(nil)
	if r.mode.interval > 0 {
		err = l.journal.syncAll() // the end of what was left open is visible in a while; not now
	}
	if err == nil {
		found, err = verify(ctx, l, j.hs)
	}
	if err == nil {
		for i, k := range found.hi {
			if k < len(j.hs[i].steps) {
				r.stats.cut.Add(1)
				break
			}
		}
		err = r.goOn(ctx, l, j, found)
	}
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	// The second recovery finds what the first found: neither more nor less.
	for _, second := range again {
		for i, h := range j.hs {
			h.steps, h.floor = h.steps[:found.hi[i]], found.lo[i]
			if j.percent >= 100 && second.percent < 100 { // the machine takes what the process had left unsynced
				if h.floor = min(h.durable, h.floor); r.mode.os {
					h.visible = nil
				}
			}
			second.hs = append(second.hs, h)
		}
		if err := r.tryRecover(second); err != nil {
			return fmt.Errorf("%s: %w", second.where, err)
		}
	}
	return nil
}

// goOn uses the log, and opens it once more: what was there is there, and what came.
func (r *crashRun) goOn(ctx context.Context, l *Log, j crashJob, found recovered) error {
	after := make([]history, len(j.hs))
	for i := range j.hs {
		if found.hi[i] == 0 || !hasTopic(j.hs[i].steps[:found.hi[i]]) {
			after[i] = j.hs[i]
			after[i].steps, after[i].floor = after[i].steps[:found.hi[i]], found.lo[i]
			continue
		}
		w, err := resume(&j.hs[i], found.hi[i], i, j.seed, l)
		for n := 0; n < 3 && err == nil; n++ {
			err = w.step()
		}
		if err != nil {
			return fmt.Errorf("going on: %w", err)
		}
		after[i] = w.history()
		after[i].floor = len(after[i].steps)
	}
	if j.seed%4 != 0 && !j.inOpen {
		return nil
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("closing it: %w", err)
	}
	again, err := Open("data/log", crashLogOptions(j.fs, r.mode))
	if err != nil {
		return fmt.Errorf("opening it once more: %w", err)
	}
	if r.mode.interval > 0 {
		err = again.journal.syncAll()
	}
	if err == nil {
		_, err = verify(ctx, again, after)
	}
	if err != nil {
		err = fmt.Errorf("after going on and opening it once more: %w", err)
	}
	return errors.Join(err, again.Close())
}

func hasTopic(steps []crashStep) bool { return len(partitionsOf(steps)) > 0 }

// crashModes are what a log can promise.
var crashModes = []Sync{SyncCommit, SyncInterval(2 * time.Millisecond), SyncOS}

// crashScale is how much is run.
type crashScale struct {
	seeds, steps, every, nested int
	time                        time.Duration // 0: all seeds; else no seed is begun after it
	faults                      int
}

func crashScaleOf(t *testing.T) crashScale {
	switch v := os.Getenv("MOLDAU_CRASH"); v {
	case "":
		return crashScale{seeds: 1, steps: 30, every: 8, nested: 40, faults: 1000}
	case "ci":
		return crashScale{seeds: 6, steps: 60, every: 3, nested: 40, faults: 6000}
	case "full":
		return crashScale{seeds: 1 << 20, steps: 80, every: 1, nested: 30, time: 20 * time.Minute, faults: 30000}
	default:
		t.Fatalf(`MOLDAU_CRASH is %q, and may be "ci" or "full"`, v)
		return crashScale{}
	}
}

// crashSeed is the one seed to run, if one is asked for.
func crashSeed(t *testing.T) (seed uint64, ok bool) {
	v := os.Getenv("MOLDAU_CRASH_SEED")
	if v == "" {
		return 0, false
	}
	if _, err := fmt.Sscan(v, &seed); err != nil {
		t.Fatalf("MOLDAU_CRASH_SEED is %q: %v", v, err)
	}
	return seed, true
}

// progress writes a line to w each few seconds until it is ended: people look before a long test is over.
func progress(w io.Writer, line func() string) (end func()) {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintln(w, line())
			case <-stop:
				return
			}
		}
	})
	return func() { close(stop); done.Wait() }
}

// Wherever a machine stops, and whatever of the unsynced bytes it leaves: what was promised is there once, at its
// offset; what was not is there as a prefix over all partitions, transactions and their offsets whole or not at
// all; nothing aborted is visible; the log goes on; and so it is if it stops again while recovering.
func TestCrashPoints(t *testing.T) {
	scale, stats := crashScaleOf(t), &crashStats{}
	first, seeds := uint64(1), scale.seeds
	if seed, ok := crashSeed(t); ok {
		first, seeds, scale.every = seed, 1, 1
	}
	began := time.Now()
	line := func() string {
		return fmt.Sprintf("crash: %v, %s", time.Since(began).Round(time.Second), stats)
	}
	if scale.time > 0 {
		defer progress(os.Stderr, line)()
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		if scale.time > 0 && time.Since(began) > scale.time {
			break
		}
		for _, mode := range crashModes {
			for _, workers := range []int{1, 3} {
				s := crashSpec{
					seed: seed, mode: mode, workers: workers, steps: scale.steps / workers,
					every: scale.every, nested: scale.nested, parallel: runtime.GOMAXPROCS(0),
				}
				if err := s.run(stats); err != nil {
					t.Fatalf("%v: %v", s, err)
				}
			}
		}
	}
	t.Log(strings.TrimPrefix(line(), "crash: "))
}
