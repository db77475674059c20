package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// JoinTables is the table of the rows that both tables have: join makes a row's value of theirs. It changes
// whenever one of them changes. A result's timestamp is the later of the two rows'. A result that is nil is
// no row. Both tables are kept in stores, or computed from tables that are. They have to have equally many
// partitions: see JoinStreams.
//
// join may be called again for a row that it was called for before, to tell what the row was: it has to
// give the same then.
func JoinTables[K, L, R, O any](l *Table[K, L], r *Table[K, R], join func(L, R) O, opts ...Option) *Table[K, O] {
	j := func(left L, right R, _ Sides) O { return join(left, right) }
	return joinTables(l, r, "JoinTables", j, joinSides{needLeft: true, needRight: true}, opts).given(join)
}

// LeftJoinTables is the table of the rows that the left table has; ok tells join whether the right one has
// it too. It is JoinTables otherwise.
func LeftJoinTables[K, L, R, O any](l *Table[K, L], r *Table[K, R], join func(l L, r R, ok bool) O, opts ...Option) *Table[K, O] {
	j := func(left L, right R, have Sides) O { return join(left, right, have.Right()) }
	return joinTables(l, r, "LeftJoinTables", j, joinSides{needLeft: true}, opts).given(join)
}

// OuterJoinTables is the table of the rows that either table has; have tells join which. It is JoinTables
// otherwise.
func OuterJoinTables[K, L, R, O any](l *Table[K, L], r *Table[K, R], join func(l L, r R, have Sides) O, opts ...Option) *Table[K, O] {
	return joinTables(l, r, "OuterJoinTables", join, joinSides{}, opts).given(join)
}

// joinSides says which sides a row of a join cannot do without.
type joinSides struct{ needLeft, needRight bool }

func joinTables[K, L, R, O any](l *Table[K, L], r *Table[K, R], op string, join func(L, R, Sides) O, need joinSides, opts []Option) *Table[K, O] {
	b := l.n.b
	n := newNode[K, change[O]](b, op, operatorSettings(opts), l.n.g, r.n.g)
	n.g.Copartitioned = true
	o := newTable[K, O](n, l.keySerde, nil)
	if r.n.b != b {
		b.fail(n.g, "the two tables are of different builders")
		return o
	}
	// A change from nothing to nothing is to be told from a deletion.
	if !need.needRight {
		l.wantOld()
	}
	if !need.needLeft {
		r.wantOld()
	}
	l.needRows()
	r.needRows()
	o.oneOrigin = oneOrigin(l.n.g, r.n.g)
	if l.closes != nil && r.closes != nil {
		o.closes = func(k K) int64 { return max(l.closes(k), r.closes(k)) }
	}

	isNil := nilCheck[O]()
	call := func(tk *task.Task, left state.Value[L], right state.Value[R]) (v O, ok bool) {
		tk.Enter(n.g.Index)
		v = join(left.V, right.V, sidesOf(left.OK, right.OK))
		return v, isNil == nil || !isNil(v)
	}
	o.computed(func(tk *task.Task) (tableRows[K, O], error) {
		lefts, err := l.rows(tk)
		if err != nil {
			return tableRows[K, O]{}, err
		}
		rights, err := r.rows(tk)
		if err != nil {
			return tableRows[K, O]{}, err
		}
		reader := func(lefts func(K) (state.Value[L], error), rights func(K) (state.Value[R], error)) func(K) (state.Value[O], error) {
			return func(k K) (o state.Value[O], err error) {
				left, err := lefts(k)
				if err != nil || need.needLeft && !left.OK {
					return o, err
				}
				right, err := rights(k)
				if err != nil || !right.OK && (need.needRight || !left.OK) {
					return o, err
				}
				if o.V, o.OK = call(tk, left, right); o.OK {
					o.Timestamp = laterOf(left, right)
				}
				return o, nil
			}
		}
		return tableRows[K, O]{get: reader(lefts.get, rights.get), told: reader(lefts.told, rights.told)}, nil
	}, l, r)

	attachSide(l.n, o, func(tk *task.Task) (func(K) (state.Value[R], error), error) {
		rows, err := r.rows(tk)
		return rows.told, err
	}, need.needLeft, need.needRight, call)
	attachSide(r.n, o, func(tk *task.Task) (func(K) (state.Value[L], error), error) {
		rows, err := l.rows(tk)
		return rows.told, err
	}, need.needRight, need.needLeft, func(tk *task.Task, right state.Value[R], left state.Value[L]) (O, bool) {
		return call(tk, left, right)
	})
	return o
}

func laterOf[L, R any](l state.Value[L], r state.Value[R]) int64 {
	switch {
	case !l.OK:
		return r.Timestamp
	case !r.OK:
		return l.Timestamp
	}
	return max(l.Timestamp, r.Timestamp)
}

// oneOrigin reports whether one change can reach a join from both its sides.
func oneOrigin(l, r *graph.Node) bool {
	above := map[*graph.Node]bool{}
	var mark func(n *graph.Node)
	mark = func(n *graph.Node) {
		above[n] = true
		for _, p := range n.Parents {
			mark(p)
		}
	}
	mark(l)
	var seen func(n *graph.Node) bool
	seen = func(n *graph.Node) bool {
		if above[n] {
			return true
		}
		for _, p := range n.Parents {
			if seen(p) {
				return true
			}
		}
		return false
	}
	return seen(r)
}

// attachSide hangs the join on one of its sides, whose changes are joined with the rows of the other.
func attachSide[K, V, W, O any](p *node[K, change[V]], o *Table[K, O], rows func(*task.Task) (func(K) (state.Value[W], error), error), needThis, needOther bool, join func(*task.Task, state.Value[V], state.Value[W]) (O, bool)) {
	attach(p, o.n, func(tk *task.Task, next edge[K, change[O]]) (edge[K, change[V]], error) {
		keep, err := o.keep(tk, next)
		if err != nil {
			return nil, err
		}
		other, err := rows(tk)
		if err != nil {
			return nil, err
		}
		op := &tableJoinOp[K, V, W, O]{
			tk: tk, node: o.n.g.Index, other: other, needThis: needThis, needOther: needOther, join: join,
			sendOld: o.sendOld && o.n.g.Store == nil, next: keep,
		}
		return op.process, nil
	})
}

// tableJoinOp joins the changes of one side in one task.
type tableJoinOp[K, V, W, O any] struct {
	tk                  *task.Task
	node                int
	other               func(K) (state.Value[W], error)
	needThis, needOther bool
	join                func(*task.Task, state.Value[V], state.Value[W]) (O, bool)
	sendOld             bool
	next                edge[K, change[O]]
}

func (j *tableJoinOp[K, V, W, O]) process(r Record[K, change[V]]) error {
	if r.Value.Late {
		j.tk.Dropped(j.node).Late++ // as Kafka Streams counts it; the table has it, and the join is of the newest rows
		return nil
	}
	j.tk.Enter(j.node)
	other, err := j.other(r.Key)
	if err != nil {
		return err
	}
	if !other.OK && (j.needOther || !r.Value.HasNew && !r.Value.HasOld) {
		return nil
	}
	o := Record[K, change[O]]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers}
	if other.OK {
		o.Timestamp = max(o.Timestamp, other.Timestamp)
	}
	joined := func(v V, ok bool) (O, bool) {
		if !ok && (j.needThis || !other.OK) {
			var zero O
			return zero, false
		}
		return j.join(j.tk, state.Value[V]{V: v, OK: ok}, other)
	}
	o.Value.New, o.Value.HasNew = joined(r.Value.New, r.Value.HasNew)
	if j.sendOld {
		// Read again, since join may have changed what it was given.
		if other, err = j.other(r.Key); err != nil {
			return err
		}
		o.Value.Old, o.Value.HasOld = joined(r.Value.Old, r.Value.HasOld)
	}
	return j.next(o)
}
