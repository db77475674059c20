package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// quiet is for logs that are damaged on purpose.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// crashPoint is a file system as it may be after a crash, and what had been acknowledged by then.
type crashPoint struct {
	fs    *vfs.MemFS
	acked int64
	where string
}

// crasher clones a crashable file system before every sync, write of a name and so on, with nothing, some and
// all of what was not synced.
type crasher struct {
	fs    *vfs.MemFS
	acked atomic.Int64

	mu     sync.Mutex
	rng    *rand.Rand
	every  int // keep one of so many
	seen   int
	points []crashPoint
}

func newCrasher(seed uint64, every int) *crasher {
	return &crasher{fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 0)), every: every}
}

func (c *crasher) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpRename, errorfs.OpCreate, errorfs.OpRemove, errorfs.OpFileWriteAt:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen++
	if c.seen%c.every != 0 {
		return nil
	}
	// What is acknowledged before the clone is made must be in it.
	acked := c.acked.Load()
	for _, percent := range []int{0, 50, 100} {
		clone := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng})
		c.points = append(c.points, crashPoint{clone, acked, fmt.Sprintf("before %v of %s, %d%% of what was unsynced", op.Kind, op.Path, percent)})
	}
	return nil
}

func (c *crasher) String() string { return "crasher" }

var (
	crashIn   = TopicPartition{"in", 0}
	crashOuts = []TopicPartition{{"out", 0}, {"out", 1}, {"other", 0}}
)

// crashOptions make everything happen often: checkpoints, new segments, index entries.
func crashOptions(fs FS, mode Sync) Options {
	return Options{FS: fs, Sync: mode, Logger: quiet, JournalBytes: 6 << 10}
}

func crashTopics(ctx context.Context, l *Log) error {
	config := map[string]string{"segment.bytes": "1500", "index.interval.bytes": "300"}
	return l.CreateTopics(ctx, []TopicSpec{
		{Name: "in", Partitions: 1}, {Name: "out", Partitions: 2, Config: config}, {Name: "other", Partitions: 1, Config: config},
	})
}

// aborts says which transactions of the workload are taken back.
func aborts(i int64) bool { return i%4 == 3 }

// crashTransaction is transaction i of the workload: records to three partitions, and the offset i+1.
func crashTransaction(ctx context.Context, p *Producer, i int64) error {
	x, err := p.Begin()
	if err != nil {
		return err
	}
	for j, tp := range crashOuts {
		for k := range int(i+int64(j))%3 + 1 {
			if _, err := x.Append(tp, block(crashValue(i, k))); err != nil {
				return err
			}
		}
	}
	if err := x.CommitOffsets("g", map[TopicPartition]CommittedOffset{crashIn: {Offset: i + 1}}); err != nil {
		return err
	}
	if aborts(i) {
		return x.Abort(ctx)
	}
	return x.Commit(ctx)
}

func crashValue(i int64, k int) string { return fmt.Sprintf("transaction %d, record %d", i, k) }

// checkCrash opens a log as a crash left it and holds it against what must be there. It returns how many
// transactions are.
func checkCrash(ctx context.Context, l *Log, acked int64) (next int64, err error) {
	if l.topic("other") == nil {
		if acked > 0 {
			return 0, fmt.Errorf("the topics are gone")
		}
		return 0, crashTopics(ctx, l)
	}
	next = l.CommittedOffsets("g", []TopicPartition{crashIn})[crashIn].Offset
	if next < acked {
		return 0, fmt.Errorf("%d transactions were acknowledged, and %d are there", acked, next)
	}
	for j, tp := range crashOuts {
		var want []string
		for i := range next {
			for k := range int(i+int64(j))%3 + 1 {
				if !aborts(i) {
					want = append(want, crashValue(i, k))
				}
			}
		}
		got, err := tryReadValues(ctx, l, tp, Earliest, ReadCommitted)
		if err != nil {
			return 0, err
		}
		if !slices.Equal(got, want) {
			return 0, fmt.Errorf("after %d transactions %s has %q, want %q", next, tp, got, want)
		}
		if p, _ := l.Partition(tp); p.bound(ReadCommitted) != p.appended.Load() {
			return 0, fmt.Errorf("%s is stable up to %d of %d", tp, p.bound(ReadCommitted), p.appended.Load())
		}
	}
	return next, nil
}

// runCrash runs the workload from where the log is up to the given number of transactions.
func runCrash(ctx context.Context, l *Log, from, to int64, acked *atomic.Int64) error {
	p, err := l.NewProducer(ProducerSpec{Owner: "app"})
	if err != nil {
		return err
	}
	for i := from; i < to; i++ {
		if err := crashTransaction(ctx, p, i); err != nil {
			return fmt.Errorf("transaction %d: %w", i, err)
		}
		if acked != nil && !aborts(i) {
			acked.Store(i + 1)
		}
	}
	return nil
}

// Wherever a machine stops, and whatever of the unsynced bytes it leaves: what was acknowledged is there
// once, what was not is there as a whole or not at all, over all partitions and with its offsets, and the log
// goes on.
func TestCrashAnywhere(t *testing.T) {
	for _, mode := range []Sync{SyncCommit, SyncOS} {
		t.Run(mode.String(), func(t *testing.T) {
			ctx := testContext(t)
			c := newCrasher(1, 11)
			l, err := Open("log", crashOptions(errorfs.Wrap(c.fs, c), mode))
			if err != nil {
				t.Fatal(err)
			}
			if err := crashTopics(ctx, l); err != nil {
				t.Fatal(err)
			}
			acked := &c.acked
			if mode == SyncOS {
				acked = nil // nothing is promised but consistency
			}
			if err := runCrash(ctx, l, 0, 44, acked); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d crashes", len(c.points))
			for i, pt := range c.points {
				if err := recoverCrash(t, pt, mode, i%20 == 0); err != nil {
					t.Fatalf("crash %d, %s: %v", i, pt.where, err)
				}
			}
		})
	}
}

// recoverCrash opens the log as a crash left it, checks it, goes on and checks again. With again it crashes
// once more while it is opened, at several points.
func recoverCrash(t *testing.T, pt crashPoint, mode Sync, again bool) error {
	ctx := testContext(t)
	fs := FS(pt.fs)
	var c *crasher
	if again {
		c = newCrasher(2, 5)
		c.fs = pt.fs
		c.acked.Store(pt.acked)
		fs = errorfs.Wrap(pt.fs, c)
	}
	l, err := Open("log", crashOptions(fs, mode))
	if err != nil {
		return err
	}
	next, err := checkCrash(ctx, l, pt.acked)
	if err == nil && again {
		c.mu.Lock()
		points := c.points
		c.mu.Unlock()
		for _, second := range points {
			// Recovery takes nothing back of what there is; it may have given up what was torn.
			if err := recoverCrash(t, second, mode, false); err != nil {
				return fmt.Errorf("crash while opening, %s: %w", second.where, err)
			}
		}
	}
	if err == nil {
		err = runCrash(ctx, l, next, next+5, nil)
	}
	if err == nil {
		_, err = checkCrash(ctx, l, 0)
	}
	if cerr := l.Close(); err == nil {
		err = cerr
	}
	return err
}

// crashed is the file system as a machine leaves it that stops now: with what was synced, and nothing else.
func crashed(fs *vfs.MemFS) *vfs.MemFS { return fs.CrashClone(vfs.CrashCloneCfg{}) }
