package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Suppress holds changes of rows back and sends the last of each, when s says (KIP-328). What is held back lies in a
// store of its own, with a changelog, and survives restarts. It is sent in the order in which it is due, and then of
// keys' bytes, with the headers and the timestamp of the last change.
//
// UntilWindowCloses sends nothing of a window whose row is gone.
func (t *Table[K, V]) Suppress(s Suppression, opts ...Option) *Table[K, V] {
	b := t.n.b
	buffer := newNode[K, change[V]](b, "Suppress", operatorSettings(opts), t.n.g)
	if err := s.check(t.closes != nil); err != nil {
		b.fail(buffer.g, "%w", err)
	}
	buffer.g.Store = &graph.Store{Node: buffer.g}
	o := newTable(newNode[K, change[V]](b, "Suppressed", settings{}, buffer.g), t.keySerde, t.valueSerde)
	o.closes = t.closes
	needSerdes(b, buffer.g, t.keySerde, t.valueSerde, " of the store", "With(keySerde, valueSerde) before it")
	b.demand(func() { o.sendOld = t.askOld(false) })
	b.checks = append(b.checks, func() {
		if t.isVersioned() {
			b.fail(buffer.g, "the table is versioned, or made of one that is: what is held back would be the newest update only; keep it in a key-value store first")
		}
	})
	open := func(tk *task.Task) (*suppressOp[K, V], error) { return openSuppress(tk, buffer.g, t, s) }
	o.computed(func(tk *task.Task) (tableRows[K, V], error) {
		rows, err := t.rows(tk)
		if err != nil {
			return rows, err
		}
		op, err := open(tk)
		return tableRows[K, V]{get: op.heldOr(rows.get), told: op.heldOr(rows.told)}, err
	}, suppressed{t})
	attach(t.n, o.n, func(tk *task.Task, next edge[K, change[V]]) (edge[K, change[V]], error) {
		keep, err := o.keep(tk, next)
		if err != nil {
			return nil, err
		}
		op, err := open(tk)
		if err != nil {
			return nil, err
		}
		op.next = keep
		return op.process, nil
	})
	return o
}

// suppressed is the table that is suppressed, as one below sees it: whoever reads rows needs the values before.
type suppressed struct{ tableParent }

func (p suppressed) keepRows() {
	p.tableParent.keepRows()
	p.askOld(true)
}

// suppressOp holds changes back in one task.
type suppressOp[K, V any] struct {
	t      *task.Task
	node   int
	how    Suppression
	closes func(K) int64
	store  *state.OrderedStore[[]byte, []byte]
	key    serde.Serde[K]
	value  serde.Serde[V]
	next   edge[K, change[V]]

	time  int64 // the highest timestamp of the table's changes
	known bool  // the next three are
	first int64 // when the first is due; nothing: math.MaxInt64
	rows  int   // held back
	bytes int64

	encoded, row, dueRow, buf []byte // scratch
}

func openSuppress[K, V any](tk *task.Task, g *graph.Node, t *Table[K, V], how Suppression) (*suppressOp[K, V], error) {
	if op, ok := tk.Memo[g]; ok {
		return op.(*suppressOp[K, V]), nil
	}
	o := &suppressOp[K, V]{t: tk, node: g.Index, how: how, closes: t.closes, time: -1}
	changelog := g.Store.Changelog(tk.Env.Application)
	var err error
	if o.key, err = serde.Bind(t.keySerde(), changelog, true); err != nil {
		return nil, fmt.Errorf("key serde for store %s: %w", g.Store.Name, err)
	}
	if o.value, err = serde.Bind(t.valueSerde(), changelog, false); err != nil {
		return nil, fmt.Errorf("value serde for store %s: %w", g.Store.Name, err)
	}
	var ok bool
	if o.store, ok = tk.Env.Stores[g.Store.Name].(*state.OrderedStore[[]byte, []byte]); !ok {
		if o.store, err = state.OpenOrdered(tk.Env.State, g.Store.Name, serde.Bytes, serde.Bytes); err != nil {
			return nil, fmt.Errorf("open store %s: %w", g.Store.Name, err)
		}
		tk.Env.Stores[g.Store.Name] = o.store
	}
	tk.AddStore(g, o.store)
	tk.Remember(g.Name+"/time", &o.time)
	tk.Memo[g] = o
	return o, nil
}

func (o *suppressOp[K, V]) process(r Record[K, change[V]]) error {
	o.t.Enter(o.node)
	if err := o.survey(); err != nil {
		return err
	}
	o.known = false // in case that the record fails, and that is answered: then the buffer is surveyed again
	o.time = max(o.time, r.Timestamp)
	if err := o.hold(r); err != nil {
		return err
	}
	if err := o.sendWhile(func() bool { return o.first <= o.time }); err != nil {
		return err
	}
	if o.full() {
		if o.how.fails || o.how.kind == untilClose {
			return o.t.Final(o.node, fmt.Errorf("the buffer is full: it holds %d rows and %d bytes back; allow for more with MaxRecords and MaxBytes", o.rows, o.bytes))
		}
		if err := o.sendWhile(o.full); err != nil {
			return err
		}
	}
	o.known = true
	return nil
}

func (o *suppressOp[K, V]) full() bool {
	return o.rows > 0 && (o.rows > o.how.maxRecords || o.bytes > o.how.maxBytes)
}

// survey finds out what is held back, when the task has just begun. Without bounds only what is due first matters.
func (o *suppressOp[K, V]) survey() error {
	if o.known {
		return nil
	}
	o.first, o.rows, o.bytes, o.known = math.MaxInt64, 0, 0, true
	err := o.store.Each([]byte{dueRow}, []byte{dueRow + 1}, func(row state.Row[[]byte, []byte]) error {
		if o.first == math.MaxInt64 {
			o.first = dueOf(row.Key)
		}
		o.rows++
		o.bytes += size(row.Key, row.Value)
		if !o.how.bounded() {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func dueOf(row []byte) int64 { return int64(binary.BigEndian.Uint64(row[1:])) }

func size(row, value []byte) int64 { return int64(len(row) - 1 + len(value)) }

// hold keeps the change, in the place of the key's that is held back, if one is.
func (o *suppressOp[K, V]) hold(r Record[K, change[V]]) (err error) {
	if o.encoded, err = o.key.Append(o.encoded[:0], r.Key); err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	h := held{timestamp: r.Timestamp, headers: r.Headers}
	if r.Value.HasNew {
		if h.new, err = o.value.Append([]byte{}, r.Value.New); err != nil {
			return fmt.Errorf("encode value: %w", err)
		}
	}
	o.row = appendKeyRow(o.row[:0], o.encoded)
	place, err := o.store.Get(o.row)
	if err != nil {
		return err
	}
	if !place.OK {
		return o.holdFirst(r, h)
	}
	// The value before is that before the first change: it is what was sent on last.
	o.dueRow = appendDueRow(o.dueRow[:0], int64(binary.BigEndian.Uint64(place.V)), o.encoded)
	was, err := o.store.Get(o.dueRow)
	if err != nil {
		return err
	}
	first, err := parseHeld(was.V)
	if err != nil {
		return err
	}
	h.old = first.old
	o.buf = appendHeld(o.buf[:0], h)
	o.bytes += int64(len(o.buf) - len(was.V))
	return o.store.Put(o.dueRow, o.buf, r.Timestamp)
}

func (o *suppressOp[K, V]) holdFirst(r Record[K, change[V]], h held) (err error) {
	if r.Value.HasOld {
		if h.old, err = o.value.Append([]byte{}, r.Value.Old); err != nil {
			return fmt.Errorf("encode value: %w", err)
		}
	}
	due := r.Timestamp
	if o.how.kind == untilClose {
		due = o.closes(r.Key)
	} else if d := o.how.limit.Milliseconds(); due <= math.MaxInt64-d {
		due += d
	}
	if err := o.store.Put(o.row, binary.BigEndian.AppendUint64(nil, uint64(due)), r.Timestamp); err != nil {
		return err
	}
	o.dueRow = appendDueRow(o.dueRow[:0], due, o.encoded)
	o.buf = appendHeld(o.buf[:0], h)
	o.first = min(o.first, due)
	o.rows++
	o.bytes += size(o.dueRow, o.buf)
	return o.store.Put(o.dueRow, o.buf, r.Timestamp)
}

// sendWhile sends what is due first, as long as more is asked for.
func (o *suppressOp[K, V]) sendWhile(more func() bool) error {
	if !more() {
		return nil
	}
	o.first = math.MaxInt64
	err := o.store.Each([]byte{dueRow}, []byte{dueRow + 1}, func(row state.Row[[]byte, []byte]) error {
		if o.first = dueOf(row.Key); !more() {
			return errEnough
		}
		err := o.send(row)
		o.first = math.MaxInt64
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (o *suppressOp[K, V]) send(row state.Row[[]byte, []byte]) error {
	h, err := parseHeld(row.Value)
	if err != nil {
		return err
	}
	encoded := row.Key[dueRowKey:]
	if err := o.store.Delete(row.Key, o.time); err != nil {
		return err
	}
	o.row = appendKeyRow(o.row[:0], encoded)
	if err := o.store.Delete(o.row, o.time); err != nil {
		return err
	}
	o.rows--
	o.bytes -= size(row.Key, row.Value)
	if h.new == nil && o.how.kind == untilClose {
		return nil
	}
	r := Record[K, change[V]]{Timestamp: h.timestamp, Headers: h.headers}
	if r.Key, err = o.key.Decode(encoded); err != nil {
		return fmt.Errorf("decode key: %w", err)
	}
	if h.new != nil {
		if r.Value.New, err = o.value.Decode(h.new); err != nil {
			return fmt.Errorf("decode value: %w", err)
		}
		r.Value.HasNew = true
	}
	if h.old != nil {
		if r.Value.Old, err = o.value.Decode(h.old); err != nil {
			return fmt.Errorf("decode value: %w", err)
		}
		r.Value.HasOld = true
	}
	err = o.next(r)
	o.t.Enter(o.node)
	return err
}

// heldOr reads rows as they were sent on: of a row that is held back, the value before.
func (o *suppressOp[K, V]) heldOr(read func(K) (state.Value[V], error)) func(K) (state.Value[V], error) {
	return func(k K) (v state.Value[V], err error) {
		encoded, err := o.key.Append(nil, k)
		if err != nil {
			return v, fmt.Errorf("encode key: %w", err)
		}
		place, err := o.store.Get(appendKeyRow(nil, encoded))
		if err != nil || !place.OK {
			if err != nil {
				return v, err
			}
			return read(k)
		}
		row, err := o.store.Get(appendDueRow(nil, int64(binary.BigEndian.Uint64(place.V)), encoded))
		if err != nil {
			return v, err
		}
		h, err := parseHeld(row.V)
		if err != nil || h.old == nil {
			return v, err
		}
		v.V, err = o.value.Decode(h.old)
		v.OK = err == nil
		return v, err
	}
}
