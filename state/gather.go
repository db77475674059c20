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
					g.add(w.key)
				}
			}
			if w.err != nil {
				return w.err
			}
			for _, key := range g.take() {
				s.row = append(appendSegment(s.row[:idLen], seg.number), key...)
				v, err := s.peek(s.row)
				if err != nil {
					return err
				}
				if !v.OK {
					continue // deleted meanwhile
				}
				if more, err := visit(key, v); !more || err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// gathering picks the first rows, in an order of its own, of rows that come in another.
type gathering struct {
	compare func(a, b []byte) int
	after   []byte // the last that was taken; nil: none was
	rows    [][]byte
	arena   []byte
	more    bool // there are more than were taken
}

// gatherRows bounds what a gathering keeps: the segment is gone through once for so many.
const gatherRows = 8 << 10

// begin is for another segment.
func (g *gathering) begin() { g.after, g.more = nil, true }

func (g *gathering) add(key []byte) {
	if g.after != nil && g.compare(key, g.after) <= 0 {
		return
	}
	if len(g.rows) == 2*gatherRows {
		g.cut()
	}
	if cap(g.arena)-len(g.arena) < len(key) {
		g.arena = make([]byte, 0, max(1<<10, 2*cap(g.arena), len(key)))
	}
	n := len(g.arena)
	g.arena = append(g.arena, key...)
	g.rows = append(g.rows, g.arena[n:len(g.arena):len(g.arena)])
}

// cut keeps the first gatherRows.
func (g *gathering) cut() {
	slices.SortFunc(g.rows, g.compare)
	clear(g.rows[gatherRows:])
	g.rows, g.more = g.rows[:gatherRows], true
}

// take returns the rows gathered, in order; add then takes those after them.
func (g *gathering) take() [][]byte {
	if len(g.rows) > gatherRows {
		g.cut()
	} else {
		slices.SortFunc(g.rows, g.compare)
	}
	rows := g.rows
	g.rows, g.arena = nil, nil
	if n := len(rows); n > 0 {
		g.after = rows[n-1]
	}
	return rows
}
