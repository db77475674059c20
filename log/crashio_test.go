package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// This file makes operations of the file system fail, while a log is in use and while it is opened: there is an
// error that names the file, what failed never was, and nothing else is lost.

// ioFault is what goes wrong.
type ioFault struct {
	name   string
	on     []crashfs.Kind
	effect crashfs.Effect
	err    error
}

var ioFaults = []ioFault{
	{"EIO on write", []crashfs.Kind{crashfs.Write}, crashfs.Fail, syscall.EIO},
	{"torn write", []crashfs.Kind{crashfs.Write}, crashfs.Tear, syscall.EIO},
	{"ENOSPC", []crashfs.Kind{crashfs.Write, crashfs.Create, crashfs.Mkdir}, crashfs.Fail, syscall.ENOSPC},
	{"ENOSPC after a part", []crashfs.Kind{crashfs.Write}, crashfs.Tear, syscall.ENOSPC},
	{"failed sync", []crashfs.Kind{crashfs.Sync}, crashfs.Fail, syscall.EIO},
	{"failed sync that loses", []crashfs.Kind{crashfs.Sync}, crashfs.Lose, syscall.EIO},
	{"failed sync that loses, evicted", []crashfs.Kind{crashfs.Sync}, crashfs.Evict, syscall.EIO},
	{"failed sync of a directory", []crashfs.Kind{crashfs.SyncDir}, crashfs.Fail, syscall.EIO},
	{"EIO on read", []crashfs.Kind{crashfs.Read}, crashfs.Fail, syscall.EIO},
	{"short read", []crashfs.Kind{crashfs.Read}, crashfs.Short, nil},
	{"EIO on a name", []crashfs.Kind{crashfs.Create, crashfs.Mkdir, crashfs.Rename, crashfs.Remove, crashfs.RemoveAll, crashfs.Lock,
		crashfs.Open, crashfs.Stat, crashfs.List}, crashfs.Fail, syscall.EIO},
}

// loses reports whether the process may read what never comes to be on disk, or the other way round.
func (f *ioFault) loses() bool { return f.effect == crashfs.Lose || f.effect == crashfs.Evict }

// arm makes count operations fail, after skip that do not. hits counts those that did.
func (f *ioFault) arm(fs *crashfs.FS, skip, count int64, rng *rand.Rand) (hits *atomic.Int64) {
	hits = new(atomic.Int64)
	part := rng.Uint64()
	var seen atomic.Int64
	fs.Inject(func(op crashfs.Op) crashfs.Fault {
		for _, k := range f.on {
			if op.Kind != k {
				continue
			}
			if n := seen.Add(1); n <= skip || n > skip+count {
				break
			}
			hits.Add(1)
			return crashfs.Fault{Effect: f.effect, Err: f.err, Bytes: int(part % uint64(op.Bytes+1))}
		}
		return crashfs.Fault{}
	})
	return hits
}

// told checks the error of something that failed: it names a file, and says that the disk is full if it is.
func (f *ioFault) told(err error) error {
	if !strings.Contains(err.Error(), imageDir) {
		return fmt.Errorf("%s: the error names no file: %w", f.name, err)
	}
	if errors.Is(f.err, syscall.ENOSPC) && !errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("%s: not told as a full disk: %w", f.name, err)
	}
	return nil
}

// ioRun is a workload under faults.
type ioRun struct {
	fs    *crashfs.FS
	rng   *rand.Rand
	fault ioFault
	hits  *atomic.Int64
	w     *crashWorker
	l     *Log
	told  int
}

func (r *ioRun) open() (err error) {
	r.l, err = Open(imageDir, crashLogOptions(r.fs, SyncCommit))
	return err
}

// failed takes an error of an operation: it is what was injected, or the end of the test.
func (r *ioRun) failed(err error) error {
	if err == nil {
		return nil
	}
	if r.hits.Load() == 0 {
		return fmt.Errorf("without any fault: %w", err)
	}
	r.told++
	return r.fault.told(err)
}

// abandon leaves the producers with what they have open to those who come after them.
func (r *ioRun) abandon() { r.w.owners = [crashOwners]crashOwner{} }

// ioDuringRun injects one kind of fault while a log is in use.
func ioDuringRun(seed uint64) (name, outcome string, err error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	r := &ioRun{fs: crashfs.New(crashfs.Options{}), rng: rng, fault: ioFaults[rng.IntN(len(ioFaults))]}
	count := int64(1)
	if rng.IntN(3) == 0 {
		count = 1 << 40 // until it is lifted
	}
	skip := rng.Int64N(150)
	if rng.IntN(3) > 0 {
		skip /= 10
	}
	early := rng.IntN(5) == 0
	if early {
		r.hits = r.fault.arm(r.fs, skip/4, count, rng)
		if err := r.open(); err != nil {
			if err := r.failed(err); err != nil {
				return "", "", fmt.Errorf("making a log: %w", err)
			}
			r.fs.Inject(nil)
			if err := r.open(); err != nil {
				return "", "", fmt.Errorf("making a log, after it failed once: %w", err)
			}
		}
	} else if err := r.open(); err != nil {
		return "", "", err
	}
	r.w = newCrashWorker(0, seed, new(atomic.Int64))
	for {
		err := r.w.start(r.l)
		if err == nil {
			break
		}
		if err := r.failed(err); err != nil {
			return "", "", err
		}
		r.fs.Inject(nil)
		if r.l.journal.err() != nil {
			if err := r.reopen(); err != nil {
				return "", "", err
			}
		}
	}
	if !early {
		r.hits = r.fault.arm(r.fs, skip, count, rng)
	}
	if err := r.use(); err != nil {
		return "", "", fmt.Errorf("%s: %w", r.fault.name, err)
	}
	switch {
	case r.hits.Load() == 0:
		return "", "", nil
	case r.told == 0:
		return r.fault.name, harmless, nil // a background sync or so, that will be done again
	}
	return r.fault.name, refusedOp, nil
}

// use does steps, and after each fault goes on, or crashes, or opens the log again.
func (r *ioRun) use() error {
	for n := range 30 {
		err := r.w.step()
		if err == nil && n%6 == 5 {
			err = r.look()
		}
		if err == nil {
			continue
		}
		if err := r.failed(err); err != nil {
			return err
		}
		r.abandon()
		if r.rng.IntN(4) > 0 || r.told > 3 {
			r.fs.Inject(nil)
		}
		if r.l.journal.err() != nil || r.rng.IntN(4) == 0 {
			r.fs.Inject(nil)
			if err := r.crash(); err != nil {
				return err
			}
			if err := r.reopen(); err != nil {
				return err
			}
			if err := r.w.start(r.l); err != nil {
				return fmt.Errorf("after opening it again: %w", err)
			}
		}
	}
	r.fs.Inject(nil)
	if err := r.crash(); err != nil {
		return err
	}
	if err := r.reopen(); err != nil {
		return err
	}
	return r.l.Close()
}

// look reads all while operations may fail: all is there, or there is an error.
func (r *ioRun) look() error {
	for i := range r.w.owners {
		if x := r.w.owners[i].x; x != nil {
			if err := x.Abort(context.Background()); err != nil {
				return err
			}
		}
	}
	r.abandon()
	for i := range r.w.owners { // aborts what could not be
		if err := r.w.join(&r.w.owners[i], i); err != nil {
			return err
		}
	}
	if err := r.l.ack(r.l.journal.written()); err != nil {
		return err
	}
	for attempt := range 2 {
		h := r.w.history()
		h.floor = len(h.steps)
		tps := partitionsOf(h.steps)
		c, err := observe(context.Background(), r.l, h.group, tps)
		if err == nil {
			if diff := c.diff(expect(h.steps), tps); diff != "" {
				return fmt.Errorf("read in silence: %s", diff) // names no file
			}
			return nil
		}
		if attempt == 1 || r.fault.loses() {
			return err
		}
		if err := r.failed(err); err != nil {
			return err
		}
		r.fs.Inject(nil) // and then it is all there
	}
	return nil
}

// promised is what the worker's log must have after a crash, or after it is opened again without one.
func (r *ioRun) promised(percent int) []history {
	h := r.w.history()
	r.w.mu.Lock()
	returned := r.w.returned
	r.w.mu.Unlock()
	switch {
	case percent >= 100 && r.fault.effect != crashfs.Evict:
		h.floor = returned
	default:
		for synced := r.l.journal.synced.Load(); h.floor < returned && h.steps[h.floor].sequence <= synced; {
			h.floor++
		}
	}
	return []history{h}
}

// crash holds what a crash now leaves against what was promised.
func (r *ioRun) crash() error {
	for _, percent := range crashFractions {
		hs := r.promised(percent) // before the clone: checkpoints go on
		fs := r.fs.Clone(percent, r.rng)
		l, err := Open(imageDir, crashLogOptions(fs, SyncCommit))
		if err != nil {
			return fmt.Errorf("after a crash with %d%% of what was unsynced: %w", percent, err)
		}
		_, err = verify(context.Background(), l, hs)
		if err = errors.Join(err, l.Close()); err != nil {
			return fmt.Errorf("after a crash with %d%% of what was unsynced: %w", percent, err)
		}
	}
	return nil
}

// reopen closes the log, which may fail, and opens it again.
func (r *ioRun) reopen() error {
	cerr := r.l.Close()
	if err := r.failed(cerr); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	hs := r.promised(100) // by what the old log says is synced: the new one gives numbers of lost frames again
	if err := r.open(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	found, err := verify(context.Background(), r.l, hs)
	if err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	// What had not returned may be there or not; from here on it is what it is.
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.steps = r.w.steps[:found.hi[0]]
	r.w.returned, r.w.acked = found.hi[0], found.hi[0]
	r.w.topics = nil
	for i := range r.w.steps {
		if s := &r.w.steps[i]; s.kind == stepTopic {
			r.w.topics = append(r.w.topics, s.topic)
		}
	}
	r.w.clientSeq = 0
	if i := r.w.lastSent(); i >= 0 {
		h, err := parseBatchHeader(r.w.steps[i].encoded)
		if err != nil {
			return err
		}
		r.w.clientSeq = h.lastSequence() + 1
	}
	return nil
}

// ioDuringOpen makes one operation of recovery fail, and crashes it there.
func (im *image) ioDuringOpen(rng *rand.Rand) (name, outcome string, err error) {
	i := rng.IntN(len(im.ops))
	var fits []ioFault
	for _, f := range ioFaults {
		for _, k := range f.on {
			if k == im.ops[i].Kind {
				fits = append(fits, f)
			}
		}
	}
	f := fits[rng.IntN(len(fits))]
	skip := int64(0)
	for _, op := range im.ops[:i] {
		for _, k := range f.on {
			if op.Kind == k {
				skip++
			}
		}
	}
	fs := im.fs.Clone(100, nil)
	hits := f.arm(fs, skip, 1, rng)
	l, err := Open(imageDir, crashLogOptions(fs, SyncCommit))
	if hits.Load() == 0 {
		if err == nil {
			err = l.Close()
		}
		return "", "", err
	}
	fs.Inject(nil)
	outcome = harmless
	if err != nil {
		outcome = refusedOpen
		if err := f.told(err); err != nil {
			return "", "", fmt.Errorf("%v: %w", im.ops[i], err)
		}
	} else {
		_, err = verify(context.Background(), l, []history{im.h})
		if cerr := l.Close(); err != nil || cerr != nil && !f.loses() {
			return "", "", fmt.Errorf("%s at %v: %w", f.name, im.ops[i], errors.Join(err, cerr))
		}
	}
	left := fs.Clone(crashFractions[rng.IntN(len(crashFractions))], rng)
	if l, err = Open(imageDir, crashLogOptions(left, SyncCommit)); err == nil {
		_, err = verify(context.Background(), l, []history{im.h})
		err = errors.Join(err, l.Close())
	}
	if err != nil {
		return "", "", fmt.Errorf("opened after %s at %v, and a crash: %w", f.name, im.ops[i], err)
	}
	return f.name, outcome, nil
}

// Operations that fail while a log is in use.
func TestCrashIO(t *testing.T) {
	eachFault(t, 25, func(seed uint64, counts faultCounts) (int, error) {
		name, outcome, err := ioDuringRun(seed)
		if err != nil || name == "" {
			return 0, err
		}
		counts.add(name, outcome)
		return 1, nil
	})
}

// Operations that fail while a log is recovered.
func TestCrashIOWhileOpening(t *testing.T) {
	eachFault(t, 25, func(seed uint64, counts faultCounts) (n int, err error) {
		im, err := newImage(seed, seed%4 == 0)
		for i := 0; i < 100 && err == nil; i++ {
			var name, outcome string
			if name, outcome, err = im.ioDuringOpen(rand.New(rand.NewPCG(seed, uint64(i)))); name != "" {
				counts.add(name, outcome)
				n++
			}
			if err != nil {
				err = fmt.Errorf("fault %d: %w", i, err)
			}
		}
		return n, err
	})
}
