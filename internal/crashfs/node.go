package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// This file owns the content of files and directories: as a process sees it, as it is on disk, and what a crash
// makes of the two.

// blockSize is what reaches the disk together, mostly.
const blockSize = 4096

type block [blockSize]byte

// node is a file or a directory. It belongs to the holder of the file system's lock.
type node struct {
	isDir   bool
	links   int // names in directories
	modTime time.Time

	// Of a file. Blocks are shared by the two, and with clones; one is written to only while it is owned, and
	// is copied before that otherwise. nil is a block of zeros.
	size       int64
	blocks     []*block
	owned      []bool
	dirty      []bool // written since the last sync
	syncedSize int64
	synced     []*block

	// Of a directory.
	children       map[string]*node
	syncedChildren map[string]*node
	changes        []change // since the last sync
}

// change is a name in a directory that stands for another node, or for none, than before.
type change struct {
	name  string
	node  *node // nil: removed
	event *event
}

// event is what becomes durable as a whole: the two changes of a rename have one.
type event struct{ _ byte }

func newDir() *node {
	return &node{isDir: true, children: make(map[string]*node), syncedChildren: make(map[string]*node)}
}

// writeAt writes p, and makes the file as long as that takes.
func (n *node) writeAt(p []byte, at int64) {
	n.modTime = time.Now()
	end := at + int64(len(p))
	n.size = max(n.size, end)
	if count := int((n.size + blockSize - 1) / blockSize); count > len(n.blocks) {
		n.blocks = append(n.blocks, make([]*block, count-len(n.blocks))...)
		n.owned = append(n.owned, make([]bool, count-len(n.owned))...)
		n.dirty = append(n.dirty, make([]bool, count-len(n.dirty))...)
	}
	for len(p) > 0 {
		i, from := int(at/blockSize), int(at%blockSize)
		if !n.owned[i] {
			b := new(block)
			if n.blocks[i] != nil {
				*b = *n.blocks[i]
			}
			n.blocks[i], n.owned[i] = b, true
		}
		n.dirty[i] = true
		done := copy(n.blocks[i][from:], p)
		p, at = p[done:], at+int64(done)
	}
}

// readAt fills p as far as the file goes.
func (n *node) readAt(p []byte, at int64) int {
	if at >= n.size {
		return 0
	}
	p = p[:min(int64(len(p)), n.size-at)]
	for done := 0; done < len(p); {
		i, from := int((at+int64(done))/blockSize), int((at+int64(done))%blockSize)
		if b := n.blocks[i]; b != nil {
			done += copy(p[done:], b[from:])
		} else {
			m := min(len(p)-done, blockSize-from)
			clear(p[done : done+m])
			done += m
		}
	}
	return len(p)
}

// sync makes what was written since the last sync durable.
func (n *node) sync() {
	if n.isDir {
		n.syncedChildren = maps.Clone(n.children)
		n.changes = nil
		return
	}
	n.synced = append(n.synced, make([]*block, len(n.blocks)-len(n.synced))...)
	for i, d := range n.dirty {
		if d {
			n.synced[i], n.owned[i], n.dirty[i] = n.blocks[i], false, false
		}
	}
	n.syncedSize = n.size
}

// lose is a sync that fails: what it was to write never will be. The process still sees it, unless it is evicted.
func (n *node) lose(evict bool) {
	if n.isDir {
		return // journals of file systems stop at that
	}
	clear(n.dirty)
	if !evict {
		return
	}
	clear(n.owned)
	for i := range n.blocks {
		n.blocks[i] = n.syncedBlock(i)
	}
}

func (n *node) syncedBlock(i int) *block {
	if i < len(n.synced) {
		return n.synced[i]
	}
	return nil
}

// cloner makes a tree as a crash leaves it.
type cloner struct {
	percent int
	rng     *rand.Rand
	nodes   map[*node]*node
	events  map[*event]bool
	used    int64
}

func (c *cloner) coin() bool {
	switch {
	case c.percent <= 0:
		return false
	case c.percent >= 100:
		return true
	}
	return c.rng.IntN(100) < c.percent
}

func (c *cloner) clone(n *node) *node {
	if out := c.nodes[n]; out != nil {
		return out
	}
	out := &node{isDir: n.isDir, modTime: n.modTime}
	c.nodes[n] = out
	if n.isDir {
		c.cloneDir(n, out)
	} else {
		c.cloneFile(n, out)
		c.used += out.size
	}
	return out
}

func (c *cloner) cloneDir(n, out *node) {
	var names map[string]*node
	if c.percent >= 100 {
		names = n.children
	} else {
		names = maps.Clone(n.syncedChildren)
		for _, ch := range n.changes {
			happened, drawn := c.events[ch.event]
			if !drawn {
				happened = c.coin()
				c.events[ch.event] = happened
			}
			switch {
			case !happened:
			case ch.node == nil:
				delete(names, ch.name)
			default:
				names[ch.name] = ch.node
			}
		}
	}
	out.children = make(map[string]*node, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) { // the order decides what rng says of whom
		child := c.clone(names[name])
		child.links++
		out.children[name] = child
	}
	out.syncedChildren = maps.Clone(out.children)
}

func (c *cloner) cloneFile(n, out *node) {
	clear(n.owned) // they are shared from here on
	if c.percent >= 100 {
		out.size, out.blocks = n.size, slices.Clone(n.blocks)
	} else {
		out.size = n.syncedSize
		out.blocks = make([]*block, len(n.blocks))
		for i := range out.blocks {
			out.blocks[i] = n.syncedBlock(i)
			if !n.dirty[i] || !c.coin() {
				continue
			}
			out.size = max(out.size, min(n.size, int64(i+1)*blockSize))
			if c.rng.IntN(4) == 0 {
				out.blocks[i] = tear(out.blocks[i], n.blocks[i], c.rng)
			} else {
				out.blocks[i] = n.blocks[i]
			}
		}
		if n.size > out.size && c.coin() {
			out.size = n.size // the size is there, and what belongs there is not
		}
		out.blocks = out.blocks[:(out.size+blockSize-1)/blockSize]
	}
	out.owned, out.dirty = make([]bool, len(out.blocks)), make([]bool, len(out.blocks))
	out.synced, out.syncedSize = slices.Clone(out.blocks), out.size
}

// tear returns a block that is the new one up to some byte among those that differ, and the old one after it.
func tear(old, new *block, rng *rand.Rand) *block {
	var b block
	if old != nil {
		b = *old
	}
	from, to := 0, blockSize
	for from < to && b[from] == new[from] {
		from++
	}
	for to > from && b[to-1] == new[to-1] {
		to--
	}
	if from < to {
		cut := from + rng.IntN(to-from+1)
		copy(b[from:cut], new[from:cut])
	}
	return &b
}

// forker copies a tree with what is synced of it and what is not.
type forker struct{ nodes map[*node]*node }

func (c *forker) fork(n *node) *node {
	if n == nil {
		return nil
	}
	if out := c.nodes[n]; out != nil {
		return out
	}
	out := &node{isDir: n.isDir, links: n.links, modTime: n.modTime, size: n.size, syncedSize: n.syncedSize}
	c.nodes[n] = out
	if !n.isDir {
		clear(n.owned) // they are shared from here on
		out.owned = make([]bool, len(n.blocks))
		out.blocks, out.dirty, out.synced = slices.Clone(n.blocks), slices.Clone(n.dirty), slices.Clone(n.synced)
		return out
	}
	out.children, out.syncedChildren = c.forkNames(n.children), c.forkNames(n.syncedChildren)
	for _, ch := range n.changes {
		out.changes = append(out.changes, change{name: ch.name, node: c.fork(ch.node), event: ch.event})
	}
	return out
}

func (c *forker) forkNames(names map[string]*node) map[string]*node {
	out := make(map[string]*node, len(names))
	for name, n := range names {
		out[name] = c.fork(n)
	}
	return out
}
