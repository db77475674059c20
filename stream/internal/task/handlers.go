package task

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// This file owns what becomes of a record that fails: a handler of the user's says, if there is one.
//
//	what                                  handler           answered where
//	bytes that a source cannot decode,    Deserialization   at the source: the record is passed over
//	  a panic of its timestamp rule
//	an error or a panic of a function     Processing        at the operator (Task.Guard): what it sent on before
//	                                                        stays, and so does what its siblings do
//	a record that cannot be encoded, or   Production        at the sink: that record is passed over
//	  is larger than its topic takes
//
// Errors that are about more than one record, such as those of a disk, are nobody's to answer: they are faults.

// Kind is what kind of failure it is.
type Kind int8

const (
	Deserialization Kind = iota
	Processing
	Production
	kinds
)

// Action is what becomes of a record that failed.
type Action int8

const (
	Fail Action = iota
	Skip
	DeadLetter
)

// Answer is a handler's.
type Answer struct {
	Action Action
	Topic  string // for DeadLetter; "": Handlers.DeadLetterTopic
}

// Failure is what a handler is told. The records are valid until it returns.
type Failure struct {
	Kind      Kind
	Node      *graph.Node
	Input     *log.Record // being processed; nil: none was
	Partition log.TopicPartition
	Output    *Unwritten // of Production
	Err       error
}

// Unwritten is a record that could not be written, as far as it is encoded.
type Unwritten struct {
	Topic      string
	Partition  int32 // -1: not known
	Key, Value []byte
	Timestamp  int64
	Headers    []log.Header
}

// Handler answers a failure. It may be called by several tasks at a time.
type Handler func(*Failure) Answer

// Handlers are an application's. The zero value fails.
type Handlers struct {
	On [kinds]Handler // by Kind; nil: Fail
	// DeadLetterTopic gets what a handler answers DeadLetter for without a topic.
	DeadLetterTopic string
}

// Handles reports whether failures of the kind have a handler.
func (t *Task) Handles(k Kind) bool { return t.Env.Handlers != nil && t.Env.Handlers.On[k] != nil }

// Ask asks the handler. An error means that it has no answer that can be followed.
func (h *Handlers) Ask(f *Failure) (a Answer, err error) {
	if h == nil || h.On[f.Kind] == nil {
		return Answer{}, nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the handler panicked over it: %w; what it was asked about: %w", &PanicError{Value: r, Stack: debug.Stack()}, f.Err)
		}
	}()
	a = h.On[f.Kind](f)
	if a.Action == DeadLetter && a.Topic == "" {
		if a.Topic = h.DeadLetterTopic; a.Topic == "" {
			return a, fmt.Errorf("the handler answered DeadLetter, and no topic is set for that: set Config.DeadLetterTopic, or answer DeadLetterTo; what it was asked about: %w", f.Err)
		}
	}
	return a, nil
}

// answered has the handler answer err, a failure at n, and does what it says: nil if processing goes on.
func (t *Task) answered(k Kind, n *graph.Node, err error, out *Unwritten) error {
	if errors.As(err, new(*Fault)) {
		return err // decided below, or about more than a record
	}
	if state.Failed(err) || !t.Handles(k) {
		return t.fault(n, err)
	}
	f := Failure{Kind: k, Node: n, Output: out, Err: err}
	if t.at != nil {
		f.Input, f.Partition = &t.at.recs[t.at.i], t.at.tp
	}
	answer, err := t.Env.Handlers.Ask(&f)
	if err == nil && answer.Action == DeadLetter {
		err = t.writeDeadLetter(answer.Topic, &f)
	}
	if err != nil {
		return t.fault(n, err)
	}
	if answer.Action == Fail {
		return t.fault(n, f.Err)
	}
	switch d := &t.dropped[n.Index]; k {
	case Deserialization:
		d.Undecodable++
	case Processing:
		d.Failed++
	case Production:
		d.Unwritten++
	}
	return nil
}

// Guard is deferred by what calls an operator with a record, where Processing has a handler: it answers the
// operator's panic, or its error. before is the operator that goes on after that.
func (t *Task) Guard(before int, err *error) {
	switch r := recover().(type) {
	case nil:
	case Abandon: // a mistake in the program, not in a record
		*err = t.fault(t.Running(), r.Err)
	default:
		*err = &PanicError{Value: r, Stack: debug.Stack()}
	}
	if *err != nil {
		*err = t.answered(Processing, t.Running(), *err, nil)
	}
	t.op.set(before)
}

// Final makes err, of the operator of the given index, one that no handler is asked about.
func (t *Task) Final(node int, err error) error { return t.fault(t.plan.Graph.Nodes[node], err) }

// At is the index of the operator that was last entered.
func (t *Task) At() int { return t.op.get() }

// Try runs f, which is an operator's work on one record or a punctuation. If it panics or fails, that is answered
// as where a record is passed to an operator; without a handler, its error is returned.
func (t *Task) Try(node int, f func() error) (err error) {
	before := t.At()
	t.Enter(node)
	if !t.Handles(Processing) {
		return f()
	}
	defer t.Guard(before, &err)
	return f()
}

// Unwritable answers that a record cannot be encoded: nil if processing goes on without it.
func (t *Task) Unwritable(node int, err error, out *Unwritten) error {
	return t.answered(Production, t.plan.Graph.Nodes[node], err, out)
}

// undecodable answers that the record at hand cannot be decoded: nil if it is passed over.
func (t *Task) undecodable(n *graph.Node, err error) error {
	return t.answered(Deserialization, n, err, nil)
}
