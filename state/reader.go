package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// This file owns what readers of all kinds of store have in common. A reader reads a store from outside, while the
// application runs: what is committed, unless it is asked for what is not. It finds the store's parts, one in each
// task, by Parts; what it reads of one part is as of one moment, and of all parts as of one commit.

// Queryable is a handle of a store that can be read from outside; R is its reader.
type Queryable[R any] interface {
	AnyHandle
	// Reader is for stream.Query and streamtest.Query, which know the parts.
	Reader(p Parts) R
}

// Part is what a reader reads: a task's Store, or a Global, which has no other parts.
type Part interface{ Name() string }

// Parts is where a reader finds the parts of its store. Its methods may be called concurrently.
type Parts interface {
	// Read calls f for one part after another until f is done or returns an error, which Read returns. During a call
	// nobody else uses the part, and from the first to the last call nothing is committed; but a Global may be
	// read and changed by others all the while. If key is not nil, it gives the bytes of the key that f looks for:
	// parts that cannot have it are left out, and the one that most likely has it comes first.
	Read(ctx context.Context, key func(Part) ([]byte, error), f func(Part) (done bool, err error)) error
	// Fault is what readers return for an error that is met after Read, as a scan goes on: as Read returns it.
	Fault(err error) error
}

// cursor goes through the rows of a snapshot's spans, which belong to one part.
type cursor[R any] struct {
	*snapshot
	spans   []span
	entered bool                  // the first of the spans
	keep    func(storedRow) bool  // whether a row is to be shown
	compare func(a, b []byte) int // the order in which rows come, by their keys; that of all parts
	decode  func(storedRow) (R, error)
	row     storedRow // at hand

	gather  *gathering // rows come in its order; nil: in that of their keys
	batch   []storedRow
	further bool // the first span has rows after those in batch
}

// advance goes to the next row.
func (c *cursor[R]) advance() (ok bool, err error) {
	if c.gather != nil {
		return c.advanceGathered()
	}
	for len(c.spans) > 0 {
		if !c.entered {
			c.enter(c.spans[0])
			c.entered = true
		}
		switch c.row, ok, err = c.next(); {
		case err != nil:
			return false, err
		case !ok:
			c.spans, c.entered = c.spans[1:], false
		case c.keep(c.row):
			return true, nil
		}
	}
	return false, nil
}

// advanceGathered sorts the rows of each span.
func (c *cursor[R]) advanceGathered() (ok bool, err error) {
	for len(c.batch) == 0 {
		if len(c.spans) == 0 {
			return false, nil
		}
		if !c.further {
			c.gather.begin()
		}
		c.gather.more = false
		c.enter(c.spans[0])
		for {
			row, ok, err := c.next()
			if err != nil {
				return false, err
			}
			if !ok {
				break
			}
			if c.keep(row) {
				c.gather.add(row)
			}
		}
		c.batch, c.further = c.gather.take(), c.gather.more
		if !c.further {
			c.spans = c.spans[1:]
		}
	}
	c.row, c.batch = c.batch[0], c.batch[1:]
	return true, nil
}

// merged ranges over the rows of all parts. open takes a part's snapshot; nil means that nothing of it is asked for.
func merged[R any](ctx context.Context, p Parts, key func(Part) ([]byte, error), open func(Part) (*cursor[R], error)) iter.Seq2[R, error] {
	return seq(func(yield func(R) bool) (err error) {
		var cursors []*cursor[R]
		defer func() {
			for _, c := range cursors {
				err = errors.Join(err, c.close())
			}
		}()
		if err := p.Read(ctx, key, func(s Part) (bool, error) {
			c, err := open(s)
			if c != nil {
				cursors = append(cursors, c)
			}
			return false, err
		}); err != nil {
			return err
		}
		if err := merge(ctx, cursors, yield); err != nil {
			return p.Fault(err)
		}
		return nil
	})
}

// merge yields the rows of the cursors in order.
func merge[R any](ctx context.Context, cursors []*cursor[R], yield func(R) bool) error {
	var heap []*cursor[R] // by their rows, the first at the root
	down := func(at int) {
		for {
			least := at
			for child := 2*at + 1; child <= 2*at+2 && child < len(heap); child++ {
				if c := heap[child]; c.compare(c.row.key, heap[least].row.key) < 0 {
					least = child
				}
			}
			if least == at {
				return
			}
			heap[at], heap[least] = heap[least], heap[at]
			at = least
		}
	}
	for _, c := range cursors {
		ok, err := c.advance()
		if err != nil {
			return err
		}
		if ok {
			heap = append(heap, c)
		}
	}
	for at := len(heap)/2 - 1; at >= 0; at-- {
		down(at)
	}
	for rows := 1; len(heap) > 0; rows++ {
		if rows%chunkRows == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		c := heap[0]
		r, err := c.decode(c.row)
		if err != nil {
			return err
		}
		if !yield(r) {
			return nil
		}
		ok, err := c.advance()
		if err != nil {
			return err
		}
		if !ok {
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		}
		down(0)
	}
	return nil
}

// reversed is compare backward.
func reversed(compare func(a, b []byte) int) func(a, b []byte) int {
	return func(a, b []byte) int { return compare(b, a) }
}

func everyRow(storedRow) bool { return true }

// wrongKind is the error for a part that is not what the reader's handle says.
func wrongKind[W any](s Part) error {
	return fmt.Errorf("state: store %s is a %T, and is read as %T", s.Name(), s, *new(W))
}

// spans are those of the segments that have rows of [firstMs, lastMs], each with the same bounds.
func (t *timed) spans(firstMs, lastMs int64, from, to []byte, backward bool) []span {
	var spans []span
	for seg := t.firstSegment(firstMs, lastMs, backward); seg != nil; seg = t.segmentAfter(seg, firstMs, lastMs, backward) {
		spans = append(spans, span{seg.number, from, to})
	}
	return spans
}

// time is the store's time, of which it depends what is shown.
func (t *timed) time(uncommitted bool) moment {
	if uncommitted {
		return t.clock.now
	}
	return t.clock.committed
}

// timedRange says which rows are asked for of a store whose rows expire: those with keys in [from, to] and times in
// [firstMs, lastMs].
type timedRange struct {
	from, to        []byte // nil: all keys
	firstMs, lastMs int64
	tail            int // the length of what follows the key in a row's, which begins with the time
	// compare is the order for the rows, by what follows the segment. Rows of one key lie in it.
	compare               func(a, b []byte) int
	keep                  func(key []byte) bool // nil: all of them
	backward, uncommitted bool
}

func (r *timedRange) oneKey() bool { return r.from != nil && bytes.Equal(r.from, r.to) }

// timedCursor takes the snapshot for a range.
func timedCursor[R, V any](s *rowStore[V], t *timed, r timedRange, decode func(*snapshot, storedRow) (R, error)) (*cursor[R], error) {
	firstMs, lastMs, some := t.clampAt(t.time(r.uncommitted), r.firstMs, r.lastMs)
	if !some {
		return nil, nil
	}
	if r.backward {
		r.compare = reversed(r.compare)
	}
	var low, high []byte
	switch {
	case r.oneKey():
		low = appendTime(bytes.Clone(r.from), firstMs)
		high = appendAfter(bytes.Clone(r.to), lastMs)
	case r.from != nil:
		low, high = r.from, afterKeys(r.from, r.to)
	}
	spans := t.spans(firstMs, lastMs, low, high, r.backward)
	n, err := s.snapshot(t.order, spans, r.backward, r.from != nil, r.uncommitted)
	if err != nil {
		return nil, err
	}
	c := &cursor[R]{snapshot: n, spans: spans, compare: r.compare, decode: func(row storedRow) (R, error) { return decode(n, row) }}
	c.keep = func(row storedRow) bool {
		at := len(row.key) - r.tail
		if at < 0 || r.from != nil && (bytes.Compare(row.key[:at], r.from) < 0 || bytes.Compare(row.key[:at], r.to) > 0) {
			return false // another key, whose bytes lie in between
		}
		time := timeAt(row.key[at:])
		return time >= firstMs && time <= lastMs && (r.keep == nil || r.keep(row.key))
	}
	if !r.oneKey() {
		c.gather = &gathering{compare: r.compare}
	}
	return c, nil
}

// afterKeys is after all rows of keys in [from, to], both included. Rows of to itself are not the last of them if a
// key that to begins with is among the keys: the time that follows it may be more than the rest of to.
func afterKeys(from, to []byte) []byte {
	n := len(to)
	for n > 0 && bytes.Compare(to[:n-1], from) >= 0 {
		n--
	}
	return append(bytes.Clone(to[:n]), bytes.Repeat([]byte{0xff}, 3*timeLen)...)
}

// keyBounds encodes the bounds of a range of keys, if there are any.
func keyBounds[K any](encode func(K) ([]byte, error), from, to *K) (low, high []byte, err error) {
	if from == nil {
		return nil, nil, nil
	}
	if low, err = encode(*from); err != nil {
		return nil, nil, err
	}
	if from == to {
		return low, low, nil
	}
	high, err = encode(*to)
	return low, high, err
}
