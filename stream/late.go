package stream

import (
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Late is a record that came when a window it belongs to had closed. It keeps its key, timestamp and headers; of a
// record that several closed windows missed there is one for each.
type Late[V any] struct {
	Value V
	// Start and End are the bounds of the window: of a session, those it would have had with the record.
	Start, End int64
	// StreamTime is how far time had come, and Closed the stream time from which on the window took no more records:
	// all in milliseconds since the epoch.
	StreamTime, Closed int64
	// Reason is why the record was not taken.
	Reason LateReason
}

// LateReason says why a record was not taken.
type LateReason string

const (
	// WindowClosed: the window's end and grace had passed.
	WindowClosed LateReason = "window closed"
	// SessionClosed: no session that was open had the record within its gap, and so much time had passed that one
	// of the record alone would have been closed too.
	SessionClosed LateReason = "session closed"
)

// LateRecords is what has windows that close: Windowed and SessionWindowed. A Grouped has them if it is part of a
// Cogroup that is cut into windows; of several such parts it is the first one's records.
type LateRecords[K, V any] interface {
	// lateRecords is where they go, and the stream they are of.
	lateRecords() (*lateSide[K, V], *node[K, V])
}

// OnLate gives the records that an aggregation of these windows drops because they come too late, each with its
// window and how late it was. They are counted as dropped all the same. If there are several aggregations of the
// windows, which all drop the same records, they are those of the first.
func OnLate[K, V any](w LateRecords[K, V], opts ...Option) *Stream[K, Late[V]] {
	s, in := w.lateRecords()
	n := newNode[K, Late[V]](in.b, "OnLate", operatorSettings(opts), in.g)
	n.inheritKey = in.keySerde
	if s.n != nil {
		in.b.fail(n.g, "OnLate was called before, at %s; use the stream that it gave", s.n.g.At)
		return &Stream[K, Late[V]]{n: n}
	}
	s.n = n
	in.b.checks = append(in.b.checks, func() {
		if s.feeder == nil {
			in.b.fail(n.g, "nothing aggregates these windows, so that no record is late for them")
		}
	})
	return &Stream[K, Late[V]]{n: n}
}

// lateSide is where late records go, if anywhere.
type lateSide[K, V any] struct {
	n      *node[K, Late[V]] // of OnLate
	feeder *graph.Node       // the first aggregation
	part   string            // in a cogroup: the first part of it
}

// feed says that an aggregation may have late records: the first that does sends them. part tells the streams of a
// cogroup apart.
func (s *lateSide[K, V]) feed(n *graph.Node, part string) {
	if s.feeder == nil {
		s.feeder, s.part = n, part
	}
}

// open opens the way of late records from an aggregation in a task; it is never nil.
func (s *lateSide[K, V]) open(tk *task.Task, from *graph.Node, part string) (edge[K, Late[V]], error) {
	if s.n == nil || s.feeder != from || s.part != part {
		return func(Record[K, Late[V]]) error { return nil }, nil
	}
	return s.n.edge(tk)
}
