package streamtest

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/moldau-io/moldau/internal/crashfs"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/internal/bridge"
)

// PowerLoss is what a power failure leaves on the disk, beside all that was synced. The zero value is the hardest:
// nothing.
type PowerLoss struct {
	// Survives is how many per cent of what was written and not synced are there all the same, from 0 to 100: of each
	// file some blocks and not others, some of them torn, and of each directory some names. 100 is what the end of the
	// process alone leaves, as of kill -9.
	Survives int
	// Seed draws them, if Survives is neither 0 nor 100.
	Seed uint64
}

// Crash has the power fail now, and starts log and application again on what is on the disk. The Driver goes on from
// there: the input is there that was appended, and what was committed; all else is processed again by the next Step,
// Settle or Pipe. The clock stands where it stood.
//
// It needs the option Sync(log.SyncCommit): with less, power loss takes away what was appended, too.
func (d *Driver) Crash(loss PowerLoss) {
	d.t.Helper()
	d.needSynced("Crash")
	d.startFrom(d.fs.Clone(loss.Survives, loss.rng(0)))
}

// CrashInCommit is a Commit in which the power fails, as with Crash: before the change number at, from 0, that the
// commit makes to the files. It is false if the commit has fewer; then there is no failure, and all is as after
// Commit. So this tries every moment of the commit after some input:
//
//	for at, crashed := 0, true; crashed; at++ {
//		d := streamtest.New(t, topology, streamtest.Sync(log.SyncCommit))
//		// append some input, and
//		crashed = d.CrashInCommit(at, streamtest.PowerLoss{})
//		// then go on; at the end Output(d, topic).Committed() is as without a failure
//	}
//
// Early in the commit the whole epoch is lost, and late it holds. What Next gave of an epoch that turns out to hold,
// it does not give again; of a lost one it may.
//
// A change is a write, a sync, a rename and so on. What log and store do in the background is counted with the rest, so
// that number at may be another change in another run. The commit's own code, and the topology's, runs on to its end
// in a world of its own, of which nothing is kept.
func (d *Driver) CrashInCommit(at int, loss PowerLoss) (crashed bool) {
	d.t.Helper()
	d.needSynced("CrashInCommit")
	var mu sync.Mutex // the log's and the store's goroutines change files too
	var left *crashfs.FS
	n := 0
	d.fs.OnPoint(func(p crashfs.Point) {
		mu.Lock()
		defer mu.Unlock()
		if n == at {
			left = p.Clone(loss.Survives, loss.rng(at))
		}
		n++
	})
	committed, err := d.engine.Commit(context.Background())
	d.fs.OnPoint(nil)
	switch {
	case err != nil:
		d.t.Fatalf("streamtest: CrashInCommit: %v", bridge.Public(err))
	case !committed:
		d.t.Fatal("streamtest: CrashInCommit: the log aborted the epoch")
	}
	mu.Lock()
	from := left
	mu.Unlock() // what still runs in the background may be at a change, and is waited for below
	if from != nil {
		d.startFrom(from)
		return true
	}
	for _, o := range d.outputs {
		o.committed()
	}
	if err := d.Settle(); err != nil {
		d.t.Fatal(err)
	}
	return false
}

// startFrom goes on from what a crash has left.
func (d *Driver) startFrom(left *crashfs.FS) {
	d.t.Helper()
	d.close() // on files that nobody reads again
	d.fs = left
	d.openLog()
	for _, o := range d.outputs {
		o.crashed()
	}
	d.start()
}

func (d *Driver) needSynced(what string) {
	d.t.Helper()
	if d.options.sync != log.SyncCommit {
		d.t.Fatalf("streamtest: %s needs the option Sync(log.SyncCommit): without it, power loss takes away what was appended", what)
	}
}

func (l PowerLoss) rng(at int) *rand.Rand { return rand.New(rand.NewPCG(l.Seed, uint64(at))) }
