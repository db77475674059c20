package stream

import (
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
)

// The bytes are those of Kafka Streams (ChangedSerializer, KIP-904).
func TestChangeSerde(t *testing.T) {
	s := changeSerde[string]{serde.String}
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		change change[string]
		want   string
	}{
		{change[string]{Old: "ab", HasOld: true}, "ab\x00"},
		{change[string]{New: "ab", HasNew: true}, "ab\x01"},
		{change[string]{New: "", HasNew: true}, "\x01"},
		{change[string]{New: "ab", Old: "c", HasNew: true, HasOld: true}, "\x04abc\x02"},
		{change[string]{New: long, Old: "c", HasNew: true, HasOld: true}, "\x90\x03" + long + "c\x02"},
	} {
		b, err := s.Append([]byte("before "), c.change)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != "before "+c.want {
			t.Errorf("%+v: %q, want %q", c.change, b[len("before "):], c.want)
		}
		if back, err := s.Decode([]byte(c.want)); err != nil || back != c.change {
			t.Errorf("%q: %+v, %v, want %+v", c.want, back, err, c.change)
		}
	}
	if _, err := s.Append(nil, change[string]{}); err == nil {
		t.Error("a change of nothing has an encoding")
	}
	for _, bad := range []string{"", "x\x03", "\x02", "\x04a\x02", "\x03ab\x02", "\x80\x02"} {
		if c, err := s.Decode([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, c)
		}
	}
}

func FuzzChangeSerde(f *testing.F) {
	s := changeSerde[string]{serde.String}
	for _, b := range []string{"", "a\x00", "a\x01", "\x02ab\x02", "\x80\x01\x02"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := s.Decode(b)
		if err != nil {
			return
		}
		again, err := s.Append(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := s.Decode(again); err != nil || back != c {
			t.Fatalf("%q: %+v, then %q: %+v, %v", b, c, again, back, err)
		}
	})
}
