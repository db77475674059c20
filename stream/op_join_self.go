package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// selfJoin is an inner join of a stream with itself in one task: one store does for both sides.
type selfJoin[K, V, O any] struct {
	out         joinOutput[K, O]
	back, reach int64
	join        func(l, r V) O
	records     *state.WindowStore[K, V]

	at              Record[K, V] // being processed
	copies          copies[V]
	asLeft, asRight func(state.WindowRow[K, V]) error
}

// openSelf opens the join of a stream with itself for a task. L and R are one type then.
func (s *streamJoin[K, L, R, O]) openSelf(tk *task.Task, next edge[K, O]) (edge[K, L], error) {
	records, err := s.left.openRecords(tk, s.window, s.inMemory)
	if err != nil {
		return nil, err
	}
	before, after := s.window.Bounds()
	join := any(s.join).(func(L, L, Sides) O)
	j := &selfJoin[K, L, O]{
		out:     joinOutput[K, O]{t: tk, node: s.n.g.Index, isNil: nilCheck[O](), next: next},
		back:    before.Milliseconds(),
		reach:   after.Milliseconds(),
		join:    func(l, r L) O { return join(l, r, leftSide|rightSide) },
		records: records,
		copies:  newCopies(s.left.in.valueSerde()),
	}
	j.asLeft = func(other state.WindowRow[K, L]) error { return j.meet(other, false) }
	j.asRight = func(other state.WindowRow[K, L]) error { return j.meet(other, true) }
	return j.process, nil
}

// process lets the record meet those before it as a left one, then, as a right one, those before it and itself.
func (j *selfJoin[K, V, O]) process(r Record[K, V]) error {
	if r.null != 0 {
		countDropped(j.out.t, j.out.node, r.null)
		return nil
	}
	j.at = r
	j.out.t.Enter(j.out.node)
	if err := j.copies.from(r.Value); err != nil {
		return err
	}
	done := false
	if err := j.out.t.Try(j.out.node, func() error {
		err := j.records.Each(r.Key, max(0, r.Timestamp-j.back), max(0, r.Timestamp+j.reach), false, j.asLeft)
		done = err == nil
		return err
	}); err != nil {
		return err
	}
	// Also if joining it failed, and that was answered: those that come later are to meet it.
	if err := keepRecord(j.out.t, j.out.node, j.records, r); err != nil || !done {
		return err
	}
	return j.records.Each(r.Key, max(0, r.Timestamp-j.reach), max(0, r.Timestamp+j.back), false, j.asRight)
}

func (j *selfJoin[K, V, O]) meet(other state.WindowRow[K, V], asRight bool) error {
	j.out.t.Enter(j.out.node)
	v, err := j.copies.another(j.at.Value)
	if err != nil {
		return err
	}
	l, r := v, other.Value
	if asRight {
		l, r = r, l
	}
	return j.out.send(j.at.Key, j.join(l, r), max(j.at.Timestamp, other.Start), j.at.Headers, 0)
}
