package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/stream/internal/task"
)

// ValueProcessor is a Processor that leaves keys as they are: it sends on values only. What is said of Processor is
// true of it too; its Init takes a *ValueContext[W].
type ValueProcessor[K, V, W any] interface {
	// Process takes a record. Nulls in types without nil come too: ask r.ValueIsNull and r.KeyIsNull.
	Process(ctx *ValueContext[W], r Record[K, V]) error
}

// ProcessValues sends a stream's records through a ValueProcessor. Keys stay, and so does their place: no
// repartition follows from it. newP is called once for each task and start of it, and must give a new processor each
// time.
func ProcessValues[K, V, W any, P ValueProcessor[K, V, W]](s *Stream[K, V], newP func() P, opts ...ProcessOption) *Stream[K, W] {
	return processValues[K, V, W](s, "ProcessValues", newP, opts)
}

// ProcessValuesFunc is ProcessValues with a function that keeps nothing but in stores.
func ProcessValuesFunc[K, V, W any](s *Stream[K, V], f func(*ValueContext[W], Record[K, V]) error, opts ...ProcessOption) *Stream[K, W] {
	var newP func() valueProcessorFunc[K, V, W]
	if f != nil {
		newP = func() valueProcessorFunc[K, V, W] { return f }
	}
	return processValues[K, V, W](s, "ProcessValuesFunc", newP, opts)
}

type valueProcessorFunc[K, V, W any] func(*ValueContext[W], Record[K, V]) error

func (f valueProcessorFunc[K, V, W]) Process(ctx *ValueContext[W], r Record[K, V]) error {
	return f(ctx, r)
}

func processValues[K, V, W any, P ValueProcessor[K, V, W]](s *Stream[K, V], op string, newP func() P, opts []ProcessOption) *Stream[K, W] {
	set := processSettings(opts)
	n := newNode[K, W](s.n.b, op, set, s.n.g)
	n.inheritKey, n.inheritValue = s.n.keySerde, sameType[W](s.n.valueSerde)
	stores := prepareProcessor[*ValueContext[W]](s.n.b, n.g, set, newP)
	attach(s.n, n, func(t *task.Task, next edge[K, W]) (edge[K, V], error) {
		p, err := newProcessing(t, n.g, stores)
		if err != nil {
			return nil, err
		}
		op := &processValuesOp[K, V, W, P]{}
		op.ctx = &ValueContext[W]{processing: p, next: op.to(next), named: map[string]valueEdge[W]{}, isNil: nilCheck[W]()}
		for name, e := range n.named(t) {
			op.ctx.named[name] = op.to(e)
		}
		runProcessor(&op.ctx.processing, op.ctx, newP, &op.p)
		return op.process, nil
	})
	return &Stream[K, W]{n: n, rekeyed: s.rekeyed}
}

// processValuesOp runs a ValueProcessor in one task.
type processValuesOp[K, V, W any, P ValueProcessor[K, V, W]] struct {
	ctx *ValueContext[W]
	p   P

	key     K // of the record being processed
	nullKey nulls
}

func (o *processValuesOp[K, V, W, P]) process(r Record[K, V]) error {
	o.key, o.nullKey = r.Key, r.null&nullKey
	o.ctx.enter(r.Timestamp)
	o.ctx.hasKey = true
	defer func() { o.ctx.hasKey = false }() // also after a panic, which may be answered
	return o.ctx.done(o.p.Process(o.ctx, r))
}

// valueEdge is an edge for values whose key is that of the record being processed.
type valueEdge[W any] func(w W, null nulls, timestampMs int64, h Headers) error

func (o *processValuesOp[K, V, W, P]) to(next edge[K, W]) valueEdge[W] {
	return func(w W, null nulls, timestampMs int64, h Headers) error {
		return next(Record[K, W]{Key: o.key, Value: w, Timestamp: timestampMs, Headers: h, null: o.nullKey | null})
	}
}

// ValueContext is what Context is, for a ValueProcessor: what is sent on gets the key of the record that is being
// processed, and so only Process can send on, not Init, nor a punctuator.
type ValueContext[W any] struct {
	processing
	next   valueEdge[W]
	named  map[string]valueEdge[W]
	isNil  func(W) bool
	hasKey bool
}

// Forward sends a value to all children, with the timestamp of the record being processed and the given headers,
// which are often the record's. See Context.Forward.
func (c *ValueContext[W]) Forward(w W, h Headers) error { return c.send(c.next, w, c.null(w), c.at, h) }

// ForwardAt is Forward with a timestamp, in milliseconds since the epoch.
func (c *ValueContext[W]) ForwardAt(w W, timestampMs int64, h Headers) error {
	return c.send(c.next, w, c.null(w), timestampMs, h)
}

// ForwardNull is Forward of null, where W has no nil.
func (c *ValueContext[W]) ForwardNull(h Headers) error {
	var zero W
	return c.send(c.next, zero, nullValue, c.at, h)
}

// ForwardTo sends a value to the child with the given name. See Context.ForwardTo.
func (c *ValueContext[W]) ForwardTo(child string, w W, h Headers) error {
	next, ok := c.named[child]
	if !ok {
		return c.fail(fmt.Errorf("ForwardTo at %s: %w", caller(), noChild(child, childNames(c.n))))
	}
	return c.send(next, w, c.null(w), c.at, h)
}

func (c *ValueContext[W]) null(w W) nulls {
	if c.isNil != nil && c.isNil(w) {
		return nullValue
	}
	return 0
}

func (c *ValueContext[W]) send(next valueEdge[W], w W, null nulls, timestampMs int64, h Headers) error {
	if err := c.sending(timestampMs); err != nil {
		return err
	}
	if !c.hasKey {
		return c.fail(fmt.Errorf("Forward at %s: no record is being processed whose key the value could have; a Processor may send on at any time", caller()))
	}
	return c.sent(next(w, null, timestampMs, h))
}
