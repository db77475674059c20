package state

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// crashSize is how much the crash tests do: MOLDAU_CRASH=ci and MOLDAU_CRASH=full make it more, MOLDAU_CRASH_SEED
// does every point of the run with one seed.
type crashSize struct{ seeds, steps, every int }

func chosenSize(t *testing.T) (crashSize, uint64) {
	t.Helper()
	s, ok := map[string]crashSize{
		"":     {seeds: 3, steps: 300, every: 17},
		"ci":   {seeds: 12, steps: 400, every: 5},
		"full": {seeds: 60, steps: 400, every: 1},
	}[os.Getenv("MOLDAU_CRASH")]
	if !ok {
		t.Fatalf("MOLDAU_CRASH=%s: it is ci, full, or not set", os.Getenv("MOLDAU_CRASH"))
	}
	seed, err := strconv.ParseUint(os.Getenv("MOLDAU_CRASH_SEED"), 10, 64)
	if err != nil {
		return s, 1
	}
	s.seeds, s.every = 1, 1
	return s, seed
}

// crashEverywhere runs the workload with a crash before each change of the files, and looks at what is left. It
// returns the first fault, and how many crashes there were.
func crashEverywhere(tune func(*pebble.Options), seed uint64, size crashSize, plant func(*crashWork, *crashfs.FS)) (crashes int, kinds map[crashfs.Kind]int, err error) {
	type crash struct {
		w     *crashWork
		where string
		goOn  bool
	}
	work := make(chan crash)
	var workers sync.WaitGroup
	var mu sync.Mutex // guards err and crashes
	note := func(e error) {
		mu.Lock()
		defer mu.Unlock()
		crashes++
		if e != nil && err == nil {
			err = e
		}
	}
	for range 2 {
		workers.Go(func() {
			for c := range work {
				e := c.w.afterCrash(c.goOn)
				if e != nil {
					e = fmt.Errorf("seed %d, crash before %s: %w", seed, c.where, e)
				}
				note(e)
			}
		})
	}
	fs := crashfs.New(crashfs.Options{})
	w := newCrashWork(fs, tune, seed)
	kinds = map[crashfs.Kind]int{}
	fs.OnPoint(func(p crashfs.Point) {
		if p.N%size.every != 0 {
			return
		}
		kinds[p.Kind]++
		for i, percent := range []int{0, 30, 100} {
			number := uint64(p.N*3 + i)
			left := p.Clone(percent, rand.New(rand.NewPCG(seed, number)))
			work <- crash{w.capture(left, number), fmt.Sprintf("point %d, %v, with %d%% of what was unsynced", p.N, p.Op, percent), number%50 == 0}
		}
	})
	if plant != nil {
		plant(w, fs)
	}
	runErr := w.open()
	for i := 0; i < size.steps && runErr == nil; i++ {
		runErr = w.step()
	}
	if cerr := w.close(); runErr == nil {
		runErr = cerr
	}
	fs.OnPoint(nil)
	close(work)
	workers.Wait()
	if err == nil && runErr != nil {
		err = fmt.Errorf("seed %d: the run itself: %w", seed, runErr)
	}
	return crashes, kinds, err
}

// afterCrash opens the database as a crash has left it, checks it, and works on with it.
func (w *crashWork) afterCrash(goOn bool) error {
	err := w.open()
	if err == nil {
		_, err = w.find(w.histories())
	}
	if cerr := w.close(); err == nil {
		err = cerr
	}
	if err != nil || !goOn {
		return err
	}
	err = w.reopen()
	for i := 0; i < 60 && err == nil; i++ {
		err = w.step()
	}
	if cerr := w.close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = w.reopen()
	}
	if cerr := w.close(); err == nil {
		err = cerr
	}
	return err
}

// Wherever the machine stops, and whatever of the unsynced bytes and names it leaves: each task's stores and
// positions are those of one batch, and no batch is there without those before it. This is what Pebble promises
// with a write-ahead log that is never synced, while it writes tables, merges them, and begins new manifests.
func TestCrashLeavesABatch(t *testing.T) {
	for _, c := range []struct {
		name string
		tune func(*pebble.Options)
	}{
		{"with the WAL", small},
		{"without the WAL", withoutWAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			size, first := chosenSize(t)
			total, kinds, told := 0, map[crashfs.Kind]int{}, time.Now()
			for seed := first; seed < first+uint64(size.seeds); seed++ {
				crashes, k, err := crashEverywhere(c.tune, seed, size, nil)
				if err != nil {
					t.Fatalf("%v\nagain: MOLDAU_CRASH=full MOLDAU_CRASH_SEED=%d go test -count=1 -run '^TestCrashLeavesABatch$' ./state", err, seed)
				}
				total += crashes
				for kind, n := range k {
					kinds[kind] += n
				}
				if os.Getenv("MOLDAU_CRASH") == "full" && time.Since(told) > 5*time.Second {
					told = time.Now()
					fmt.Fprintf(os.Stderr, "state %s: %d seeds, %d crashes\n", c.name, seed-first+1, total)
				}
			}
			t.Logf("%d seeds, %d crashes, before %v", size.seeds, total, kinds)
			for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Sync, crashfs.SyncDir, crashfs.Rename, crashfs.Remove} {
				if kinds[kind] == 0 && !(kind == crashfs.Rename && size.every > 1) {
					t.Errorf("there was no crash before a %v", kind)
				}
			}
		})
	}
}

// lazy is a store whose flushes write no rows.
type lazy struct{ cells }

func (lazy) gather(*rows) error { return nil }

// hasty is a store whose position goes to Pebble before its rows.
type hasty struct {
	cells
	s *storeBase
}

func (h hasty) gather(r *rows) error {
	b := h.s.task.db.pebble.NewBatch()
	if err := b.Set(positionKey(h.s.id), appendPosition(nil, h.s.committed), nil); err != nil {
		return err
	}
	if err := h.s.task.db.apply(b); err != nil {
		return err
	}
	return h.cells.gather(r)
}

// forgetful is a store whose flushes write nothing.
type forgetful struct {
	cells
	s *storeBase
}

func (f forgetful) gather(*rows) error {
	f.s.positionDirty = false
	return nil
}

// The oracle sees each of these.
func TestCrashOracleSeesFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(*crashWork, *crashfs.FS)
		says  string
	}{
		{"a flush of positions without rows", func(w *crashWork, _ *crashfs.FS) {
			w.plant = func(s *storeBase) { s.cells = lazy{s.cells} }
		}, "has map["},
		{"a position before its rows", func(w *crashWork, _ *crashfs.FS) {
			w.plant = func(s *storeBase) { s.cells = hasty{s.cells, s} }
		}, "has map["},
		{"a flush that is never written", func(w *crashWork, _ *crashfs.FS) {
			w.plant = func(s *storeBase) {
				if s.task.name == "app/0" {
					s.cells = forgetful{s.cells, s}
				}
			}
		}, "a batch is there, and one that was written before it is not"},
		{"tables that are not synced", func(_ *crashWork, fs *crashfs.FS) {
			fs.Inject(func(op crashfs.Op) crashfs.Fault {
				if op.Kind == crashfs.Sync && strings.HasSuffix(op.Path, ".sst") {
					return crashfs.Fault{Effect: crashfs.Skip}
				}
				return crashfs.Fault{}
			})
		}, "open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 20; seed++ {
				_, _, err := crashEverywhere(small, seed, crashSize{steps: 300, every: 3}, c.plant)
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), c.says) {
					t.Fatalf("seen as %v", err)
				}
				return
			}
			t.Error("not seen")
		})
	}
}
