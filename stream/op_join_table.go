package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// JoinTable joins each record of a stream with the row that the table has for its key at that moment; a
// record that finds none gives nothing. Changes of the table give nothing by themselves. A result has the
// timestamp and the headers of the stream's record.
//
// If the table is versioned (see Table.As), the row is the one that is valid at the record's timestamp, as far as it
// is known: with Grace, records wait until it should be.
//
// Records without a key or without a value are dropped and counted. If an operator before the join changed
// the stream's keys, the stream goes through a repartition topic first. Stream and table have to have equally many
// partitions: see JoinStreams.
//
// join may change what it is given: it is its own.
func JoinTable[K, V, R, O any](s *Stream[K, V], t *Table[K, R], join func(V, R) O, opts ...JoinOption) *Stream[K, O] {
	return joinTable(s, t, "JoinTable", false, func(v V, r R, _ bool) O { return join(v, r) }, opts).given(join)
}

// LeftJoinTable is JoinTable, but a record that finds no row gives a result too: join is called with ok
// false, and r is the zero value. A record without a key finds no row (KIP-962); one without a value is
// dropped and counted.
func LeftJoinTable[K, V, R, O any](s *Stream[K, V], t *Table[K, R], join func(v V, r R, ok bool) O, opts ...JoinOption) *Stream[K, O] {
	return joinTable(s, t, "LeftJoinTable", true, join, opts).given(join)
}

func joinTable[K, V, R, O any](s *Stream[K, V], t *Table[K, R], op string, left bool, join func(V, R, bool) O, opts []JoinOption) *Stream[K, O] {
	set := joinSettings(opts)
	in := joinSide(s, "RepartitionLeft", "left", set, left)
	n := newNode[K, O](in.b, op, set, in.g, t.n.g)
	n.g.Copartitioned = true
	n.inheritKey = in.keySerde
	checkJoin(n, set, s.rekeyed)
	if !sameBuilder(n, in.b, t.n.b) {
		return &Stream[K, O]{n: n}
	}
	t.needRows()
	grace := newJoinGrace(in, n, t, set)
	isNil := nilCheck[O]()
	attach(in, n, func(tk *task.Task, next edge[K, O]) (edge[K, V], error) {
		rows, err := t.rows(tk)
		if err != nil {
			return nil, err
		}
		j := &joinTableOp[K, V, R, O]{t: tk, node: n.g.Index, rows: rows, left: left, join: join, isNil: isNil, next: next}
		if grace == nil {
			return j.process, nil
		}
		return grace.open(tk, j)
	})
	return &Stream[K, O]{n: n}
}

// joinTableOp is a join of a stream with a table in one task.
type joinTableOp[K, V, R, O any] struct {
	t     *task.Task
	node  int
	rows  tableRows[K, R]
	left  bool
	join  func(V, R, bool) O
	isNil func(O) bool
	next  edge[K, O]
}

func (j *joinTableOp[K, V, R, O]) process(r Record[K, V]) error {
	if j.drops(r) {
		return nil
	}
	return j.joinNow(r)
}

// drops drops a record that cannot be joined.
func (j *joinTableOp[K, V, R, O]) drops(r Record[K, V]) bool {
	if r.null == 0 || j.left && r.null == nullKey {
		return false
	}
	countDropped(j.t, j.node, r.null)
	return true
}

func (j *joinTableOp[K, V, R, O]) joinNow(r Record[K, V]) error {
	j.t.Enter(j.node)
	var row state.Value[R]
	if r.null&nullKey == 0 {
		var err error
		if j.rows.asOf != nil {
			row, err = j.rows.asOf(r.Key, r.Timestamp)
		} else {
			row, err = j.rows.get(r.Key)
		}
		if err != nil {
			return err
		}
	}
	if !row.OK && !j.left {
		return nil
	}
	o := Record[K, O]{Key: r.Key, Value: j.join(r.Value, row.V, row.OK), Timestamp: r.Timestamp, Headers: r.Headers, null: r.null}
	if j.isNil != nil && j.isNil(o.Value) {
		o.null |= nullValue
	}
	return j.next(o)
}
