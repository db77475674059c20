package log

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestHeadersRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name string
		hs   []Header
		want string
	}{
		{"none", nil, "\x00"},
		{"one", []Header{{"k", []byte("v")}}, "\x02\x02k\x02v"},
		{"null is not empty", []Header{{"n", nil}, {"e", []byte{}}}, "\x04\x02n\x01\x02e\x00"},
		{"empty key, and twice the same", []Header{{"", []byte("1")}, {"", []byte("2")}}, "\x04\x00\x021\x00\x022"},
		{"sizes of two bytes", []Header{{strings.Repeat("k", 64), bytes.Repeat([]byte("v"), 200)}},
			"\x02\x80\x01" + strings.Repeat("k", 64) + "\x90\x03" + strings.Repeat("v", 200)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := appendHeaders([]byte("before"), c.hs)
			if string(b) != "before"+c.want {
				t.Fatalf("appendHeaders = %q, want %q", b[6:], c.want)
			}
			got, err := decodeHeaders(b[6:])
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.hs) { // tells nil from empty
				t.Errorf("decodeHeaders = %#v, want %#v", got, c.hs)
			}
		})
	}
}

func TestHeadersRefused(t *testing.T) {
	for _, c := range []struct{ name, b, want string }{
		{"nothing", "", "header count is no number"},
		{"negative count", "\x01", "header count is -1"},
		{"more than there can be", "\x06\x00\x01\x00\x01", "header count is 3, with 4 bytes left"},
		{"null key", "\x02\x01\x01", "header 0 of 1: key size is bad (-1, with 2 bytes left)"},
		{"key past the end", "\x02\x04k", "header 0 of 1: key size is bad (2, with 2 bytes left)"},
		{"no value size", "\x02\x02k", "header 0 of 1: value size is bad (0, with 0 bytes left)"},
		{"value size -2", "\x02\x02k\x03", "header 0 of 1: value size is bad (-2, with 1 bytes left)"},
		{"value past the end", "\x04\x00\x01\x00\x02", "header 1 of 2: value size is bad (1, with 1 bytes left)"},
		{"huge value size", "\x02\x02k\xfe\xff\xff\xff\x0f", "header 0 of 1: value size is bad (2147483647, with 5 bytes left)"},
		{"left over", "\x02\x02k\x01x", "1 bytes left over after 1 headers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := decodeHeaders([]byte(c.b)); err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

// A key outlives the bytes it came from, which a Block recycles; a value is part of them, but cannot be
// appended into what follows.
func TestHeadersAliasing(t *testing.T) {
	b := appendHeaders(nil, []Header{{"key", []byte("value")}, {"next", nil}})
	hs, err := decodeHeaders(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(hs[0].Value, "overwritten"...)
	clear(b)
	if hs[0].Key != "key" || hs[1].Key != "next" {
		t.Errorf("keys are %q and %q, want key and next", hs[0].Key, hs[1].Key)
	}
	if string(hs[0].Value) != "\x00\x00\x00\x00\x00" {
		t.Errorf("value %q is a copy", hs[0].Value)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00"))
	f.Add([]byte("\x02\x02k\x02v"))
	f.Add([]byte("\x04\x02n\x01\x02e\x00"))
	f.Add([]byte("\x06\x00\x01\x00\x01"))
	f.Add([]byte("\x02\x80\x00\xfe\xff\xff\xff\x0f"))
	f.Add(append([]byte("\xfe\xff\xff\xff\x0f"), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var hs []Header
		var err error
		// A header takes 40 bytes and comes from two; an error a line.
		wantSmall(t, b, 32, func() { hs, err = decodeHeaders(b) })
		if err != nil {
			return
		}
		again := appendHeaders(nil, hs)
		if len(again) == len(b) { // otherwise some number was longer than it need be
			if !bytes.Equal(again, b) {
				t.Errorf("%x encodes again as %x", b, again)
			}
		} else if len(again) > len(b) {
			t.Errorf("%x encodes again as the longer %x", b, again)
		}
		if hs2, err := decodeHeaders(again); err != nil || !reflect.DeepEqual(hs, hs2) {
			t.Errorf("%#v after a second round is %#v, %v", hs, hs2, err)
		}
	})
}
