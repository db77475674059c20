package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/uuid"

	"github.com/moldau-io/moldau/serde"
)

// These tests run a workload whose content follows from its position: after round n, which is committed and
// flushed with position n, each key's value is what value says. So whatever comes back from a crash or a
// full disk can be checked: rows and position must be of one round.

const (
	workRounds = 16
	workKeys   = 30
)

var workTopic = uuid.MustParse("11111111-2222-3333-4444-555555555555")

// workValue is large enough for a few rounds to fill Pebble's first write buffers. Key k is absent in every
// third round, with an offset of its own.
func workValue(k, round int) ([]byte, bool) {
	if round == 0 || (k+round)%3 == 0 {
		return nil, false
	}
	v := make([]byte, 2000)
	rng := rand.New(rand.NewPCG(uint64(k), uint64(round)))
	for i := range v {
		v[i] = byte(rng.Uint32())
	}
	return v, true
}

type workload struct {
	db    *DB
	task  *Task
	store *KeyValueStore[string, []byte]
}

func openWork(disk vfs.FS) (*workload, error) {
	db, err := Open("state", Options{FS: disk, CacheBytes: 20_000, memTableBytes: 96 << 10})
	if err != nil {
		return nil, err
	}
	w := &workload{db: db}
	if w.task, err = db.Task("app/0"); err != nil {
		return w, err
	}
	w.store, err = OpenKeyValue(w.task, "store", serde.String, serde.Bytes)
	return w, err
}

// run does the rounds from start on. It returns the first round that failed, or workRounds+1.
func (w *workload) run(start int) (int, error) {
	for round := start; round <= workRounds; round++ {
		if err := w.round(round); err != nil {
			return round, err
		}
	}
	return workRounds + 1, nil
}

func (w *workload) round(round int) error {
	w.task.BeginEpoch(w.task.last + 1)
	for k := range workKeys {
		key := fmt.Sprintf("key %d", k)
		v, ok := workValue(k, round)
		if !ok {
			if err := w.store.Delete(key, int64(round)); err != nil {
				return err
			}
			continue
		}
		if err := w.store.Put(key, v, int64(round)); err != nil {
			return err
		}
	}
	w.task.CommitEpoch()
	w.store.SetPosition(Position{TopicID: workTopic, Offset: int64(round)})
	if err := w.task.StartFlush(); err != nil {
		return err
	}
	w.task.Trim()
	return w.task.WaitFlush(context.Background())
}

func (w *workload) close() error {
	var err error
	if w.task != nil {
		err = w.task.Close()
	}
	return errors.Join(err, w.db.Close())
}

// check compares the store with the round that its position names.
func (w *workload) check() (round int, err error) {
	p, _ := w.store.Stored()
	round = int(p.Offset)
	for k := range workKeys {
		key := fmt.Sprintf("key %d", k)
		got, err := w.store.Get(key)
		if err != nil {
			return round, err
		}
		want, ok := workValue(k, round)
		if ok != got.OK || string(want) != string(got.V) || ok && got.Timestamp != int64(round) {
			return round, fmt.Errorf("%s is not of round %d: there %v, want %v", key, round, got.OK, ok)
		}
	}
	return round, nil
}

// reopen checks what fs holds, and that work can go on from there.
func reopen(t *testing.T, fs vfs.FS, goOn bool) (round int) {
	t.Helper()
	w, err := openWork(fs)
	if err != nil {
		t.Fatal(err)
	}
	if round, err = w.check(); err != nil {
		t.Fatal(err)
	}
	if goOn {
		if at, err := w.run(round + 1); err != nil {
			t.Fatalf("going on from round %d: round %d: %v", round, at, err)
		}
		if at, err := w.check(); err != nil || at != workRounds {
			t.Fatalf("after all: round %d, %v", at, err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return round
}

// isChange reports whether an operation changes a file.
func isChange(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpFileStat, errorfs.OpOpen, errorfs.OpOpenDir,
		errorfs.OpList, errorfs.OpStat, errorfs.OpGetDiskUsage, errorfs.OpFilePreallocate, errorfs.OpFileClose:
		return false
	}
	return true
}

// reusing reuses files in two steps. MemFS does it under a lock that it takes twice, and hangs if a crash is
// cloned in between.
type reusing struct{ vfs.FS }

func (fs reusing) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return fs.OpenReadWrite(newname, c)
}

// Before each change of a file, the machine loses power: unsynced data may be there or not, block by block.
func TestCrashLeavesOneRound(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex
	var crashes []*vfs.MemFS
	rng := rand.New(rand.NewPCG(1, 2))
	w, err := openWork(reusing{errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !isChange(op) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		percent := []int{0, 50, 100}[len(crashes)%3]
		crashes = append(crashes, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		return nil
	}))})
	if err != nil {
		t.Fatal(err)
	}
	if at, err := w.run(1); err != nil {
		t.Fatalf("round %d: %v", at, err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	rounds := map[int]int{}
	for i, fs := range crashes {
		rounds[reopen(t, fs, i%20 == 0)]++
	}
	t.Logf("%d crashes; rounds they came back with: %v", len(crashes), rounds)
	if len(rounds) < workRounds/2 {
		t.Errorf("the crashes came back with few different rounds: %v", rounds)
	}
	if reopen(t, mem, false) != workRounds {
		t.Error("the last round was lost without a crash")
	}
}

// fullDisk refuses writes once so many bytes have been written.
type fullDisk struct{ left atomic.Int64 }

// diskFS counts the bytes written through it.
type diskFS struct {
	vfs.FS
	disk *fullDisk
}

func (d diskFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.disk.left.Load() <= 0 {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	f, err := d.FS.Create(name, c)
	return diskFile{f, d.disk, name}, err
}

func (d diskFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, opts...)
	return diskFile{f, d.disk, name}, err
}

func (d diskFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(oldname, newname, c)
	return diskFile{f, d.disk, newname}, err
}

type diskFile struct {
	vfs.File
	disk *fullDisk
	name string
}

func (f diskFile) Write(p []byte) (int, error) {
	if left := f.disk.left.Add(-int64(len(p))); left < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return f.File.Write(p)
}

// The disk fills up after so many bytes, wherever that is: in Open, in the WAL, in a table, in the manifest.
// Whoever uses the state gets an error that says so, Close returns, and with room again work goes on.
func TestFullDisk(t *testing.T) {
	total := func() int64 {
		disk := &fullDisk{}
		disk.left.Store(1 << 40)
		w, err := openWork(diskFS{vfs.NewMem(), disk})
		if err == nil {
			_, err = w.run(1)
		}
		if err == nil {
			err = w.close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return 1<<40 - disk.left.Load()
	}()
	const steps = 60
	failedIn := map[string]int{}
	for i := range steps {
		room := total * int64(i) / steps
		mem := vfs.NewMem()
		disk := &fullDisk{}
		disk.left.Store(room)
		where := fillUp(t, diskFS{mem, disk}, room)
		failedIn[where]++
		disk.left.Store(1 << 40)
		reopen(t, diskFS{mem, disk}, true)
	}
	t.Logf("%d bytes in all; the disk was full in %v", total, failedIn)
	if failedIn["open"] == 0 || failedIn["run"] == 0 {
		t.Errorf("the disk was full in %v; want open and run", failedIn)
	}
}

// fillUp runs the workload on a disk that fills up, and says where it failed.
func fillUp(t *testing.T, fs vfs.FS, room int64) string {
	t.Helper()
	w, err := openWork(fs)
	where := "open"
	if err == nil {
		where = "run"
		_, err = w.run(1)
		if err == nil {
			where = "end"
		}
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d bytes of room: the error in %s does not say what it is: %v", room, where, err)
	}
	if w == nil {
		return where
	}
	if err != nil {
		select {
		case <-w.db.Failed():
		default:
			t.Fatalf("%d bytes of room: %v, but the database has not failed", room, err)
		}
		if err := w.db.Err(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "state/") {
			t.Fatalf("%d bytes of room: Err is %v", room, err)
		}
		if w.task != nil && w.task.epoch == 0 {
			if err := w.task.StartFlush(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%d bytes of room: the next StartFlush returns %v", room, err)
			}
			if w.task.FlushDue() {
				t.Fatal("a failed database has a flush due")
			}
		}
	}
	start := time.Now()
	if err := w.close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d bytes of room: close: %v", room, err)
	}
	if d := time.Since(start); d > 10*closePatience {
		t.Fatalf("%d bytes of room: close took %s", room, d)
	}
	return where
}

// Any change of a file may fail, once. The error is reported, whatever Pebble makes of it, and is the last
// thing that happens to the files.
func TestAnyChangeMayFail(t *testing.T) {
	errBroken := errors.New("this disk is broken")
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		var count, late atomic.Int32
		var failed atomic.Bool // known to the workload
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !isChange(op) || op.Kind == errorfs.OpRemove {
				return nil
			}
			if failed.Load() {
				late.Add(1)
			}
			if count.Add(1)-1 == n {
				return errBroken
			}
			return nil
		}))
		w, err := openWork(fs)
		if err == nil {
			_, err = w.run(1)
			failed.Store(err != nil)
		}
		if w != nil {
			err = errors.Join(err, w.close())
		}
		if count.Load() <= n {
			if err != nil {
				t.Fatalf("nothing failed, but: %v", err)
			}
			t.Logf("%d changes", n)
			if n < 20 {
				t.Errorf("only %d changes in all", n)
			}
			return
		}
		if !errors.Is(err, errBroken) {
			t.Fatalf("change %d failed, and the error is %v", n, err)
		}
		if late.Load() > 4 { // those under way on other goroutines: WAL, flush, compaction, cleaning up
			t.Fatalf("%d changes after the failure of change %d was reported", late.Load(), n)
		}
		reopen(t, mem, false)
	}
}

// stuck is a disk on which a write does not return.
type stuck struct {
	vfs.FS
	on      *atomic.Bool
	release chan struct{}
}

func (s stuck) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return stuckFile{f, s}, err
}

type stuckFile struct {
	vfs.File
	disk stuck
}

func (f stuckFile) Write(p []byte) (int, error) {
	if f.disk.on.Load() {
		<-f.disk.release
	}
	return f.File.Write(p)
}

// Once the database has failed, Close does not wait for a disk that does not answer, and gives up the lock.
func TestCloseOfAFailedDatabaseDoesNotHang(t *testing.T) {
	mem := vfs.NewMem()
	disk := stuck{mem, new(atomic.Bool), make(chan struct{})}
	w, err := openWork(disk)
	if err != nil {
		t.Fatal(err)
	}
	disk.on.Store(true)
	if err := w.round(1); err != nil { // the WAL is written in the background
		t.Fatal(err)
	}
	errWhy := errors.New("the reason")
	w.db.fail(errWhy)
	if err := w.close(); !errors.Is(err, errWhy) {
		t.Errorf("close: %v", err)
	}
	reopen(t, mem, true)
	close(disk.release)
}
