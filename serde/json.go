package serde

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// JSON returns a serde that writes values as encoding/json does, without the escapes it adds for HTML and
// without a newline at the end. Decoding fails on bytes after the value.
func JSON[T any]() Serde[T] {
	return jsonSerde[T]{sharesNothing: jsonKeepsAll(reflect.TypeFor[T]())}
}

type jsonSerde[T any] struct {
	sharesNothing bool
}

// appender is a Writer that appends, so that the encoder's bytes go to dst without a second buffer.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

func (jsonSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	a := appender{dst}
	e := json.NewEncoder(&a)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return dst, fmt.Errorf("serde: JSON of %T: %w", v, err)
	}
	return a.b[:len(a.b)-1], nil // Encode ends each value with a newline
}

func (jsonSerde[T]) Decode(b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		var zero T
		return zero, fmt.Errorf("serde: JSON into %T: %w", zero, err)
	}
	return v, nil
}

// SharesNothing: a value kept as it is must be the value that would come back from its bytes, or a state
// would change when it is restored. So T must not only be free of pointers: JSON must lose nothing of it.
// A string is no such type, since JSON replaces invalid UTF-8.
func (s jsonSerde[T]) SharesNothing() bool { return s.sharesNothing }

func jsonKeepsAll(t reflect.Type) bool { return pointerFree(t) && jsonWritesAll(t) }

// jsonWritesAll reports that no part of t decides itself what is written, and that no field is left out:
// unexported ones are, those whose tag says so, and those that share a name.
func jsonWritesAll(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	if p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return false
	}
	switch t.Kind() {
	case reflect.Array:
		return jsonWritesAll(t.Elem())
	case reflect.Struct:
		names := make(map[string]bool)
		for i := range t.NumField() {
			f := t.Field(i)
			name := f.Tag.Get("json")
			if name == "" {
				name = f.Name
			}
			if !f.IsExported() || f.Anonymous || strings.ContainsAny(name, ",-") || names[name] || !jsonWritesAll(f.Type) {
				return false
			}
			names[name] = true
		}
	}
	return true
}
