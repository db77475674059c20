package stream

import (
	"fmt"
	"time"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// settings is what options set; each kind of operator reads what it knows.
type settings struct {
	name       string
	named      bool
	partitions int32
	keepNulls  bool // records without a key go through the repartition topic too
	inMemory   bool
	grace      *time.Duration // nil: none
	label      *string        // of Print
	start      start          // of a source
	stores     []state.AnyHandle
	children   []string
	reuse      bool // a table's topic is its changelog
	problems   []error
}

// Option is an option that every operator takes. Options are sealed by kind of operator, so that one
// that would mean nothing does not compile.
type Option interface{ operator(*settings) }

// SourceOption is an option of From.
type SourceOption interface{ source(*settings) }

// RepartitionOption is an option of operators that may send records through a topic of their own.
type RepartitionOption interface{ repartition(*settings) }

// Name is an option that all operators take. See Named.
type Name struct{ name string }

// Named pins an operator's name, which its store and its internal topic are named after. Without it the
// name follows from the parent's and changes if a sibling of the same kind is added before it: pin the
// name of what has state, before the first run that matters.
func Named(name string) Name { return Name{name} }

// StartPosition is where to begin with a topic. See StartAt.
type StartPosition int8

const (
	// Earliest is the first record that the topic still has.
	Earliest StartPosition = iota
	// Latest is the end of the topic, as it is when the application starts.
	Latest
)

// StartOption is an option of From, FromAll and TableFrom. See StartAt.
type StartOption struct{ p StartPosition }

// StartAt says where to begin with the partitions of an input topic for which the application has committed no
// offset: at their first record, which is so without it, or at their end. Where it has, it goes on from there.
// A partition that begins at its end has that committed with the application's next epoch, whether or not it
// has records.
func StartAt(p StartPosition) StartOption { return StartOption{p} }

func (o StartOption) source(s *settings) {
	s.start = start{at: o.p, given: true}
	if o.p != Earliest && o.p != Latest {
		s.problems = append(s.problems, fmt.Errorf("StartAt(%d): it is Earliest or Latest", o.p))
	}
}

// start is where a source begins.
type start struct {
	at    StartPosition
	given bool
}

func (n Name) operator(s *settings)    { s.name, s.named = n.name, true }
func (n Name) source(s *settings)      { n.operator(s) }
func (n Name) repartition(s *settings) { n.operator(s) }

// PartitionCount is an option of operators that repartition. See Partitions.
type PartitionCount struct{ n int }

// Partitions sets the number of partitions of the operator's repartition topic, at least 1. Without it, there are as many
// as the topics have that it is joined with, or else as the stream has before. It has to be the number of those topics of
// the application's input that it is joined with: else App.Run ends with an error, before the first record.
func Partitions(n int) PartitionCount { return PartitionCount{n} }

func (p PartitionCount) repartition(s *settings) {
	if p.n < 1 {
		s.problems = append(s.problems, fmt.Errorf("Partitions(%d): a topic has at least 1 partition", p.n))
		return
	}
	s.partitions = int32(p.n)
}

func sourceSettings(opts []SourceOption) (s settings) {
	for _, o := range opts {
		o.source(&s)
	}
	return s
}

func operatorSettings(opts []Option) (s settings) {
	for _, o := range opts {
		o.operator(&s)
	}
	return s
}

func repartitionSettings(opts []RepartitionOption) (s settings) {
	for _, o := range opts {
		o.repartition(&s)
	}
	return s
}

// apply gives the settings to a node, and their problems to the builder.
func (s settings) apply(b *Builder, n *graph.Node) {
	if s.named {
		n.Pinned = s.name
		if s.name == "" {
			b.fail(n, "Named: the name is empty")
		}
	}
	for _, err := range s.problems {
		b.fail(n, "%v", err)
	}
}
