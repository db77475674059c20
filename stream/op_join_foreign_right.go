package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// foreignRight is the right side of a foreign-key join in one task: it keeps who points to which row, and tells
// them of it. It knows left keys only as bytes.
type foreignRight[FK, R any] struct {
	tk          *task.Task
	node        int
	rows        tableRows[FK, R]
	keys        serde.Serde[FK]
	values      serde.Serde[R]
	subscribers *state.OrderedStore[[]byte, subscriber]
	respond     edge[[]byte, response[[]byte]]

	foreign, row, value []byte // encoded: a foreign key, a key of the store or the front of it, and a right value

	// Of a change being told: the bound after the store's keys for it, the response, and tellOne.
	end  []byte
	out  Record[[]byte, response[[]byte]]
	tell func(state.Row[[]byte, subscriber]) error
}

// openRight makes the right side for a task, once.
func (j *foreignJoin[K, L, FK, R, O]) openRight(tk *task.Task, next edge[[]byte, response[[]byte]]) (*foreignRight[FK, R], error) {
	if t, ok := tk.Memo[j.subscribers]; ok {
		return t.(*foreignRight[FK, R]), nil
	}
	t := &foreignRight[FK, R]{tk: tk, node: j.subscribers.Index, respond: next, value: []byte{}}
	tk.Memo[j.subscribers] = t
	t.tell = t.tellOne
	topic := j.subscriptions.g.Topic.FullName(tk.Env.Application)
	var err error
	if t.keys, err = serde.Bind(j.r.keySerde(), topic, true); err != nil {
		return t, fmt.Errorf("key serde for topic %s: %w", topic, err)
	}
	topic = j.responses.g.Topic.FullName(tk.Env.Application)
	if t.values, err = serde.Bind(j.r.valueSerde(), topic, false); err != nil {
		return t, fmt.Errorf("value serde for topic %s: %w", topic, err)
	}
	if t.rows, err = j.r.rows(tk); err != nil {
		return t, err
	}
	t.subscribers, err = openStore(tk, j.subscribers, serde.Bytes, serde.Serde[subscriber](subscriberSerde{}),
		func(st *state.Task, name string, k serde.Serde[[]byte], v serde.Serde[subscriber]) (*state.OrderedStore[[]byte, subscriber], error) {
			return state.OpenOrdered(st, name, k, v)
		})
	return t, err
}

// subscription takes a subscription.
func (t *foreignRight[FK, R]) subscription(r Record[FK, subscription]) error {
	t.tk.Enter(t.node)
	if err := t.encode(r.Key); err != nil {
		return err
	}
	s := r.Value
	var err error
	t.row = append(t.row, s.key...)
	if s.what == unsubscribe || s.what == unsubscribeAndRespond {
		err = t.subscribers.Delete(t.row, r.Timestamp)
	} else {
		err = t.subscribers.Put(t.row, subscriber{s.partition, s.hash.sum}, r.Timestamp)
	}
	if err != nil || s.what == unsubscribe {
		return err
	}
	right, err := t.rows.told(r.Key)
	if err != nil {
		return err
	}
	a := Record[[]byte, response[[]byte]]{
		Key:       s.key,
		Value:     response[[]byte]{kind: notFound, hash: s.hash, partition: s.partition},
		Timestamp: r.Timestamp,
		Headers:   r.Headers,
	}
	if right.OK {
		a.Timestamp = max(a.Timestamp, right.Timestamp)
	}
	switch {
	case s.what == unsubscribeAndRespond:
		a.Value.kind = unsubscribed
	case right.OK:
		a.Value.kind = found
		if a.Value.right, err = t.encodeValue(right.V); err != nil {
			return err
		}
	case s.what == subscribeIfFound:
		return nil
	}
	return t.respond(a)
}

// change tells a change of a right row to all that point to it, in the order of their keys' bytes.
func (t *foreignRight[FK, R]) change(r Record[FK, change[R]]) error {
	if r.Value.Late {
		t.tk.Dropped(t.node).Late++ // the join is of the newest rows
		return nil
	}
	t.tk.Enter(t.node)
	if err := t.encode(r.Key); err != nil {
		return err
	}
	t.out = Record[[]byte, response[[]byte]]{Value: response[[]byte]{kind: notFound}, Timestamp: r.Timestamp, Headers: r.Headers}
	if r.Value.HasNew {
		var err error
		t.out.Value.kind = found
		if t.out.Value.right, err = t.encodeValue(r.Value.New); err != nil {
			return err
		}
	}
	// The length is in front, and less than the highest number, so that there is an end.
	t.end = append(t.end[:0], t.row...)
	for i := len(t.end) - 1; i >= 0; i-- {
		if t.end[i]++; t.end[i] != 0 {
			t.end = t.end[:i+1]
			break
		}
	}
	return t.subscribers.Each(t.row, t.end, t.tell)
}

// tellOne responds to one subscriber.
func (t *foreignRight[FK, R]) tellOne(row state.Row[[]byte, subscriber]) error {
	t.out.Key = row.Key[len(t.row):]
	t.out.Value.hash, t.out.Value.partition = rowHash{row.Value.sum, true}, row.Value.partition
	return t.respond(t.out)
}

// encode makes t.row the front of the store's keys for a foreign key.
func (t *foreignRight[FK, R]) encode(fk FK) (err error) {
	if t.foreign, err = t.keys.Append(t.foreign[:0], fk); err != nil {
		return fmt.Errorf("encode the foreign key: %w", err)
	}
	t.row = appendForeignKey(t.row[:0], t.foreign)
	return nil
}

func (t *foreignRight[FK, R]) encodeValue(v R) (_ []byte, err error) {
	if t.value, err = t.values.Append(t.value[:0], v); err != nil {
		return nil, fmt.Errorf("encode the right value: %w", err)
	}
	return t.value, nil
}
