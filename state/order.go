package state

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"sort"

	"github.com/tidwall/btree"
)

// keyOrder keeps the keys of a cache's entries in the order of their bytes, segment by segment. A segment is what
// begins with the same number (segments.go); where rows never expire, it is all there is.
//
// A segment nobody goes through in order costs nothing but a list of its entries: the tree is built when it is
// first asked for. All of it belongs to the task's goroutine.
type keyOrder struct {
	prefix int                   // length of the number at the front of each key; 0: all keys are in one segment
	key    func(i uint32) []byte // of an entry; nil if the entry is not in use

	segments []*segment // by number: all that have an entry, or had one and may have rows in Pebble
	last     *segment   // the one found last
	probe    []byte     // the key that probeEntry stands for
}

type segment struct {
	number   int64
	complete bool // every row that Pebble has of it is cached
	count    int  // of its entries
	list     []uint32
	tree     *btree.BTreeG[place] // in place of list, which may name entries twice, and some that are gone
}

// place is an entry in a tree, with the first bytes of its key after the segment's number (abbreviate).
type place struct {
	abbr uint64
	i    uint32
}

const probeEntry = math.MaxUint32

func (o *keyOrder) less(a, b place) bool {
	if a.abbr != b.abbr {
		return a.abbr < b.abbr
	}
	if a.i == b.i {
		return false
	}
	return bytes.Compare(o.tail(a.i), o.tail(b.i)) < 0
}

// tail is the entry's key without the segment's number.
func (o *keyOrder) tail(i uint32) []byte {
	if i == probeEntry {
		return o.probe
	}
	return o.key(i)[o.prefix:]
}

func (o *keyOrder) number(key []byte) int64 {
	if o.prefix == 0 {
		return 0
	}
	return sortable(binary.BigEndian.Uint64(key))
}

// find returns the segment with that number, or nil.
func (o *keyOrder) find(number int64) *segment {
	if o.last != nil && o.last.number == number {
		return o.last
	}
	if at := o.search(number); at < len(o.segments) && o.segments[at].number == number {
		o.last = o.segments[at]
		return o.last
	}
	return nil
}

func (o *keyOrder) search(number int64) int {
	return sort.Search(len(o.segments), func(i int) bool { return o.segments[i].number >= number })
}

// ensure returns the segment with that number, which is made if there is none: complete, as it has no rows yet.
func (o *keyOrder) ensure(number int64) *segment {
	if s := o.find(number); s != nil {
		return s
	}
	s := &segment{number: number, complete: o.prefix > 0}
	o.segments = slices.Insert(o.segments, o.search(number), s)
	o.last = s
	return s
}

// hasRows says that Pebble has rows of the segment that are not cached.
func (o *keyOrder) hasRows(number int64) { o.ensure(number).complete = false }

// complete reports whether a key that is not cached is nowhere.
func (o *keyOrder) complete(key []byte) bool {
	if o.prefix == 0 {
		return false // the cache knows itself
	}
	s := o.find(o.number(key))
	return s == nil || s.complete
}

func (o *keyOrder) added(i uint32, key []byte) {
	s := o.ensure(o.number(key))
	s.count++
	if s.tree != nil {
		s.tree.Set(place{abbreviate(key[o.prefix:]), i})
		return
	}
	if len(s.list) >= 64 && len(s.list) > 3*s.count {
		s.list = o.entries(s)
	}
	s.list = append(s.list, i)
}

// dropped takes the entry out; stored says that Pebble has a row for it.
func (o *keyOrder) dropped(i uint32, key []byte, stored bool) {
	s := o.find(o.number(key))
	if s == nil {
		return
	}
	s.count--
	if stored {
		s.complete = false
	}
	if s.tree != nil {
		s.tree.Delete(place{abbreviate(key[o.prefix:]), i})
	}
}

// entries returns the segment's entries, each once, in the order of their numbers or of their keys.
func (o *keyOrder) entries(s *segment) []uint32 {
	var list []uint32
	if s.tree != nil {
		list = make([]uint32, 0, s.tree.Len())
		s.tree.Scan(func(p place) bool {
			list = append(list, p.i)
			return true
		})
		return list
	}
	list = slices.Clone(s.list)
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(i uint32) bool {
		key := o.key(i)
		return key == nil || o.number(key) != s.number
	})
}

// sorted makes sure that the segment has its tree.
func (o *keyOrder) sorted(s *segment) *btree.BTreeG[place] {
	if s.tree == nil {
		list := o.entries(s)
		s.list = nil
		s.tree = btree.NewBTreeGOptions(o.less, btree.Options{NoLocks: true})
		for _, i := range list {
			s.tree.Set(place{abbreviate(o.tail(i)), i})
		}
	}
	return s.tree
}

// ascend appends to dst the entries of the segment whose keys, without the segment's number, lie in [from, to), or
// after from, until dst is full; a nil bound is none.
func (o *keyOrder) ascend(s *segment, dst []uint32, from []byte, after bool, to []byte) []uint32 {
	o.probe = from
	bound := abbreviate(to)
	o.sorted(s).Ascend(place{abbreviate(from), probeEntry}, func(p place) bool {
		if to != nil && (p.abbr > bound || p.abbr == bound && bytes.Compare(o.tail(p.i), to) >= 0) {
			return false
		}
		if after && bytes.Equal(o.tail(p.i), from) {
			return true
		}
		dst = append(dst, p.i)
		return len(dst) < cap(dst)
	})
	return dst
}

// descend does the same backward, from the last entry before to on.
func (o *keyOrder) descend(s *segment, dst []uint32, from, to []byte) []uint32 {
	bound := abbreviate(from)
	take := func(p place) bool {
		if p.abbr < bound || p.abbr == bound && bytes.Compare(o.tail(p.i), from) < 0 {
			return false
		}
		if to != nil && bytes.Equal(o.tail(p.i), to) {
			return true
		}
		dst = append(dst, p.i)
		return len(dst) < cap(dst)
	}
	if to == nil {
		o.sorted(s).Reverse(take)
	} else {
		o.probe = to
		o.sorted(s).Descend(place{abbreviate(to), probeEntry}, take)
	}
	return dst
}

// next returns the first segment with that number or a higher one, or nil.
func (o *keyOrder) next(number int64) *segment {
	if at := o.search(number); at < len(o.segments) {
		return o.segments[at]
	}
	return nil
}

// previous returns the last segment with that number or a lower one, or nil.
func (o *keyOrder) previous(number int64) *segment {
	at := o.search(number)
	if at < len(o.segments) && o.segments[at].number == number {
		return o.segments[at]
	}
	if at == 0 {
		return nil
	}
	return o.segments[at-1]
}

// remove takes the segments whose numbers are before the given one, but for permanent, out and returns them.
func (o *keyOrder) remove(before int64) []*segment {
	first := 0
	if len(o.segments) > 0 && o.segments[0].number == permanent {
		first = 1
	}
	n := max(o.search(before), first)
	if n == first {
		return nil
	}
	gone := slices.Clone(o.segments[first:n])
	o.segments = slices.Delete(o.segments, first, n)
	o.last = nil
	return gone
}

// reset is for a cache that has lost all entries. complete says that Pebble has no rows either.
func (o *keyOrder) reset(complete bool) {
	o.empty()
	if complete {
		o.segments, o.last = nil, nil
	}
	for _, s := range o.segments {
		s.complete = false
	}
}

// empty takes all entries out; they are about to be added again.
func (o *keyOrder) empty() {
	for _, s := range o.segments {
		s.count, s.list, s.tree = 0, nil, nil
	}
}
