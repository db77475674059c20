package stream

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// foreignLeft is the left side of a join in one task: it subscribes rows to those that they point to, and makes
// results of the answers.
type foreignLeft[K, L, FK, R, O any] struct {
	*foreignJoin[K, L, FK, R, O]
	tk        *task.Task
	node      int
	rows      tableRows[K, L]
	keys      serde.Serde[K]
	values    serde.Serde[L]
	foreign   serde.Serde[FK]
	copied    bool // values have something that can be changed
	noKey     func(FK) bool
	noResult  func(O) bool
	subscribe edge[FK, subscription]
	keep      edge[K, change[O]]

	key, value, was, is []byte // encoded: the left key and value, and two foreign keys
}

// openLeft makes the left side for a task, once.
func (j *foreignJoin[K, L, FK, R, O]) openLeft(tk *task.Task, next edge[K, change[O]]) (*foreignLeft[K, L, FK, R, O], error) {
	if t, ok := tk.Memo[j]; ok {
		return t.(*foreignLeft[K, L, FK, R, O]), nil
	}
	t := &foreignLeft[K, L, FK, R, O]{foreignJoin: j, tk: tk, node: j.o.n.g.Index, noKey: nilCheck[FK](), noResult: nilCheck[O]()}
	tk.Memo[j] = t
	topic := j.subscriptions.g.Topic.FullName(tk.Env.Application)
	var err error
	if t.foreign, err = serde.Bind(j.r.keySerde(), topic, true); err != nil {
		return t, fmt.Errorf("key serde for topic %s: %w", topic, err)
	}
	topic = j.responses.g.Topic.FullName(tk.Env.Application)
	if t.keys, err = serde.Bind(j.l.keySerde(), topic, true); err != nil {
		return t, fmt.Errorf("key serde for topic %s: %w", topic, err)
	}
	if t.values, err = serde.Bind(j.l.valueSerde(), topic, false); err != nil {
		return t, fmt.Errorf("serde of the left table's values: %w", err)
	}
	t.copied = !serde.SharesNothing(t.values)
	if t.rows, err = j.l.rows(tk); err != nil {
		return t, err
	}
	if t.subscribe, err = j.subscriptions.edge(tk); err != nil {
		return t, err
	}
	t.keep, err = j.o.keep(tk, next)
	return t, err
}

// change takes a change of a left row.
func (t *foreignLeft[K, L, FK, R, O]) change(r Record[K, change[L]]) error {
	if r.Value.Late {
		t.tk.Dropped(t.node).Late++ // the join is of the newest rows
		return nil
	}
	t.tk.Enter(t.node)
	var (
		was, is       FK
		pointed, does bool // the row did point to one, and does
		hash          rowHash
		err           error
	)
	if r.Value.HasOld {
		was, pointed = t.points(r.Key, r.Value.Old)
	}
	if r.Value.HasNew {
		if t.value, err = t.values.Append(t.value[:0], r.Value.New); err != nil {
			return fmt.Errorf("encode the left value: %w", err)
		}
		hash = hashOf(t.value)
		v, err := t.fresh(r.Value.New)
		if err != nil {
			return err
		}
		is, does = t.points(r.Key, v)
	}
	if r.Value.HasNew && !does && !t.left {
		countDropped(t.tk, t.node, nullKey)
	}
	send := func(fk FK, what instruction) error { return t.send(r.Key, fk, what, hash, r.Timestamp, r.Headers) }
	moved := pointed
	if pointed && does {
		if moved, err = t.differ(was, is); err != nil {
			return err
		}
	}
	if !t.left && !does {
		if pointed {
			return send(was, unsubscribeAndRespond) // it has the right row's timestamp
		}
		return nil
	}
	if moved {
		if err := send(was, unsubscribe); err != nil {
			return err
		}
	}
	switch {
	case does && !moved && !t.left:
		// If the row is not there, there is no result to take back: none was made of it.
		return send(is, subscribeIfFound)
	case does:
		return send(is, subscribe)
	case r.Value.HasNew:
		// There is nothing to ask. (Kafka Streams asks, and is told so.)
		v, err := t.fresh(r.Value.New)
		if err != nil {
			return err
		}
		var none R
		return t.result(r.Key, v, none, false, r.Timestamp, r.Headers)
	case r.Value.HasOld:
		return t.delete(r.Key, r.Timestamp, r.Headers)
	}
	return nil
}

// response takes what the row that a left row points to, or pointed to, has to tell.
func (t *foreignLeft[K, L, FK, R, O]) response(r Record[K, response[R]]) error {
	t.tk.Enter(t.node)
	row, err := t.rows.told(r.Key)
	if err != nil {
		return err
	}
	var hash rowHash
	if row.OK {
		if t.value, err = t.values.Append(t.value[:0], row.V); err != nil {
			return fmt.Errorf("encode the left value: %w", err)
		}
		hash = hashOf(t.value)
	}
	switch {
	case r.Value.hash != hash:
		return t.stale(r, row, hash)
	case row.OK && (r.Value.kind == found || t.left):
		return t.result(r.Key, row.V, r.Value.right, r.Value.kind == found, r.Timestamp, r.Headers)
	}
	return t.delete(r.Key, r.Timestamp, r.Headers)
}

// stale drops a response to what the left row was. What the row is now has subscribed since, and hears of the
// right row if there is one, and if there may be a result to take back. An inner join, though, does not hear of a
// row that is not there when the value before should have; if that was dropped, the result of a value before that
// would stay for good, as it does in Kafka Streams. So it asks again.
func (t *foreignLeft[K, L, FK, R, O]) stale(r Record[K, response[R]], row state.Value[L], hash rowHash) error {
	if row.OK {
		if err := t.checkBytes(r.Key); err != nil {
			return err
		}
	}
	if t.left || r.Value.kind == found {
		return nil
	}
	if row.OK {
		if fk, ok := t.points(r.Key, row.V); ok {
			return t.send(r.Key, fk, subscribe, hash, row.Timestamp, r.Headers)
		}
	}
	if r.Value.kind == unsubscribed {
		return t.delete(r.Key, r.Timestamp, r.Headers)
	}
	return nil
}

var errUnstable = errors.New("the left table's values are encoded to other bytes each time, so that current responses cannot be told from stale ones; give it a serde that does not, for example by sorting maps")

// checkBytes finds that the left row's value, which is in t.value, is encoded to other bytes next time.
func (t *foreignLeft[K, L, FK, R, O]) checkBytes(k K) error {
	for range 3 {
		row, err := t.rows.told(k)
		if err != nil {
			return err
		}
		if t.is, err = t.values.Append(t.is[:0], row.V); err != nil {
			return fmt.Errorf("encode the left value: %w", err)
		}
		if !bytes.Equal(t.is, t.value) {
			return errUnstable
		}
	}
	return nil
}

// points tells what a left row points to, if anything.
func (t *foreignLeft[K, L, FK, R, O]) points(k K, v L) (FK, bool) {
	fk, ok := t.foreignJoin.key(k, v)
	return fk, ok && (t.noKey == nil || !t.noKey(fk))
}

// differ compares two foreign keys by their bytes, which is what makes them the key of one row.
func (t *foreignLeft[K, L, FK, R, O]) differ(a, b FK) (_ bool, err error) {
	if t.was, err = t.foreign.Append(t.was[:0], a); err != nil {
		return false, fmt.Errorf("encode the foreign key: %w", err)
	}
	if t.is, err = t.foreign.Append(t.is[:0], b); err != nil {
		return false, fmt.Errorf("encode the foreign key: %w", err)
	}
	return !bytes.Equal(t.was, t.is), nil
}

// fresh is v, whose bytes are in t.value, for a function that may change what it is given.
func (t *foreignLeft[K, L, FK, R, O]) fresh(v L) (L, error) {
	if !t.copied {
		return v, nil
	}
	v, err := t.values.Decode(bytes.Clone(t.value))
	if err != nil {
		return v, fmt.Errorf("decode the left value: %w", err)
	}
	return v, nil
}

func (t *foreignLeft[K, L, FK, R, O]) send(k K, fk FK, what instruction, hash rowHash, timestampMs int64, h Headers) (err error) {
	if t.key, err = t.keys.Append(t.key[:0], k); err != nil {
		return fmt.Errorf("encode the left key: %w", err)
	}
	return t.subscribe(Record[FK, subscription]{
		Key:       fk,
		Value:     subscription{what: what, partition: t.tk.ID.Partition, hash: hash, key: t.key},
		Timestamp: timestampMs,
		Headers:   h,
	})
}

// result sends a result.
func (t *foreignLeft[K, L, FK, R, O]) result(k K, l L, r R, ok bool, timestampMs int64, h Headers) error {
	t.tk.Enter(t.node)
	o := t.join(l, r, ok)
	return t.keep(Record[K, change[O]]{
		Key:       k,
		Value:     change[O]{New: o, HasNew: t.noResult == nil || !t.noResult(o)},
		Timestamp: timestampMs,
		Headers:   h,
	})
}

// delete sends that there is no result.
func (t *foreignLeft[K, L, FK, R, O]) delete(k K, timestampMs int64, h Headers) error {
	return t.keep(Record[K, change[O]]{Key: k, Timestamp: timestampMs, Headers: h})
}
