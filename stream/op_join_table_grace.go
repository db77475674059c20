package stream

import (
	"errors"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// joinGrace is how the records of a stream wait before they are joined with a versioned table.
type joinGrace[K, V any] struct {
	in       *node[K, V]
	g        *graph.Node // the join's, which owns the store
	inMemory bool
	graceMs  int64
}

// newJoinGrace gives a join the store for what waits, and its checks; nil if nothing does.
func newJoinGrace[K, V, R, O any](in *node[K, V], n *node[K, O], t *Table[K, R], set settings) *joinGrace[K, V] {
	b := n.b
	if set.grace == nil {
		if set.inMemory {
			b.fail(n.g, "InMemory is for what waits in a join with Grace: without, there is none")
		}
		return nil
	}
	grace := *set.grace
	b.checks = append(b.checks, func() {
		switch retention, versioned := t.history(); {
		case !versioned:
			b.fail(n.g, "Grace(%s): the table is not versioned, so that nobody knows what its rows were; keep it with As(state.NewVersioned(...))", grace)
		case retention < grace:
			b.fail(n.g, "Grace(%s) is longer than the table's history retention of %s: what rows were would be forgotten while records wait", grace, retention)
		}
	})
	if grace <= 0 { // records would be put into the store to be taken out at once
		return nil
	}
	n.g.Store = &graph.Store{Node: n.g}
	needSerdes(b, n.g, in.keySerde, in.valueSerde, ", which wait in a store", "With(keySerde, valueSerde)")
	return &joinGrace[K, V]{in, n.g, set.inMemory, grace.Milliseconds()}
}

// open opens the list of what waits for a task.
func (g *joinGrace[K, V]) open(tk *task.Task, join heldJoin[K, V]) (edge[K, V], error) {
	waiting, err := openWaiting(tk, g.g, g.in.keySerde(), serde.Serde[headed[V]](headedSerde[V]{g.in.valueSerde()}), g.inMemory)
	if err != nil {
		return nil, err
	}
	op := &joinGraceOp[K, V]{t: tk, node: g.g.Index, join: join, graceMs: g.graceMs, waiting: waiting, time: -1}
	tk.Remember(g.g.Name+".time", &op.time)
	return op.process, nil
}

// heldJoin is a join whose records may wait.
type heldJoin[K, V any] interface {
	drops(Record[K, V]) bool
	joinNow(Record[K, V]) error
}

// joinGraceOp has the records of a join wait in one task.
type joinGraceOp[K, V any] struct {
	t       *task.Task
	node    int
	join    heldJoin[K, V]
	graceMs int64
	waiting *waitingList[K, headed[V]]
	time    int64 // the highest timestamp of the stream's records, -1 before the first
}

func (j *joinGraceOp[K, V]) process(r Record[K, V]) error {
	if j.join.drops(r) {
		return nil
	}
	// Without a key there is nothing to wait for. (Kafka Streams fails: its buffer refuses null keys.)
	if r.null != 0 || r.Timestamp <= j.time-j.graceMs {
		return j.join.joinNow(r)
	}
	j.t.Enter(j.node)
	if err := j.waiting.add(r.Key, headed[V]{r.Value, r.Headers}, r.Timestamp); err != nil {
		return err
	}
	j.time = max(j.time, r.Timestamp)
	return j.release()
}

// release joins the records that have waited long enough.
func (j *joinGraceOp[K, V]) release() error {
	limit := j.time - j.graceMs + 1
	if err := j.waiting.look(limit); err != nil {
		return err
	}
	for {
		if _, due := j.waiting.next(); !due {
			return nil
		}
		row, err := j.waiting.take(limit)
		if err != nil {
			return err
		}
		for _, h := range row.Value {
			// By itself: its failure is not that of the others, nor of the record at hand.
			if err := j.t.Try(j.node, func() error {
				return j.join.joinNow(Record[K, V]{Key: row.Key.key, Value: h.value, Timestamp: row.Key.at, Headers: h.headers})
			}); err != nil {
				return err
			}
		}
	}
}

// headed is a value with the headers of its record.
type headed[V any] struct {
	value   V
	headers Headers
}

// headedSerde encodes headers and then, to the end, the value.
type headedSerde[V any] struct{ inner serde.Serde[V] }

func (s headedSerde[V]) ForTopic(topic string, isKey bool) (serde.Serde[headed[V]], error) {
	inner, err := serde.Bind(s.inner, topic, isKey)
	return headedSerde[V]{inner}, err
}

func (s headedSerde[V]) Append(dst []byte, h headed[V]) ([]byte, error) {
	return s.inner.Append(appendHeaders(dst, h.headers), h.value)
}

func (s headedSerde[V]) Decode(b []byte) (h headed[V], err error) {
	var ok bool
	if h.headers, b, ok = parseHeaders(b); !ok {
		return h, errors.New("the headers of a record that waits are damaged")
	}
	h.value, err = s.inner.Decode(b)
	return h, err
}
