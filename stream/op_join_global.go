package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// JoinGlobal joins each record of a stream with a row that a global table has at that moment: the one of the key that
// key finds in the record, which may be any part of it. A record for which key gives false, or a nil, has no such key,
// and one that finds no row gives nothing, as with JoinTable. Changes of the table give nothing by themselves. A
// result has the key, the timestamp and the headers of the stream's record.
//
// Records without a value, and those without a key in the table, are dropped and counted. The record's own key does
// not matter, but that key is not called with a null that its type cannot hold: such a record has no key in the table.
//
// join may change what it is given: it is its own.
func JoinGlobal[K, V, GK, R, O any](s *Stream[K, V], g *GlobalTable[GK, R], key func(K, V) (GK, bool), join func(V, R) O, opts ...Option) *Stream[K, O] {
	return joinGlobal(s, g, "JoinGlobal", false, key, func(v V, r R, _ bool) O { return join(v, r) }, opts).given(key, join)
}

// LeftJoinGlobal is JoinGlobal, but a record that finds no row, or has no key in the table, gives a result too: join is
// called with ok false, and r is the zero value. A record without a value is dropped and counted.
func LeftJoinGlobal[K, V, GK, R, O any](s *Stream[K, V], g *GlobalTable[GK, R], key func(K, V) (GK, bool), join func(v V, r R, ok bool) O, opts ...Option) *Stream[K, O] {
	return joinGlobal(s, g, "LeftJoinGlobal", true, key, join, opts).given(key, join)
}

func joinGlobal[K, V, GK, R, O any](s *Stream[K, V], g *GlobalTable[GK, R], op string, left bool, key func(K, V) (GK, bool), join func(V, R, bool) O, opts []Option) *Stream[K, O] {
	n := newNode[K, O](s.n.b, op, operatorSettings(opts), s.n.g)
	n.inheritKey = s.n.keySerde
	out := &Stream[K, O]{n: n, rekeyed: s.rekeyed}
	if !sameBuilder(n, s.n.b, g.n.b) {
		return out
	}
	nilKey, isNil := nilCheck[GK](), nilCheck[O]()
	var noKey nulls
	if nilCheck[K]() == nil {
		noKey = nullKey
	}
	attach(s.n, n, func(tk *task.Task, next edge[K, O]) (edge[K, V], error) {
		rows, err := globalReader[GK, R](tk, g.store)
		if err != nil {
			return nil, err
		}
		j := &joinGlobalOp[K, V, GK, R, O]{
			t: tk, node: n.g.Index, rows: rows, left: left, key: key, join: join, noKey: noKey, nilKey: nilKey, isNil: isNil, next: next,
		}
		return j.process, nil
	})
	return out
}

// joinGlobalOp is a join of a stream with a global table in one task.
type joinGlobalOp[K, V, GK, R, O any] struct {
	t      *task.Task
	node   int
	rows   *state.GlobalReader[GK, R]
	left   bool
	key    func(K, V) (GK, bool)
	join   func(V, R, bool) O
	noKey  nulls // of a record for which key cannot be called
	nilKey func(GK) bool
	isNil  func(O) bool
	next   edge[K, O]
}

func (j *joinGlobalOp[K, V, GK, R, O]) process(r Record[K, V]) error {
	if r.null&nullValue != 0 {
		countDropped(j.t, j.node, nullValue)
		return nil
	}
	j.t.Enter(j.node)
	var row state.Value[R]
	k, ok := j.keyOf(r)
	if ok {
		var err error
		if row, err = j.rows.Get(k); err != nil {
			return err
		}
	} else if !j.left {
		countDropped(j.t, j.node, nullKey)
		return nil
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

// keyOf is the record's key in the table; ok is false if it has none.
func (j *joinGlobalOp[K, V, GK, R, O]) keyOf(r Record[K, V]) (k GK, ok bool) {
	if r.null&j.noKey != 0 {
		return k, false
	}
	k, ok = j.key(r.Key, r.Value)
	return k, ok && (j.nilKey == nil || !j.nilKey(k))
}
