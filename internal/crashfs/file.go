package crashfs

import (
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file is the vfs.FS and the vfs.File. Each operation asks before, without the lock, and is done under it.

var _ vfs.FS = (*FS)(nil)

// skips is what the effects that fit any operation say: done means that nothing is to be done.
func (f Fault) skips(op, name string) (done bool, err error) {
	switch f.Effect {
	case Fail, Tear, Lose, Evict:
		return true, pathError(op, name, f.Err)
	case Skip:
		return true, nil
	}
	return false, nil
}

// Create implements vfs.FS.
func (fs *FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	name = clean(name)
	if done, err := fs.before(Op{Kind: Create, Path: name}).skips("create", name); done && err != nil {
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.newFile("create", name)
	if err != nil {
		return nil, err
	}
	return &file{fs: fs, n: n, path: name, writes: true}, nil
}

// Open implements vfs.FS.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	name = clean(name)
	if done, err := fs.before(Op{Kind: Open, Path: name}).skips("open", name); done && err != nil {
		return nil, err
	}
	fs.mu.Lock()
	n := fs.lookup(name)
	fs.mu.Unlock()
	if n == nil {
		return nil, pathError("open", name, os.ErrNotExist)
	}
	f := &file{fs: fs, n: n, path: name}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// OpenReadWrite implements vfs.FS.
func (fs *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.Open(name, opts...)
	if err != nil {
		if os.IsNotExist(err) {
			return fs.Create(name, c)
		}
		return nil, err
	}
	f.(*file).writes = true
	return f, nil
}

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) { return fs.Open(name) }

// Link implements vfs.FS.
func (fs *FS) Link(oldname, newname string) error {
	oldname, newname = clean(oldname), clean(newname)
	if done, err := fs.before(Op{Kind: Link, Path: oldname, To: newname}).skips("link", newname); done {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.lookup(oldname)
	if n == nil {
		return pathError("link", oldname, os.ErrNotExist)
	}
	dir, base, err := fs.parent("link", newname)
	if err == nil && dir.children[base] != nil {
		err = pathError("link", newname, os.ErrExist)
	}
	if err != nil {
		return err
	}
	fs.put(dir, base, n, new(event))
	return nil
}

// Remove implements vfs.FS.
func (fs *FS) Remove(name string) error {
	name = clean(name)
	fs.mu.Lock()
	there := fs.lookup(name) != nil
	fs.mu.Unlock()
	if !there {
		return pathError("remove", name, os.ErrNotExist) // and no point: nothing changes
	}
	if done, err := fs.before(Op{Kind: Remove, Path: name}).skips("remove", name); done {
		return err
	}
	return fs.remove(name, false)
}

// RemoveAll implements vfs.FS. It is one event: a crash leaves all or nothing of it.
func (fs *FS) RemoveAll(name string) error {
	name = clean(name)
	if done, err := fs.before(Op{Kind: RemoveAll, Path: name}).skips("remove", name); done {
		return err
	}
	if err := fs.remove(name, true); !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (fs *FS) remove(name string, all bool) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	dir, base, err := fs.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.children[base]
	if n == nil {
		return pathError("remove", name, os.ErrNotExist)
	}
	if !all && len(n.children) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	fs.put(dir, base, nil, new(event))
	return nil
}

// Rename implements vfs.FS.
func (fs *FS) Rename(oldname, newname string) error {
	oldname, newname = clean(oldname), clean(newname)
	if done, err := fs.before(Op{Kind: Rename, Path: oldname, To: newname}).skips("rename", oldname); done {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	from, oldBase, err := fs.parent("rename", oldname)
	if err != nil {
		return err
	}
	to, newBase, err := fs.parent("rename", newname)
	if err != nil {
		return err
	}
	n := from.children[oldBase]
	if n == nil {
		return pathError("rename", oldname, os.ErrNotExist)
	}
	if n == to.children[newBase] {
		return nil
	}
	e := new(event)
	fs.put(to, newBase, n, e)
	fs.put(from, oldBase, nil, e)
	return nil
}

// ReuseForWrite implements vfs.FS.
func (fs *FS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return fs.OpenReadWrite(newname, c)
}

// MkdirAll implements vfs.FS. Each directory that it makes is a point.
func (fs *FS) MkdirAll(name string, perm os.FileMode) error {
	name = clean(name)
	for end := 0; end < len(name); end++ {
		if i := strings.IndexByte(name[end:], '/'); i >= 0 {
			end += i
		} else {
			end = len(name)
		}
		if err := fs.mkdir(name[:end]); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) mkdir(name string) error {
	fs.mu.Lock()
	old := fs.lookup(name)
	fs.mu.Unlock()
	if old != nil {
		if !old.isDir {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		return nil
	}
	if done, err := fs.before(Op{Kind: Mkdir, Path: name}).skips("mkdir", name); done {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	dir, base, err := fs.parent("mkdir", name)
	if err != nil || dir.children[base] != nil {
		return err // somebody else made it
	}
	if fs.full() {
		return pathError("mkdir", name, syscall.ENOSPC)
	}
	fs.put(dir, base, newDir(), new(event))
	return nil
}

// Lock implements vfs.FS. A lock taken twice is EAGAIN, as on unix.
func (fs *FS) Lock(name string) (io.Closer, error) {
	name = clean(name)
	if done, err := fs.before(Op{Kind: Lock, Path: name}).skips("lock", name); done && err != nil {
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.locks[name] {
		return nil, syscall.EAGAIN
	}
	if fs.lookup(name) == nil {
		if _, err := fs.newFile("lock", name); err != nil {
			return nil, err
		}
	}
	fs.locks[name] = true
	return &lock{fs: fs, name: name}, nil
}

type lock struct {
	fs   *FS
	name string
}

// Close gives the lock back.
func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

// List implements vfs.FS.
func (fs *FS) List(name string) ([]string, error) {
	name = clean(name)
	if done, err := fs.before(Op{Kind: List, Path: name}).skips("list", name); done && err != nil {
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.lookup(name)
	if n == nil {
		return nil, pathError("list", name, os.ErrNotExist)
	}
	if !n.isDir {
		return nil, pathError("list", name, syscall.ENOTDIR)
	}
	return slices.Sorted(maps.Keys(n.children)), nil
}

// Stat implements vfs.FS.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	name = clean(name)
	if done, err := fs.before(Op{Kind: Stat, Path: name}).skips("stat", name); done && err != nil {
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.lookup(name)
	if n == nil {
		return nil, pathError("stat", name, os.ErrNotExist)
	}
	return n.info(name), nil
}

// PathBase implements vfs.FS.
func (*FS) PathBase(p string) string { return path.Base(p) }

// PathJoin implements vfs.FS.
func (*FS) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements vfs.FS.
func (*FS) PathDir(p string) string { return path.Dir(p) }

// GetDiskUsage implements vfs.FS.
func (fs *FS) GetDiskUsage(string) (vfs.DiskUsage, error) { return vfs.DiskUsage{}, vfs.ErrUnsupported }

// Unwrap implements vfs.FS: there is nothing below.
func (*FS) Unwrap() vfs.FS { return nil }

// file is an open file or directory.
type file struct {
	fs     *FS
	n      *node
	path   string // when it was opened
	writes bool
	at     int64 // of Read and Write; guarded by fs.mu
	closed bool
}

func (f *file) ready(op string) error {
	if f.closed {
		return pathError(op, f.path, os.ErrClosed)
	}
	return nil
}

// Close implements vfs.File.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.ready("close")
	f.closed = true
	return err
}

// Read implements vfs.File.
func (f *file) Read(p []byte) (int, error) {
	f.fs.mu.Lock()
	at := f.at
	f.fs.mu.Unlock()
	n, err := f.ReadAt(p, at)
	if n > 0 && err == io.EOF {
		err = nil
	}
	f.fs.mu.Lock()
	f.at = at + int64(n)
	f.fs.mu.Unlock()
	return n, err
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, at int64) (int, error) {
	fault := f.fs.before(Op{Kind: Read, Path: f.path, Offset: at, Bytes: len(p)})
	if done, err := fault.skips("read", f.path); done && err != nil {
		return 0, err
	}
	want := len(p)
	if fault.Effect == Short {
		p = p[:min(len(p), fault.Bytes)]
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.ready("read"); err != nil {
		return 0, err
	}
	if f.n.isDir {
		return 0, pathError("read", f.path, syscall.EISDIR)
	}
	n := f.n.readAt(p, at)
	if n < want {
		return n, io.EOF
	}
	return n, nil
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	at := f.at
	f.fs.mu.Unlock()
	n, err := f.WriteAt(p, at)
	f.fs.mu.Lock()
	f.at = at + int64(n)
	f.fs.mu.Unlock()
	return n, err
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, at int64) (int, error) {
	fault := f.fs.before(Op{Kind: Write, Path: f.path, Offset: at, Bytes: len(p)})
	done, err := fault.skips("write", f.path)
	switch {
	case fault.Effect == Tear:
		p = p[:min(len(p), fault.Bytes)]
	case done && err != nil:
		return 0, err
	case done:
		return len(p), nil
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if rerr := f.ready("write"); rerr != nil {
		return 0, rerr
	}
	if !f.writes || f.n.isDir {
		return 0, pathError("write", f.path, syscall.EBADF)
	}
	if room := f.fs.budget - f.fs.used; f.fs.budget > 0 && at+int64(len(p))-f.n.size > max(room, 0) {
		p = p[:max(0, min(int64(len(p)), f.n.size+max(room, 0)-at))]
		err = pathError("write", f.path, syscall.ENOSPC)
	}
	if len(p) > 0 {
		before := f.n.size
		f.n.writeAt(p, at)
		if f.n.links > 0 {
			f.fs.used += f.n.size - before
		}
	}
	return len(p), err
}

// Preallocate implements vfs.File. It does nothing.
func (f *file) Preallocate(_, _ int64) error { return nil }

// Prefetch implements vfs.File. It does nothing.
func (f *file) Prefetch(_, _ int64) error { return nil }

// Stat implements vfs.File.
func (f *file) Stat() (vfs.FileInfo, error) {
	if done, err := f.fs.before(Op{Kind: Stat, Path: f.path}).skips("stat", f.path); done && err != nil {
		return nil, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.ready("stat"); err != nil {
		return nil, err
	}
	return f.n.info(f.path), nil
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	kind := Sync
	if f.n.isDir {
		kind = SyncDir
	}
	fault := f.fs.before(Op{Kind: kind, Path: f.path})
	done, err := fault.skips("sync", f.path)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if rerr := f.ready("sync"); rerr != nil {
		return rerr
	}
	switch {
	case fault.Effect == Lose || fault.Effect == Evict:
		f.n.lose(fault.Effect == Evict)
	case !done:
		f.n.sync()
	}
	return err
}

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.Sync() }

// SyncTo implements vfs.File. It promises nothing, as the interface allows, and does nothing.
func (f *file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

// Fd implements vfs.File.
func (f *file) Fd() uintptr { return vfs.InvalidFd }

// info is a snapshot of a node's attributes. The caller holds the file system's lock.
func (n *node) info(name string) *fileInfo {
	return &fileInfo{name: path.Base(name), size: n.size, isDir: n.isDir, modTime: n.modTime}
}

type fileInfo struct {
	name    string
	size    int64
	isDir   bool
	modTime time.Time
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.size }
func (i *fileInfo) ModTime() time.Time { return i.modTime }
func (i *fileInfo) IsDir() bool        { return i.isDir }
func (i *fileInfo) Sys() any           { return nil }

// DeviceID implements vfs.FileInfo.
func (i *fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func (i *fileInfo) Mode() os.FileMode {
	if i.isDir {
		return os.ModeDir | 0o755
	}
	return 0o644
}
