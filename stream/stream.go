package stream

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// Stream is an unbounded sequence of records of one type.
//
// Operators that keep the types are methods; those that change one are functions of this package, since a
// method of Go 1.26 has no type parameters of its own. Each returns a new stream and leaves its receiver
// as it is, so a stream may be used several times: every use sees every record.
type Stream[K, V any] struct {
	n *node[K, V]
	// rekeyed: equal keys may lie in several partitions, so that a repartition is due before the next
	// operator that needs them together.
	rekeyed bool
}

// With sets how the stream's keys and values are encoded, for the stores and repartition topics below it.
// A stream whose types are those of its parent's, or built-in ones, needs none.
func (s *Stream[K, V]) With(key serde.Serde[K], value serde.Serde[V]) *Stream[K, V] {
	s.n.setKey, s.n.setValue = key, value
	return s
}

// given is node's given.
func (s *Stream[K, V]) given(functions ...any) *Stream[K, V] {
	s.n.given(functions...)
	return s
}

// same makes a node for an operator that keeps the types.
func same[K, V any](p *node[K, V], op string, s settings) *node[K, V] {
	n := newNode[K, V](p.b, op, s, p.g)
	n.inheritKey, n.inheritValue = p.keySerde, p.valueSerde
	return n
}

// From reads a topic. All streams read from one topic are the same: reading it twice gives the same stream.
//
// The topic must exist when the application starts. A record's timestamp is its own, unless the topic
// says otherwise (Topic.WithTimestamps).
func From[K, V any](b *Builder, t Topic[K, V], opts ...SourceOption) *Stream[K, V] {
	set := sourceSettings(opts)
	n := source(b, t, set)
	refuseReuse(b, n.g, set)
	return &Stream[K, V]{n: n}
}

// FromAll reads several topics of the same types as one stream. Within a task, records are taken in the
// order of their timestamps as far as they are there to be compared.
func FromAll[K, V any](b *Builder, topics []Topic[K, V], opts ...SourceOption) *Stream[K, V] {
	if len(topics) == 1 {
		return From(b, topics[0], opts...)
	}
	set := sourceSettings(opts)
	var parts []*node[K, V]
	var parents []*graph.Node
	for _, t := range topics {
		p := source(b, t, settings{start: set.start})
		parts, parents = append(parts, p), append(parents, p.g)
	}
	merged := newNode[K, V](b, "FromAll", set, parents...)
	refuseReuse(b, merged.g, set)
	if len(parts) == 0 {
		b.fail(merged.g, "there is no topic to read")
		return &Stream[K, V]{n: merged}
	}
	merged.inheritKey, merged.inheritValue = parts[0].keySerde, parts[0].valueSerde
	for _, p := range parts {
		mergeInto(p, merged)
	}
	return &Stream[K, V]{n: merged}
}

// Filter passes the records for which keep is true.
//
// A null in a type without nil passes without a call.
func (s *Stream[K, V]) Filter(keep func(K, V) bool, opts ...Option) *Stream[K, V] {
	return &Stream[K, V]{filter(s.n, "Filter", keep, true, opts), s.rekeyed}
}

// FilterNot passes the records for which drop is false.
//
// A null in a type without nil passes without a call.
func (s *Stream[K, V]) FilterNot(drop func(K, V) bool, opts ...Option) *Stream[K, V] {
	return &Stream[K, V]{filter(s.n, "FilterNot", drop, false, opts), s.rekeyed}
}

// Peek calls f with each record and passes it on. It may be called again for a record whose epoch was
// aborted.
//
// A null in a type without nil passes without a call.
func (s *Stream[K, V]) Peek(f func(K, V), opts ...Option) *Stream[K, V] {
	return &Stream[K, V]{peek(s.n, "Peek", f, opts), s.rekeyed}
}

// ForEach calls f with each record; nothing follows it. It may be called again for a record whose epoch
// was aborted: what f does outside the application is at least once.
//
// For a null in a type without nil f is not called.
func (s *Stream[K, V]) ForEach(f func(K, V), opts ...Option) {
	peek(s.n, "ForEach", f, opts)
}

// Merge joins two streams into one. Records of each keep their order; between the two there is none but
// that of timestamps, as far as records are there to be compared.
func (s *Stream[K, V]) Merge(other *Stream[K, V], opts ...Option) *Stream[K, V] {
	n := newNode[K, V](s.n.b, "Merge", operatorSettings(opts), s.n.g, other.n.g)
	n.inheritKey, n.inheritValue = s.n.keySerde, s.n.valueSerde
	if other.n.b != s.n.b {
		s.n.b.fail(n.g, "the two streams are of different builders")
		return &Stream[K, V]{n: n}
	}
	mergeInto(s.n, n)
	mergeInto(other.n, n)
	return &Stream[K, V]{n, s.rekeyed || other.rekeyed}
}

// To writes the stream to a topic, which must exist when the application starts. A null key goes to any
// partition, a null value is a tombstone.
func (s *Stream[K, V]) To(t Topic[K, V], opts ...Option) {
	sink(s.n, t, opts)
}
