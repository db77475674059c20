package stream

import (
	"errors"
	"slices"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/windows"
)

// slidingOp aggregates by sliding windows (KIP-450, KStreamSlidingWindowAggregate). Each record has the window that
// ends with it and the one that begins right after it; the second exists once a later record is in it. A window's
// timestamp is that of its newest record.
type slidingOp[K, V, A any] struct {
	*windowFold[K, V, A, *state.WindowStore[K, A]]
	d int64 // the time difference: windows are [s, s+d], both included

	read []state.WindowRow[K, A] // the key's windows around the record at hand
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

func (o *slidingOp[K, V, A]) process(r Record[K, V]) error {
	if r.null != 0 {
		countDropped(o.t, o.node, r.null)
		return nil
	}
	o.advance(r)
	closed := o.time - o.grace // windows that end before it take no more
	if o.closes {
		if err := o.sendClosed(closed, r.Headers); err != nil {
			return err
		}
	}
	if r.Timestamp+o.d < closed {
		return o.tooLate(r, r.Timestamp, r.Timestamp+o.d, r.Timestamp+o.d+o.grace+1, WindowClosed)
	}
	if r.Timestamp < o.d {
		return o.early(r, closed)
	}
	return o.usual(r, closed)
}

// around is what a record's windows are made of, beside those that exist.
type around[A any] struct {
	left     state.Value[A] // of the newest window that ends before the record
	right    state.Value[A] // of the newest window that holds the record and begins at or before it, as it was
	previous int64          // timestamp of the newest record before this one in reach; -1: not known
	hasLeft  bool           // the window that ends with the record exists
	hasRight bool           // the window that begins after the record exists
}

// usual takes a record that no window would begin before time 0 for.
func (o *slidingOp[K, V, A]) usual(r Record[K, V], closed int64) error {
	t := r.Timestamp
	a := around[A]{previous: -1}
	o.read = o.read[:0]
	err := o.store.kept.Each(r.Key, max(0, t-2*o.d), t+1, true, func(row state.WindowRow[K, A]) error {
		o.read = append(o.read, row)
		if row.Start+o.d < t {
			return errEnough
		}
		return nil
	})
	if err != nil && err != errEnough {
		return err
	}
	for _, row := range o.read {
		end := row.Start + o.d
		switch {
		case row.Start == t+1:
			a.hasRight = true
			continue
		case end > t:
			if err := o.keepRight(&a, row, t); err != nil {
				return err
			}
		case end == t:
			a.hasLeft = true
			if row.Timestamp < t {
				a.previous = row.Timestamp
			}
		default:
			a.left, a.previous = value(row), row.Timestamp
			continue
		}
		if err := o.update(row, r, closed); err != nil {
			return err
		}
	}
	if err := o.afterPrevious(&a, r, closed); err != nil {
		return err
	}
	if !a.hasLeft {
		var at state.Value[A]
		if a.previous >= 0 && a.previous >= t-o.d {
			at = a.left
		}
		if err := o.begin(t-o.d, r, at, closed); err != nil {
			return err
		}
	}
	return o.afterRecord(&a, r, closed)
}

// early takes a record whose left window would begin before time 0: all of those share [0, d].
func (o *slidingOp[K, V, A]) early(r Record[K, V], closed int64) error {
	t := r.Timestamp
	a := around[A]{previous: -1}
	var zero *state.WindowRow[K, A]
	o.read = o.read[:0]
	err := o.store.kept.Each(r.Key, 0, t+1, false, func(row state.WindowRow[K, A]) error {
		o.read = append(o.read, row)
		return nil
	})
	if err != nil {
		return err
	}
	var last *state.WindowRow[K, A]
	for i := range o.read {
		row := &o.read[i]
		switch {
		case row.Start == 0:
			zero = row
			if row.Timestamp < t {
				a.previous = row.Timestamp
			}
		case row.Start == t+1:
			a.hasRight = true
		default:
			last = row
		}
	}
	if last == nil && zero != nil && zero.Timestamp > t {
		last = zero
	}
	if last != nil {
		if err := o.keepRight(&a, *last, t); err != nil {
			return err
		}
	}
	for _, row := range o.read {
		if row.Start > 0 && row.Start <= t {
			if err := o.update(row, r, closed); err != nil {
				return err
			}
		}
	}
	if err := o.afterRecord(&a, r, closed); err != nil {
		return err
	}
	if zero == nil {
		return o.begin(0, r, state.Value[A]{}, closed)
	}
	if a.previous >= 0 && !o.has(a.previous+1) {
		if err := o.begin(a.previous+1, r, state.Value[A]{}, closed); err != nil {
			return err
		}
	}
	return o.update(*zero, r, closed)
}

// keepRight keeps the value of the first window it is called with, read anew: fold may change the one at hand.
func (o *slidingOp[K, V, A]) keepRight(a *around[A], row state.WindowRow[K, A], t int64) (err error) {
	if !a.right.OK && !a.hasRight && row.Timestamp > t {
		a.right, err = o.store.kept.Fetch(row.Key, row.Start)
	} else if !a.right.OK {
		a.right = state.Value[A]{Timestamp: row.Timestamp, OK: true} // its value is not needed
	}
	return err
}

// has reports whether a window that was read begins there.
func (o *slidingOp[K, V, A]) has(start int64) bool {
	return slices.ContainsFunc(o.read, func(row state.WindowRow[K, A]) bool { return row.Start == start })
}

// afterPrevious begins the window after the record before this one, whose first record this is.
func (o *slidingOp[K, V, A]) afterPrevious(a *around[A], r Record[K, V], closed int64) error {
	start := a.previous + 1
	if a.previous < 0 || o.has(start) || start+o.d < r.Timestamp {
		return nil
	}
	return o.begin(start, r, state.Value[A]{}, closed)
}

// afterRecord begins the window after this record, if there are later ones: they are those of the window that holds
// it and them.
func (o *slidingOp[K, V, A]) afterRecord(a *around[A], r Record[K, V], closed int64) error {
	start := r.Timestamp + 1
	if a.hasRight || !a.right.OK || a.right.Timestamp <= r.Timestamp || start+o.d < closed {
		return nil
	}
	w := windows.Windowed[K]{Key: r.Key, Start: start, End: start + o.d}
	return o.write(w, a.right.V, change[A]{}, a.right.Timestamp, r.Headers)
}

// update folds the record into a window that exists.
func (o *slidingOp[K, V, A]) update(row state.WindowRow[K, A], r Record[K, V], closed int64) error {
	return o.begin(row.Start, r, value(row), closed)
}

// begin folds the record into a value and makes that the window's that begins at start.
func (o *slidingOp[K, V, A]) begin(start int64, r Record[K, V], at state.Value[A], closed int64) error {
	w := windows.Windowed[K]{Key: r.Key, Start: start, End: start + o.d}
	if w.End < closed {
		return o.tooLate(r, w.Start, w.End, w.End+o.grace+1, WindowClosed)
	}
	return o.put(w, r, at)
}

func value[K, A any](row state.WindowRow[K, A]) state.Value[A] {
	return state.Value[A]{V: row.Value, Timestamp: row.Timestamp, OK: true}
}

// sendClosed sends the results of windows that end before closed, and were not sent.
func (o *slidingOp[K, V, A]) sendClosed(closed int64, h Headers) error {
	if closed <= o.sent || closed-o.d-1 < 0 {
		return nil
	}
	from := int64(0)
	if o.sent >= 0 {
		from = max(0, o.sent-o.d)
	}
	for row, err := range o.store.kept.FetchAll(from, closed-o.d-1) {
		if err != nil {
			return err
		}
		if err := o.send(row, h); err != nil {
			return err
		}
	}
	o.sent = closed
	return nil
}
