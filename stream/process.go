package stream

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Processor is a stream operator of your own: it sees every record, may keep state in stores (Stores, StoreIn),
// may do something from time to time (Context.Every), and sends on what it likes.
//
// It may have two more methods, which are called if they are there:
//
//	Init(ctx *Context[KO, VO]) error   before the first record, with the stores as of the last commit
//	Close() error                      when the task ends: the processor is not used after it
//
// Each task has a Processor of its own, used by one goroutine at a time. After an abort, a restart or a rebalance
// there is a new one: what has to last belongs into a store, and whatever else it keeps must follow from that.
//
// An error of any of its methods ends the epoch and the run; Run's error names the operator.
type Processor[K, V, KO, VO any] interface {
	// Process takes a record. Nulls in types without nil come too: ask r.ValueIsNull and r.KeyIsNull.
	Process(ctx *Context[KO, VO], r Record[K, V]) error
}

// Process sends a stream's records through a Processor, and gives what that sends on. newP is called once for each
// task and start of it, and must give a new Processor each time.
//
// The processor may change keys, so where the new stream's equal keys must come together next, it goes through a
// repartition topic. ProcessValues leaves keys as they are.
func Process[K, V, KO, VO any, P Processor[K, V, KO, VO]](s *Stream[K, V], newP func() P, opts ...ProcessOption) *Stream[KO, VO] {
	return process[K, V, KO, VO](s, "Process", newP, opts)
}

// ProcessFunc is Process with a function that keeps nothing but in stores.
func ProcessFunc[K, V, KO, VO any](s *Stream[K, V], f func(*Context[KO, VO], Record[K, V]) error, opts ...ProcessOption) *Stream[KO, VO] {
	var newP func() processorFunc[K, V, KO, VO]
	if f != nil {
		newP = func() processorFunc[K, V, KO, VO] { return f }
	}
	return process[K, V, KO, VO](s, "ProcessFunc", newP, opts)
}

type processorFunc[K, V, KO, VO any] func(*Context[KO, VO], Record[K, V]) error

func (f processorFunc[K, V, KO, VO]) Process(ctx *Context[KO, VO], r Record[K, V]) error {
	return f(ctx, r)
}

func process[K, V, KO, VO any, P Processor[K, V, KO, VO]](s *Stream[K, V], op string, newP func() P, opts []ProcessOption) *Stream[KO, VO] {
	set := processSettings(opts)
	n := newNode[KO, VO](s.n.b, op, set, s.n.g)
	n.inheritKey, n.inheritValue = sameType[KO](s.n.keySerde), sameType[VO](s.n.valueSerde)
	stores := prepareProcessor[*Context[KO, VO]](s.n.b, n.g, set, newP)
	attach(s.n, n, func(t *task.Task, next edge[KO, VO]) (edge[K, V], error) {
		p, err := newProcessing(t, n.g, stores)
		if err != nil {
			return nil, err
		}
		op := &processOp[K, V, KO, VO, P]{ctx: &Context[KO, VO]{
			processing: p, next: next, named: n.named(t), nilK: nilCheck[KO](), nilV: nilCheck[VO](),
		}}
		runProcessor(&op.ctx.processing, op.ctx, newP, &op.p)
		return op.process, nil
	})
	return &Stream[KO, VO]{n: n, rekeyed: true}
}

// processOp runs a Processor in one task.
type processOp[K, V, KO, VO any, P Processor[K, V, KO, VO]] struct {
	ctx *Context[KO, VO]
	p   P
}

func (o *processOp[K, V, KO, VO, P]) process(r Record[K, V]) error {
	o.ctx.enter(r.Timestamp)
	return o.ctx.done(o.p.Process(o.ctx, r))
}

// sameType is the serde of a type that an operator may have kept; nil if it did not.
func sameType[O, I any](of func() serde.Serde[I]) func() serde.Serde[O] {
	f, _ := any(of).(func() serde.Serde[O])
	return f
}

// prepareProcessor checks what a processor, P, is made by, and gives its node its stores. C is its context.
func prepareProcessor[C StoreContext, P any](b *Builder, n *graph.Node, s settings, newP func() P) []*sharedStore {
	if newP == nil {
		b.fail(n, "the function is nil")
	} else if err := checkSupplier(newP); err != nil {
		b.fail(n, "%w", err)
	}
	if err := checkHooks[C, P](); err != nil {
		b.fail(n, "%w", err)
	}
	b.checkChildren(n, s.children)
	return b.useStores(n, s.stores)
}

type (
	initializer[C any] interface{ Init(C) error }
	closer             interface{ Close() error }
)

// checkHooks says if a type has an Init or a Close that would not be called.
func checkHooks[C, P any]() error {
	t := reflect.TypeFor[P]()
	if t.Kind() == reflect.Interface {
		return nil // what it holds is looked at when it is there
	}
	if _, ok := t.MethodByName("Init"); ok && !t.Implements(reflect.TypeFor[initializer[C]]()) {
		return fmt.Errorf("%v has a method Init that would not be called: it must be Init(%v) error", t, reflect.TypeFor[C]())
	}
	if _, ok := t.MethodByName("Close"); ok && !t.Implements(reflect.TypeFor[closer]()) {
		return fmt.Errorf("%v has a method Close that would not be called: it must be Close() error", t)
	}
	return nil
}

// checkSupplier says if a function gives the same pointer twice, as Kafka Streams does: tasks must not share what
// they work with.
func checkSupplier[P any](newP func() P) error {
	t := reflect.TypeFor[P]()
	if t.Kind() != reflect.Pointer || t.Elem().Size() == 0 {
		return nil
	}
	if a, b := reflect.ValueOf(newP()), reflect.ValueOf(newP()); !a.IsNil() && a.Pointer() == b.Pointer() {
		return errors.New("the function gives the same pointer each time; each task needs a processor of its own")
	}
	return nil
}

// runProcessor has the processor made and initialized when the task starts, and closed when it ends.
func runProcessor[C, P any](p *processing, ctx C, newP func() P, made *P) {
	isNil := nilCheck[P]()
	p.t.OnStart(p.n.Index, func() error {
		p.enter(max(p.t.StreamTime(), 0))
		*made = newP()
		if isNil != nil && isNil(*made) {
			return errors.New("the function that makes processors gave nil")
		}
		p.begun = true
		if x, ok := any(*made).(initializer[C]); ok {
			p.beginning = true
			err := p.done(x.Init(ctx))
			p.beginning = false
			return err
		}
		return nil
	})
	p.t.OnClose(p.n.Index, func() error {
		p.closed = true
		if x, ok := any(*made).(closer); ok && p.begun {
			return x.Close()
		}
		return nil
	})
}
