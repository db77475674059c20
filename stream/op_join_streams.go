package stream

import (
	"strconv"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
	"github.com/moldau-io/moldau/windows"
)

// JoinStreams joins the records of two streams that have the same key and timestamps within w of each other:
// each such pair gives one result, when the second of the two comes. It has the higher timestamp of the two,
// and the headers of the second.
//
// Both sides are kept in stores, for as long as w and its grace last: a late record meets what is left of the
// other side. Records without a key or without a value are dropped and counted, and so are those too late to
// be kept, once they met what is left. If an operator before the join changed a stream's keys, that stream
// goes through a repartition topic first. A stream can be joined with itself: then a record meets itself, too.
//
// The topics that the two streams come from have to have equally many partitions, or equal keys would not meet: else
// App.Run ends with an error that names them, before the first record. A repartition topic has as many as the other side.
//
// join may change what it is given: it is its own.
func JoinStreams[K, L, R, O any](l *Stream[K, L], r *Stream[K, R], w windows.Join, join func(L, R) O, opts ...JoinOption) *Stream[K, O] {
	j := func(left L, right R, _ Sides) O { return join(left, right) }
	return joinStreams(l, r, "JoinStreams", w, j, 0, opts).given(join)
}

// LeftJoinStreams is JoinStreams, but a left record that meets no right one gives a result too: join is called
// with ok false, and r is the zero value. That result has the left record's timestamp. It comes as soon as the
// window is closed, when stream time has passed the window's end and its grace, with the headers of the record
// that stream time advanced with; a left record that is late already when it comes, so that its window lies
// before stream time, has it at once, even if a right one may come within the grace.
//
// A left record without a key meets none: its result comes at once (KIP-962).
func LeftJoinStreams[K, L, R, O any](l *Stream[K, L], r *Stream[K, R], w windows.Join, join func(l L, r R, ok bool) O, opts ...JoinOption) *Stream[K, O] {
	j := func(left L, right R, have Sides) O { return join(left, right, have.Right()) }
	return joinStreams(l, r, "LeftJoinStreams", w, j, leftSide, opts).given(join)
}

// OuterJoinStreams is LeftJoinStreams for both sides: a right record that meets no left one gives a result
// too. have tells join which of the two there are.
func OuterJoinStreams[K, L, R, O any](l *Stream[K, L], r *Stream[K, R], w windows.Join, join func(l L, r R, have Sides) O, opts ...JoinOption) *Stream[K, O] {
	return joinStreams(l, r, "OuterJoinStreams", w, join, leftSide|rightSide, opts).given(join)
}

// joinStreams makes a join; alone says which sides' records give a result without a partner.
func joinStreams[K, L, R, O any](l *Stream[K, L], r *Stream[K, R], op string, w windows.Join, join func(L, R, Sides) O, alone Sides, opts []JoinOption) *Stream[K, O] {
	set := joinSettings(opts)
	left := joinSide(l, "RepartitionLeft", "left", set, alone != 0)
	self := any(l.n) == any(r.n) && l.rekeyed == r.rekeyed
	right, _ := any(left).(*node[K, R])
	if !self {
		right = joinSide(r, "RepartitionRight", "right", set, alone != 0)
	}
	n := newNode[K, O](left.b, op, set, left.g, right.g)
	n.g.Copartitioned = true
	n.inheritKey = left.keySerde
	checkJoin(n, set, l.rekeyed || r.rekeyed)
	if set.grace != nil {
		n.b.fail(n.g, "Grace is for joins with versioned tables; that of a join of streams is its window's, given with WithGrace")
	}
	if err := w.Err(); err != nil {
		n.b.fail(n.g, "%w", err)
	}
	if !sameBuilder(n, left.b, right.b) {
		return &Stream[K, O]{n: n}
	}
	j := &streamJoin[K, L, R, O]{n: n, join: join, window: w, inMemory: set.inMemory}
	j.left = newJoinInput(n, left, "left", set, w, alone.Left())
	if self && alone == 0 {
		attach(left, n, j.openSelf)
		return &Stream[K, O]{n: n}
	}
	j.right = newJoinInput(n, right, "right", set, w, alone.Right())
	attach(left, n, func(tk *task.Task, next edge[K, O]) (edge[K, L], error) {
		t, err := j.open(tk, next)
		if err != nil {
			return nil, err
		}
		return t.left.process, nil
	})
	attach(right, n, func(tk *task.Task, next edge[K, O]) (edge[K, R], error) {
		t, err := j.open(tk, next)
		if err != nil {
			return nil, err
		}
		return t.right.process, nil
	})
	return &Stream[K, O]{n: n}
}

// streamJoin is a join of two streams, as it is declared.
type streamJoin[K, L, R, O any] struct {
	n        *node[K, O]
	left     *joinInput[K, L]
	right    *joinInput[K, R]
	window   windows.Join
	inMemory bool
	join     func(L, R, Sides) O
}

// joinInput is one side of it, and the nodes that own its stores.
type joinInput[K, V any] struct {
	in      *node[K, V]
	records *graph.Node
	waiting *graph.Node // nil: records without a partner give nothing
}

func newJoinInput[K, V, O any](n *node[K, O], in *node[K, V], side string, s settings, w windows.Join, alone bool) *joinInput[K, V] {
	i := &joinInput[K, V]{in: in}
	// Every record has a key of its own in this changelog: there is nothing to compact. A day more than they
	// are kept, as Kafka Streams adds (windowstore.changelog.additional.retention.ms).
	retention := strconv.FormatInt((w.Lifetime() + 24*time.Hour).Milliseconds(), 10)
	i.records = ownedStore(n, side+"Records", side+"-records", s, map[string]string{"cleanup.policy": "delete", "retention.ms": retention})
	needSerdes(n.b, i.records, in.keySerde, in.valueSerde, ", which the join keeps in a store", "With(keySerde, valueSerde)")
	if alone {
		i.waiting = ownedStore(n, side+"Waiting", side+"-waiting", s, nil)
	}
	return i
}

// openRecords opens the store of the side's records for a task.
func (i *joinInput[K, V]) openRecords(tk *task.Task, w windows.Join, inMemory bool) (*state.WindowStore[K, V], error) {
	before, after := w.Bounds()
	o := state.WindowSettings{
		Retention:        max(w.Lifetime(), time.Millisecond), // else records of one time would not meet
		Size:             before + after,
		RetainDuplicates: true,
		InMemory:         inMemory,
	}
	return openStore(tk, i.records, i.in.keySerde(), i.in.valueSerde(), func(t *state.Task, name string, k serde.Serde[K], v serde.Serde[V]) (*state.WindowStore[K, V], error) {
		return state.OpenWindow(t, name, k, v, o)
	})
}

// openWaiting opens the list of the side's records that have no partner yet, nil if there is none.
func (i *joinInput[K, V]) openWaiting(tk *task.Task, inMemory bool) (*waitingList[K, V], error) {
	if i.waiting == nil {
		return nil, nil
	}
	return openWaiting(tk, i.waiting, i.in.keySerde(), i.in.valueSerde(), inMemory)
}

// joinTask is a join of two streams in one task.
type joinTask[K, L, R, O any] struct {
	joinOutput[K, O]
	left  joinHalf[K, L, R, O]
	right joinHalf[K, R, L, O]
}

// joinOutput is what both halves of a join share.
type joinOutput[K, O any] struct {
	t     *task.Task
	node  int
	isNil func(O) bool
	next  edge[K, O]

	time    int64 // the highest timestamp of both sides; kept only if records may wait
	release func(Headers) error
}

// send sends a result.
func (j *joinOutput[K, O]) send(k K, v O, timestampMs int64, h Headers, null nulls) error {
	if j.isNil != nil && j.isNil(v) {
		null |= nullValue
	}
	return j.next(Record[K, O]{k, v, timestampMs, h, null})
}

// open makes the join for a task, once.
func (s *streamJoin[K, L, R, O]) open(tk *task.Task, next edge[K, O]) (*joinTask[K, L, R, O], error) {
	if j, ok := tk.Memo[s]; ok {
		return j.(*joinTask[K, L, R, O]), nil
	}
	lefts, err := s.left.openRecords(tk, s.window, s.inMemory)
	if err != nil {
		return nil, err
	}
	rights, err := s.right.openRecords(tk, s.window, s.inMemory)
	if err != nil {
		return nil, err
	}
	leftWaits, err := s.left.openWaiting(tk, s.inMemory)
	if err != nil {
		return nil, err
	}
	rightWaits, err := s.right.openWaiting(tk, s.inMemory)
	if err != nil {
		return nil, err
	}
	beforeD, afterD := s.window.Bounds()
	before, after := beforeD.Milliseconds(), afterD.Milliseconds()
	j := &joinTask[K, L, R, O]{joinOutput: joinOutput[K, O]{t: tk, node: s.n.g.Index, isNil: nilCheck[O](), next: next, time: -1}}
	j.left = joinHalf[K, L, R, O]{out: &j.joinOutput, back: before, reach: after, side: leftSide, join: s.join,
		own: lefts, others: rights, waiting: leftWaits, othersWaiting: rightWaits, copies: newCopies(s.left.in.valueSerde())}
	j.right = joinHalf[K, R, L, O]{out: &j.joinOutput, back: after, reach: before, side: rightSide,
		join: func(r R, l L, have Sides) O { return s.join(l, r, have) },
		own:  rights, others: lefts, waiting: rightWaits, othersWaiting: leftWaits, copies: newCopies(s.right.in.valueSerde())}
	j.left.meets, j.right.meets = j.left.meet, j.right.meet
	if leftWaits != nil || rightWaits != nil {
		tk.Remember(s.n.g.Name+".time", &j.time)
		grace := s.window.Grace().Milliseconds()
		j.release = func(h Headers) error { return j.releaseDue(grace, h) }
	}
	tk.Memo[s] = j
	return j, nil
}

// releaseDue sends the results of records whose windows are closed, in the order of their timestamps, right
// ones before left ones of the same time, then of their keys. KStreamKStreamJoin, which looks for them only
// when a remembered minimum allows it, has that order too.
func (j *joinTask[K, L, R, O]) releaseDue(graceMs int64, h Headers) error {
	leftLimit, rightLimit := j.time-j.left.reach-graceMs, j.time-j.right.reach-graceMs
	if err := j.left.look(leftLimit); err != nil {
		return err
	}
	if err := j.right.look(rightLimit); err != nil {
		return err
	}
	for {
		l, hasLeft := j.left.waiting.next()
		r, hasRight := j.right.waiting.next()
		var err error
		switch {
		case hasRight && (!hasLeft || r <= l):
			err = j.right.releaseFirst(rightLimit, h)
		case hasLeft:
			err = j.left.releaseFirst(leftLimit, h)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// joinHalf takes the records of one side of a join in a task: V is its own values' type, W the other side's.
type joinHalf[K, V, W, O any] struct {
	out   *joinOutput[K, O]
	back  int64 // how much older a record's partner may be
	reach int64 // and how much newer
	side  Sides
	join  func(own V, other W, have Sides) O

	own           *state.WindowStore[K, V]
	others        *state.WindowStore[K, W]
	waiting       *waitingList[K, V] // nil: records without a partner give nothing
	othersWaiting *waitingList[K, W]

	at     Record[K, V]          // being processed
	met    int                   // how many others it met
	last   state.WindowRow[K, W] // of which the result for the last one is not yet sent
	copies copies[V]
	meets  func(state.WindowRow[K, W]) error
}

func (h *joinHalf[K, V, W, O]) process(r Record[K, V]) error {
	if r.Timestamp > h.out.time && h.out.release != nil {
		h.out.time = r.Timestamp
		if err := h.out.release(r.Headers); err != nil {
			return err
		}
	}
	if r.null != 0 {
		if h.waiting != nil && r.null == nullKey {
			return h.sendAlone(r.Key, r.Value, r.Timestamp, r.Headers, nullKey)
		}
		countDropped(h.out.t, h.out.node, r.null)
		return nil
	}
	h.out.t.Enter(h.out.node)
	// Kept first, as join may change the value.
	if err := keepRecord(h.out.t, h.out.node, h.own, r); err != nil {
		return err
	}
	// Bounds below zero are zero, on both ends (KStreamKStreamJoin).
	from, to := max(0, r.Timestamp-h.back), max(0, r.Timestamp+h.reach)
	h.at, h.met = r, 0
	if err := h.others.Each(r.Key, from, to, false, h.meets); err != nil {
		return err
	}
	switch {
	case h.met > 0:
		return h.sendPair(r.Value)
	case h.waiting == nil:
		return nil
	case to < h.out.time:
		return h.sendAlone(r.Key, r.Value, r.Timestamp, r.Headers, 0)
	}
	return h.waiting.add(r.Key, r.Value, r.Timestamp)
}

// meet takes one of the other side that the record at hand meets, and sends the result for the one before it:
// only the last is joined with the record's value itself, the others with copies.
func (h *joinHalf[K, V, W, O]) meet(other state.WindowRow[K, W]) error {
	if h.othersWaiting != nil {
		if err := h.othersWaiting.drop(h.at.Key, other.Start); err != nil {
			return err
		}
	}
	if h.met++; h.met == 1 {
		h.last = other
		return nil
	}
	if h.met == 2 {
		if err := h.copies.from(h.at.Value); err != nil {
			return err
		}
	}
	v, err := h.copies.another(h.at.Value)
	if err != nil {
		return err
	}
	err = h.sendPair(v)
	h.last = other
	return err
}

// sendPair sends the result of the record at hand, whose value is v, and h.last.
func (h *joinHalf[K, V, W, O]) sendPair(v V) error {
	h.out.t.Enter(h.out.node)
	o := h.join(v, h.last.Value, leftSide|rightSide)
	return h.out.send(h.at.Key, o, max(h.at.Timestamp, h.last.Start), h.at.Headers, 0)
}

// sendAlone sends the result of a record without a partner.
func (h *joinHalf[K, V, W, O]) sendAlone(k K, v V, timestampMs int64, headers Headers, null nulls) error {
	h.out.t.Enter(h.out.node)
	var none W
	return h.out.send(k, h.join(v, none, h.side), timestampMs, headers, null)
}

func (h *joinHalf[K, V, W, O]) look(limit int64) error {
	if h.waiting == nil {
		return nil
	}
	return h.waiting.look(limit)
}

// releaseFirst sends the results of the first row of those that are due, and takes it off the list.
func (h *joinHalf[K, V, W, O]) releaseFirst(limit int64, headers Headers) error {
	row, err := h.waiting.take(limit)
	if err != nil {
		return err
	}
	for _, v := range row.Value {
		// By itself: its failure is not that of the others, nor of the record at hand.
		if err := h.out.t.Try(h.out.node, func() error {
			return h.sendAlone(row.Key.key, v, row.Key.at, headers, 0)
		}); err != nil {
			return err
		}
	}
	return nil
}

// keepRecord keeps a record for those of the other side that come later.
func keepRecord[K, V any](t *task.Task, node int, s *state.WindowStore[K, V], r Record[K, V]) error {
	before := s.Dropped()
	err := s.Put(r.Key, r.Timestamp, r.Value, r.Timestamp)
	t.Dropped(node).Late += s.Dropped() - before
	return err
}
