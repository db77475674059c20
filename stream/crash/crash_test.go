// Package crash stops whole applications at every moment at which their files change, and looks whether what
// comes back is exactly once.
//
// A run is an application with its log and its state on one file system. Before each write, sync, rename and so
// on, the file system is cloned as a crash would leave it: with nothing, some and all of what was not synced.
// On each clone log and application start again, take in the rest of the input, and what is in the output, the
// stores and the changelogs is held against an account of the input that shares nothing with the topology.
//
//	go test ./stream/crash                       some of the points of a few runs, in seconds
//	MOLDAU_CRASH=ci go test ./stream/crash       more, in minutes
//	MOLDAU_CRASH=full go test -timeout 2h -v ./stream/crash   every point of many runs
//	MOLDAU_CRASH_SEED=7 ...                      every point of the runs with this seed, and of no other
package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moldau-io/moldau/internal/crashfs"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// size is how much is done.
type size struct {
	seeds int // runs of each variety
	lines int // of input in each
	every int // one of so many points is crashed at
	nest  int // one of so many recoveries is crashed itself
	inner int // and so at one of so many of its points
}

var sizes = map[string]size{
	"":     {seeds: 2, lines: 30, every: 61, nest: 40, inner: 60},
	"ci":   {seeds: 8, lines: 40, every: 29, nest: 60, inner: 30},
	"full": {seeds: 8, lines: 40, every: 1, nest: 100, inner: 20},
}

// chosen is the size that MOLDAU_CRASH asks for, and the first seed.
func chosen(t *testing.T) (size, uint64) {
	t.Helper()
	s, ok := sizes[os.Getenv("MOLDAU_CRASH")]
	if !ok {
		t.Fatalf("MOLDAU_CRASH=%s: it is ci, full, or not set", os.Getenv("MOLDAU_CRASH"))
	}
	seed := os.Getenv("MOLDAU_CRASH_SEED")
	if seed == "" {
		return s, 1
	}
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		t.Fatalf("MOLDAU_CRASH_SEED: %v", err)
	}
	s.seeds, s.every = 1, 1
	return s, n
}

// variety is a topology and how it is run.
type variety struct {
	shape shape
	emit  stream.Emit
	sync  log.Sync
}

func (v variety) String() string {
	emit := "EachUpdate"
	if v.emit == stream.OnCommit {
		emit = "OnCommit"
	}
	return fmt.Sprintf("%s-%s-%v", v.shape.name, emit, v.sync)
}

var varieties = []variety{
	{wordCount, stream.EachUpdate, log.SyncCommit},
	{wordCount, stream.OnCommit, log.SyncCommit},
	{several, stream.EachUpdate, log.SyncCommit},
	{several, stream.OnCommit, log.SyncCommit},
	{several, stream.EachUpdate, log.SyncOS},
	{wordCount, stream.OnCommit, log.SyncOS},
}

// Wherever a machine stops, and whatever of the unsynced bytes it leaves: no record is lost and none counts
// twice. Under SyncCommit what was acknowledged is there; under SyncOS the log is as at some earlier moment, and
// the application goes on from that.
func TestCrashAnywhere(t *testing.T) {
	for _, v := range varieties {
		t.Run(v.String(), func(t *testing.T) {
			crashEverywhere(t, func(rng *rand.Rand, numLines int) (*setup, error) {
				return newSetup(v.shape, v.emit, v.sync, numLines, rng)
			})
		})
	}
}

// crashEverywhere crashes the runs of as many seeds as are asked for.
func crashEverywhere(t *testing.T, make func(rng *rand.Rand, numLines int) (*setup, error)) {
	t.Helper()
	sz, first := chosen(t)
	var sum totals
	began, told := time.Now(), time.Now()
	for seed := first; seed < first+uint64(sz.seeds); seed++ {
		set, err := make(rand.New(rand.NewPCG(seed, 0)), sz.lines)
		if err != nil {
			t.Fatal(err)
		}
		h := newHunt(set, seed, sz)
		if os.Getenv("MOLDAU_CRASH") == "full" {
			h.progress = func() {
				if time.Since(told) > 5*time.Second {
					told = time.Now()
					fmt.Fprintf(os.Stderr, "%v %s, seed %d of %d to %d: %s; seeds before: %s\n", time.Since(began).Round(time.Second),
						t.Name(), seed, first, first+uint64(sz.seeds)-1, &h.totals, &sum)
				}
			}
		}
		err = h.run()
		sum.add(&h.totals)
		if err != nil {
			keep(t, err)
			t.Fatalf("%v\nagain: MOLDAU_CRASH=full MOLDAU_CRASH_SEED=%d go test -count=1 -artifacts -timeout 1h -run '^%s$' ./stream/crash",
				err, seed, strings.ReplaceAll(t.Name(), "/", "$/^"))
		}
	}
	t.Logf("%d seeds: %s", sz.seeds, &sum)
	if sum.recovered.Load() < int64(5*sz.seeds) {
		t.Error("there were few crashes")
	}
}

// keep saves the files on which a recovery failed, as the crash left them, if go test is run with -artifacts.
func keep(t *testing.T, err error) {
	t.Helper()
	f, ok := errors.AsType[*failure](err)
	if !ok {
		return
	}
	dir := t.ArtifactDir()
	for _, name := range f.left.Files("") {
		b, err := f.left.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// percents are how much of what was not synced may survive.
var percents = []int{0, 30, 100}

// totals are what was done.
type totals struct {
	points    atomic.Int64 // at which files changed
	crashed   atomic.Int64 // of them, at which there was a crash
	recovered atomic.Int64 // clones that were recovered and finished
	nested    atomic.Int64 // of them, crashes within a recovery
	slowest   atomic.Int64 // ns, of a recovery
}

func (c *totals) add(o *totals) {
	c.points.Add(o.points.Load())
	c.crashed.Add(o.crashed.Load())
	c.recovered.Add(o.recovered.Load())
	c.nested.Add(o.nested.Load())
	c.slowest.Store(max(c.slowest.Load(), o.slowest.Load()))
}

func (c *totals) String() string {
	return fmt.Sprintf("%d points, a crash at %d of them with %v%% of what was unsynced, %d recoveries (%d of a crash within a recovery, the slowest %v)",
		c.points.Load(), c.crashed.Load(), percents, c.recovered.Load(), c.nested.Load(), time.Duration(c.slowest.Load()).Round(time.Millisecond))
}

// crash is a file system as a crash left it.
type crash struct {
	fs       *crashfs.FS
	where    string
	number   uint64 // draws what is random in its recovery
	promised promised
	nested   bool
}

// hunt is one run, and the recoveries of its crashes.
type hunt struct {
	*setup
	size
	totals
	seed uint64
	disk func(op crashfs.Op) crashfs.Fault // what the disk does; nil: its duty

	progress func() // called now and then, by one goroutine at a time; nil: nobody looks

	work    chan crash
	workers sync.WaitGroup
	failed  atomic.Pointer[failure]
}

// failure is a recovery that did not come to the right end.
type failure struct {
	error
	left *crashfs.FS // by the crash
}

func (f *failure) Unwrap() error { return f.error }

func newHunt(s *setup, seed uint64, sz size) *hunt {
	return &hunt{setup: s, size: sz, seed: seed, work: make(chan crash)}
}

// numWorkers recover. The run waits for them.
const numWorkers = 2

func (h *hunt) run() error {
	for range numWorkers {
		h.workers.Go(func() {
			for c := range h.work {
				if h.failed.Load() == nil {
					h.recover(c)
				}
			}
		})
	}
	fs := crashfs.New(crashfs.Options{})
	fs.Inject(h.disk)
	w := newWorld(h.setup, fs, h.seed, promised{})
	fs.OnPoint(func(p crashfs.Point) {
		h.points.Add(1)
		if p.N%h.every != 0 || h.failed.Load() != nil {
			return
		}
		h.crashed.Add(1)
		if h.progress != nil {
			h.progress()
		}
		before := w.acks.now()
		for _, c := range h.crashes(p, before, "") {
			h.work <- c
		}
	})
	drive := (*world).run
	if h.app {
		drive = (*world).runApp
	}
	err := h.live(w, drive)
	fs.OnPoint(nil)
	close(h.work)
	h.workers.Wait()
	if failed := h.failed.Load(); failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("seed %d: the run itself: %w", h.seed, err)
	}
	return nil
}

// crashes are what a crash at p may leave.
func (h *hunt) crashes(p crashfs.Point, before promised, outer string) []crash {
	var out []crash
	for i, percent := range percents {
		number := uint64(p.N)*uint64(len(percents)) + uint64(i)
		out = append(out, crash{
			fs:       p.Clone(percent, rand.New(rand.NewPCG(h.seed, number))),
			where:    fmt.Sprintf("%sbefore point %d, %v, with %d%% of what was unsynced", outer, p.N, p.Op, percent),
			number:   number,
			promised: before,
			nested:   outer != "",
		})
	}
	return out
}

// live starts log and application, drives them, and checks what is there then.
func (h *hunt) live(w *world, drive func(*world) error) error {
	err := w.start()
	if err == nil {
		err = drive(w)
	}
	if err == nil {
		err = w.check()
	}
	if cerr := w.close(); err == nil && cerr != nil {
		err = fmt.Errorf("close: %w", cerr)
	}
	return err
}

// recover goes on where a crash has left off, and comes to the end. One of some crashes once more meanwhile.
func (h *hunt) recover(c crash) {
	began := time.Now()
	left := c.fs.Clone(100, nil)
	w := newWorld(h.setup, c.fs, c.number, c.promised)
	var inner []crash
	if rng := rand.New(rand.NewPCG(c.number, 2)); !c.nested && rng.IntN(h.nest) == 0 {
		c.fs.OnPoint(func(p crashfs.Point) {
			if rng.IntN(h.inner) == 0 {
				inner = append(inner, h.crashes(p, w.acks.now(), c.where+"; then ")...)
			}
		})
	}
	drive := (*world).finish
	if h.app {
		drive = (*world).finishApp
	}
	err := h.live(w, drive)
	c.fs.OnPoint(nil)
	h.recovered.Add(1)
	if c.nested {
		h.nested.Add(1)
	}
	for took := int64(time.Since(began)); ; {
		slowest := h.slowest.Load()
		if took <= slowest || h.slowest.CompareAndSwap(slowest, took) {
			break
		}
	}
	if err != nil {
		h.failed.CompareAndSwap(nil, &failure{fmt.Errorf("seed %d, crash %s: %w", h.seed, c.where, err), left})
		return
	}
	for _, c := range inner {
		h.recover(c)
	}
}
