// Package crashfs is a file system in memory for crash tests: a vfs.FS that stops at each operation that changes
// it, hands out what a crash at this moment may leave, and injects the faults of disks.
//
//	fs := crashfs.New(crashfs.Options{})
//	fs.OnPoint(func(p crashfs.Point) {
//		left := p.Clone(30, rng) // of what was not synced, this many per cent survive
//		// open the log on left, and hold it against what was acknowledged by now
//	})
//
// Pebble has one as well (vfs.NewCrashableMem). This one is for what that cannot do: its clones follow from the
// seed alone and copy no data, so that one may be taken at every point of a long run, and again at each point of
// a recovery; a removed or replaced name may stay removed; a block may be torn at any byte; a sync may fail and
// lose what it was to write, as on Linux.
//
// What survives a crash, beside what was synced: for a file, each block of 4096 bytes that was written since,
// and the file's size; for a directory, each creation, removal and rename of a name since its last sync. They
// are drawn one by one, in no order, but a rename is whole or not at all. Syncing a file does not make its name
// durable: only the sync of its directory does.
package crashfs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind is what an operation does.
type Kind uint8

// The kinds up to Lock change what a crash may leave: they are points. Those from Open on do not.
const (
	Create Kind = iota // a new, empty file
	Mkdir
	Write
	Sync    // of a file, its data alone or with its attributes
	SyncDir // of the names in a directory
	Rename
	Link
	Remove
	RemoveAll
	Lock // of a file that it makes, if need be
	Open // for reading or writing, of a file that is there
	Read
	Stat
	List
	NumKinds int = iota
)

var kindNames = [NumKinds]string{"create", "mkdir", "write", "sync", "sync-dir", "rename", "link", "remove",
	"remove-all", "lock", "open", "read", "stat", "list"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", k)
}

// Changes reports whether operations of the kind change what a crash may leave.
func (k Kind) Changes() bool { return k <= Lock }

// Op is an operation that is about to be done.
type Op struct {
	Kind   Kind
	Path   string // cleaned, without a leading slash
	To     string // the new name, of Rename and Link
	Offset int64  // in the file, of Read and Write
	Bytes  int    // of Read and Write
}

func (o Op) String() string {
	switch {
	case o.To != "":
		return fmt.Sprintf("%v %s to %s", o.Kind, o.Path, o.To)
	case o.Kind == Read || o.Kind == Write:
		return fmt.Sprintf("%v %d bytes at %s:%d", o.Kind, o.Bytes, o.Path, o.Offset)
	}
	return fmt.Sprintf("%v %s", o.Kind, o.Path)
}

// Point is the moment before an operation that changes something.
type Point struct {
	Op
	N  int // 1 for the first since New or Clone
	fs *FS
}

// Clone is FS.Clone: what a crash before the operation may leave.
func (p Point) Clone(percent int, rng *rand.Rand) *FS { return p.fs.Clone(percent, rng) }

// Fork is FS.Fork: what the end of the process before the operation leaves.
func (p Point) Fork() *FS { return p.fs.Fork() }

// Options are for New. The zero value is good.
type Options struct {
	// Budget is how many bytes all files may have together; 0 is no limit. See SetBudget.
	Budget int64
}

// FS is the file system. Its methods may be called concurrently, those of one file too.
type FS struct {
	hookMu sync.Mutex // held while the hook runs: there is one point at a time

	mu     sync.Mutex
	root   *node
	locks  map[string]bool
	used   int64
	budget int64
	hook   func(Point)
	inject func(Op) Fault
	points int
}

// New returns an empty file system. Its root directory is durable.
func New(o Options) *FS { return &FS{root: newDir(), locks: make(map[string]bool), budget: o.Budget} }

// OnPoint makes the file system call hook before each operation that changes something; nil ends that. The
// operation waits for hook to return, and so does every other that changes something; clones are taken in hook,
// which must not change the file system itself. What was acknowledged before hook is called is in its clones.
func (fs *FS) OnPoint(hook func(p Point)) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.hook = hook
}

// Points is how many points there were while there was a hook.
func (fs *FS) Points() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.points
}

// before is called by each operation before it is done, without mu.
func (fs *FS) before(op Op) Fault {
	fs.mu.Lock()
	hook, inject := fs.hook, fs.inject
	fs.mu.Unlock()
	if hook != nil && op.Kind.Changes() {
		fs.point(hook, op)
	}
	if inject == nil {
		return Fault{}
	}
	return inject(op)
}

func (fs *FS) point(hook func(Point), op Op) {
	fs.hookMu.Lock()
	defer fs.hookMu.Unlock()
	fs.mu.Lock()
	fs.points++
	p := Point{Op: op, N: fs.points, fs: fs}
	fs.mu.Unlock()
	hook(p)
}

// Clone returns what a crash now may leave, with percent of what was not synced: 0 is what was synced and
// nothing else; 100 is all that was written, as after the end of the process; in between rng draws, and one of
// four blocks that survive is torn at a byte. rng may be nil for 0 and 100. The clone is a file system of its own,
// without hook, faults and locks; the original goes on.
func (fs *FS) Clone(percent int, rng *rand.Rand) *FS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	c := cloner{percent: percent, rng: rng, nodes: make(map[*node]*node), events: make(map[*event]bool)}
	clone := New(Options{Budget: fs.budget})
	clone.root = c.clone(fs.root)
	clone.used = c.used
	return clone
}

// Fork returns what the end of the process leaves: all that was written, and of that what was not synced is not
// synced yet, so that a crash of the machine can still take it. Clone(100, nil) has the same content, and all of
// it is on disk. Like a clone it is a file system of its own.
func (fs *FS) Fork() *FS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	c := forker{nodes: make(map[*node]*node)}
	fork := New(Options{Budget: fs.budget})
	fork.root = c.fork(fs.root)
	fork.used = fs.used
	return fork
}

// SetBudget sets how many bytes all files may have together; 0 is no limit. A write that would go past it is
// done as far as there is room and fails with ENOSPC, and with no room at all nothing can be created either.
func (fs *FS) SetBudget(bytes int64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.budget = bytes
}

// Used is how many bytes all files have together.
func (fs *FS) Used() int64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.used
}

// full reports whether nothing can be created. The caller holds mu.
func (fs *FS) full() bool { return fs.budget > 0 && fs.used >= fs.budget }

func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	return name
}

func pathError(op, name string, err error) error { return &os.PathError{Op: op, Path: name, Err: err} }

// lookup returns the node of that name; nil if there is none. The caller holds mu.
func (fs *FS) lookup(name string) *node {
	n := fs.root
	if name == "" {
		return n
	}
	for part := range strings.SplitSeq(name, "/") {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// parent returns the directory that name is, or would be, in. The caller holds mu.
func (fs *FS) parent(op, name string) (dir *node, base string, err error) {
	d, base := path.Split(name)
	if base == "" {
		return nil, "", pathError(op, name, syscall.EINVAL)
	}
	dir = fs.lookup(strings.TrimSuffix(d, "/"))
	if dir == nil {
		return nil, "", pathError(op, name, os.ErrNotExist)
	}
	if !dir.isDir {
		return nil, "", pathError(op, name, syscall.ENOTDIR)
	}
	return dir, base, nil
}

// put makes name in dir stand for n, or for nothing if n is nil. The caller holds mu.
func (fs *FS) put(dir *node, name string, n *node, e *event) {
	if old := dir.children[name]; old != nil {
		fs.unlink(old)
	}
	if n == nil {
		delete(dir.children, name)
	} else {
		n.links++
		dir.children[name] = n
	}
	dir.changes = append(dir.changes, change{name: name, node: n, event: e})
}

func (fs *FS) unlink(n *node) {
	n.links--
	if n.links > 0 {
		return
	}
	if !n.isDir {
		fs.used -= n.size
		return
	}
	for _, child := range n.children {
		fs.unlink(child)
	}
}

// newFile makes an empty file of that name; one that was there is removed. The caller holds mu.
func (fs *FS) newFile(op, name string) (*node, error) {
	dir, base, err := fs.parent(op, name)
	if err != nil {
		return nil, err
	}
	if old := dir.children[base]; old != nil && old.isDir {
		return nil, pathError(op, name, syscall.EISDIR)
	}
	if fs.full() {
		return nil, pathError(op, name, syscall.ENOSPC)
	}
	n := &node{modTime: time.Now()}
	fs.put(dir, base, n, new(event))
	return n, nil
}
