package streamtest

import (
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// This file has what pipes and reads several records at once.

// KeyValue is a record without all that a test often does not look at.
type KeyValue[K, V any] struct {
	Key   K
	Value V
}

// PipeAll pipes records one by one, as Pipe does: the first at start, each further one advance later.
func (in *InputTopic[K, V]) PipeAll(start, advance time.Duration, records ...KeyValue[K, V]) {
	in.d.t.Helper()
	for _, r := range records {
		in.Pipe(r.Key, r.Value, start)
		start += advance
	}
}

// PipeValues is PipeAll of records without a key.
func (in *InputTopic[K, V]) PipeValues(start, advance time.Duration, values ...V) {
	in.d.t.Helper()
	for _, v := range values {
		var r stream.Record[K, V]
		r.Timestamp = start.Milliseconds()
		if err := in.PipeRecord(r.WithNullKey().WithValue(v)); err != nil {
			in.d.t.Fatal(err)
		}
		start += advance
	}
}

// KeyValues is All, without timestamps and headers. Null in a type that has no nil is the zero value: All tells.
func (o *OutputTopic[K, V]) KeyValues() []KeyValue[K, V] {
	o.d.t.Helper()
	var all []KeyValue[K, V]
	for _, r := range o.All() {
		all = append(all, KeyValue[K, V]{r.Key, r.Value})
	}
	return all
}

// Values is KeyValues without the keys.
func (o *OutputTopic[K, V]) Values() []V {
	o.d.t.Helper()
	var all []V
	for _, r := range o.All() {
		all = append(all, r.Value)
	}
	return all
}

// Len is how many records All would return.
func (o *OutputTopic[K, V]) Len() int {
	o.d.t.Helper()
	o.read(log.ReadUncommitted)
	return len(o.unread)
}

// Map reads all records that All would, as the table that they make: each key's last value, and no key whose last value
// is null. Records without a key are passed over.
func Map[K comparable, V any](o *OutputTopic[K, V]) map[K]V {
	o.d.t.Helper()
	m := map[K]V{}
	for _, r := range o.All() {
		switch {
		case r.KeyIsNull():
		case r.ValueIsNull():
			delete(m, r.Key)
		default:
			m[r.Key] = r.Value
		}
	}
	return m
}
