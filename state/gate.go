package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file stands between Pebble and the world, and takes what Pebble would do to the process when it
// cannot write: it exits (Logger.Fatalf), panics (a WAL that cannot be written), retries at once and for
// ever (a failed flush), or goes on and says so later (a write without sync).
//
// The gate sees every change to a file. The first that fails is the database's failure, with its cause
// intact, and shuts the gate: from then on no file changes any more. So what is on disk is what was there
// at the failure, a prefix of what was applied, whatever a Pebble in an undefined state goes on doing.

// gate is the file system that a database's Pebble uses.
type gate struct {
	vfs.FS
	fail func(error) // called with the first error, and maybe with later ones

	shut    atomic.Pointer[error]
	closing chan struct{} // closed when the database closes

	mu    sync.Mutex
	locks []*gateLock
}

func newGate(under vfs.FS, fail func(error)) *gate {
	return &gate{FS: under, fail: fail, closing: make(chan struct{})}
}

// shutOff lets no further change through; each is refused with err.
func (g *gate) shutOff(err error) { g.shut.CompareAndSwap(nil, &err) }

// retryPause slows Pebble down, which repeats a failed flush without a pause.
const retryPause = 10 * time.Millisecond

// enter is called before each change.
func (g *gate) enter() error {
	err := g.shut.Load()
	if err == nil {
		return nil
	}
	pause := time.NewTimer(retryPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-g.closing:
	}
	return *err
}

// leave is called after each change.
func (g *gate) leave(step, name string, err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		g.fail(fmt.Errorf("%s %s: %w", step, name, err))
	}
	return err
}

func (g *gate) file(step, name string, f vfs.File, err error) (vfs.File, error) {
	if err := g.leave(step, name, err); err != nil {
		return nil, err
	}
	return &gateFile{File: f, g: g, name: name}, nil
}

func (g *gate) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	f, err := g.FS.Create(name, category)
	return g.file("create", name, f, err)
}

func (g *gate) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	f, err := g.FS.OpenReadWrite(name, category, opts...)
	return g.file("open", name, f, err)
}

func (g *gate) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	f, err := g.FS.ReuseForWrite(oldname, newname, category)
	return g.file("reuse for", newname, f, err)
}

// OpenDir opens a directory for Sync, which is a change like others.
func (g *gate) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &gateFile{File: f, g: g, name: name}, nil
}

func (g *gate) Link(oldname, newname string) error {
	if err := g.enter(); err != nil {
		return err
	}
	return g.leave("link", newname, g.FS.Link(oldname, newname))
}

func (g *gate) Rename(oldname, newname string) error {
	if err := g.enter(); err != nil {
		return err
	}
	return g.leave("rename to", newname, g.FS.Rename(oldname, newname))
}

func (g *gate) MkdirAll(dir string, perm os.FileMode) error {
	if err := g.enter(); err != nil {
		return err
	}
	return g.leave("make directory", dir, g.FS.MkdirAll(dir, perm))
}

// Remove and RemoveAll: a file that cannot be removed is in nobody's way, so their errors do not shut the
// gate; but a shut gate keeps what a recovery may need.
func (g *gate) Remove(name string) error {
	if err := g.enter(); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

func (g *gate) RemoveAll(name string) error {
	if err := g.enter(); err != nil {
		return err
	}
	return g.FS.RemoveAll(name)
}

func (g *gate) Unwrap() vfs.FS { return g.FS }

// Lock remembers the lock, so that it can be given up without Pebble.
func (g *gate) Lock(name string) (io.Closer, error) {
	c, err := g.FS.Lock(name)
	if err != nil {
		return nil, err
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

type gateFile struct {
	vfs.File
	g    *gate
	name string
}

func (f *gateFile) Write(p []byte) (int, error) {
	if err := f.g.enter(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	return n, f.g.leave("write", f.name, err)
}

func (f *gateFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.g.enter(); err != nil {
		return 0, err
	}
	n, err := f.File.WriteAt(p, off)
	return n, f.g.leave("write", f.name, err)
}

func (f *gateFile) Sync() error {
	if err := f.g.enter(); err != nil {
		return err
	}
	return f.g.leave("sync", f.name, f.File.Sync())
}

func (f *gateFile) SyncData() error {
	if err := f.g.enter(); err != nil {
		return err
	}
	return f.g.leave("sync", f.name, f.File.SyncData())
}

func (f *gateFile) SyncTo(length int64) (bool, error) {
	if err := f.g.enter(); err != nil {
		return false, err
	}
	full, err := f.File.SyncTo(length)
	return full, f.g.leave("sync", f.name, err)
}

func (f *gateFile) Close() error { return f.g.leave("close", f.name, f.File.Close()) }

// pebbleLogger is Pebble's Logger. Pebble expects Fatalf not to return, but it runs on goroutines of
// Pebble's that hold its locks, where neither exit nor panic nor waiting is any good: the gate is shut, so
// that going on does no harm, and the application stops by DB.Failed.
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

// backgroundError is Pebble's news of a flush or compaction that failed and will be tried again.
func (l pebbleLogger) backgroundError(err error) {
	if !errors.Is(err, pebble.ErrCancelledCompaction) {
		l.fail(fmt.Errorf("pebble in the background: %w", err))
	}
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
