package stream

import (
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/windows"
)

// Windowed is a grouped stream that is cut into windows: each key is aggregated window by window. Its tables
// have keys with windows, and their stores are window stores, which keep a window until it closes, or for as
// long as their handle says.
//
// A record that comes when its window is closed is dropped and counted, and OnLate has it; other windows may
// still take it. Time is stream time as the operator sees it: the highest timestamp of records with a key.
type Windowed[K, V any] struct {
	g       *Grouped[K, V]
	w       windows.Time
	onClose bool
	late    lateSide[K, V]
}

// WindowedBy cuts the groups into windows.
func (g *Grouped[K, V]) WindowedBy(w windows.Time) *Windowed[K, V] {
	return &Windowed[K, V]{g: g, w: w}
}

// EmitOnClose has the tables send a window's result once, when it closes, rather than with every update (KIP-825).
// A window closes when stream time reaches its end plus its grace; results come in the order of windows' starts,
// and then of keys' bytes, with the headers of the record that moved time.
func (w *Windowed[K, V]) EmitOnClose() *Windowed[K, V] {
	w.onClose = true
	return w
}

func (w *Windowed[K, V]) lateRecords() (*lateSide[K, V], *node[K, V]) { return &w.late, w.g.input() }

// Count counts the records of each key and window. A null value counts if the type of values has a nil, as in
// Kafka Streams, except with sliding windows.
func (w *Windowed[K, V]) Count(opts ...Option) *Table[windows.Windowed[K], int64] {
	return aggregateWindows(w, "Count", Zero[int64], func(_ Record[K, V], n int64, _ bool) int64 { return n + 1 }, nil, opts)
}

// Reduce folds the values of each key and window into one: the first as it is, each further one by f. Of a type
// that has a nil, f gets null values too, except with sliding windows. A result that is nil deletes the window.
func (w *Windowed[K, V]) Reduce(f func(old, v V) V, opts ...Option) *Table[windows.Windowed[K], V] {
	return aggregateWindows(w, "Reduce", nil, reduceWith[K](f), w.g.valueSerde, opts).given(f)
}

// AggregateWindows folds the values of each key and window into an A, which begins as init gives it. Of a type that
// has a nil, add gets null values too, except with sliding windows. A result that is nil deletes the window.
//
// add may change the A it is given and return it: it is its own, decoded afresh unless its type is free of
// pointers.
func AggregateWindows[K, V, A any](w *Windowed[K, V], init func() A, add func(K, V, A) A, opts ...Option) *Table[windows.Windowed[K], A] {
	return aggregateWindows(w, "AggregateWindows", init, addWith(init, add), nil, opts).given(init, add)
}

// reduceWith is the fold of Reduce.
func reduceWith[K, V any](f func(old, v V) V) func(Record[K, V], V, bool) V {
	return func(r Record[K, V], old V, ok bool) V {
		if !ok {
			return r.Value
		}
		return f(old, r.Value)
	}
}

// addWith is the fold of Aggregate.
func addWith[K, V, A any](init func() A, add func(K, V, A) A) func(Record[K, V], A, bool) A {
	return func(r Record[K, V], a A, ok bool) A {
		if !ok {
			a = init()
		}
		return add(r.Key, r.Value, a)
	}
}

func aggregateWindows[K, V, A any](w *Windowed[K, V], op string, init func() A, fold func(Record[K, V], A, bool) A, inheritValue func() serde.Serde[A], opts []Option) *Table[windows.Windowed[K], A] {
	in := w.g.input()
	n := newNode[windows.Windowed[K], change[A]](in.b, op, operatorSettings(opts), in.g)
	t := windowTable[K](n, w.w, w.onClose, w.g.keySerde, inheritValue)
	w.late.feed(n.g, "")
	foldWindows(in, t, w.w, w.onClose, init, fold, &w.late, "")
	return t.Table
}

// timeWindowTable is a table whose rows are the windows of a window store.
type timeWindowTable[K, A any] struct {
	*Table[windows.Windowed[K], A]
	open windowOpener[K, A, *state.WindowStore[K, A]]
}

// windowTable makes n the table of an aggregation by windows.
func windowTable[K, A any](n *node[windows.Windowed[K], change[A]], w windows.Time, onClose bool, key func() serde.Serde[K], inheritValue func() serde.Serde[A]) timeWindowTable[K, A] {
	t := newTable[windows.Windowed[K], A](n, nil, inheritValue)
	err := w.Err()
	if err == nil && onClose && w.Closes(w.End(0)) == windows.Forever {
		err = errNeverClose
	}
	if err != nil {
		n.b.fail(n.g, "%w", err)
	}
	o := windowOpener[K, A, *state.WindowStore[K, A]]{table: t, key: key, lifetime: w.Lifetime(), kind: "window store"}
	o.make = func(tk *state.Task, name string, key serde.Serde[K], value serde.Serde[A], k keeping) (*state.WindowStore[K, A], error) {
		s := state.WindowSettings{
			Retention: max(k.retention, time.Millisecond), // else records of one time would not meet
			Size:      w.Size(),
			InMemory:  k.inMemory,
		}
		if w.End(0) != w.Size().Milliseconds() {
			s.EndOf = w.End // they differ in length
		}
		if onClose && !w.IsSliding() {
			// So the windows that close together lie together; but not in too many segments.
			s.SegmentInterval = max(w.Advance(), k.retention/64)
		}
		return state.OpenWindow(tk, name, key, value, s)
	}
	o.wrap = func(s *state.WindowStore[K, A]) windowRows[K, A] { return timeRows[K, A]{s} }
	o.serde = func(key serde.Serde[K]) serde.Serde[windows.Windowed[K]] { return windows.TimeSerde(key, w) }
	o.prepare()
	if err == nil && w.Closes(w.End(0)) < windows.Forever {
		t.closes = func(k windows.Windowed[K]) int64 { return w.Closes(k.End) }
	}
	return timeWindowTable[K, A]{t, o}
}
