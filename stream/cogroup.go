package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/windows"
)

// Part is a grouped stream as one of several that are aggregated together. See CoPart.
type Part[K, A any] struct {
	b   *Builder
	in  *graph.Node
	key func() serde.Serde[K]

	// Each attaches the stream's aggregation to a table of the kind. name tells the parts apart.
	rows     func(t *Table[K, A], init func() A)
	windows  func(t timeWindowTable[K, A], w windows.Time, init func() A, name string)
	sessions func(t sessionTable[K, A], w windows.Session, init func() A, merge func(K, A, A) A, name string)
}

// CoPart says how the records of one grouped stream are folded into an aggregate that it shares with other streams
// (KIP-150). What Aggregate says of add goes for it too.
func CoPart[K, V, A any](g *Grouped[K, V], add func(K, V, A) A) Part[K, A] {
	in := g.input()
	in.b.needFunctions(&graph.Node{Op: "CoPart", At: caller(), Parents: []*graph.Node{in.g}}, add)
	return Part[K, A]{
		b: in.b, in: in.g, key: g.keySerde,
		rows: func(t *Table[K, A], init func() A) { foldInto(in, t, init, addWith(init, add)) },
		windows: func(t timeWindowTable[K, A], w windows.Time, init func() A, name string) {
			g.late.feed(t.n.g, name)
			foldWindows(in, t, w, false, init, addWith(init, add), &g.late, name)
		},
		sessions: func(t sessionTable[K, A], w windows.Session, init func() A, merge func(K, A, A) A, name string) {
			g.late.feed(t.n.g, name)
			foldSessions(in, t, w, false, init, addWith(init, add), merge, &g.late, name)
		},
	}
}

// Cogrouped is several grouped streams with one kind of key, ready to be aggregated into one table.
type Cogrouped[K, A any] struct{ parts []Part[K, A] }

// Cogroup brings parts together. Their topics have to have equally many partitions, as those of a join have to.
func Cogroup[K, A any](first Part[K, A], more ...Part[K, A]) *Cogrouped[K, A] {
	return &Cogrouped[K, A]{append([]Part[K, A]{first}, more...)}
}

// Aggregate folds the records of all parts, in the order of their timestamps as far as they are there to be
// compared, into an A for each key, which begins as init gives it.
func (c *Cogrouped[K, A]) Aggregate(init func() A, opts ...Option) *Table[K, A] {
	n := cogroupNode[K](c, "CogroupAggregate", opts)
	n.given(init)
	t := newTable[K, A](n, c.keySerde, nil)
	t.materialize()
	for _, p := range c.parts {
		p.rows(t, init)
	}
	return t
}

// WindowedBy cuts the groups into windows. Each part has a time of its own by which its records are late.
func (c *Cogrouped[K, A]) WindowedBy(w windows.Time) *WindowedCogrouped[K, A] {
	return &WindowedCogrouped[K, A]{c, w}
}

// SessionWindowedBy cuts the groups into sessions. Each part has a time of its own by which its records are late.
func (c *Cogrouped[K, A]) SessionWindowedBy(w windows.Session) *SessionWindowedCogrouped[K, A] {
	return &SessionWindowedCogrouped[K, A]{c, w}
}

// WindowedCogrouped is several grouped streams that are cut into windows.
type WindowedCogrouped[K, A any] struct {
	c *Cogrouped[K, A]
	w windows.Time
}

// Aggregate folds the records of all parts into an A for each key and window, as AggregateWindows does.
func (c *WindowedCogrouped[K, A]) Aggregate(init func() A, opts ...Option) *Table[windows.Windowed[K], A] {
	n := cogroupNode[windows.Windowed[K]](c.c, "CogroupAggregate", opts)
	n.given(init)
	t := windowTable[K](n, c.w, false, c.c.keySerde, nil)
	for i, p := range c.c.parts {
		p.windows(t, c.w, init, fmt.Sprintf("/%d", i))
	}
	return t.Table
}

// SessionWindowedCogrouped is several grouped streams that are cut into sessions.
type SessionWindowedCogrouped[K, A any] struct {
	c *Cogrouped[K, A]
	w windows.Session
}

// Aggregate folds the records of all parts into an A for each session, as AggregateSessions does.
func (c *SessionWindowedCogrouped[K, A]) Aggregate(init func() A, merge func(k K, a, b A) A, opts ...Option) *Table[windows.Windowed[K], A] {
	n := cogroupNode[windows.Windowed[K]](c.c, "CogroupAggregate", opts)
	n.given(init, merge)
	t := newSessionTable[K](n, c.w, false, c.c.keySerde, nil)
	for i, p := range c.c.parts {
		p.sessions(t, c.w, init, merge, fmt.Sprintf("/%d", i))
	}
	return t.Table
}

// keySerde is that of the first part that has one.
func (c *Cogrouped[K, A]) keySerde() serde.Serde[K] {
	for _, p := range c.parts {
		if s := p.key(); s != nil {
			return s
		}
	}
	return nil
}

// cogroupNode makes the node of a cogroup's table.
func cogroupNode[KO, K, A any](c *Cogrouped[K, A], op string, opts []Option) *node[KO, change[A]] {
	first := c.parts[0]
	var parents []*graph.Node
	for _, p := range c.parts {
		parents = append(parents, p.in)
	}
	n := newNode[KO, change[A]](first.b, op, operatorSettings(opts), parents...)
	n.g.Copartitioned = true
	for _, p := range c.parts {
		if p.b != first.b {
			first.b.fail(n.g, "the parts are of different builders")
		}
	}
	return n
}
