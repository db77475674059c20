package stream

import (
	"reflect"
	"time"

	"github.com/moldau-io/moldau/log"
)

// Header is one header of a record. A nil Value is null.
type Header = log.Header

// Headers are a record's headers. They are shared between the records of a stream: use With and Without,
// which never write into the array they share.
type Headers []Header

// With returns the headers with one more at the end.
func (h Headers) With(key string, value []byte) Headers {
	return append(h[:len(h):len(h)], Header{Key: key, Value: value})
}

// Without returns the headers but for those of the given key.
func (h Headers) Without(key string) Headers {
	var rest Headers
	for _, x := range h {
		if x.Key != key {
			rest = append(rest, x)
		}
	}
	return rest
}

// nulls says which parts of a record are null. Types that have a nil carry null as nil too; the others
// have the bit alone.
type nulls uint8

const (
	nullKey nulls = 1 << iota
	nullValue
)

// Record is one record of a stream. It goes by value from operator to operator: nine words for string
// keys and values, which is what amd64 passes in registers, so do not let it grow.
type Record[K, V any] struct {
	Key       K
	Value     V
	Timestamp int64 // milliseconds since the epoch
	Headers   Headers
	null      nulls
}

// Time is the record's timestamp as a time.
func (r Record[K, V]) Time() time.Time { return time.UnixMilli(r.Timestamp) }

// KeyIsNull reports whether the key is null; then Key is the zero value.
func (r Record[K, V]) KeyIsNull() bool { return r.null&nullKey != 0 }

// ValueIsNull reports whether the value is null; then Value is the zero value.
func (r Record[K, V]) ValueIsNull() bool { return r.null&nullValue != 0 }

// WithKey returns the record with another key.
func (r Record[K, V]) WithKey(k K) Record[K, V] {
	r.Key, r.null = k, r.null&^nullKey
	if isNil := nilCheck[K](); isNil != nil && isNil(k) {
		r.null |= nullKey
	}
	return r
}

// WithValue returns the record with another value.
func (r Record[K, V]) WithValue(v V) Record[K, V] {
	r.Value, r.null = v, r.null&^nullValue
	if isNil := nilCheck[V](); isNil != nil && isNil(v) {
		r.null |= nullValue
	}
	return r
}

// WithNullValue returns the record with a null value.
func (r Record[K, V]) WithNullValue() Record[K, V] {
	var zero V
	r.Value, r.null = zero, r.null|nullValue
	return r
}

// WithNullKey returns the record with a null key.
func (r Record[K, V]) WithNullKey() Record[K, V] {
	var zero K
	r.Key, r.null = zero, r.null|nullKey
	return r
}

// WithTimestamp returns the record with another timestamp, in milliseconds since the epoch.
func (r Record[K, V]) WithTimestamp(timestampMs int64) Record[K, V] {
	r.Timestamp = timestampMs
	return r
}

// WithHeaders returns the record with other headers.
func (r Record[K, V]) WithHeaders(h Headers) Record[K, V] {
	r.Headers = h
	return r
}

// WithKey returns a record with r's value, timestamp and headers, and a key that may be of another type.
func WithKey[K2, K, V any](r Record[K, V], k K2) Record[K2, V] {
	o := Record[K2, V]{Key: k, Value: r.Value, Timestamp: r.Timestamp, Headers: r.Headers, null: r.null & nullValue}
	return o.WithKey(k)
}

// WithValue returns a record with r's key, timestamp and headers, and a value that may be of another type.
func WithValue[V2, K, V any](r Record[K, V], v V2) Record[K, V2] {
	o := Record[K, V2]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers, null: r.null & nullKey}
	return o.WithValue(v)
}

// nilCheck returns the test for T's nil, or nil if T has none. Operators call it once, when they are
// made: only who produces a value tests it, and sets the record's bit; all others look at the bit.
func nilCheck[T any]() func(T) bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan:
		return func(v T) bool { return reflect.ValueOf(&v).Elem().IsNil() }
	}
	return nil
}

// uncallable says which nulls keep a function of (K, V) from being called: those of types without a nil.
func uncallable[K, V any]() nulls {
	var m nulls
	if nilCheck[K]() == nil {
		m |= nullKey
	}
	if nilCheck[V]() == nil {
		m |= nullValue
	}
	return m
}

// nullsOf is the bits for a new key and value.
func nullsOf[K, V any](nilK func(K) bool, nilV func(V) bool, k K, v V) (m nulls) {
	if nilK != nil && nilK(k) {
		m |= nullKey
	}
	if nilV != nil && nilV(v) {
		m |= nullValue
	}
	return m
}

// change is what a table sends: a row's new value and the one it had. Null is nil here too; HasNew and
// HasOld say it for all types.
type change[V any] struct {
	New, Old       V
	HasNew, HasOld bool
	// Late: the update is older than the newest of its key, and a version of the past (versioned tables only). Old
	// means nothing then.
	Late bool
}

// Zero is an initializer for Aggregate: it gives A's zero value.
func Zero[A any]() A {
	var zero A
	return zero
}
