package state

import (
	"bytes"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// walk goes through a store's rows in the order of their keys, or backward, a range of a segment at a time. It
// merges the rows of Pebble with the cached entries, which come first where both have a key: what is cached is
// what the open epoch sees.
//
// The store may be used between two steps: rows that are changed then may or may not be seen with the change.
type walk[V any] struct {
	s        *rowStore[V]
	order    *keyOrder
	backward bool
	err      error

	seg      *segment
	from, to []byte // of the range, without the segment's number: [from, to); nil: no bound

	places []uint32 // entries next in line
	at     int
	ended  bool   // there are none after those in places
	last   []byte // the key of the last of places

	it      *pebble.Iterator // nil: not needed so far
	bound   []byte           // a key for it: the store, the segment, and more
	stored  bool             // it stands at a row of the range
	advance bool             // ... which has been given out

	key    []byte // of the row it stands at, without the segment's number; valid until the next step
	entry  uint32 // where it is cached
	cached bool
}

const walkPlaces = 32

// walkRows begins a walk; end must be called.
func (s *rowStore[V]) walkRows(o *keyOrder, backward bool) *walk[V] {
	var w *walk[V]
	if n := len(s.walks); n > 0 {
		w, s.walks = s.walks[n-1], s.walks[:n-1]
	} else {
		w = &walk[V]{s: s, places: make([]uint32, 0, walkPlaces)}
	}
	w.order, w.backward = o, backward
	return w
}

// end gives the walk back and returns its error.
func (w *walk[V]) end() error {
	err := w.err
	if w.it != nil {
		if e := w.it.Close(); e != nil && err == nil {
			err = w.s.fault("scan", e)
		}
	}
	*w = walk[V]{s: w.s, places: w.places[:0], bound: w.bound[:0]}
	if len(w.s.walks) < 4 {
		w.s.walks = append(w.s.walks, w)
	}
	return err
}

// enter goes to a range of a segment. The slices must not change before the next call.
func (w *walk[V]) enter(seg *segment, from, to []byte) {
	w.seg, w.from, w.to = seg, from, to
	w.places, w.at, w.ended, w.last = w.places[:0], 0, false, nil
	w.stored, w.advance, w.cached, w.key = false, false, false, nil
	if w.err != nil || seg.complete || w.s.isComplete() {
		return
	}
	if w.it == nil {
		w.s.task.reap()
		if w.err = w.s.task.db.Err(); w.err != nil {
			return // Pebble may not answer any more
		}
		it, err := w.s.iterate()
		if err != nil {
			w.err = w.s.fault("scan", err)
			return
		}
		w.it = it
	}
	w.bound = appendID(w.bound[:0], w.s.id)
	if w.order.prefix > 0 {
		w.bound = appendSegment(w.bound, seg.number)
	}
	switch {
	case !w.backward:
		w.bound = append(w.bound, from...)
		w.stored = w.it.SeekGE(w.bound)
	case to != nil:
		w.bound = append(w.bound, to...)
		w.stored = w.it.SeekLT(w.bound)
	default:
		w.stored = w.seekLast()
	}
	w.checkStored()
}

// seekLast goes to the segment's last row; w.bound has its number.
func (w *walk[V]) seekLast() bool {
	for i := len(w.bound) - 1; i >= 0; i-- {
		if w.bound[i]++; w.bound[i] != 0 {
			return w.it.SeekLT(w.bound)
		}
	}
	return w.it.Last()
}

// checkStored ends the rows of Pebble at the range's bound.
func (w *walk[V]) checkStored() {
	if !w.stored {
		if err := w.it.Error(); err != nil && w.err == nil {
			w.err = w.s.fault("scan", err)
		}
		return
	}
	key := w.it.Key()[idLen:]
	if w.order.prefix > 0 && (len(key) < w.order.prefix || timeAt(key) != w.seg.number) {
		w.stored = false
		return
	}
	w.stored = w.within(key[w.order.prefix:])
}

func (w *walk[V]) within(key []byte) bool {
	if w.backward {
		return bytes.Compare(key, w.from) >= 0
	}
	return w.to == nil || bytes.Compare(key, w.to) < 0
}

// next goes to the range's next row and reports whether there is one. It stops at the first error.
func (w *walk[V]) next() bool {
	for w.err == nil {
		if w.advance {
			w.advance = false
			if w.backward {
				w.stored = w.it.Prev()
			} else {
				w.stored = w.it.Next()
			}
			w.checkStored()
		}
		if w.at == len(w.places) && !w.ended {
			w.fill()
		}
		var entryKey []byte
		if w.at < len(w.places) {
			entryKey = w.order.tail(w.places[w.at])
		} else if !w.stored {
			return false
		}
		which := -1 // the cached entry is next; 1: Pebble's row is; 0: they are one
		if w.stored {
			w.key = w.it.Key()[idLen+w.order.prefix:]
			switch {
			case w.at == len(w.places):
				which = 1
			case w.backward:
				which = bytes.Compare(w.key, entryKey)
			default:
				which = bytes.Compare(entryKey, w.key)
			}
		}
		w.advance = which >= 0
		if w.cached = which <= 0; w.cached {
			w.entry, w.key = w.places[w.at], entryKey
			w.at++
			if !w.s.there(w.entry) {
				continue
			}
		}
		return w.err == nil
	}
	return false
}

// fill finds the next cached entries.
func (w *walk[V]) fill() {
	w.places, w.at = w.places[:0], 0
	from, to := w.from, w.to
	switch {
	case w.backward && w.last != nil:
		to = w.last
	case w.last != nil:
		from = w.last
	}
	if w.backward {
		w.places = w.order.descend(w.seg, w.places, from, to)
	} else {
		w.places = w.order.ascend(w.seg, w.places, from, w.last != nil, to)
	}
	w.ended = len(w.places) < cap(w.places)
	if n := len(w.places); n > 0 {
		w.last = w.order.tail(w.places[n-1])
	}
}

// value returns the row's value.
func (w *walk[V]) value() (Value[V], error) {
	if w.cached {
		return w.s.get(w.entry)
	}
	b, err := w.it.ValueAndErr()
	if err != nil {
		return Value[V]{}, w.s.fault("scan", err)
	}
	ts, b, err := parseRow(b)
	if err != nil {
		return Value[V]{}, w.s.fault("scan", err)
	}
	return w.s.decode(b, ts)
}

// ownKey returns a part of the row's key in bytes that are never written again.
func (w *walk[V]) ownKey(part []byte) []byte {
	if w.cached {
		return part
	}
	return w.s.own(part)
}

// seq makes a sequence of a function that yields rows and returns an error.
func seq[R any](each func(yield func(R) bool) error) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		stopped := false
		if err := each(func(r R) bool {
			stopped = !yield(r, nil)
			return !stopped
		}); err != nil && !stopped {
			var none R
			yield(none, err)
		}
	}
}
