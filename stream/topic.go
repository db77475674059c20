package stream

import (
	"fmt"
	"reflect"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
)

// Topic is a typed handle of a topic: its name, and how keys and values are encoded. Declare it once, as a
// variable, and use it wherever the topic is read or written.
type Topic[K, V any] struct {
	name  string
	key   serde.Serde[K]
	value serde.Serde[V]

	timestamps  func(r Record[K, V], partitionTimeMs int64) int64
	partitioner func(r Record[K, V], partitions int32) int32
}

// NewTopic makes the handle of the named topic. Nothing is checked or created before a topology that uses
// it is built and run.
func NewTopic[K, V any](name string, key serde.Serde[K], value serde.Serde[V]) Topic[K, V] {
	return Topic[K, V]{name: name, key: key, value: value}
}

// Name is the topic's name.
func (t Topic[K, V]) Name() string { return t.name }

// Serdes returns how keys and values are encoded.
func (t Topic[K, V]) Serdes() (serde.Serde[K], serde.Serde[V]) { return t.key, t.value }

// WithName returns a handle of another topic of the same types.
func (t Topic[K, V]) WithName(name string) Topic[K, V] {
	t.name = name
	return t
}

// WithTimestamps returns the handle with the rule by which records read from the topic get their
// timestamp, in milliseconds since the epoch; without it, it is the record's own. partitionTimeMs is the
// highest timestamp seen so far in the record's partition, -1 at first. A negative result drops the
// record, which is counted.
func (t Topic[K, V]) WithTimestamps(f func(r Record[K, V], partitionTimeMs int64) int64) Topic[K, V] {
	t.timestamps = f
	return t
}

// WithPartitioner returns the handle with the rule by which records written to the topic get their
// partition, from 0 to partitions-1; without it, it is murmur2 of the encoded key, as Kafka's producers
// choose, and any for records without a key.
func (t Topic[K, V]) WithPartitioner(f func(r Record[K, V], partitions int32) int32) Topic[K, V] {
	t.partitioner = f
	return t
}

// declared is what the builder remembers of a topic handle, to find two that do not agree.
type declared struct {
	at         string
	keyType    reflect.Type
	valueType  reflect.Type
	key, value any // the serdes
}

// declare checks a topic handle, and that it agrees with those of the same name seen before. The error, if
// any, is to be reported at the node at hand.
func declare[K, V any](b *Builder, t Topic[K, V], at string) error {
	if err := log.ValidateTopic(t.name); err != nil {
		return err
	}
	if t.key == nil || t.value == nil {
		what := "key"
		if t.key != nil {
			what = "value"
		}
		return fmt.Errorf("topic %q has no %s serde; give one to NewTopic", t.name, what)
	}
	d := declared{at, reflect.TypeFor[K](), reflect.TypeFor[V](), t.key, t.value}
	first, seen := b.topics[t.name]
	switch {
	case !seen:
		b.topics[t.name] = d
	case first.keyType != d.keyType || first.valueType != d.valueType:
		return fmt.Errorf("topic %q is declared with types %s, %s here and with %s, %s at %s",
			t.name, d.keyType, d.valueType, first.keyType, first.valueType, first.at)
	case !sameSerde(first.key, d.key) || !sameSerde(first.value, d.value):
		return fmt.Errorf("topic %q is declared with serdes %T, %T here and with others, %T, %T, at %s; declare it once and share the handle",
			t.name, d.key, d.value, first.key, first.value, first.at)
	}
	return nil
}

// sameSerde compares two serdes; those that cannot be compared are taken to be the same if their types are.
func sameSerde(a, b any) bool {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	if va.Type() != vb.Type() {
		return false
	}
	return !va.Comparable() || !vb.Comparable() || va.Equal(vb)
}
