package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// write makes a file of that content, or changes one from offset on.
func write(t *testing.T, fs *FS, name, content string, offset int64, sync bool) {
	t.Helper()
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(content), offset); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func syncDir(t *testing.T, fs *FS, name string) {
	t.Helper()
	d, err := fs.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		t.Fatal(err)
	}
}

// tree is what is there: names and contents.
func tree(t *testing.T, fs *FS) string {
	t.Helper()
	var b strings.Builder
	for _, name := range fs.Files("") {
		content, err := fs.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 20 {
			content = fmt.Appendf(nil, "%d bytes", len(content))
		}
		fmt.Fprintf(&b, "%s=%s ", name, content)
	}
	return strings.TrimSpace(b.String())
}

// What is left by a crash with nothing, and with all, of what was not synced.
func TestClone(t *testing.T) {
	for _, test := range []struct {
		name               string
		do                 func(fs *FS)
		synced, everything string
	}{
		{"a file that is synced, and its name is not", func(fs *FS) { write(t, fs, "new", "x", 0, true) }, "a=1 b=2", "a=1 b=2 new=x"},
		{"a name that is synced, and its file is not", func(fs *FS) {
			write(t, fs, "new", "x", 0, false)
			syncDir(t, fs, ".")
		}, "a=1 b=2 new=", "a=1 b=2 new=x"},
		{"both", func(fs *FS) {
			write(t, fs, "new", "x", 0, true)
			syncDir(t, fs, "")
		}, "a=1 b=2 new=x", "a=1 b=2 new=x"},
		{"a write after the sync", func(fs *FS) { write(t, fs, "a", "9", 0, false) }, "a=1 b=2", "a=9 b=2"},
		{"a removed name", func(fs *FS) { _ = fs.Remove("a") }, "a=1 b=2", "b=2"},
		{"a rename", func(fs *FS) { _ = fs.Rename("a", "b") }, "a=1 b=2", "b=1"},
		{"a rename that is synced", func(fs *FS) {
			_ = fs.Rename("a", "b")
			syncDir(t, fs, "")
		}, "b=1", "b=1"},
		{"a file created over another", func(fs *FS) { _, _ = fs.Create("a", "") }, "a=1 b=2", "a= b=2"},
		{"a directory whose name is not synced", func(fs *FS) {
			_ = fs.MkdirAll("d/e", 0o755)
			write(t, fs, "d/e/f", "x", 0, true)
			syncDir(t, fs, "d/e")
			syncDir(t, fs, "d")
		}, "a=1 b=2", "a=1 b=2 d/e/f=x"},
		{"a hard link", func(fs *FS) { _ = fs.Link("a", "c") }, "a=1 b=2", "a=1 b=2 c=1"},
		{"all removed", func(fs *FS) { _, _ = fs.RemoveAll("a"), fs.RemoveAll("b") }, "a=1 b=2", ""},
	} {
		fs := New(Options{})
		write(t, fs, "a", "1", 0, true)
		write(t, fs, "/b", "2", 0, true)
		syncDir(t, fs, "")
		test.do(fs)
		if got := tree(t, fs.Clone(0, nil)); got != test.synced {
			t.Errorf("%s: synced is %q, want %q", test.name, got, test.synced)
		}
		all := fs.Clone(100, nil)
		if got := tree(t, all); got != test.everything || got != tree(t, fs) {
			t.Errorf("%s: after the end of the process there is %q, want %q", test.name, got, test.everything)
		}
		if got := tree(t, all.Clone(0, nil)); got != test.everything {
			t.Errorf("%s: a second crash takes back what the first had left: %q", test.name, got)
		}
		fork := fs.Fork()
		if got := tree(t, fork); got != test.everything {
			t.Errorf("%s: after the end of the process there is %q, want %q", test.name, got, test.everything)
		}
		if got := tree(t, fork.Clone(0, nil)); got != test.synced {
			t.Errorf("%s: after the end of the process and then of the machine there is %q, want %q", test.name, got, test.synced)
		}
		if got := tree(t, fork.Clone(30, rng(5))); got != tree(t, fs.Clone(30, rng(5))) {
			t.Errorf("%s: in between a fork leaves %q", test.name, got)
		}
		if fs.Used() != all.Used() || fs.Used() != fork.Used() {
			t.Errorf("%s: %d bytes are used, and %d of the clone's", test.name, fs.Used(), all.Used())
		}
	}
}

// Between nothing and all, what survives is drawn: each block, name and size by itself, renames as a whole. The
// same seed draws the same.
func TestCloneInBetween(t *testing.T) {
	const blocks = 8
	fs := New(Options{})
	write(t, fs, "f", strings.Repeat("o", 4*blockSize), 0, true)
	write(t, fs, "old", "content", 0, true)
	write(t, fs, "removed", "", 0, true)
	syncDir(t, fs, "")
	write(t, fs, "f", strings.Repeat("n", blocks*blockSize), 0, false)
	if err := errors.Join(fs.Rename("old", "new"), fs.Remove("removed")); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for seed := range uint64(400) {
		c := fs.Clone(30, rng(seed))
		again := fs.Clone(30, rng(seed))
		if tree(t, c) != tree(t, again) {
			t.Fatalf("seed %d leaves %q, and %q", seed, tree(t, c), tree(t, again))
		}
		files := c.Files("")
		switch {
		case slices.Contains(files, "old") == slices.Contains(files, "new"):
			t.Fatalf("half of a rename: %q", files)
		case slices.Contains(files, "old"):
			seen["rename lost"]++
		default:
			seen["renamed"]++
		}
		if slices.Contains(files, "removed") {
			seen["removal lost"]++
		} else {
			seen["removed"]++
		}
		b, err := c.ReadFile("f")
		if err != nil {
			t.Fatal(err)
		}
		if other, _ := again.ReadFile("f"); !bytes.Equal(b, other) {
			t.Fatalf("seed %d leaves two contents", seed)
		}
		if len(b) < 4*blockSize || len(b)%blockSize != 0 {
			t.Fatalf("%d bytes", len(b))
		}
		if len(b) == blocks*blockSize && b[len(b)-1] == 0 {
			seen["size without content"]++
		}
		for at := 0; at < len(b); at += blockSize {
			block := b[at : at+blockSize]
			n := bytes.Count(block, []byte("n"))
			if bytes.IndexFunc(block, func(r rune) bool { return r != 'n' }) != n && n < blockSize {
				t.Fatalf("what survives of a block is no prefix")
			}
			switch n {
			case 0:
				seen["block lost"]++
			case blockSize:
				seen["block"]++
			default:
				seen["block torn"]++
			}
		}
	}
	for _, what := range []string{"rename lost", "renamed", "removal lost", "removed", "size without content", "block lost", "block", "block torn"} {
		if seen[what] == 0 {
			t.Errorf("no clone had: %s; %v", what, seen)
		}
	}
}

// Clones are apart from the original and from each other.
func TestClonesAreApart(t *testing.T) {
	fs := New(Options{})
	write(t, fs, "f", "one", 0, true)
	syncDir(t, fs, "")
	write(t, fs, "f", "two", 0, false)
	a, b, c := fs.Clone(100, nil), fs.Clone(100, nil), fs.Fork()
	write(t, fs, "f", "xxx", 0, true)
	write(t, a, "f", "yyy", 0, false)
	write(t, c, "f", "zzz", 0, false)
	for _, got := range []struct {
		fs   *FS
		want string
	}{{fs, "f=xxx"}, {a, "f=yyy"}, {b, "f=two"}, {a.Clone(0, nil), "f=two"}, {c, "f=zzz"}, {c.Clone(0, nil), "f=one"}} {
		if s := tree(t, got.fs); s != got.want {
			t.Errorf("%q, want %q", s, got.want)
		}
	}
}

// Each operation that changes something is a point, before it is done; reads are none.
func TestPoints(t *testing.T) {
	fs := New(Options{})
	var got []string
	fs.OnPoint(func(p Point) {
		got = append(got, fmt.Sprintf("%d %v: %s", p.N, p.Op, tree(t, p.Clone(100, nil))))
	})
	_ = fs.MkdirAll("d/e", 0o755)
	write(t, fs, "d/f", "abc", 2, true)
	syncDir(t, fs, "d")
	_ = fs.Rename("d/f", "d/g")
	_ = fs.Remove("d/missing")
	_, _ = fs.List("d")
	_, _ = fs.Stat("d/g")
	_ = fs.Remove("d/g")
	_, _ = fs.Lock("LOCK")
	want := []string{
		"1 mkdir d: ", "2 mkdir d/e: ", "3 create d/f: ", "4 write 3 bytes at d/f:2: d/f=", "5 sync d/f: d/f=\x00\x00abc",
		"6 sync-dir d: d/f=\x00\x00abc", "7 rename d/f to d/g: d/f=\x00\x00abc", "8 remove d/g: d/g=\x00\x00abc", "9 lock LOCK: ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("points\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if fs.Points() != len(want) {
		t.Errorf("%d points are counted, want %d", fs.Points(), len(want))
	}
}

// Faults of operations.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name                  string
		on                    Kind
		fault                 Fault
		seen, synced, evicted string // by the process; on disk; on disk after another sync
		err                   error
	}{
		{"none", Write, Fault{}, "new!", "new!", "new!", nil},
		{"a write fails", Write, Fault{Effect: Fail, Err: syscall.EIO}, "old", "old", "old", syscall.EIO},
		{"a write is torn", Write, Fault{Effect: Tear, Bytes: 2, Err: syscall.EIO}, "ned", "old", "ned", syscall.EIO},
		{"a write is skipped", Write, Fault{Effect: Skip}, "old", "old", "old", nil},
		{"a sync fails", Sync, Fault{Effect: Fail, Err: syscall.EIO}, "new!", "old", "new!", syscall.EIO},
		{"a sync is skipped", Sync, Fault{Effect: Skip}, "new!", "old", "new!", nil},
		{"a sync loses what it was to write", Sync, Fault{Effect: Lose, Err: syscall.EIO}, "new!", "old", "old\x00", syscall.EIO},
		{"and the cache too", Sync, Fault{Effect: Evict, Err: syscall.EIO}, "old\x00", "old", "old\x00", syscall.EIO},
		{"a short read", Read, Fault{Effect: Short, Bytes: 1}, "n", "new!", "new!", nil},
		{"a read fails", Read, Fault{Effect: Fail, Err: syscall.EIO}, "", "new!", "new!", syscall.EIO},
	} {
		fs := New(Options{})
		write(t, fs, "f", "old", 0, true)
		syncDir(t, fs, "")
		fs.Inject(func(op Op) Fault {
			if op.Kind == test.on && op.Path == "f" {
				return test.fault
			}
			return Fault{}
		})
		f, err := fs.OpenReadWrite("f", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte("new!"), 0)
		if err == nil {
			err = f.Sync()
		}
		b := make([]byte, 10)
		n, rerr := f.ReadAt(b, 0)
		if rerr != io.EOF {
			err = errors.Join(err, rerr)
		}
		if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("%s: %v, want %v", test.name, err, test.err)
		}
		if got := string(b[:n]); got != test.seen {
			t.Errorf("%s: the process sees %q, want %q", test.name, got, test.seen)
		}
		if got := tree(t, fs.Clone(0, nil)); got != "f="+test.synced {
			t.Errorf("%s: on disk is %q, want %q", test.name, got, test.synced)
		}
		fs.Inject(nil)
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Errorf("%s: the next sync: %v", test.name, err)
		}
		if got := tree(t, fs.Clone(0, nil)); got != "f="+test.evicted {
			t.Errorf("%s: after another sync there is %q on disk, want %q", test.name, got, test.evicted)
		}
	}
}

// Damage of what is stored is there for all who read, and after a crash.
func TestDamage(t *testing.T) {
	fs := New(Options{})
	write(t, fs, "f", "abcdef", 0, true)
	syncDir(t, fs, "")
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return fs.Flip("f", 8+1) }, "a`cdef"},
		{func() error { return fs.Zero("f", 3, 2) }, "a`c\x00\x00f"},
		{func() error { return fs.Overwrite("f", 4, []byte("xyz")) }, "a`c\x00xy"},
		{func() error { return fs.Zero("f", 5, 512) }, "a`c\x00x\x00"},
		{func() error { return fs.Cut("f", 2) }, "a`"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := tree(t, fs.Clone(0, nil)); got != "f="+step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
	for _, err := range []error{fs.Flip("f", 16), fs.Flip("g", 0), fs.Cut("f", 3), fs.Zero("f", -1, 1)} {
		if err == nil {
			t.Error("damage of what is not there")
		}
	}
}

// A budget is a disk that becomes full: what fits is written, and removing makes room.
func TestBudget(t *testing.T) {
	fs := New(Options{Budget: 10})
	write(t, fs, "a", "123456", 0, true)
	f, err := fs.OpenReadWrite("b", "")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write([]byte("abcdef")); n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	if _, err := fs.Create("c", ""); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("created on a full disk: %v", err)
	}
	write(t, fs, "a", "xyz", 0, true) // over what is there takes no room
	if err := fs.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write([]byte("ef")); n != 2 || err != nil || fs.Used() != 6 {
		t.Fatalf("wrote %d bytes, %v; %d are used", n, err, fs.Used())
	}
	fs.SetBudget(0)
	write(t, fs, "c", "1234567890", 0, true)
	if got := tree(t, fs); got != "b=abcdef c=1234567890" {
		t.Errorf("%q", got)
	}
}

// What else callers rely on.
func TestFileSystem(t *testing.T) {
	fs := New(Options{})
	if _, err := fs.Open("missing"); !os.IsNotExist(err) {
		t.Errorf("open: %v", err)
	}
	if _, err := fs.Create("no/such/dir", ""); !os.IsNotExist(err) {
		t.Errorf("create: %v", err)
	}
	if err := fs.Remove("missing"); !os.IsNotExist(err) {
		t.Errorf("remove: %v", err)
	}
	first, err := fs.Lock("LOCK")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lock("LOCK"); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("locked twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lock("LOCK"); err != nil {
		t.Errorf("locked after it was given back: %v", err)
	}
	if err := fs.MkdirAll("d/e", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fs.Remove("d"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("removed a directory with content: %v", err)
	}
	if names, err := fs.List("/"); err != nil || !slices.Equal(names, []string{"LOCK", "d"}) {
		t.Errorf("list: %q, %v", names, err)
	}
	// A file goes on under its new name, and after its name is gone.
	f, err := fs.Create("d/x", "")
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.Write([]byte("one"))
	g, err := fs.ReuseForWrite("d/x", "d/y", "")
	if err = errors.Join(werr, err); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write([]byte("T")); err != nil {
		t.Fatal(err)
	}
	if err := fs.Remove("d/y"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if n, err := f.ReadAt(b, 0); n != 3 || err != nil || string(b) != "Tne" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); !errors.Is(err, os.ErrClosed) {
		t.Errorf("written after it was closed: %v", err)
	}
}
