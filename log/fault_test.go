package log

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A directory that is open cannot be opened again, and the error says who has it: here this process, under
// another name of the directory.
func TestLockNamesThisProcess(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string, fs FS) {
		l := openTest(t, dir, Options{FS: fs})
		again := dir
		if fs == nil {
			again = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(dir, again); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(again, Options{FS: fs})
		wantLocked(t, err, os.Getpid())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		openTest(t, again, Options{FS: fs})
	})
}

func wantLocked(t *testing.T, err error, pid int) {
	t.Helper()
	var locked *LockedError
	if !errors.As(err, &locked) || !errors.Is(err, ErrLocked) {
		t.Fatalf("opened twice: %v, want a LockedError", err)
	}
	program := filepath.Base(os.Args[0])
	if locked.PID != pid || locked.Program != program || locked.Since.IsZero() {
		t.Fatalf("holder is %+v, want process %d of %s", locked, pid, program)
	}
	for _, part := range []string{fmt.Sprint(pid), program, locked.Dir} {
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("%q does not name %q", err, part)
		}
	}
}

const holderVariable = "MOLDAU_TEST_HOLD"

// TestHoldDirectory is the other process of TestLockNamesTheHolder.
func TestHoldDirectory(t *testing.T) {
	dir := os.Getenv(holderVariable)
	if dir == "" {
		t.Skip("only as a process of its own")
	}
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent is done, or gone
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLockNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestHoldDirectory$")
	child.Env = append(os.Environ(), holderVariable+"="+dir)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = Open(dir, Options{})
	wantLocked(t, err, child.Process.Pid)
	// Killed, it leaves its OWNER behind, but not its lock.
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	_ = stdin.Close()
	openTest(t, dir, Options{})
}

// faults fails file operations that match.
type faults struct {
	mu    sync.Mutex
	match func(op errorfs.Op) error
	hits  atomic.Int64
}

func (f *faults) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	match := f.match
	f.mu.Unlock()
	if match == nil {
		return nil
	}
	err := match(op)
	if err != nil {
		f.hits.Add(1)
	}
	return err
}

func (f *faults) String() string { return "faults" }

func (f *faults) set(match func(op errorfs.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.match = match
}

// A disk that is full from any write on leaves the log as it was: the error names the file, nothing
// acknowledged is lost, and once there is room the log goes on, without and with opening it again.
func TestDiskFull(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		for after := 1; after < 200; after += 7 {
			ctx := testContext(t)
			f := &faults{}
			fs := errorfs.Wrap(vfs.NewMem(), f)
			l, err := Open("log", crashOptions(fs, SyncCommit))
			if err != nil {
				t.Fatal(err)
			}
			if err := crashTopics(ctx, l); err != nil {
				t.Fatal(err)
			}
			var writes atomic.Int64
			f.set(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileWriteAt || op.Kind == errorfs.OpCreate {
					if writes.Add(1) > int64(after) {
						return syscall.ENOSPC
					}
				}
				return nil
			})
			var acked atomic.Int64
			err = runCrash(ctx, l, 0, 1000, &acked)
			if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "log/") {
				t.Fatalf("full after %d writes: %v, want ErrDiskFull with the file", after, err)
			}
			if f.hits.Load() == 0 {
				t.Fatal("the disk never was full")
			}
			if reopen {
				_ = l.Close() // what it cannot write is in the journal
				if _, err := Open("log", crashOptions(fs, SyncCommit)); !errors.Is(err, ErrDiskFull) {
					t.Fatalf("opened with a full disk: %v, want ErrDiskFull", err)
				}
			}
			f.set(nil)
			if reopen {
				if l, err = Open("log", crashOptions(fs, SyncCommit)); err != nil {
					t.Fatalf("full after %d writes, and now with room: %v", after, err)
				}
			}
			p := mustProducer(t, l, "app") // aborts what was left open
			next, err := checkCrash(ctx, l, acked.Load())
			if err != nil {
				t.Fatalf("full after %d writes: %v", after, err)
			}
			for i := next; i < next+8; i++ {
				if err := crashTransaction(ctx, p, i); err != nil {
					t.Fatalf("full after %d writes, and now with room: %v", after, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = Open("log", crashOptions(fs, SyncCommit)); err != nil {
				t.Fatal(err)
			}
			if _, err := checkCrash(ctx, l, next); err != nil {
				t.Fatalf("full after %d writes, opened again: %v", after, err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// An append that started new segments and could not be written leaves none of them behind: the next one goes
// where it would have gone.
func TestDiskFullAfterRoll(t *testing.T) {
	ctx := testContext(t)
	f := &faults{}
	l := openTest(t, "log", Options{FS: errorfs.Wrap(vfs.NewMem(), f), Sync: SyncOS})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1, Config: map[string]string{"segment.bytes": "200", "max.message.bytes": "150"}})
	tp := TopicPartition{"t", 0}
	p := mustProducer(t, l, "")
	value := strings.Repeat("x", 30) // one batch each, two in a segment
	f.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, journalDir) {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 2 {
		if _, err := p.Append(ctx, tp, block(value, value, value, value, value)); !errors.Is(err, ErrDiskFull) {
			t.Fatalf("with a full disk: %v", err)
		}
	}
	f.set(nil)
	// The first does not fill the segment, which the failed ones did, and the second does not fit into it.
	large := strings.Repeat("x", 60)
	for i, v := range []string{value, large, value, value, value} {
		if base, err := p.Append(ctx, tp, block(v)); err != nil || base != int64(i) {
			t.Fatalf("with room again: base %d, %v", base, err)
		}
	}
	part, _ := l.Partition(tp)
	base := int64(0)
	for _, s := range *part.segments.Load() {
		if s.base != base {
			t.Fatalf("a segment starts at %d, want %d", s.base, base)
		}
		base = s.next
		f, err := s.file()
		if err != nil {
			t.Fatal(err)
		}
		if size, err := f.size(); err != nil || size != s.size.Load() {
			t.Fatalf("segment %d has %d bytes, and its file %d, %v", s.base, s.size.Load(), size, err)
		}
	}
	if got := readValues(t, l, tp, Earliest, ReadCommitted); len(got) != 5 {
		t.Fatalf("%d records, want 5", len(got))
	}
	// Many batches at once, over several segments.
	if _, err := p.Append(ctx, tp, block(value, value, value, large, value, large)); err != nil {
		t.Fatal(err)
	}
	if got := readValues(t, l, tp, Earliest, ReadCommitted); len(got) != 11 {
		t.Fatalf("%d records, want 11", len(got))
	}
}

// After a sync that failed nobody knows what is on disk, and a second try may succeed without writing
// anything: the log takes nothing more until it is opened again.
func TestFailedSyncStopsTheLog(t *testing.T) {
	for _, dir := range []string{"journal", "topics"} {
		t.Run(dir, func(t *testing.T) {
			ctx := testContext(t)
			f := &faults{}
			mem := vfs.NewMem()
			l, err := Open("log", crashOptions(errorfs.Wrap(mem, f), SyncCommit))
			if err != nil {
				t.Fatal(err)
			}
			if err := crashTopics(ctx, l); err != nil {
				t.Fatal(err)
			}
			var acked atomic.Int64
			if err := runCrash(ctx, l, 0, 3, &acked); err != nil {
				t.Fatal(err)
			}
			f.set(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileSyncData && strings.Contains(op.Path, dir) {
					return syscall.EIO
				}
				return nil
			})
			err = runCrash(ctx, l, 3, 1000, &acked)
			if !errors.Is(err, ErrSyncFailed) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("with syncs that fail: %v, want ErrSyncFailed", err)
			}
			f.set(nil)
			if _, err := l.NewProducer(ProducerSpec{Owner: "other"}); !errors.Is(err, ErrSyncFailed) {
				t.Fatalf("after a sync that failed: %v, want ErrSyncFailed", err)
			}
			if err := l.CreateTopics(ctx, []TopicSpec{{Name: "new", Partitions: 1}}); !errors.Is(err, ErrSyncFailed) {
				t.Fatalf("after a sync that failed: %v, want ErrSyncFailed", err)
			}
			if err := l.Close(); !errors.Is(err, ErrSyncFailed) {
				t.Fatalf("close after a sync that failed: %v, want ErrSyncFailed", err)
			}
			if l, err = Open("log", crashOptions(mem, SyncCommit)); err != nil {
				t.Fatal(err)
			}
			if _, err := checkCrash(ctx, l, acked.Load()); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Readers see nothing that is not synced, in the modes that sync.
func TestVisibleOnceSynced(t *testing.T) {
	for _, iso := range []Isolation{ReadCommitted, ReadUncommitted} {
		ctx := testContext(t)
		f := &faults{}
		l := openTest(t, "log", Options{FS: errorfs.Wrap(vfs.NewMem(), f)})
		mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
		tp := TopicPartition{"t", 0}
		p := mustProducer(t, l, "")
		syncing, goOn := make(chan struct{}), make(chan struct{})
		f.set(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSyncData && strings.Contains(op.Path, journalDir) {
				syncing <- struct{}{}
				<-goOn
			}
			return nil
		})
		done := make(chan error)
		go func() {
			_, err := p.Append(ctx, tp, block("a"))
			done <- err
		}()
		<-syncing
		part, err := l.Partition(tp)
		if err != nil {
			t.Fatal(err)
		}
		if o := part.Offsets(); o.HighWatermark != 0 || o.LastStable != 0 {
			t.Errorf("before the sync ends: %+v", o)
		}
		if b, err := part.Fetch(0, 1000, iso); err != nil || len(b.Buf) > 0 {
			t.Errorf("before the sync ends: %d bytes, %v", len(b.Buf), err)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		f.set(nil)
		wantValues(t, l, tp, iso, "a")
	}
}

// A flipped bit in a segment is found by whoever reads the batch, with file and position; what comes before
// stays readable, what comes after is not passed off as all, nothing is appended, and other partitions go on.
func TestDamagedSegment(t *testing.T) {
	const batches = 6
	for at := 0; ; at += 5 {
		ctx := testContext(t)
		mem := vfs.NewMem()
		l, err := Open("log", Options{FS: mem, Logger: quiet, Sync: SyncOS})
		if err != nil {
			t.Fatal(err)
		}
		mustCreate(t, l, TopicSpec{Name: "t", Partitions: 2, Config: map[string]string{"index.interval.bytes": "100"}})
		bad, good := TopicPartition{"t", 0}, TopicPartition{"t", 1}
		p := mustProducer(t, l, "")
		for i := range batches {
			for _, tp := range []TopicPartition{bad, good} {
				if _, err := p.Append(ctx, tp, block(fmt.Sprint("value ", i), "and another")); err != nil {
					t.Fatal(err)
				}
			}
		}
		part, err := l.Partition(bad)
		if err != nil {
			t.Fatal(err)
		}
		path := part.active().path(logSuffix)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := mem.UnsafeGetFileDataBuffer(path)
		if err != nil {
			t.Fatal(err)
		}
		if at >= len(data) {
			if at == 0 {
				t.Fatal("the segment is empty")
			}
			return
		}
		data[at] ^= 0x10
		size := len(data) / batches // all batches are of one size
		damaged := at / size
		if l, err = Open("log", Options{FS: mem, Logger: quiet}); err != nil {
			t.Fatal(err)
		}
		check := func(err error) {
			t.Helper()
			var ce *CorruptError
			if !errors.As(err, &ce) || !errors.Is(err, ErrCorrupt) || ce.Path != path || ce.Offset != int64(damaged*size) {
				t.Fatalf("byte %d flipped: %v, want damage at %s:%d", at, err, path, damaged*size)
			}
		}
		got, err := tryReadValues(ctx, l, bad, Earliest, ReadCommitted)
		check(err)
		if len(got) != 2*damaged {
			t.Fatalf("byte %d flipped: %d records before the damage, want %d", at, len(got), 2*damaged)
		}
		for offset := int64(2 * damaged); offset < 2*batches; offset++ {
			_, err := tryReadValues(ctx, l, bad, offset, ReadCommitted)
			check(err)
		}
		if part, err = l.Partition(bad); err != nil {
			t.Fatal(err)
		}
		if damaged > 0 {
			if b, err := part.Fetch(0, 1<<20, ReadUncommitted); err != nil || b.Next != int64(2*damaged) {
				t.Fatalf("byte %d flipped: fetched up to %d, %v", at, b.Next, err)
			}
		}
		_, err = part.Fetch(int64(2*damaged), 1<<20, ReadUncommitted)
		check(err)
		p = mustProducer(t, l, "")
		_, err = p.Append(ctx, bad, block("more"))
		check(err)
		if _, err := p.Append(ctx, good, block("more")); err != nil {
			t.Fatal(err)
		}
		if got := readValues(t, l, good, Earliest, ReadCommitted); len(got) != 2*batches+1 {
			t.Fatalf("the partition beside it has %d records", len(got))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A reader that starts behind the damage must not be led past it by what it finds there, nor by an index that
// lies: this one is asked first in the batch after.
func TestDamagedIndexIsNoDamage(t *testing.T) {
	ctx := testContext(t)
	mem := vfs.NewMem()
	l, err := Open("log", Options{FS: mem, Logger: quiet, Sync: SyncOS})
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1, Config: map[string]string{"index.interval.bytes": "100"}})
	tp := TopicPartition{"t", 0}
	p := mustProducer(t, l, "")
	for i := range 20 {
		if _, err := p.Append(ctx, tp, block(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	part, _ := l.Partition(tp)
	path := part.active().path(indexSuffix)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	intact, err := mem.UnsafeGetFileDataBuffer(path)
	if err != nil {
		t.Fatal(err)
	}
	intact = slices.Clone(intact)
	if len(intact) < 4*indexEntrySize {
		t.Fatalf("index of %d bytes", len(intact))
	}
	for at := range intact {
		data, err := mem.UnsafeGetFileDataBuffer(path)
		if err != nil {
			t.Fatal(err)
		}
		copy(data, intact)
		data[at] ^= 0x05
		if l, err = Open("log", Options{FS: mem, Logger: quiet}); err != nil {
			t.Fatal(err)
		}
		for offset := range int64(20) {
			got := readValues(t, l, tp, offset, ReadCommitted)
			if len(got) != int(20-offset) || got[0] != fmt.Sprint(offset) {
				t.Fatalf("byte %d of the index flipped: from offset %d on there is %q", at, offset, got)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const killedVariable = "MOLDAU_TEST_KILLED"

// TestUntilKilled is the other process of TestKilledProcess: transactions, each told once it is acknowledged.
func TestUntilKilled(t *testing.T) {
	dir := os.Getenv(killedVariable)
	if dir == "" {
		t.Skip("only as a process of its own")
	}
	ctx := testContext(t)
	l, err := Open(dir, crashOptions(nil, SyncCommit))
	if err != nil {
		t.Fatal(err)
	}
	if err := crashTopics(ctx, l); err != nil {
		t.Fatal(err)
	}
	p := mustProducer(t, l, "app")
	next := l.CommittedOffsets("g", []TopicPartition{crashIn})[crashIn].Offset
	for {
		if err := crashTransaction(ctx, p, next); err != nil {
			t.Fatal(err)
		}
		if next++; !aborts(next - 1) {
			fmt.Println(next)
		}
	}
}

// A process that is killed, on a real file system, at any moment and many times over: all that it was told is
// done is there, once.
func TestKilledProcess(t *testing.T) {
	ctx := testContext(t)
	dir := t.TempDir()
	acked := int64(0)
	for kill := range 8 {
		child := exec.Command(os.Args[0], "-test.run=^TestUntilKilled$")
		child.Env = append(os.Environ(), killedVariable+"="+dir)
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for range 7*kill + 1 {
			if !lines.Scan() {
				t.Fatalf("the process ended by itself: %v", lines.Err())
			}
			if _, err := fmt.Sscan(lines.Text(), &acked); err != nil {
				t.Fatalf("the process says %q", lines.Text())
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it had told by then
			var more int64
			if n, _ := fmt.Sscan(lines.Text(), &more); n == 1 {
				acked = more
			}
		}
		_ = child.Wait()
		l, err := Open(dir, crashOptions(nil, SyncCommit))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := checkCrash(ctx, l, acked); err != nil {
			t.Fatalf("kill %d, after %d transactions: %v", kill, acked, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
