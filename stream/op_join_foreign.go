package stream

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// JoinForeign is the table of those rows of l for which r has the row that they point to: key tells the key of
// that row, or false if there is none, and join makes a row's value of the two. It changes when the left row does,
// and with the right row for all that point to it, in the order of their encoded keys. A result that is nil is no
// row (KIP-213).
//
// A result that came of a left row has the later of the two rows' timestamps, one that came of a right row has
// that one's. Left rows that point nowhere are counted as dropped. A deletion may be sent on for a row that was
// not there.
//
// The two tables need not have as many partitions as each other; of one that comes of several topics, these have to. A
// left row tells the task of the row that it points to, through a topic of the application's own, and is responded
// through another; what it points to is kept in a store there. Responses that its next change overtook are dropped, by a hash of its value: l's values have to
// be encoded to the same bytes each time. Tables read from topics have to be partitioned by key as Kafka's
// producers do.
//
// key and join may change the values they are given. key has to give the same for the same row.
func JoinForeign[K, L, FK, R, O any](l *Table[K, L], r *Table[FK, R], key func(K, L) (FK, bool), join func(L, R) O, opts ...Option) *Table[K, O] {
	return joinForeign(l, r, "JoinForeign", key, func(left L, right R, _ bool) O { return join(left, right) }, false, opts).given(key, join)
}

// LeftJoinForeign is the table of the left rows; ok tells join whether there is the right row that they point to.
// A result without a right row has the left one's timestamp, or that of the right row's deletion. It is
// JoinForeign otherwise.
func LeftJoinForeign[K, L, FK, R, O any](l *Table[K, L], r *Table[FK, R], key func(K, L) (FK, bool), join func(l L, r R, ok bool) O, opts ...Option) *Table[K, O] {
	return joinForeign(l, r, "LeftJoinForeign", key, join, true, opts).given(key, join)
}

// foreignJoin is a foreign-key join, as it is declared. The way of a change:
//
//	l --> foreignLeft --subscriptions--> foreignRight --responses---> foreignLeft --> o
//	                                          ^
//	                                          r
type foreignJoin[K, L, FK, R, O any] struct {
	l    *Table[K, L]
	r    *Table[FK, R]
	o    *Table[K, O]
	key  func(K, L) (FK, bool)
	join func(L, R, bool) O
	left bool // all left rows have a result

	subscriptions *node[FK, subscription] // into their topic
	responses     *node[[]byte, response[[]byte]]
	subscribers   *graph.Node // owns the store of subscriptions
}

func joinForeign[K, L, FK, R, O any](l *Table[K, L], r *Table[FK, R], op string, key func(K, L) (FK, bool), join func(L, R, bool) O, left bool, opts []Option) *Table[K, O] {
	b := l.n.b
	n := newNode[K, change[O]](b, op, operatorSettings(opts), l.n.g)
	n.g.After, n.g.Copartitioned = []*graph.Node{l.n.g, r.n.g}, true
	j := &foreignJoin[K, L, FK, R, O]{l: l, r: r, o: newTable[K, O](n, l.keySerde, nil), key: key, join: join, left: left}
	if r.n.b != b {
		n.g.After = nil
		b.fail(n.g, "the two tables are of different builders")
		return j.o
	}
	l.wantOld()
	l.needRows()
	// With the values before, a right table made of others does not tell of rows that are not there, and were not.
	r.wantOld()
	r.needRows()
	b.demand(func() {
		needSerdes(b, n.g, l.keySerde, l.valueSerde, " of the left table", "its With(keySerde, valueSerde)")
		needSerdes(b, n.g, r.keySerde, r.valueSerde, " of the right table", "its With(keySerde, valueSerde)")
	})
	j.connect(op)
	return j.o
}

// connect makes the nodes between the two tables.
func (j *foreignJoin[K, L, FK, R, O]) connect(op string) {
	n, right := j.o.n, j.r.n.g
	out, in := foreignTopic(&n.b.graph, n.g, op, "subscription-registration", j.l.n.g)
	j.subscriptions = &node[FK, subscription]{b: n.b, g: out, inheritKey: j.r.keySerde, setValue: subscriptionSerde{}}
	sinkInto(j.subscriptions, nil)
	subscribed := &node[FK, subscription]{b: n.b, g: in, inheritKey: j.r.keySerde, setValue: subscriptionSerde{}}
	subscribed.opens(Topic[FK, subscription]{})

	j.subscribers = n.b.graph.Add(&graph.Node{Op: op, At: n.g.At, Of: n.g, Part: "subscription-store", Parents: []*graph.Node{in, right}, Copartitioned: true})
	j.subscribers.Store = &graph.Store{Node: j.subscribers}

	out, in = foreignTopic(&n.b.graph, n.g, op, "subscription-response", j.subscribers)
	j.responses = &node[[]byte, response[[]byte]]{b: n.b, g: out, setKey: serde.Bytes, setValue: responseSerde[[]byte]{serde.Bytes}}
	sinkInto(j.responses, func(r Record[[]byte, response[[]byte]], _ int32) int32 { return r.Value.partition })
	responded := &node[K, response[R]]{b: n.b, g: in, inheritKey: j.l.keySerde, inheritValue: func() serde.Serde[response[R]] {
		return responseSerde[R]{j.r.valueSerde()}
	}}
	responded.opens(Topic[K, response[R]]{})
	n.b.graph.Link(in, n.g)

	attach(j.l.n, n, func(tk *task.Task, next edge[K, change[O]]) (edge[K, change[L]], error) {
		t, err := j.openLeft(tk, next)
		return t.change, err
	})
	attach(subscribed, j.responses, func(tk *task.Task, next edge[[]byte, response[[]byte]]) (edge[FK, subscription], error) {
		t, err := j.openRight(tk, next)
		return t.subscription, err
	})
	attach(j.r.n, j.responses, func(tk *task.Task, next edge[[]byte, response[[]byte]]) (edge[FK, change[R]], error) {
		t, err := j.openRight(tk, next)
		return t.change, err
	})
	attach(responded, n, func(tk *task.Task, next edge[K, change[O]]) (edge[K, response[R]], error) {
		t, err := j.openLeft(tk, next)
		return t.response, err
	})
}

// foreignTopic makes a topic between the two sides of a join, with the nodes that write and read it. It has as many
// partitions as what the reading side is made of, whose tasks its records are for.
func foreignTopic(g *graph.Graph, of *graph.Node, op, part string, from *graph.Node) (out, in *graph.Node) {
	topic := &graph.Topic{Repartition: true, Follows: true}
	out = g.Add(&graph.Node{Kind: graph.Sink, Op: op, At: of.At, Of: of, Part: part, Parents: []*graph.Node{from}, Topic: topic})
	topic.Owner = out
	return out, g.Add(&graph.Node{Kind: graph.Source, Op: op, At: of.At, Topic: topic})
}
