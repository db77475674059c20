package serde_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
)

const orderSchema = `{"type": "record", "name": "order", "fields": [
	{"name": "id", "type": "string"},
	{"name": "cents", "type": "long"},
	{"name": "lines", "type": {"type": "array", "items": "string"}},
	{"name": "note", "type": ["null", "string"]}
]}`

type order struct {
	ID    string   `avro:"id"`
	Cents int64    `avro:"cents"`
	Lines []string `avro:"lines"`
	Note  *string  `avro:"note"`
}

// The bytes are those of the Avro specification: zigzag varints, lengths before strings, a union's branch
// before its value.
func TestAvroBytes(t *testing.T) {
	s := serde.Avro[order](`{"type": "record", "name": "order", "fields": [
		{"name": "id", "type": "string"}, {"name": "cents", "type": "long"}, {"name": "note", "type": ["null", "string"]}]}`)
	note := "x"
	b, err := s.Append([]byte("dst:"), order{ID: "ab", Cents: -65, Note: &note})
	if err != nil {
		t.Fatal(err)
	}
	if want := "dst:" + "\x04ab" + "\x81\x01" + "\x02\x02x"; string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
}

func TestAvroRoundTrip(t *testing.T) {
	s := serde.Avro[order](orderSchema)
	note := "gift"
	for _, v := range []order{{Lines: []string{}}, {ID: "a", Cents: 1 << 40, Lines: []string{"x", "y"}, Note: &note}} {
		b, err := s.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, v) {
			t.Errorf("got %+v, want %+v", got, v)
		}
		if _, err := s.Decode(append(b, 0)); err == nil || !strings.Contains(err.Error(), "left over") {
			t.Errorf("a byte too many: %v", err)
		}
		if _, err := s.Decode(b[:len(b)-1]); err == nil {
			t.Error("a byte too few passes")
		}
	}
	if serde.SharesNothing(s) {
		t.Error("a struct with a slice is said to share nothing")
	}
}

func TestAvroBadSchema(t *testing.T) {
	s := serde.Avro[order](`{"type": "recrod"}`)
	if _, err := serde.Bind(s, "orders", false); err == nil || !strings.Contains(err.Error(), "avro schema for serde_test.order") {
		t.Errorf("bound: %v", err)
	}
	if _, err := s.Append(nil, order{}); err == nil {
		t.Error("encodes")
	}
	if _, err := s.Decode(nil); err == nil {
		t.Error("decodes")
	}
}

// A type that does not fit the schema is an error, not a guess.
func TestAvroWrongType(t *testing.T) {
	if _, err := serde.Avro[int64](orderSchema).Append(nil, 5); err == nil {
		t.Error("encodes")
	}
}

func FuzzAvro(f *testing.F) {
	s := serde.Avro[order](orderSchema)
	b, err := s.Append(nil, order{ID: "a", Cents: -1, Lines: []string{"x"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x00\x00\xfe\xff\xff\xff\x0f\x00\x00")) // a list that says it has 2^31-1 strings
	f.Add([]byte("\x00\x00\x80\x80\x80\x01\x00"))         // one that says it has 2^20
	f.Add([]byte("\xfe\xff\xff\xff\x0f\x00\x00"))         // and an id of as many bytes
	f.Fuzz(func(t *testing.T, b []byte) {
		var v order
		var err error
		// The list may ask for 2^20 strings of 16 bytes, in several steps of which each moves it, and a string that is
		// cut short for 1 MiB: more than the bytes give, and a bound all the same.
		serde.WantSmall(t, b, 64<<20, func() { v, err = s.Decode(b) })
		if err != nil {
			return
		}
		again, err := s.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Decode(again)
		if err != nil || !reflect.DeepEqual(v, w) {
			t.Errorf("%+v became %+v, %v", v, w, err)
		}
	})
}
