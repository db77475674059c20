package crashfs

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// This file owns what disks do wrong: faults of operations, and damage of what they hold.

// Effect is what becomes of an operation.
type Effect uint8

const (
	// None does the operation.
	None Effect = iota
	// Fail does nothing, and fails with Err: EIO or ENOSPC, mostly.
	Fail
	// Tear writes the first Bytes bytes and fails with Err. It is for Write.
	Tear
	// Short reads at most Bytes bytes, and says that the file ends there. It is for Read.
	Short
	// Skip does nothing, and says that it did.
	Skip
	// Lose fails a Sync with Err. What it was to write is never written: the next sync succeeds and does not
	// write it either, while the process goes on to read it, as from Linux's page cache.
	Lose
	// Evict is Lose, and the process reads what is on disk from then on.
	Evict
)

// Fault is what an injector does to an operation; the zero value lets it be.
type Fault struct {
	Effect Effect
	Err    error
	Bytes  int
}

// Inject makes the file system ask f before each operation, reads among them, what is to become of it; nil ends
// that. f is called concurrently, and after the point's hook.
func (fs *FS) Inject(f func(op Op) Fault) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.inject = f
}

// Files are the paths of all files that start with prefix, sorted.
func (fs *FS) Files(prefix string) []string {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var paths []string
	var walk func(dir string, n *node)
	walk = func(dir string, n *node) {
		for name, child := range n.children {
			if child.isDir {
				walk(dir+name+"/", child)
			} else if strings.HasPrefix(dir+name, prefix) {
				paths = append(paths, dir+name)
			}
		}
	}
	walk("", fs.root)
	slices.Sort(paths)
	return paths
}

// ReadFile returns a file's content, past hook and faults.
func (fs *FS) ReadFile(name string) ([]byte, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.fileNamed(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n.size)
	n.readAt(b, 0)
	return b, nil
}

func (fs *FS) fileNamed(name string) (*node, error) {
	n := fs.lookup(clean(name))
	if n == nil || n.isDir {
		return nil, pathError("read", name, os.ErrNotExist)
	}
	return n, nil
}

// Flip inverts one bit of a file, on disk and as it is read; bit 0 is the lowest of the first byte. Nobody is told.
func (fs *FS) Flip(name string, bit int64) error {
	return fs.damage(name, bit/8, 1, func(b []byte) { b[0] ^= 1 << (bit % 8) })
}

// Zero makes zeros of n bytes of a file from offset on, or of those up to its end. Nobody is told.
func (fs *FS) Zero(name string, offset, n int64) error {
	return fs.damage(name, offset, n, func(b []byte) { clear(b) })
}

// Overwrite puts b into a file at offset, as far as the file goes: a write that went astray. Nobody is told.
func (fs *FS) Overwrite(name string, offset int64, b []byte) error {
	return fs.damage(name, offset, int64(len(b)), func(old []byte) { copy(old, b) })
}

func (fs *FS) damage(name string, offset, length int64, change func(b []byte)) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.fileNamed(name)
	if err != nil {
		return err
	}
	if offset < 0 || offset >= n.size {
		return fmt.Errorf("damage %s: offset %d is not in its %d bytes", name, offset, n.size)
	}
	b := make([]byte, min(length, n.size-offset))
	n.readAt(b, offset)
	change(b)
	n.writeAt(b, offset)
	n.sync()
	return nil
}

// Cut shortens a file, on disk and as it is read. Nobody is told.
func (fs *FS) Cut(name string, size int64) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.fileNamed(name)
	if err != nil {
		return err
	}
	if size < 0 || size > n.size {
		return fmt.Errorf("cut %s: %d is not within its %d bytes", name, size, n.size)
	}
	b := make([]byte, size)
	n.readAt(b, 0)
	fs.used -= n.size - size
	n.size, n.blocks, n.owned, n.dirty, n.synced = 0, nil, nil, nil, nil
	n.writeAt(b, 0)
	n.sync()
	return nil
}
