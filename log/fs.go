package log

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system a log works on: Pebble's, so that one in-memory crashable file system and one fault
// injector serve log and state together.
type FS = vfs.FS

// files is an FS with what it lacks.
//
// Three things about an FS that bite: it has no truncate (cut below makes up for it), no append (all writes
// here are WriteAt), and Create removes the file it finds. By its contract writes and syncs of one file must
// not overlap; the operating system allows it, and a log lives on it (appends go on while a sync runs), so
// only on other file systems each file gets a lock.
type files struct {
	vfs.FS
	onDisk bool // the operating system's files, with no layer between
}

func newFiles(fs FS) files {
	if fs == nil {
		fs = vfs.Default
	}
	return files{FS: fs, onDisk: fs == vfs.Default}
}

// diskCategory is what Pebble's FS counts the log's writes as.
const diskCategory = vfs.WriteCategoryUnspecified

// file is an open file that knows its path, for messages.
type file struct {
	vfs.File
	path  string
	order *sync.Mutex // keeps writes and syncs apart; nil where they may overlap
}

func (fs files) wrap(f vfs.File, path string) *file {
	w := &file{File: f, path: path}
	if !fs.onDisk {
		w.order = new(sync.Mutex)
	}
	return w
}

// open opens the file for reading and writing, and creates it if it is missing.
func (fs files) open(path string) (*file, error) {
	f, err := fs.FS.OpenReadWrite(path, diskCategory)
	if err != nil {
		return nil, fileError("open", path, err)
	}
	return fs.wrap(f, path), nil
}

// create makes a new, empty file; one that was there is removed.
func (fs files) create(path string) (*file, error) {
	if err := fs.removeIfThere(path); err != nil {
		return nil, err
	}
	return fs.open(path) // Create's files take no WriteAt by contract
}

func (f *file) lock() func() {
	if f.order == nil {
		return func() {}
	}
	f.order.Lock()
	return f.order.Unlock
}

// writeAt writes all of b. It does not change b.
func (f *file) writeAt(b []byte, at int64) error {
	defer f.lock()()
	_, err := f.File.WriteAt(b, at)
	return fileError("write", f.path, err)
}

// readAt fills b from at on; fewer bytes are an error that matches io.ErrUnexpectedEOF.
func (f *file) readAt(b []byte, at int64) error {
	n, err := f.File.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fileError("read", f.path, err)
}

// readUpTo fills b from at on, as far as the file goes.
func (f *file) readUpTo(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	if n == len(b) || errors.Is(err, io.EOF) {
		return n, nil
	}
	return n, fileError("read", f.path, err)
}

// sync makes what was written durable, the file's size included.
func (f *file) sync() error {
	defer f.lock()()
	return fileError("sync", f.path, f.File.SyncData())
}

func (f *file) close() error { return fileError("close", f.path, f.File.Close()) }

func (f *file) size() (int64, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, fileError("stat", f.path, err)
	}
	return info.Size(), nil
}

// size is the size of a file that may be missing: then ok is false.
func (fs files) size(path string) (size int64, ok bool, err error) {
	info, err := fs.FS.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fileError("stat", path, err)
	}
	return info.Size(), true, nil
}

// readFile returns a whole file.
func (fs files) readFile(path string) ([]byte, error) {
	f, err := fs.FS.Open(path)
	if err != nil {
		return nil, fileError("open", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fileError("stat", path, err)
	}
	b := make([]byte, info.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, fileError("read", path, errors.Join(io.ErrUnexpectedEOF, err))
	}
	return b, nil
}

// cut shortens a closed file to size bytes, durably. Without a truncate that is a synced copy renamed over
// the original, so that a crash leaves one or the other.
func (fs files) cut(path string, size int64) error {
	if fs.onDisk {
		if err := os.Truncate(path, size); err != nil {
			return fileError("truncate", path, err)
		}
		f, err := fs.open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.sync(), f.close())
	}
	old, err := fs.FS.Open(path)
	if err != nil {
		return fileError("open", path, err)
	}
	b := make([]byte, size)
	n, err := old.ReadAt(b, 0)
	if cerr := old.Close(); cerr != nil {
		return fileError("close", path, cerr)
	}
	if n < len(b) {
		return fileError("read", path, errors.Join(io.ErrUnexpectedEOF, err))
	}
	return fs.replace(path, b)
}

// tempSuffix marks files that are not what they will be called; open removes them.
const tempSuffix = ".tmp"

// replace puts b into the file at path, so that after a crash either the old or the new content is there.
func (fs files) replace(path string, b []byte) (err error) {
	temp := path + tempSuffix
	f, err := fs.create(temp)
	if err != nil {
		return err
	}
	err = f.writeAt(b, 0)
	if err == nil {
		err = f.sync()
	}
	if cerr := f.close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fileError("rename", temp, fs.FS.Rename(temp, path))
	}
	if err != nil {
		// Room is what is missing, mostly: do not leave half a file behind. It is cleared at open otherwise.
		_ = fs.FS.Remove(temp)
		return err
	}
	return fs.syncDir(fs.PathDir(path))
}

// syncDir makes the names in a directory durable.
func (fs files) syncDir(dir string) error {
	d, err := fs.FS.OpenDir(dir)
	if err != nil {
		return fileError("open", dir, err)
	}
	err = fileError("sync", dir, d.Sync())
	if cerr := d.Close(); err == nil {
		err = fileError("close", dir, cerr)
	}
	return err
}

// mkdir makes a directory and its parents.
func (fs files) mkdir(dir string) error {
	return fileError("create", dir, fs.FS.MkdirAll(dir, 0o755))
}

// list returns the names in a directory; a missing one has none.
func (fs files) list(dir string) ([]string, error) {
	names, err := fs.FS.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return names, fileError("list", dir, err)
}

// canonical gives one name to each directory, since a lock is taken by name. The directory must exist.
func (fs files) canonical(dir string) (string, error) {
	if !fs.onDisk {
		return dir, nil
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	return abs, fileError("resolve", dir, err)
}

// removeIfThere removes a file that may be missing.
func (fs files) removeIfThere(path string) error {
	if err := fs.FS.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fileError("remove", path, err)
	}
	return nil
}
