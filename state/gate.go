package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file stands between Pebble and the disk, since Pebble cannot be left to an error of the disk. It
// exits the process (Logger.Fatalf), panics on goroutines of its own (a directory that cannot be synced),
// panics with a mutex unlocked that a deferred call unlocks again, which no recover catches (a WAL that
// cannot be rotated), or retries at once and for ever (a failed flush).
//
// So Pebble never hears of an error when it changes a file. The first change that fails is the database's
// failure, with its cause intact, and shuts the gate: from then on no file changes any more. What Pebble
// writes after that goes to memory or nowhere, and looks to it as if all were well, until it is closed,
// which the failure makes the application do. What is on the disk is what was there at the failure, a
// prefix of what was applied, as after a crash.
//
// A change that is under way on another goroutine when one fails may still happen. It did not depend on the
// other, or it would have waited for it; so that too is a state that a crash could leave.

// gate is the file system that a database's Pebble uses.
type gate struct {
	vfs.FS
	fail func(error) // shuts the gate with the first error

	isShut atomic.Bool
	dream  *vfs.MemFS // files created since

	mu    sync.Mutex
	locks []*gateLock
}

func newGate(under vfs.FS, dir string, fail func(error)) (*gate, error) {
	g := &gate{FS: under, fail: fail, dream: vfs.NewMem()}
	return g, g.dream.MkdirAll(dir, 0o755)
}

func (g *gate) shut() { g.isShut.Store(true) }

// failed reports whether the change has failed in earnest: not because a file is there or is not, which
// Pebble may ask in this way.
func (g *gate) failed(step, name string, err error) bool {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return false
	}
	g.fail(changeError(step, name, err))
	return true
}

// changeError names the step and the file, unless the error does, as those of package os do.
func changeError(step, name string, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	return fmt.Errorf("%s %s: %w", step, name, err)
}

// file does what makes a file to write to; in memory once the gate is shut.
func (g *gate) file(step, name string, do func() (vfs.File, error)) (vfs.File, error) {
	if !g.isShut.Load() {
		f, err := do()
		if err == nil {
			return &gateFile{File: f, g: g, name: name}, nil
		}
		if !g.failed(step, name, err) {
			return nil, err
		}
	}
	return g.dream.Create(name, vfs.WriteCategoryUnspecified)
}

func (g *gate) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file("create", name, func() (vfs.File, error) {
		if g.isMarker(name) {
			if err := g.syncDir(g.FS.PathDir(name)); err != nil {
				return nil, err
			}
		}
		return g.FS.Create(name, category)
	})
}

// isMarker tells the files whose names say which manifest and which format count. Pebble creates the manifest,
// then the new marker, removes the old one, and syncs the directory once. A file system that does not keep this
// order may after a power loss have the marker without its manifest, and the database cannot be opened; or no
// marker at all, and it is taken for a new one. So the directory is synced after each of these steps.
func (g *gate) isMarker(name string) bool { return strings.HasPrefix(g.FS.PathBase(name), "marker.") }

func (g *gate) syncDir(dir string) error {
	d, err := g.FS.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (g *gate) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.file("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, category, opts...) })
}

func (g *gate) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file("reuse for", newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, category) })
}

// change does what changes a directory.
func (g *gate) change(step, name string, do func() error) error {
	if g.isShut.Load() {
		return nil
	}
	err := do()
	if g.failed(step, name, err) {
		return nil
	}
	return err
}

func (g *gate) Link(oldname, newname string) error {
	return g.change("link", newname, func() error { return g.FS.Link(oldname, newname) })
}

func (g *gate) Rename(oldname, newname string) error {
	return g.change("rename to", newname, func() error { return g.FS.Rename(oldname, newname) })
}

func (g *gate) MkdirAll(dir string, perm os.FileMode) error {
	return g.change("make directory", dir, func() error { return g.FS.MkdirAll(dir, perm) })
}

// Remove and RemoveAll: a file that cannot be removed is in nobody's way, and Pebble can bear it.
func (g *gate) Remove(name string) error {
	if g.isShut.Load() {
		return nil
	}
	if g.isMarker(name) {
		if err := g.syncDir(g.FS.PathDir(name)); err != nil {
			g.failed("sync", g.FS.PathDir(name), err)
			return err
		}
	}
	return g.FS.Remove(name)
}

func (g *gate) RemoveAll(name string) error {
	if g.isShut.Load() {
		return nil
	}
	return g.FS.RemoveAll(name)
}

func (g *gate) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if g.isShut.Load() {
		if f, err := g.dream.Open(name); err == nil {
			return f, nil
		}
	}
	return g.FS.Open(name, opts...)
}

func (g *gate) Stat(name string) (vfs.FileInfo, error) {
	if g.isShut.Load() {
		if info, err := g.dream.Stat(name); err == nil {
			return info, nil
		}
	}
	return g.FS.Stat(name)
}

// OpenDir opens a directory for Sync, which is a change like others.
func (g *gate) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &gateFile{File: f, g: g, name: name}, nil
}

func (g *gate) Unwrap() vfs.FS { return g.FS }

// Lock remembers the lock, so that it can be given up without Pebble.
func (g *gate) Lock(name string) (io.Closer, error) {
	c, err := g.FS.Lock(name)
	if err != nil {
		return nil, fmt.Errorf("lock %s, which another application may hold: %w", name, err)
	}
	l := &gateLock{c: c}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.locks = append(g.locks, l)
	return l, nil
}

// unlock gives up all locks that Pebble has not given up itself.
func (g *gate) unlock() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, l := range g.locks {
		errs = append(errs, l.Close())
	}
	g.locks = nil
	return errors.Join(errs...)
}

type gateLock struct {
	once sync.Once
	c    io.Closer
	err  error
}

func (l *gateLock) Close() error {
	l.once.Do(func() { l.err = l.c.Close() })
	return l.err
}

// gateFile is a file that was opened to be changed while the gate was open.
type gateFile struct {
	vfs.File
	g    *gate
	name string
}

func (f *gateFile) change(step string, do func() error) error {
	if f.g.isShut.Load() {
		return nil
	}
	if err := do(); err != nil {
		f.g.fail(changeError(step, f.name, err))
	}
	return nil
}

func (f *gateFile) Write(p []byte) (int, error) {
	return len(p), f.change("write", func() error { _, err := f.File.Write(p); return err })
}

func (f *gateFile) WriteAt(p []byte, off int64) (int, error) {
	return len(p), f.change("write", func() error { _, err := f.File.WriteAt(p, off); return err })
}

func (f *gateFile) Sync() error     { return f.change("sync", f.File.Sync) }
func (f *gateFile) SyncData() error { return f.change("sync", f.File.SyncData) }

func (f *gateFile) SyncTo(length int64) (full bool, err error) {
	full = true // nothing is left to sync
	err = f.change("sync", func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f *gateFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.g.fail(changeError("close", f.name, err))
	}
	return nil
}

// pebbleLogger is Pebble's Logger. Pebble expects Fatalf not to return, but calls it on goroutines that hold
// its locks, where neither to exit nor to panic nor to wait is any good. What is left, when all changes of
// files succeed, are files that cannot be read and errors in Pebble: the gate is shut, so that going on does
// no harm, and the application stops by DB.Failed.
type pebbleLogger struct {
	logger *slog.Logger
	fail   func(error)
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.logger.Debug("pebble", "message", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Warn("pebble", "message", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.fail(fatalError(format, args))
}

// backgroundPause slows Pebble down, which repeats a flush or compaction that has failed without a pause.
const backgroundPause = 5 * time.Millisecond

// backgroundError is Pebble's news of a flush or compaction that has failed.
func (l pebbleLogger) backgroundError(err error) {
	if errors.Is(err, pebble.ErrCancelledCompaction) {
		return
	}
	l.fail(fmt.Errorf("pebble in the background: %w", err))
	time.Sleep(backgroundPause)
}

// dataCorruption is Pebble's news of a table that is not what was written.
func (l pebbleLogger) dataCorruption(info pebble.DataCorruptionInfo) {
	l.fail(corrupt(fmt.Errorf("%s: %w", info.Path, info.Details)))
}

// corrupt has an error match ErrCorrupt if it is one by which Pebble says that bytes are not what was written, and
// says what helps.
func corrupt(err error) error {
	if !pebble.IsCorruptionError(err) || errors.Is(err, ErrCorrupt) {
		return err
	}
	return corruptError(err)
}

func corruptError(err error) error {
	return fmt.Errorf("%w: %w; stop, and delete the directory: the stores will be restored from their changelogs", ErrCorrupt, err)
}

// fatalError keeps what can be matched by errors.Is.
func fatalError(format string, args []any) error {
	msg := fmt.Sprintf(format, args...)
	for _, a := range args {
		if err, ok := a.(error); ok {
			return &pebbleError{"pebble: " + msg, err}
		}
	}
	return errors.New("pebble: " + msg)
}

// pebbleError is a message of Pebble's that contains its cause's.
type pebbleError struct {
	msg   string
	cause error
}

func (e *pebbleError) Error() string { return e.msg }
func (e *pebbleError) Unwrap() error { return e.cause }
