package state

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// damages are what a disk may make of what was synced. Nobody is told.
var damages = []struct {
	name string
	do   func(fs *crashfs.FS, file string, size int64, rng *rand.Rand) error
}{
	{"flip", func(fs *crashfs.FS, file string, size int64, rng *rand.Rand) error {
		return fs.Flip(file, rng.Int64N(size*8))
	}},
	{"zero", func(fs *crashfs.FS, file string, size int64, rng *rand.Rand) error {
		return fs.Zero(file, rng.Int64N(size)/512*512, 512)
	}},
	{"cut", func(fs *crashfs.FS, file string, size int64, rng *rand.Rand) error {
		return fs.Cut(file, rng.Int64N(size))
	}},
	{"stray", func(fs *crashfs.FS, file string, size int64, rng *rand.Rand) error {
		b := make([]byte, 64)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return fs.Overwrite(file, rng.Int64N(size), b)
	}},
}

// fileKind is what a file of Pebble's is, by its name.
func fileKind(file string) string {
	base := path.Base(file)
	if kind, _, ok := strings.Cut(base, "-"); ok {
		return kind
	}
	return path.Ext(base)
}

// Damage of what is on disk is harmless or reported. It is never served, and never written on.
func TestDamage(t *testing.T) {
	size, first := chosenSize(t)
	trials := map[string]int{"": 50, "ci": 600, "full": 4000}[os.Getenv("MOLDAU_CRASH")]
	outcomes := map[string]int{}
	for seed := first; seed < first+uint64(min(size.seeds, 5)); seed++ {
		fs := crashfs.New(crashfs.Options{})
		w := newCrashWork(fs, small, seed)
		err := w.open()
		for i := 0; i < size.steps && err == nil; i++ {
			err = w.step()
		}
		if err != nil {
			t.Fatal(err)
		}
		intact := w.capture(fs.Clone(100, nil), seed) // with a WAL: the database was not closed
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		look := intact.capture(intact.fs.(*crashfs.FS).Clone(100, nil), seed)
		if err := look.open(); err != nil {
			t.Fatal(err)
		}
		whole, err := look.find(look.histories())
		if err := errors.Join(err, look.close()); err != nil {
			t.Fatal(err)
		}
		for trial := range trials {
			rng := rand.New(rand.NewPCG(seed, uint64(trial)))
			left := intact.fs.(*crashfs.FS).Clone(100, nil)
			files := left.Files("state/")
			file := files[rng.IntN(len(files))]
			content, err := left.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(content) == 0 {
				continue
			}
			d := damages[rng.IntN(len(damages))]
			if err := d.do(left, file, int64(len(content)), rng); err != nil {
				t.Fatal(err)
			}
			outcome, err := intact.capture(left, uint64(trial)).afterDamage(whole)
			outcomes[fileKind(file)+" "+d.name+": "+outcome]++
			if errors.Is(err, errOracle) || err != nil && !errors.Is(err, ErrCorrupt) && fileKind(file) != "OPTIONS" {
				t.Errorf("seed %d, trial %d: %s of %s (%d bytes): %v", seed, trial, d.name, file, len(content), err)
			}
		}
	}
	for o, n := range outcomes {
		t.Logf("%4d %s", n, o)
	}
}

// Pebble takes a record of its manifest that it cannot read for the end. The tables of later records are gone then
// while newer batches in the WAL are not: that is seen too.
func TestDamagedManifest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	damaged, seen := 0, 0
	for seed := range uint64(4) {
		fs := crashfs.New(crashfs.Options{})
		w := newCrashWork(fs, manyTables, seed)
		err := w.open()
		for range 250 {
			task := w.tasks[w.rng.IntN(len(w.tasks))]
			if err == nil {
				err = w.oneEpoch(task)
			}
			if err == nil {
				err = w.flush(task)
			}
			if err == nil {
				err = task.task.WaitFlush(context.Background())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		left := w.capture(fs.Clone(100, nil), seed)
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		const manifest = "state/MANIFEST-000001"
		content, err := left.fs.(*crashfs.FS).ReadFile(manifest)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(120) {
			fs := left.fs.(*crashfs.FS).Clone(100, nil)
			d := damages[i%2*2] // flip and cut
			if err := d.do(fs, manifest, int64(len(content)), rng); err != nil {
				t.Fatal(err)
			}
			damaged++
			_, err := left.capture(fs, 1).afterDamage(nil)
			if errors.Is(err, errOracle) || err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("seed %d, %s %d of the manifest: %v", seed, d.name, i, err)
			}
			if err != nil && strings.Contains(err.Error(), "the manifest is damaged") {
				seen++
			}
		}
	}
	t.Logf("%d damaged, %d seen by what is missing", damaged, seen)
	if seen == 0 {
		t.Error("no damage left batches out")
	}
}

// manyTables has Pebble write tables and never merge them, so that what a damaged manifest forgets is there still.
func manyTables(o *pebble.Options) {
	small(o)
	o.MaxManifestFileSize = 1 << 20
	o.L0CompactionThreshold, o.L0StopWritesThreshold = 1000, 1000
}

// afterDamage opens the database, looks at everything, and works on with it as long as it lets itself.
// whole are the batches that it has if nothing is damaged.
func (w *crashWork) afterDamage(whole []int) (outcome string, err error) {
	defer func() { _ = w.close() }() // what it has to say was said
	outcome = "reported at open"
	if err = w.open(); err == nil {
		outcome = "reported when read"
		var found []int
		if found, err = w.find(w.histories()); err == nil {
			outcome = "harmless"
			if !slices.Equal(found, whole) {
				outcome = "back to an older batch"
			}
			err = w.close()
		}
	}
	if err == nil {
		err = w.reopen()
		for i := 0; i < 60 && err == nil; i++ {
			err = w.step()
		}
		if err == nil {
			err = w.close()
		}
		if err == nil {
			err = w.reopen()
		}
		if err != nil {
			outcome += ", then reported"
		}
	}
	if errors.Is(err, errOracle) {
		outcome = "served"
	}
	return outcome, err
}
