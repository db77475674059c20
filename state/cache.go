package state

import (
	"encoding/binary"
	"hash/maphash"
	"unsafe"
)

// cache is the write-back cache of one store. P is what it keeps of a value: the value itself, or
// its bytes.
//
// Each entry has two slots. Their meaning follows from the epoch that touched the entry last:
//
//	entry.epoch          current                     committed
//	the open epoch       what this epoch put         the value before this epoch
//	any other, or 0      the committed value         not used
//
// So an epoch commits by being open no more, whatever it touched: the first touch of the next epoch moves
// current to committed. An abort moves committed back to current for each entry the epoch touched, and sets
// its epoch to 0.
//
// Absent keys have entries too: looking for them in Pebble once is enough.
//
// Nothing in it points to anything, unless P does: the entries lie in pages, the index has their numbers,
// and keys lie in chunks of bytes, so that the garbage collector has next to nothing to scan. Chunks are
// only ever appended to, since decoded keys may alias them; the keys of evicted entries are left behind
// there until rebuild copies the rest.
//
// Later: queries from other goroutines will read the committed value by this table's rule, under a snapshot
// of Pebble taken with it.
type cache[P any] struct {
	codec codec[P]
	seed  maphash.Seed

	pages [][]entry[P] // of pageEntries each, but that the first grows up to it
	used  uint32       // entries ever handed out: those before it are in the index or in free
	free  []uint32     // evicted
	index []uint64     // open addressing, linear probing: hash in the high half, entry number + 1 in the low; 0: empty
	live  int          // entries in the index

	chunks   [][]byte // key bytes
	keyBytes int      // of live entries
	deadKeys int      // of evicted ones
	heap     int64    // what the slots hold outside the entries

	epoch     uint64
	touched   []uint32 // by the open epoch, in order of first touch
	dirty     []uint32 // entries whose committed value Pebble may lack, or that the open epoch touched
	dirtyMark int      // len(dirty) when the epoch began

	hand     uint32 // of the clock: where the next eviction looks
	complete bool   // every row that Pebble has is cached: what is not here is nowhere
	memory   bool   // there is no Pebble behind it: nothing is ever flushed or evicted

	order *keyOrder // of the keys; nil in a store that never goes through them in order
}

// codec is how a P gets to bytes and back.
type codec[P any] struct {
	// load returns what the bytes from Pebble hold; it must not keep them.
	load func(b []byte) (P, error)
	// append appends p's bytes.
	append func(dst []byte, p P) ([]byte, error)
	// weigh is what p holds outside itself, in bytes; nil: nothing.
	weigh func(p P) int
	// logKey appends the key that the changelog has for a row's key; nil: the same.
	logKey func(dst, key []byte) []byte
}

const (
	pageEntries  = 1024
	firstEntries = 16
)

// entry is 64 bytes for a P of 8: one cache line. With a million keys, time goes to waiting for memory: a
// short key is compared without a look at its chunk.
type entry[P any] struct {
	committed, current     P
	committedTs, currentTs int64 // ms; of absent values too: when they were deleted
	epoch                  uint64
	abbr                   uint64 // the key's first eight bytes (abbreviate)
	chunk                  uint32 // where the key lies
	keyLen                 uint32
	flushID                uint32 // the flush that took, or takes, the value to Pebble; 0: none
	off                    uint16 // in the chunk, in units of keyAlign
	flags                  flags
}

type flags uint8

const (
	currentThere   flags = 1 << iota // current is a value; else the key is absent
	committedThere                   // likewise committed; the next bit, for swap
	dirty                            // in cache.dirty
	stored                           // Pebble has a row for the key, once all flushes are written
	recent                           // used since the clock's hand passed
	inUse                            // in the index
	gone                             // expired, and left until it is handed over
)

// fixedBytes is what an entry takes beside its key and what its slots hold: itself, its share of the index,
// which is between one and two thirds full, of the lists, and what its key is padded with.
func (c *cache[P]) fixedBytes() int64 {
	return int64(unsafe.Sizeof(entry[P]{})) + 8*2 + 4 + keyAlign/2
}

func newCache[P any](codec codec[P], complete bool) *cache[P] {
	c := &cache[P]{codec: codec, seed: maphash.MakeSeed()}
	c.reset(complete)
	return c
}

func (c *cache[P]) reset(complete bool) {
	c.empty(complete)
	if c.order != nil {
		c.order.reset(complete)
	}
}

func (c *cache[P]) empty(complete bool) {
	*c = cache[P]{
		codec: c.codec, seed: c.seed, epoch: c.epoch, complete: complete, memory: c.memory, order: c.order,
		index: make([]uint64, 16),
	}
}

func (c *cache[P]) at(i uint32) *entry[P] { return &c.pages[i/pageEntries][i%pageEntries] }

// key returns the entry's key: bytes that are never written again.
func (c *cache[P]) key(e *entry[P]) []byte {
	off := int(e.off) * keyAlign
	end := off + int(e.keyLen)
	return c.chunks[e.chunk][off:end:end]
}

func (c *cache[P]) hash(key []byte) uint32 { return uint32(maphash.Bytes(c.seed, key)) }

// find returns the number of the key's entry.
func (c *cache[P]) find(key []byte, hash uint32) (i uint32, ok bool) {
	abbr := abbreviate(key)
	mask := uint32(len(c.index) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		slot := c.index[at]
		if slot == 0 {
			return 0, false
		}
		if uint32(slot>>32) != hash {
			continue
		}
		i := uint32(slot) - 1
		e := c.at(i)
		if e.abbr == abbr && int(e.keyLen) == len(key) && (len(key) <= 8 || string(c.key(e)) == string(key)) {
			e.flags |= recent
			return i, true
		}
	}
}

// add makes an entry for a key that has none; it copies the key. The value is absent.
func (c *cache[P]) add(key []byte, hash uint32) uint32 {
	if (c.live+1)*3 > len(c.index)*2 {
		c.resizeIndex(len(c.index) * 2)
	}
	var i uint32
	if n := len(c.free); n > 0 {
		i, c.free = c.free[n-1], c.free[:n-1]
	} else {
		i = c.used
		if n := len(c.pages); n == 0 {
			c.pages = [][]entry[P]{make([]entry[P], firstEntries)}
		} else if first := c.pages[0]; n == 1 && int(i) == len(first) && i < pageEntries {
			c.pages[0] = make([]entry[P], 2*len(first))
			copy(c.pages[0], first)
		} else if int(i) == n*pageEntries {
			c.pages = append(c.pages, make([]entry[P], pageEntries))
		}
		c.used++
	}
	e := c.at(i)
	*e = entry[P]{abbr: abbreviate(key), keyLen: uint32(len(key)), flags: inUse | recent}
	e.chunk, e.off = c.appendKey(key)
	c.link(i, hash)
	c.live++
	c.keyBytes += len(key)
	if c.order != nil {
		c.order.added(i, key)
	}
	return i
}

const (
	keyAlign   = 8
	firstChunk = 1 << 10
	maxChunk   = 64 << 10 // a longer key has a chunk of its own
)

func (c *cache[P]) appendKey(key []byte) (chunk uint32, off uint16) {
	n := len(c.chunks)
	if n > 0 {
		last := c.chunks[n-1]
		start := (len(last) + keyAlign - 1) &^ (keyAlign - 1)
		if start <= maxChunk-keyAlign && cap(last)-start >= len(key) {
			c.chunks[n-1] = append(last[:start], key...)
			return uint32(n - 1), uint16(start / keyAlign)
		}
	}
	size := firstChunk
	if n > 0 {
		size = min(cap(c.chunks[n-1])*2, maxChunk)
	}
	c.chunks = append(c.chunks, append(make([]byte, 0, max(size, len(key))), key...))
	return uint32(n), 0
}

// link enters entry i into the index.
func (c *cache[P]) link(i, hash uint32) {
	mask := uint32(len(c.index) - 1)
	at := hash & mask
	for c.index[at] != 0 {
		at = (at + 1) & mask
	}
	c.index[at] = uint64(hash)<<32 | uint64(i+1)
}

// unlink takes entry i out of the index. The slots after it that were pushed on by it, or by those before
// it, move back, so that no search needs to pass a hole.
func (c *cache[P]) unlink(i, hash uint32) {
	mask := uint32(len(c.index) - 1)
	hole := hash & mask
	for uint32(c.index[hole]) != i+1 {
		hole = (hole + 1) & mask
	}
	for at := (hole + 1) & mask; c.index[at] != 0; at = (at + 1) & mask {
		home := uint32(c.index[at]>>32) & mask
		if (at-home)&mask >= (at-hole)&mask {
			c.index[hole] = c.index[at]
			hole = at
		}
	}
	c.index[hole] = 0
}

func (c *cache[P]) resizeIndex(size int) {
	old := c.index
	c.index = make([]uint64, size)
	for _, slot := range old {
		if slot != 0 {
			c.link(uint32(slot)-1, uint32(slot>>32))
		}
	}
}

// load sets the value of an entry just added to what Pebble's row, if there is one, says.
func (c *cache[P]) load(i uint32, row []byte) error {
	ts, value, err := parseRow(row)
	if err != nil {
		return err
	}
	p, err := c.codec.load(value)
	if err != nil {
		return err
	}
	e := c.at(i)
	e.current, e.currentTs = p, ts
	e.flags |= currentThere | stored
	c.weigh(p, 1)
	return nil
}

// forget drops an entry.
func (c *cache[P]) forget(i uint32) {
	e := c.at(i)
	if c.order != nil {
		c.order.dropped(i, c.key(e), e.flags&stored != 0)
	}
	c.unlink(i, c.hash(c.key(e)))
	c.live--
	c.keyBytes -= int(e.keyLen)
	c.deadKeys += int(e.keyLen)
	c.weigh(e.current, -1)
	c.weigh(e.committed, -1)
	*e = entry[P]{}
	c.free = append(c.free, i)
}

func (c *cache[P]) weigh(p P, sign int64) {
	if c.codec.weigh != nil {
		c.heap += sign * int64(c.codec.weigh(p))
	}
}

// touch makes the entry one of the open epoch's. Its current slot is then to be overwritten: if this is the
// first touch, the value before has moved to committed, and current holds what was there.
func (c *cache[P]) touch(i uint32) *entry[P] {
	e := c.at(i)
	if e.epoch == c.epoch {
		return e
	}
	e.epoch = c.epoch
	e.swap()
	c.touched = append(c.touched, i)
	if e.flags&dirty == 0 {
		e.flags |= dirty
		c.dirty = append(c.dirty, i)
	}
	return e
}

func (e *entry[P]) swap() {
	e.committed, e.current = e.current, e.committed
	e.committedTs, e.currentTs = e.currentTs, e.committedTs
	e.flags = e.flags&^(currentThere|committedThere) | e.flags&currentThere<<1 | e.flags&committedThere>>1
}

func (c *cache[P]) begin(epoch uint64) {
	c.epoch = epoch
	c.touched = c.touched[:0]
	c.dirtyMark = len(c.dirty)
}

func (c *cache[P]) commit() {
	c.epoch = 0
	c.touched = c.touched[:0]
	if c.memory {
		c.settle()
	}
}

// settle takes the place of a flush where there is no Pebble: what was deleted is forgotten.
func (c *cache[P]) settle() {
	for _, i := range c.dirty {
		e := c.at(i)
		e.flags &^= dirty
		if e.flags&currentThere == 0 {
			c.forget(i)
		}
	}
	c.dirty = c.dirty[:0]
}

func (c *cache[P]) abort() {
	c.epoch = 0
	for _, i := range c.touched {
		e := c.at(i)
		e.swap()
		e.epoch = 0
	}
	if c.memory {
		c.touched = c.touched[:0]
		c.settle()
		return
	}
	for _, i := range c.dirty[c.dirtyMark:] {
		c.at(i).flags &^= dirty
	}
	c.touched = c.touched[:0]
	c.dirty = c.dirty[:c.dirtyMark]
}

func (c *cache[P]) touchedCount() int { return len(c.touched) }
func (c *cache[P]) dirtyCount() int   { return len(c.dirty) }
func (c *cache[P]) liveCount() int    { return c.live }

func (c *cache[P]) size() int64 {
	return int64(c.live)*c.fixedBytes() + int64(c.keyBytes) + c.heap
}

func (c *cache[P]) appendChanges(l Changelog) error {
	buf := make([]byte, 0, 64) // not nil: an empty value is not null
	var logKey []byte
	for _, i := range c.touched {
		e := c.at(i)
		var value []byte
		if e.flags&currentThere != 0 {
			var err error
			if value, err = c.codec.append(buf[:0], e.current); err != nil {
				return err
			}
			buf = value
		}
		key := c.key(e)
		if c.codec.logKey != nil {
			logKey = c.codec.logKey(logKey[:0], key)
			key = logKey
		}
		if err := l.Append(key, value, e.currentTs); err != nil {
			return err
		}
	}
	return nil
}

// gather, called between epochs, finds the committed values in the current slots.
func (c *cache[P]) gather(r *rows) error {
	r.refs = make([]rowRef, 0, len(c.dirty))
	if c.live > 0 {
		perEntry := (int64(c.keyBytes)+c.heap)/int64(c.live) + timestampLen + int64(unsafe.Sizeof(*new(P)))
		r.arena = make([]byte, 0, perEntry*int64(len(c.dirty)))
	}
	var short [8]byte
	for _, i := range c.dirty {
		e := c.at(i)
		key := short[:]
		if e.keyLen <= 8 { // without a look at its chunk
			binary.BigEndian.PutUint64(key, e.abbr)
			key = key[:e.keyLen]
		} else {
			key = c.key(e)
		}
		switch {
		case e.flags&currentThere != 0:
			arena, err := c.codec.append(r.begin(key, e.currentTs), e.current)
			if err != nil {
				return err
			}
			r.end(arena, int(e.keyLen))
		case e.flags&stored != 0:
			r.delete(key)
		}
	}
	return nil
}

func (c *cache[P]) handedOver(flushID uint32) {
	for _, i := range c.dirty {
		e := c.at(i)
		if e.flags&gone != 0 {
			c.forget(i)
			continue
		}
		e.flushID = flushID
		e.flags &^= dirty | stored
		if e.flags&currentThere != 0 {
			e.flags |= stored
		}
	}
	c.dirty = c.dirty[:0]
}

// evict moves the clock's hand, at most twice around: the first time it takes the mark that an entry was
// used, the second the entry.
func (c *cache[P]) evict(want int64, applied uint32) int64 {
	before := c.size()
	for steps := 2 * int(c.used); steps > 0 && before-c.size() < want; steps-- {
		if c.hand++; c.hand >= c.used {
			c.hand = 0
		}
		e := c.at(c.hand)
		switch {
		case e.flags&inUse == 0 || e.flags&dirty != 0 || e.flushID > applied:
		case e.flags&recent != 0:
			e.flags &^= recent
		default:
			if e.flags&stored != 0 {
				c.complete = false
			}
			c.forget(c.hand)
		}
	}
	freed := before - c.size()
	if c.deadKeys > maxChunk && c.deadKeys > c.keyBytes/2 || int(c.used) > pageEntries && int(c.used) > 4*c.live {
		c.rebuild()
	}
	return freed
}

// rebuild gives back the memory that evicted entries and their keys hold.
func (c *cache[P]) rebuild() {
	old := *c
	c.empty(old.complete)
	if c.order != nil {
		c.order.empty()
	}
	for i := range old.used {
		e := old.at(i)
		if e.flags&inUse == 0 || e.flags&gone != 0 {
			continue
		}
		key := old.key(e)
		at := c.add(key, c.hash(key))
		moved := c.at(at)
		chunk, off := moved.chunk, moved.off
		*moved = *e
		moved.chunk, moved.off = chunk, off
		if e.flags&dirty != 0 {
			c.dirty = append(c.dirty, at)
		}
	}
	c.heap = old.heap
	c.dirtyMark = len(c.dirty)
}

func (c *cache[P]) inOrder(o *keyOrder) {
	o.key = func(i uint32) []byte {
		e := c.at(i)
		if e.flags&inUse == 0 {
			return nil
		}
		return c.key(e)
	}
	c.order = o
}

// expire drops an entry that nobody will ask for any more. One that waits to be flushed stays until it is handed
// over, as absent and with nothing to flush. It is for between epochs.
func (c *cache[P]) expire(i uint32) {
	e := c.at(i)
	if e.flags&dirty == 0 {
		c.forget(i)
		return
	}
	e.flags = e.flags&^(currentThere|committedThere|stored) | gone
}

// restoreRow takes a record of the changelog to the cache, where there is no Pebble. A nil value is a delete.
func (c *cache[P]) restoreRow(key, value []byte, timestampMs int64) error {
	hash := c.hash(key)
	i, ok := c.find(key, hash)
	if value == nil {
		if ok {
			c.forget(i)
		}
		return nil
	}
	p, err := c.codec.load(value)
	if err != nil {
		return err
	}
	if !ok {
		i = c.add(key, hash)
	}
	e := c.at(i)
	c.weigh(e.current, -1)
	e.current, e.currentTs = p, timestampMs
	e.flags |= currentThere
	c.weigh(p, 1)
	return nil
}
