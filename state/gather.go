package state

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// keyRange says which rows of one key are asked for: those whose keys, without the segment's number, lie in
// [from, to), begin with the first key bytes of from, and are length bytes long.
type keyRange struct {
	from, to    []byte
	key, length int
	firstMs     int64 // the range of their times, for the segments to look in
	lastMs      int64
	backward    bool
}

// appendAfter appends what comes after all rows of that time.
func appendAfter(dst []byte, ms int64) []byte {
	if ms < math.MaxInt64 {
		return appendTime(dst, ms+1)
	}
	return append(appendTime(dst, ms), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
}

// eachOfKey goes through the rows of one key in the order of their times, until visit returns false.
func (s *rowStore[V]) eachOfKey(t *timed, r keyRange, visit func(w *walk[V]) (more bool, err error)) (err error) {
	w := s.walkRows(t.order, r.backward)
	defer func() {
		if e := w.end(); err == nil {
			err = e
		}
	}()
	for seg := t.firstSegment(r.firstMs, r.lastMs, r.backward); seg != nil; seg = t.segmentAfter(seg, r.firstMs, r.lastMs, r.backward) {
		w.enter(seg, r.from, r.to)
		for w.next() {
			if len(w.key) != r.length || !bytes.Equal(w.key[:r.key], r.from[:r.key]) {
				continue // a longer key whose bytes lie in between
			}
			if more, err := visit(w); !more || err != nil {
				return err
			}
		}
	}
	return nil
}

// eachInTime goes through the rows of all keys with times in [firstMs, lastMs], segment by segment, and within a
// segment in the given order, until visit returns false. Rows of a segment lie by key: they are gathered, at most
// gatherRows at a time, and sorted. A row ends in tail bytes that begin with its time.
func (s *rowStore[V]) eachInTime(t *timed, firstMs, lastMs int64, tail int, compare func(a, b []byte) int,
	visit func(row []byte, v Value[V]) (more bool, err error)) (err error) {
	w := s.walkRows(t.order, false)
	defer func() {
		if e := w.end(); err == nil {
			err = e
		}
	}()
	g := gathering{compare: compare}
	for seg := t.firstSegment(firstMs, lastMs, false); seg != nil; seg = t.segmentAfter(seg, firstMs, lastMs, false) {
		for g.begin(); g.more; {
			g.more = false
			w.enter(seg, nil, nil)
			for w.next() {
				if len(w.key) < tail {
					return s.fault("scan", fmt.Errorf("%w: key of %d bytes has no time", ErrCorrupt, len(w.key)))
				}
				if time := timeAt(w.key[len(w.key)-tail:]); time >= firstMs && time <= lastMs {
					g.add(storedRow{key: w.key})
				}
			}
			if w.err != nil {
				return w.err
			}
			for _, row := range g.take() {
				s.row = append(appendSegment(s.row[:idLen], seg.number), row.key...)
				v, err := s.peek(s.row)
				if err != nil {
					return err
				}
				if !v.OK {
					continue // deleted meanwhile
				}
				if more, err := visit(row.key, v); !more || err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// gathering picks the first rows, in an order of its own, of rows that come in another.
type gathering struct {
	compare func(a, b []byte) int // of keys
	after   []byte                // the key of the last that was taken; nil: none was
	rows    []storedRow
	bytes   int // of the rows
	arena   []byte
	more    bool // there are more than were taken
	sure    int  // if there are: how many of rows, in order, are known to be the first
}

const (
	// gatherRows and gatherBytes bound about half of what a gathering keeps: the segment is gone through once for so
	// many.
	gatherRows  = 8 << 10
	gatherBytes = 4 << 20
)

// begin is for another segment.
func (g *gathering) begin() { g.after, g.more = nil, true }

// add takes a copy of the row.
func (g *gathering) add(r storedRow) {
	if g.after != nil && g.compare(r.key, g.after) <= 0 {
		return
	}
	if n := len(g.rows); n == 2*gatherRows || n > 1 && g.bytes > 2*gatherBytes {
		g.cut(n / 2)
	}
	g.bytes += len(r.key) + len(r.value)
	g.rows = append(g.rows, g.copy(r))
}

func (g *gathering) copy(r storedRow) storedRow {
	n := len(r.key) + len(r.value)
	if cap(g.arena)-len(g.arena) < n {
		g.arena = make([]byte, 0, max(1<<10, min(2*cap(g.arena), 1<<20), n))
	}
	at := len(g.arena)
	g.arena = append(append(g.arena, r.key...), r.value...)
	value := at + len(r.key)
	return storedRow{g.arena[at:value:value], g.arena[value:len(g.arena):len(g.arena)]}
}

// cut keeps the first n, in memory that holds nothing else.
func (g *gathering) cut(n int) {
	slices.SortFunc(g.rows, func(a, b storedRow) int { return g.compare(a.key, b.key) })
	if n >= len(g.rows) {
		return
	}
	if !g.more || n < g.sure {
		g.more, g.sure = true, n
	}
	clear(g.rows[n:])
	g.rows, g.arena, g.bytes = g.rows[:n], nil, 0
	for i, r := range g.rows {
		g.rows[i] = g.copy(r)
		g.bytes += len(r.key) + len(r.value)
	}
}

// take returns the rows gathered, in order; add then takes those after them.
func (g *gathering) take() []storedRow {
	n := len(g.rows)
	if g.more {
		n = g.sure // what was cut may lie between later ones
	}
	g.cut(n)
	rows := g.rows
	g.rows, g.arena, g.bytes = nil, nil, 0
	if len(rows) > 0 {
		g.after = rows[len(rows)-1].key
	}
	return rows
}
