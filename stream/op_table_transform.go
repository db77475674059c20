package stream

import (
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// TableTransformer makes a table's rows of another's, with stores and punctuators (see Processor, of which what is said
// is true of it too; its Init takes a *TableContext).
type TableTransformer[K, V, W any] interface {
	// Transform gives what becomes of a row; without ok, or with a nil, it is not there. It is called for deleted rows
	// too: r.ValueIsNull tells.
	Transform(ctx *TableContext, r Record[K, V]) (w W, ok bool, err error)
}

// TableContext is what Context is, for a TableTransformer, which sends nothing on by itself.
type TableContext struct{ processing }

// TransformTable is the table whose rows a TableTransformer makes of t's. newT is called once for each task and start
// of it, and must give a new one each time.
//
// Unless the table has a store (As), the transformer may be called again for a row when it is looked at, or for its
// value before, and a second one may be made for that: what it gives must not depend on how often it was called.
func TransformTable[K, V, W any, P TableTransformer[K, V, W]](t *Table[K, V], newT func() P, opts ...ProcessOption) *Table[K, W] {
	set := processSettings(opts)
	n := newNode[K, change[W]](t.n.b, "TransformTable", set, t.n.g)
	o := newTable(n, t.keySerde, sameType[W](t.valueSerde))
	o.closes = t.closes
	stores := prepareProcessor[*TableContext](t.n.b, n.g, set, newT)
	open := func(tk *task.Task) (*transformOp[K, V, W, P], error) {
		p, err := newProcessing(tk, n.g, stores)
		if err != nil {
			return nil, err
		}
		op := &transformOp[K, V, W, P]{ctx: &TableContext{p}, isNil: nilCheck[W]()}
		runProcessor(&op.ctx.processing, op.ctx, newT, &op.p)
		return op, nil
	}
	o.computed(func(tk *task.Task) (tableRows[K, W], error) {
		rows, err := t.rows(tk)
		if err != nil {
			return tableRows[K, W]{}, err
		}
		op, err := open(tk)
		if err != nil {
			return tableRows[K, W]{}, err
		}
		made := tableRows[K, W]{get: op.reader(rows.get), told: op.reader(rows.told)}
		if rows.asOf != nil {
			made.asOf = func(k K, timestampMs int64) (state.Value[W], error) {
				v, err := rows.asOf(k, timestampMs)
				if err != nil {
					return state.Value[W]{}, err
				}
				return op.row(k, v)
			}
		}
		return made, nil
	}, t)
	attach(t.n, n, func(tk *task.Task, next edge[K, change[W]]) (edge[K, change[V]], error) {
		keep, err := o.keep(tk, next)
		if err != nil {
			return nil, err
		}
		op, err := open(tk)
		if err != nil {
			return nil, err
		}
		op.old, op.keep = o.sendOld && n.g.Store == nil, keep
		return op.process, nil
	})
	return o
}

// transformOp runs a TableTransformer in one task: for the table's changes, or to look at its rows.
type transformOp[K, V, W any, P TableTransformer[K, V, W]] struct {
	ctx   *TableContext
	p     P
	isNil func(W) bool
	old   bool // the value before is made, too, of that of the table above
	keep  edge[K, change[W]]
}

func (o *transformOp[K, V, W, P]) process(r Record[K, change[V]]) error {
	m := Record[K, change[W]]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers, null: r.null}
	m.Value.Late = r.Value.Late
	in := Record[K, V]{Key: r.Key, Value: r.Value.New, Timestamp: r.Timestamp, Headers: r.Headers}
	var err error
	if m.Value.New, m.Value.HasNew, err = o.transform(in, r.Value.HasNew); err != nil {
		return err
	}
	if o.old {
		in.Value = r.Value.Old
		if m.Value.Old, m.Value.HasOld, err = o.transform(in, r.Value.HasOld); err != nil {
			return err
		}
	}
	return o.keep(m)
}

func (o *transformOp[K, V, W, P]) transform(r Record[K, V], there bool) (w W, ok bool, err error) {
	if !there {
		r.null |= nullValue
	}
	o.ctx.enter(max(r.Timestamp, 0))
	w, ok, err = o.p.Transform(o.ctx, r)
	return w, ok && (o.isNil == nil || !o.isNil(w)), o.ctx.done(err)
}

func (o *transformOp[K, V, W, P]) row(k K, v state.Value[V]) (state.Value[W], error) {
	w, ok, err := o.transform(Record[K, V]{Key: k, Value: v.V, Timestamp: v.Timestamp}, v.OK)
	if err != nil || !ok {
		return state.Value[W]{}, err
	}
	return state.Value[W]{V: w, Timestamp: v.Timestamp, OK: true}, nil
}

func (o *transformOp[K, V, W, P]) reader(read func(K) (state.Value[V], error)) func(K) (state.Value[W], error) {
	return func(k K) (state.Value[W], error) {
		v, err := read(k)
		if err != nil {
			return state.Value[W]{}, err
		}
		return o.row(k, v)
	}
}
