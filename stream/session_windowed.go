package stream

import (
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/windows"
)

// SessionWindowed is a grouped stream whose keys are cut into sessions. Its tables have keys with windows, the
// bounds of which are the timestamps of a session's first and last record, and their stores are session stores.
//
// When a record makes a session longer, or one of several, the tables delete what was, and send the new session.
// A result's timestamp is the session's end. What Windowed says of late records goes for sessions too.
type SessionWindowed[K, V any] struct {
	g       *Grouped[K, V]
	w       windows.Session
	onClose bool
	late    lateSide[K, V]
}

// SessionWindowedBy cuts the groups into sessions.
func (g *Grouped[K, V]) SessionWindowedBy(w windows.Session) *SessionWindowed[K, V] {
	return &SessionWindowed[K, V]{g: g, w: w}
}

// EmitOnClose has the tables send a session's result once, when it closes, rather than with every update (KIP-825):
// when stream time is past its end by more than the gap and the grace. Results come in the order of sessions' ends,
// starts, and keys' bytes, with the headers of the record that moved time.
func (w *SessionWindowed[K, V]) EmitOnClose() *SessionWindowed[K, V] {
	w.onClose = true
	return w
}

func (w *SessionWindowed[K, V]) lateRecords() (*lateSide[K, V], *node[K, V]) {
	return &w.late, w.g.input()
}

// Count counts the records of each session. A null value counts if the type of values has a nil, as in Kafka
// Streams.
func (w *SessionWindowed[K, V]) Count(opts ...Option) *Table[windows.Windowed[K], int64] {
	return aggregateSessions(w, "Count", Zero[int64],
		func(_ Record[K, V], n int64, _ bool) int64 { return n + 1 },
		func(_ K, a, b int64) int64 { return a + b }, nil, opts)
}

// Reduce folds the values of each session into one: the first as it is, each further one by f, by which sessions
// are merged too. Of a type that has a nil, f gets null values too. A result that is nil deletes the session.
func (w *SessionWindowed[K, V]) Reduce(f func(old, v V) V, opts ...Option) *Table[windows.Windowed[K], V] {
	return aggregateSessions(w, "Reduce", nil, reduceWith[K](f), func(_ K, a, b V) V { return f(a, b) }, w.g.valueSerde, opts).given(f)
}

// AggregateSessions folds the values of each session into an A, which begins as init gives it. Sessions that a record
// makes one of are merged first: from what init gives, one by one in the order of their ends. Of a type that has a
// nil, add gets null values too. A result that is nil deletes the session.
//
// add and merge may change the As they are given and return them: they are their own, decoded afresh unless their
// type is free of pointers.
func AggregateSessions[K, V, A any](w *SessionWindowed[K, V], init func() A, add func(K, V, A) A, merge func(k K, a, b A) A, opts ...Option) *Table[windows.Windowed[K], A] {
	return aggregateSessions(w, "AggregateSessions", init, addWith(init, add), merge, nil, opts).given(init, add, merge)
}

func aggregateSessions[K, V, A any](w *SessionWindowed[K, V], op string, init func() A, fold func(Record[K, V], A, bool) A, merge func(K, A, A) A, inheritValue func() serde.Serde[A], opts []Option) *Table[windows.Windowed[K], A] {
	in := w.g.input()
	n := newNode[windows.Windowed[K], change[A]](in.b, op, operatorSettings(opts), in.g)
	t := newSessionTable[K](n, w.w, w.onClose, w.g.keySerde, inheritValue)
	w.late.feed(n.g, "")
	foldSessions(in, t, w.w, w.onClose, init, fold, merge, &w.late, "")
	return t.Table
}

// sessionTable is a table whose rows are the sessions of a session store.
type sessionTable[K, A any] struct {
	*Table[windows.Windowed[K], A]
	open windowOpener[K, A, *state.SessionStore[K, A]]
}

// newSessionTable makes n the table of an aggregation by sessions.
func newSessionTable[K, A any](n *node[windows.Windowed[K], change[A]], w windows.Session, onClose bool, key func() serde.Serde[K], inheritValue func() serde.Serde[A]) sessionTable[K, A] {
	t := newTable[windows.Windowed[K], A](n, nil, inheritValue)
	if err := w.Err(); err != nil {
		n.b.fail(n.g, "%w", err)
	}
	o := windowOpener[K, A, *state.SessionStore[K, A]]{table: t, key: key, lifetime: w.Lifetime(), kind: "session store"}
	o.make = func(tk *state.Task, name string, key serde.Serde[K], value serde.Serde[A], k keeping) (*state.SessionStore[K, A], error) {
		if onClose {
			k.retention += time.Millisecond // a session is sent when time is past what it is kept for
		}
		return state.OpenSession(tk, name, key, value, state.SessionSettings{Retention: k.retention, InMemory: k.inMemory})
	}
	o.wrap = func(s *state.SessionStore[K, A]) windowRows[K, A] { return sessionRows[K, A]{s} }
	o.serde = func(key serde.Serde[K]) serde.Serde[windows.Windowed[K]] { return windows.SessionSerde(key) }
	o.prepare()
	t.closes = func(k windows.Windowed[K]) int64 { return w.Closes(k.End) }
	return sessionTable[K, A]{t, o}
}
