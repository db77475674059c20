package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
	"github.com/moldau-io/moldau/windows"
)

// foldSessions attaches an aggregation by sessions below in. part tells the streams of a cogroup apart.
func foldSessions[K, V, A any](in *node[K, V], t sessionTable[K, A], w windows.Session, onClose bool, init func() A, fold func(Record[K, V], A, bool) A, merge func(K, A, A) A, late *lateSide[K, V], part string) {
	attach(in, t.n, func(tk *task.Task, next edge[windows.Windowed[K], change[A]]) (edge[K, V], error) {
		f, err := newWindowFold(tk, t.open, next, late, onClose, part)
		if err != nil {
			return nil, err
		}
		f.init, f.fold, f.grace = init, fold, w.Grace().Milliseconds()
		o := &sessionOp[K, V, A]{windowFold: f, w: w, gap: w.Gap().Milliseconds(), merge: merge}
		return o.process, nil
	})
}

// sessionOp aggregates by sessions (KStreamSessionWindowAggregate).
type sessionOp[K, V, A any] struct {
	*windowFold[K, V, A, *state.SessionStore[K, A]]
	w     windows.Session
	gap   int64
	merge func(k K, a, b A) A

	found []state.WindowRow[K, A] // sessions that the record at hand makes one of
}

func (o *sessionOp[K, V, A]) process(r Record[K, V]) error {
	if !o.advance(r) {
		return nil
	}
	closed := o.time - o.grace - o.gap // sessions that end before it take no more
	if o.closes {
		// Before the record is put, which moves the store's time: a session that has to be sent is still shown.
		if err := o.sendClosed(closed, r.Headers); err != nil {
			return err
		}
	}
	if r.null&o.skips != 0 {
		return nil
	}
	w := windows.Windowed[K]{Key: r.Key, Start: r.Timestamp, End: r.Timestamp}
	alone := w
	o.found = o.found[:0]
	err := o.store.kept.Each(r.Key, r.Timestamp-o.gap, r.Timestamp+o.gap, func(row state.WindowRow[K, A]) error {
		o.found = append(o.found, row)
		w.Start, w.End = min(w.Start, row.Start), max(w.End, row.End)
		return nil
	})
	if err != nil {
		return err
	}
	if w.End < closed {
		return o.tooLate(r, w.Start, w.End, o.w.Closes(w.End)+1, SessionClosed) // at that time it is still taken
	}
	return o.join(r, w, w.Start != alone.Start || w.End != alone.End)
}

// join makes one session of those that were found and the record. If it replaces them they are deleted.
func (o *sessionOp[K, V, A]) join(r Record[K, V], w windows.Windowed[K], replaces bool) error {
	o.t.Enter(o.node)
	var a A
	ok := o.init != nil
	if ok {
		a = o.init()
	}
	for _, row := range o.found {
		if ok {
			a = o.merge(r.Key, a, row.Value)
		} else {
			a, ok = row.Value, true
		}
	}
	a = o.fold(r, a, ok)
	// Only now, when no function can fail any more: the sessions would be lost without what replaces them.
	if replaces {
		for _, row := range o.found {
			if err := o.remove(row, r.Headers); err != nil {
				return err
			}
		}
		o.t.Enter(o.node)
	}
	return o.write(w, a, change[A]{}, w.End, r.Headers)
}

// remove deletes a session that is part of a longer one now.
func (o *sessionOp[K, V, A]) remove(row state.WindowRow[K, A], h Headers) error {
	var c change[A]
	if o.store.each && o.store.old {
		// Read again: merge may change the one at hand, which whoever gets this may keep.
		was, err := o.store.kept.Fetch(row.Key, row.Start, row.End)
		if err != nil {
			return err
		}
		c.Old, c.HasOld = was.V, was.OK
	}
	return o.store.put(windows.Windowed[K]{Key: row.Key, Start: row.Start, End: row.End}, c, row.End, h)
}

// sendClosed sends the results of sessions that end before closed, and were not sent.
func (o *sessionOp[K, V, A]) sendClosed(closed int64, h Headers) error {
	if closed <= o.sent || closed < 1 {
		return nil
	}
	for row, err := range o.store.kept.FindAll(max(0, o.sent), closed-1) {
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
