// Package serde turns values into bytes and back.
//
// The basic serdes write what Kafka's own serializers write, so that topics can be shared with programs
// in other languages.
package serde

import "reflect"

// Serde encodes and decodes values of one type. It must be safe for concurrent use.
//
// Null never reaches a serde: a record whose key or value is null carries that as a bit, or as nil for
// types that have one. Nullable makes any type one of those.
type Serde[T any] interface {
	// Append appends v's bytes to dst and returns the extended slice, as the standard library's Append
	// functions do. It keeps neither dst nor, after it returns, anything v points to.
	Append(dst []byte, v T) ([]byte, error)
	// Decode returns the value that b holds. It must use all of b: bytes left over are an error. The value
	// may alias b, which its owner never changes; whoever keeps the value keeps b's buffer alive.
	Decode(b []byte) (T, error)
}

// TopicBinder is a serde that encodes differently from topic to topic, or for keys and values, such as
// one that registers schemas. The runtime binds it once, when the application starts.
type TopicBinder[T any] interface {
	ForTopic(topic string, isKey bool) (Serde[T], error)
}

// Bind returns s for the given topic, or s itself if it does not care.
func Bind[T any](s Serde[T], topic string, isKey bool) (Serde[T], error) {
	if b, ok := s.(TopicBinder[T]); ok {
		return b.ForTopic(topic, isKey)
	}
	return s, nil
}

// ValueSharer says whether values share memory that a user function could change. A serde that has the
// method overrules what its type suggests.
type ValueSharer interface {
	SharesNothing() bool
}

// SharesNothing reports whether s's values may be kept and handed out again as they are, because they are
// free of pointers or immutable. State stores keep all others encoded, and decode afresh for each reader.
func SharesNothing[T any](s Serde[T]) bool {
	if v, ok := s.(ValueSharer); ok {
		return v.SharesNothing()
	}
	t := reflect.TypeFor[T]()
	return t.Kind() == reflect.String || pointerFree(t)
}

func pointerFree(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return pointerFree(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !pointerFree(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}
