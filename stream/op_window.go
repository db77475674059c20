package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
	"github.com/moldau-io/moldau/windows"
)

// windowFold is an aggregation by windows in one task: what those of all kinds have in common. In a cogroup each
// stream has its own, over one store.
type windowFold[K, V, A any, S state.Store] struct {
	t      *task.Task
	node   int
	store  *windowStore[K, A, S]
	init   func() A // what a window has before its first record; nil: nothing
	fold   func(r Record[K, V], a A, ok bool) A
	isNil  func(A) bool
	skips  nulls // in a value: fold cannot be called
	grace  int64
	late   edge[K, Late[V]]
	time   int64 // the highest timestamp of records with a key
	sent   int64 // windows that closed until then were sent; -1: none was
	closes bool  // results are sent on close
}

// newWindowFold makes the fold, whose times survive with the offsets. part tells the streams of a cogroup apart.
func newWindowFold[K, V, A any, S state.Store](tk *task.Task, o windowOpener[K, A, S], next edge[windows.Windowed[K], change[A]], late *lateSide[K, V], onClose bool, part string) (*windowFold[K, V, A, S], error) {
	store, err := o.open(tk)
	if err != nil {
		return nil, err
	}
	store.sendTo(next, onClose)
	n := o.table.n.g
	f := &windowFold[K, V, A, S]{
		t: tk, node: n.Index, store: store, isNil: nilCheck[A](), skips: uncallable[K, V]() & nullValue, time: -1, sent: -1, closes: onClose,
	}
	if f.late, err = late.open(tk, n, part); err != nil {
		return nil, err
	}
	tk.Remember(n.Name+part+"/time", &f.time)
	if onClose {
		tk.Remember(n.Name+part+"/sent", &f.sent)
	}
	return f, nil
}

// advance takes note of a record's time; false if the record has no key and is dropped.
func (f *windowFold[K, V, A, S]) advance(r Record[K, V]) bool {
	if r.null&nullKey != 0 {
		countDropped(f.t, f.node, nullKey)
		return false
	}
	f.time = max(f.time, r.Timestamp)
	return true
}

// tooLate drops a record for a window that is closed.
func (f *windowFold[K, V, A, S]) tooLate(r Record[K, V], start, end, closed int64, why LateReason) error {
	f.t.Dropped(f.node).Late++
	return f.late(Record[K, Late[V]]{
		Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers,
		Value: Late[V]{Value: r.Value, Start: start, End: end, StreamTime: f.time, Closed: closed, Reason: why},
	})
}

// put folds r into the value at hand and stores the result as the window's. stored is what the window has in the
// store, decoded anew where fold may have changed it.
func (f *windowFold[K, V, A, S]) put(w windows.Windowed[K], r Record[K, V], at state.Value[A]) error {
	f.t.Enter(f.node)
	var old change[A]
	if f.store.each && f.store.old {
		// fold may change at.V in place.
		was, err := f.store.rows.get(w)
		if err != nil {
			return err
		}
		old = f.before(was)
	}
	timestamp := r.Timestamp
	if at.OK {
		timestamp = max(timestamp, at.Timestamp)
	}
	a := f.fold(r, at.V, at.OK)
	return f.write(w, a, old, timestamp, r.Headers)
}

// before is what is sent as the value before. KStreamWindowAggregate sends what init gave where there was none.
func (f *windowFold[K, V, A, S]) before(was state.Value[A]) (c change[A]) {
	switch {
	case was.OK:
		c.Old, c.HasOld = was.V, true
	case f.init != nil:
		c.Old = f.init()
		c.HasOld = f.isNil == nil || !f.isNil(c.Old)
	}
	return c
}

// write makes a the window's row.
func (f *windowFold[K, V, A, S]) write(w windows.Windowed[K], a A, c change[A], timestampMs int64, h Headers) error {
	if f.isNil == nil || !f.isNil(a) {
		c.New, c.HasNew = a, true
	}
	return f.store.put(w, c, timestampMs, h)
}

// send sends a window's result on when it closes.
func (f *windowFold[K, V, A, S]) send(row state.WindowRow[K, A], h Headers) error {
	return f.store.next(Record[windows.Windowed[K], change[A]]{
		Key:       windows.Windowed[K]{Key: row.Key, Start: row.Start, End: row.End},
		Value:     change[A]{New: row.Value, HasNew: true},
		Timestamp: row.Timestamp, Headers: h,
	})
}

// foldWindows attaches an aggregation by windows below in. part tells the streams of a cogroup apart.
func foldWindows[K, V, A any](in *node[K, V], t timeWindowTable[K, A], w windows.Time, onClose bool, init func() A, fold func(Record[K, V], A, bool) A, late *lateSide[K, V], part string) {
	attach(in, t.n, func(tk *task.Task, next edge[windows.Windowed[K], change[A]]) (edge[K, V], error) {
		f, err := newWindowFold(tk, t.open, next, late, onClose, part)
		if err != nil {
			return nil, err
		}
		f.init, f.fold, f.grace = init, fold, w.Grace().Milliseconds()
		if w.IsSliding() {
			return (&slidingOp[K, V, A]{windowFold: f, d: w.Size().Milliseconds()}).process, nil
		}
		return (&windowOp[K, V, A]{f, w}).process, nil
	})
}

// windowOp aggregates by windows whose bounds follow from timestamps (KStreamWindowAggregate).
type windowOp[K, V, A any] struct {
	*windowFold[K, V, A, *state.WindowStore[K, A]]
	w windows.Time
}

func (o *windowOp[K, V, A]) process(r Record[K, V]) error {
	if !o.advance(r) {
		return nil
	}
	closed := o.time - o.grace // windows that end there or before take no more
	if o.closes {
		// Before the record is put, which moves the store's time: a window that has to be sent is still shown.
		// What closes now the record is not in.
		if err := o.sendClosed(closed, r.Headers); err != nil {
			return err
		}
	}
	if r.null&o.skips != 0 {
		return nil
	}
	for start, ok := o.w.First(r.Timestamp); ok; start, ok = o.w.Next(start, r.Timestamp) {
		w := windows.Windowed[K]{Key: r.Key, Start: start, End: o.w.End(start)}
		if w.End <= closed {
			if err := o.tooLate(r, w.Start, w.End, o.w.Closes(w.End), WindowClosed); err != nil {
				return err
			}
			continue
		}
		if err := o.update(w, r); err != nil {
			return err
		}
	}
	return nil
}

func (o *windowOp[K, V, A]) update(w windows.Windowed[K], r Record[K, V]) error {
	at, err := o.store.rows.get(w)
	if err != nil {
		return err
	}
	return o.put(w, r, at)
}

// sendClosed sends the results of windows that end at closed or before, and were not sent.
func (o *windowOp[K, V, A]) sendClosed(closed int64, h Headers) error {
	if closed <= 0 || closed <= o.sent || !o.anyEnds(closed) {
		return nil
	}
	from := max(0, o.sent-o.w.Size().Milliseconds())
	for row, err := range o.store.kept.FetchAll(from, closed) {
		if err != nil {
			return err
		}
		if row.End > o.sent && row.End <= closed {
			if err := o.send(row, h); err != nil {
				return err
			}
		}
	}
	o.sent = closed
	return nil
}

// anyEnds reports whether a window ends after what was sent and until closed: if not, there is nothing to look for.
func (o *windowOp[K, V, A]) anyEnds(closed int64) bool {
	size, advance := o.w.Size().Milliseconds(), o.w.Advance().Milliseconds()
	if size == 0 || o.w.End(0) != size { // a calendar's: one ends where the next begins
		now, _ := o.w.First(closed)
		before, _ := o.w.First(max(o.sent, 0))
		return now > before
	}
	if closed < size {
		return false
	}
	return o.sent < size || (closed-size)/advance > (o.sent-size)/advance
}
