package state

import (
	"bytes"
	"context"
	"errors"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// This file owns how rows are read from outside of their task (reader.go). While the task is held, that which is in
// the cache and may not be in Pebble is copied, and an iterator over Pebble is made, which goes on seeing Pebble as
// it is then. The two are merged later, row by row, without the task: what the caller does with a row holds up nobody.

// span is a range of keys of one segment, without the segment's number: [from, to); a nil bound is none.
type span struct {
	segment  int64
	from, to []byte
}

// isKey reports whether there is one key in the span.
func (sp span) isKey() bool {
	n := len(sp.from)
	return len(sp.to) == n+1 && sp.to[n] == 0 && bytes.HasPrefix(sp.to, sp.from)
}

// snapshot is one task's part of a store as of one moment. The snapshot belongs to whoever took it; the iterator to
// the database too, which closes it when it is closed.
type snapshot struct {
	base     *storeBase // for what never changes
	prefix   int        // the length of a segment's number in keys
	backward bool

	over   rows // what Pebble may lack
	sorted bool
	it     *pebble.Iterator // nil: there is nothing in Pebble, or it is closed

	lower, upper []byte // the bounds of the span that was entered, with the store's id
	first, last  int    // rows of over in it that are left: [first, last)
	chunk        []storedRow
	at           int
	seek, ended  bool // the span's first row is to be looked for; it has no more in Pebble than in the chunk
	arena        []byte
	out          ownBytes
}

// storedRow is a row as it lies in Pebble, the key without id and segment.
type storedRow struct{ key, value []byte }

const (
	chunkRows  = 128
	chunkBytes = 32 << 10
)

// snapshot takes one of the rows in the spans, which are in order, as they are committed or as the open epoch sees
// them. narrow says that the spans are few rows of many.
func (s *rowStore[V]) snapshot(order *keyOrder, spans []span, backward, narrow, uncommitted bool) (*snapshot, error) {
	s.task.reap()
	n := &snapshot{base: s.storeBase, backward: backward}
	if order != nil {
		n.prefix = order.prefix
	}
	q := lacked{
		spans: spans, prefix: n.prefix, narrow: narrow && order != nil, uncommitted: uncommitted,
		all: s.memory, inFlight: len(s.task.inFlight) > 0, applied: s.task.applied,
	}
	var err error
	if s.live != nil {
		err = s.live.copyLacked(&n.over, q)
	} else {
		err = s.encoded.copyLacked(&n.over, q)
	}
	if err == nil && !s.memory {
		err = s.task.db.openSnapshot(n)
	}
	if err != nil {
		return nil, s.fault("scan", err)
	}
	return n, nil
}

// lacked says which entries of a cache are to be copied.
type lacked struct {
	spans       []span
	prefix      int
	narrow      bool // the spans are to be looked up in the order of keys
	all         bool // there is nothing behind the cache
	inFlight    bool // flushes after applied are under way
	applied     uint32
	uncommitted bool
}

// copyLacked copies the entries in the spans that may differ from what Pebble has.
func (c *cache[P]) copyLacked(r *rows, q lacked) error {
	copyEntry := func(i uint32) error {
		e := c.at(i)
		if !q.all && e.flags&dirty == 0 && e.flushID <= q.applied {
			return nil
		}
		p, ts, there := e.current, e.currentTs, e.flags&currentThere != 0
		if !q.uncommitted && c.epoch != 0 && e.epoch == c.epoch {
			p, ts, there = e.committed, e.committedTs, e.flags&committedThere != 0
		}
		key := c.key(e)
		if !there {
			r.delete(key)
			return nil
		}
		arena, err := c.codec.append(r.begin(key, ts), p)
		if err == nil {
			r.end(arena, len(key))
		}
		return err
	}
	if q.narrow {
		return c.eachInSpans(q.spans, copyEntry)
	}
	if !q.all && !q.inFlight {
		for _, i := range c.dirty {
			if q.has(c.key(c.at(i))) {
				if err := copyEntry(i); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for i := range c.used {
		if e := c.at(i); e.flags&inUse != 0 && q.has(c.key(e)) {
			if err := copyEntry(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachInSpans finds entries by the order of their keys.
func (c *cache[P]) eachInSpans(spans []span, visit func(i uint32) error) error {
	places := make([]uint32, 0, walkPlaces)
	for _, sp := range spans {
		seg := c.order.find(sp.segment)
		if seg == nil {
			continue
		}
		if sp.isKey() { // there may be no tree, and a million entries to make one of
			var key []byte
			if c.order.prefix > 0 {
				key = appendSegment(nil, sp.segment)
			}
			key = append(key, sp.from...)
			if i, ok := c.find(key, c.hash(key)); ok {
				if err := visit(i); err != nil {
					return err
				}
			}
			continue
		}
		for from, after := sp.from, false; ; after = true {
			places = c.order.ascend(seg, places[:0], from, after, sp.to)
			for _, i := range places {
				if err := visit(i); err != nil {
					return err
				}
			}
			if len(places) < cap(places) {
				break
			}
			from = c.order.tail(places[len(places)-1])
		}
	}
	return nil
}

// has reports whether the key is in one of the spans. They are of different segments, if there are several.
func (q *lacked) has(key []byte) bool {
	var number int64
	if q.prefix > 0 {
		number = timeAt(key)
	}
	at := 0
	if n := len(q.spans); n != 1 {
		at = sort.Search(n, func(i int) bool { return q.spans[i].segment >= number })
		if at == n {
			return false
		}
	}
	sp, tail := q.spans[at], key[q.prefix:]
	return sp.segment == number && bytes.Compare(tail, sp.from) >= 0 && (sp.to == nil || bytes.Compare(tail, sp.to) < 0)
}

// enter goes to the beginning of a span, or to its end if the snapshot is read backward.
func (n *snapshot) enter(sp span) {
	if !n.sorted {
		n.over.sort()
		n.sorted = true
	}
	n.lower = appendID(n.lower[:0], n.base.id)
	if n.prefix > 0 {
		n.lower = appendSegment(n.lower, sp.segment)
	}
	if sp.to != nil {
		n.upper = append(append(n.upper[:0], n.lower...), sp.to...)
	} else {
		n.upper = append(n.upper[:0], afterPrefix(n.lower)...) // no id is the last number there is
	}
	n.lower = append(n.lower, sp.from...)
	refs := n.over.refs
	find := func(bound []byte) int {
		if !bytes.HasPrefix(bound, n.lower[:idLen]) {
			return len(refs) // that of the next store
		}
		return sort.Search(len(refs), func(i int) bool { return bytes.Compare(n.over.key(refs[i]), bound[idLen:]) >= 0 })
	}
	n.first, n.last = find(n.lower), find(n.upper)
	n.chunk, n.at, n.seek, n.ended = n.chunk[:0], 0, true, n.base.memory
}

// next returns the span's next row, which is valid until the call after.
func (n *snapshot) next() (r storedRow, ok bool, err error) {
	for {
		if n.at == len(n.chunk) && !n.ended {
			if err := n.fill(); err != nil {
				return r, false, n.base.fault("scan", err)
			}
		}
		which := 1 // Pebble's row is next; -1: the copied one is; 0: they are one
		var ref rowRef
		switch {
		case n.first == n.last && n.at == len(n.chunk):
			return r, false, nil
		case n.first == n.last:
		default:
			ref = n.over.refs[n.first]
			if n.backward {
				ref = n.over.refs[n.last-1]
			}
			which = -1
			if n.at < len(n.chunk) {
				which = bytes.Compare(n.over.key(ref)[n.prefix:], n.chunk[n.at].key)
				if n.backward {
					which = -which
				}
			}
		}
		if which >= 0 {
			r = n.chunk[n.at]
			n.at++
		}
		if which > 0 {
			return r, true, nil
		}
		if n.backward {
			n.last--
		} else {
			n.first++
		}
		if ref.valueLen >= 0 {
			value := ref.start + int(ref.keyLen)
			return storedRow{n.over.key(ref)[n.prefix:], n.over.arena[value : value+int(ref.valueLen)]}, true, nil
		}
	}
}

// fill reads the next rows of Pebble.
func (n *snapshot) fill() error {
	n.chunk, n.at, n.arena = n.chunk[:0], 0, n.arena[:0]
	return n.base.task.db.look(func() error {
		it := n.it
		if it == nil {
			return ErrClosed
		}
		var more bool
		switch {
		case n.seek && n.backward:
			more = it.SeekLT(n.upper)
		case n.seek:
			more = it.SeekGE(n.lower)
		case n.backward:
			more = it.Prev()
		default:
			more = it.Next()
		}
		n.seek = false
		for ; more; more = n.step() {
			key := it.Key()
			if n.backward && bytes.Compare(key, n.lower) < 0 || !n.backward && bytes.Compare(key, n.upper) >= 0 {
				break
			}
			value, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			at := len(n.arena)
			n.arena = append(append(n.arena, key[idLen+n.prefix:]...), value...)
			end := len(n.arena) - len(value)
			n.chunk = append(n.chunk, storedRow{n.arena[at:end:end], n.arena[end:]})
			if len(n.chunk) == chunkRows || len(n.arena) >= chunkBytes {
				return nil
			}
		}
		n.ended = true
		return it.Error()
	})
}

func (n *snapshot) step() bool {
	if n.backward {
		return n.it.Prev()
	}
	return n.it.Next()
}

// close gives the iterator back.
func (n *snapshot) close() error {
	if err := n.base.task.db.closeSnapshot(n); err != nil {
		return n.base.fault("scan", err)
	}
	return nil
}

// ErrClosed is matched by errors of reads from a database that was closed.
var ErrClosed = errors.New("state: closed")

// look calls f, which reads from Pebble, unless Pebble may not answer any more.
func (db *DB) look(f func() error) (err error) {
	db.reads.RLock()
	defer db.reads.RUnlock()
	if db.readsEnded {
		return ErrClosed
	}
	if err := db.Err(); err != nil {
		return err
	}
	defer db.recovered(&err)
	return f()
}

// openSnapshot gives the snapshot its iterator.
func (db *DB) openSnapshot(n *snapshot) error {
	return db.look(func() (err error) {
		if n.it, err = n.base.iterate(); err != nil {
			return err
		}
		db.snapshotMu.Lock()
		defer db.snapshotMu.Unlock()
		db.snapshots[n] = struct{}{}
		return nil
	})
}

func (db *DB) closeSnapshot(n *snapshot) error {
	db.snapshotMu.Lock()
	defer db.snapshotMu.Unlock()
	delete(db.snapshots, n)
	if n.it == nil || db.poisoned.Load() {
		return nil
	}
	err := n.it.Close()
	n.it = nil
	return err
}

// endReads waits for looks at Pebble that are under way, lets none begin, and closes what others left open.
func (db *DB) endReads() error {
	db.reads.Lock()
	defer db.reads.Unlock()
	db.readsEnded = true
	db.snapshotMu.Lock()
	open := make([]*snapshot, 0, len(db.snapshots))
	for n := range db.snapshots {
		open = append(open, n)
	}
	db.snapshotMu.Unlock()
	var err error
	for _, n := range open {
		err = errors.Join(err, db.closeSnapshot(n))
	}
	return err
}

// read is the row's value as it is committed, or as the open epoch sees it. It caches nothing.
func (s *rowStore[V]) read(row []byte, uncommitted bool) (Value[V], error) {
	i, ok, complete := uint32(0), false, false
	if s.live != nil {
		i, ok, complete = peek(s.live, row[idLen:])
	} else {
		i, ok, complete = peek(s.encoded, row[idLen:])
	}
	switch {
	case ok && uncommitted:
		return s.get(i)
	case ok:
		return s.before(i)
	case complete:
		return Value[V]{}, nil
	}
	var v Value[V]
	if err := s.task.db.look(func() error {
		b, closer, err := s.task.db.pebble.Get(row)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s.bytes = append(s.bytes[:0], b...)
		v.OK = true
		return closer.Close()
	}); err != nil || !v.OK {
		if err != nil {
			err = s.fault("read", err)
		}
		return v, err
	}
	ts, b, err := parseRow(s.bytes)
	if err != nil {
		return Value[V]{}, s.fault("read", err)
	}
	return s.decode(b, ts)
}

// countExactly is how many rows are counted before the rest is estimated.
const countExactly = 10_000

// count returns about how many rows the span has.
func (n *snapshot) count(ctx context.Context, sp span) (rows int64, err error) {
	n.enter(sp)
	for {
		row, ok, err := n.next()
		if !ok || err != nil {
			return rows, err
		}
		if rows++; rows%countExactly != 0 || n.base.memory {
			continue
		}
		if ctx.Err() != nil {
			return rows, ctx.Err()
		}
		var counted, all uint64
		if err := n.base.task.db.look(func() (err error) {
			store := appendID(nil, n.base.id)
			if counted, err = n.base.task.db.pebble.EstimateDiskUsage(store, append(appendID(nil, n.base.id), row.key...)); err != nil {
				return err
			}
			all, err = n.base.task.db.pebble.EstimateDiskUsage(store, appendID(nil, n.base.id+1))
			return err
		}); err != nil {
			return rows, n.base.fault("estimate", err)
		}
		if counted > 0 { // else what was counted is not in a table yet
			return int64(float64(rows) * (float64(max(all, counted)) / float64(counted))), nil
		}
	}
}
