package serde

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type order struct {
	ID    string
	Items map[string]int
	Note  *string `json:",omitempty"`
}

func TestJSON(t *testing.T) {
	s := JSON[order]()
	b, err := s.Append([]byte(">"), order{ID: "a<b&c", Items: map[string]int{"x": 1}})
	if want := `>{"ID":"a<b&c","Items":{"x":1}}`; err != nil || string(b) != want {
		t.Fatalf("%s, %v; want %s", b, err, want)
	}
	v, err := s.Decode(b[1:])
	if err != nil || v.ID != "a<b&c" || v.Items["x"] != 1 {
		t.Fatalf("%v, %v", v, err)
	}
	dst := []byte("keep")
	if b, err := JSON[func()]().Append(dst, func() {}); err == nil || string(b) != "keep" {
		t.Errorf("func: %s, %v", b, err)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	t.Run("map", func(t *testing.T) { roundTrip(t, JSON[map[string]int](), rapid.MapOf(rapid.String(), rapid.Int())) })
	t.Run("float", func(t *testing.T) { roundTrip(t, JSON[float64](), rapid.Float64()) })
}

func TestNullable(t *testing.T) {
	s := Nullable(Int64)
	v := int64(7)
	b, err := s.Append(nil, &v)
	if err != nil {
		t.Fatal(err)
	}
	p, err1 := s.Decode(b)
	q, err2 := s.Decode(b)
	if err := errors.Join(err1, err2); err != nil || *p != 7 || *q != 7 || p == q {
		t.Errorf("decoded %v, %v, %v: each must be a fresh 7", p, q, err)
	}
	if b, err := s.Append([]byte("x"), nil); err == nil || string(b) != "x" {
		t.Errorf("nil: %q, %v", b, err)
	}
	if _, err := s.Decode([]byte("short")); err == nil {
		t.Error("a wrong length passed")
	}
	if _, ok := s.(TopicBinder[*int64]); ok {
		t.Error("Nullable of a serde that does not care binds to topics")
	}
}

// topical writes the topic's name before each value.
type topical struct {
	Serde[string]
	topic string
}

func (t topical) Append(dst []byte, v string) ([]byte, error) {
	return t.Serde.Append(append(dst, t.topic+":"...), v)
}

func (t topical) Decode(b []byte) (string, error) {
	return t.Serde.Decode(b[len(t.topic)+1:])
}

func (t topical) ForTopic(topic string, isKey bool) (Serde[string], error) {
	if isKey {
		return nil, errors.New("not for keys")
	}
	return topical{t.Serde, topic}, nil
}

func TestNullableBindsToTopic(t *testing.T) {
	s, err := Bind(Nullable[string](topical{String, ""}), "orders", false)
	if err != nil {
		t.Fatal(err)
	}
	word := "w"
	b, err := s.Append(nil, &word)
	if err != nil || string(b) != "orders:w" {
		t.Errorf("%s, %v", b, err)
	}
	if v, err := s.Decode(b); err != nil || *v != "w" {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := Bind(Nullable[string](topical{String, ""}), "orders", true); err == nil || !strings.Contains(err.Error(), "not for keys") {
		t.Errorf("bind as key: %v", err)
	}
}

// What decodes is written back as bytes that decode to the same, and never panics. JSON is the one whose
// bytes need not come back.
func fuzzSerde[T any](f *testing.F, s Serde[T], seeds ...string) {
	for _, b := range seeds {
		f.Add([]byte(b))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var v T
		var err error
		WantSmall(t, b, 1<<16, func() { v, err = s.Decode(b) })
		if err != nil {
			return
		}
		enc, err := s.Append(nil, v)
		if err != nil {
			t.Fatalf("%q decodes to %v, which does not encode: %v", b, v, err)
		}
		if enc == nil {
			enc = []byte{}
		}
		back, err := s.Decode(enc)
		if err != nil || !reflect.DeepEqual(back, v) && !isNaN(v) {
			t.Fatalf("%q: %v comes back as %v, %v", b, v, back, err)
		}
	})
}

func isNaN(v any) bool {
	switch v := v.(type) {
	case float64:
		return v != v
	case float32:
		return v != v
	}
	return false
}

func FuzzString(f *testing.F) { fuzzSerde(f, String, "a", "\xff", "Zürich") }
func FuzzBytes(f *testing.F)  { fuzzSerde(f, Bytes, "a", "\xff") }
func FuzzInt64(f *testing.F) {
	fuzzSerde(f, Int64, "12345678", "1234567", "\x80\x00\x00\x00\x00\x00\x00\x00")
}
func FuzzInt32(f *testing.F)   { fuzzSerde(f, Int32, "1234", "12345") }
func FuzzInt16(f *testing.F)   { fuzzSerde(f, Int16, "12", "1") }
func FuzzFloat64(f *testing.F) { fuzzSerde(f, Float64, "12345678", "\x7f\xf8\x00\x00\x00\x00\x00\x01") }
func FuzzFloat32(f *testing.F) { fuzzSerde(f, Float32, "1234", "\x7f\x80\x00\x01") }
func FuzzBool(f *testing.F)    { fuzzSerde(f, Bool, "\x00", "\x01", "\x02") }
func FuzzUUID(f *testing.F) {
	fuzzSerde(f, UUID, "0123abcd-4567-89ab-cdef-0123456789ab", "0123ABCD-4567-89AB-CDEF-0123456789AB", "{123abcd-4567-89ab-cdef-0123456789a}")
}
func FuzzJSON(f *testing.F) {
	fuzzSerde(f, JSON[order](), `{"ID":"a","Items":{"x":1}}`, `{"ID":"a"}}`, `null`, `{"Note":""}`)
}
func FuzzNullable(f *testing.F) { fuzzSerde(f, Nullable(Int32), "1234", "123") }
