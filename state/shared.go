package state

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// sharedRows are rows that one goroutine changes while any number of others read them. A reader takes no lock and
// writes nothing: rows never change, and what does, the places where their chains begin, are single words. So a
// reader finds a row as it was before a change or as it is after, and however many read the same row, no cache
// line goes back and forth between processors.
//
// There are two kinds. One holds all rows there are: it has chains, and it grows. The other is a cache before
// Pebble: a place holds one row, the last that was asked for or changed. Its readers fill it, and must not bring
// back a row that has changed since they read it from Pebble:
//
//	the reader                              the writer
//	looks at the place: another row, r      writes the change to Pebble
//	reads its row from Pebble               puts what it wrote into the place, whatever is there
//	puts it there if r still is
//
// What is put is fresh memory each time, and the reader keeps r alive: so that r still is there means that nobody
// changed the place. It is never made empty again, for the same reason.
type sharedRows[V any] struct {
	seed   maphash.Seed
	places atomic.Pointer[[]atomic.Pointer[sharedRow[V]]]
	count  int           // of rows, if all are held; the writer's
	total  *atomic.Int64 // what the bytes in a cache are counted in; nil: it is none
}

// sharedRow is a row, or that there is none for a key.
type sharedRow[V any] struct {
	key         string
	hash        uint64
	value       V      // if the store keeps values live
	bytes       []byte // else its encoded form
	heap        int    // what value holds outside itself
	timestampMs int64
	there       bool
	next        *sharedRow[V]
}

const (
	firstPlaces = 16
	// maxCachedRow bounds a cache by its number of places. A larger row is read from Pebble each time, which
	// costs no more than to decode it.
	maxCachedRow = 512
)

// wholeRows holds all rows there are.
func wholeRows[V any]() *sharedRows[V] {
	s := &sharedRows[V]{seed: maphash.MakeSeed()}
	s.allocate(firstPlaces)
	return s
}

// cachedRows is a cache of up to that many bytes, which it counts in total, too.
func cachedRows[V any](bytes int64, total *atomic.Int64) *sharedRows[V] {
	s := &sharedRows[V]{seed: maphash.MakeSeed(), total: total}
	s.allocate(1 << (bits.Len64(uint64(max(bytes/maxCachedRow, firstPlaces))) - 1))
	return s
}

func (s *sharedRows[V]) allocate(n int) *[]atomic.Pointer[sharedRow[V]] {
	places := make([]atomic.Pointer[sharedRow[V]], n)
	s.places.Store(&places)
	return &places
}

func (s *sharedRows[V]) isCache() bool { return s.total != nil }

func (s *sharedRows[V]) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

// at is the place of the rows of that hash.
func (s *sharedRows[V]) at(hash uint64) *atomic.Pointer[sharedRow[V]] {
	places := *s.places.Load()
	return &places[hash&uint64(len(places)-1)]
}

// find returns the row of the key in a chain, or nil.
func (r *sharedRow[V]) find(key []byte, hash uint64) *sharedRow[V] {
	for ; r != nil; r = r.next {
		if r.hash == hash && r.key == string(key) {
			return r
		}
	}
	return nil
}

// fill puts into a cache what Pebble has for a key. seen is what was at its place before Pebble was asked.
func (s *sharedRows[V]) fill(seen, r *sharedRow[V]) {
	if size := r.size(); size <= maxCachedRow && s.at(r.hash).CompareAndSwap(seen, r) {
		s.total.Add(size - seen.size())
	}
}

// set puts or deletes a row. It is the writer's, and takes r over.
func (s *sharedRows[V]) set(r *sharedRow[V]) {
	place := s.at(r.hash)
	if s.isCache() {
		if r.size() > maxCachedRow {
			r = &sharedRow[V]{}
		}
		s.total.Add(r.size() - place.Swap(r).size())
		return
	}
	chain := place.Load()
	before := chain
	for before != nil && (before.hash != r.hash || before.key != r.key) {
		before = before.next
	}
	rest := chain.without(before)
	if before != nil {
		s.count--
	}
	if !r.there {
		place.Store(rest)
		return
	}
	r.next = rest
	place.Store(r)
	s.count++
	s.grow()
}

// without is a chain without one of its rows; nil takes none away. Someone may be reading it: rows before that one
// are made anew.
func (r *sharedRow[V]) without(row *sharedRow[V]) *sharedRow[V] {
	switch row {
	case nil:
		return r
	case r:
		return r.next
	}
	c := *r
	c.next = r.next.without(row)
	return &c
}

// grow keeps chains short.
func (s *sharedRows[V]) grow() {
	old := *s.places.Load()
	if s.count <= len(old) {
		return
	}
	places := make([]atomic.Pointer[sharedRow[V]], 2*len(old))
	for i := range old {
		for r := old[i].Load(); r != nil; r = r.next {
			c := *r
			place := &places[c.hash&uint64(len(places)-1)]
			c.next = place.Load()
			place.Store(&c)
		}
	}
	s.places.Store(&places)
}

// clear drops all rows. Nobody else may be using them.
func (s *sharedRows[V]) clear() {
	if !s.isCache() {
		s.allocate(firstPlaces)
		s.count = 0
		return
	}
	n := int64(0)
	s.each(func(r *sharedRow[V]) { n += r.size() })
	s.total.Add(-n)
	s.allocate(len(*s.places.Load()))
}

// each calls f for all rows.
func (s *sharedRows[V]) each(f func(*sharedRow[V])) {
	places := *s.places.Load()
	for i := range places {
		for r := places[i].Load(); r != nil; r = r.next {
			f(r)
		}
	}
}

func (r *sharedRow[V]) size() int64 {
	if r == nil {
		return 0
	}
	return int64(unsafe.Sizeof(*r)) + int64(len(r.key)+len(r.bytes)+r.heap)
}
