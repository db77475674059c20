package stream

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/moldau-io/moldau/serde"
)

// The bytes are those drawn in foreign_messages.go: a change of them is a change of version.
func TestForeignMessages(t *testing.T) {
	h := rowHash{sum: [16]byte([]byte("0123456789abcdef")), ok: true}
	for _, c := range []struct {
		s    subscription
		want string
	}{
		{subscription{subscribe, 1, h, []byte("k")}, "\x01\x02\x00\x00\x00\x010123456789abcdefk"},
		{subscription{subscribeIfFound, 0x102, h, []byte{}}, "\x01\x03\x00\x00\x01\x020123456789abcdef"},
		{subscription{unsubscribe, 0, rowHash{}, []byte("k")}, "\x81\x00\x00\x00\x00\x00k"},
		{subscription{unsubscribeAndRespond, 0, h, []byte("k")}, "\x01\x01\x00\x00\x00\x000123456789abcdefk"},
	} {
		b, err := subscriptionSerde{}.Append([]byte("before "), c.s)
		if err != nil || string(b) != "before "+c.want {
			t.Errorf("%+v: %q, %v, want %q", c.s, b, err, c.want)
		}
		back, err := subscriptionSerde{}.Decode([]byte(c.want))
		if err != nil || fmt.Sprint(back) != fmt.Sprint(c.s) {
			t.Errorf("%q: %+v, %v, want %+v", c.want, back, err, c.s)
		}
	}
	rs := responseSerde[string]{serde.String}
	for _, c := range []struct {
		r    response[string]
		want string
	}{
		{response[string]{kind: found, hash: h, right: "v"}, "\x01\x000123456789abcdefv"},
		{response[string]{kind: found, hash: h, right: ""}, "\x01\x000123456789abcdef"},
		{response[string]{kind: notFound, hash: h}, "\x01\x010123456789abcdef"},
		{response[string]{kind: unsubscribed}, "\x81\x02"},
	} {
		b, err := rs.Append([]byte("before "), c.r)
		if err != nil || string(b) != "before "+c.want {
			t.Errorf("%+v: %q, %v, want %q", c.r, b, err, c.want)
		}
		if back, err := rs.Decode([]byte(c.want)); err != nil || back != c.r {
			t.Errorf("%q: %+v, %v, want %+v", c.want, back, err, c.r)
		}
	}
	sub := subscriber{partition: 7, sum: h.sum}
	b, err := subscriberSerde{}.Append(nil, sub)
	if err != nil || string(b) != "\x00\x00\x00\x070123456789abcdef" {
		t.Errorf("%+v: %q, %v", sub, b, err)
	}
	if back, err := (subscriberSerde{}).Decode(b); err != nil || back != sub {
		t.Errorf("%q: %+v, %v", b, back, err)
	}
}

// Damaged messages, and those of a version that is not known, are refused.
func TestForeignMessagesRefused(t *testing.T) {
	for _, bad := range []string{
		"", "\x01", "\x01\x00\x00\x00\x00", // too short
		"\x02\x00\x00\x00\x00\x00k", "\x00\x00\x00\x00\x00\x00k", "\x82\x00\x00\x00\x00\x00k", // versions
		"\x81\x04\x00\x00\x00\x00k",         // no such instruction
		"\x81\x00\xff\x00\x00\x00k",         // a negative partition
		"\x01\x00\x00\x00\x00\x000123456",   // part of a hash
		"\x81\x02\x00\x00\x00\x00k",         // of a row without a value
		"\x81\x03\x00\x00\x00\x00something", // likewise
	} {
		if s, err := (subscriptionSerde{}).Decode([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, s)
		}
	}
	for _, bad := range []string{"", "\x81", "\x82\x01", "\x81\x03", "\x01\x010123", "\x81\x01v"} {
		if r, err := (responseSerde[string]{serde.String}).Decode([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, r)
		}
	}
	if s, err := (subscriberSerde{}).Decode([]byte("short")); err == nil {
		t.Errorf("taken for %+v", s)
	}
}

// Whatever is decoded is encoded to the same bytes.
func FuzzForeignMessages(f *testing.F) {
	f.Add([]byte("\x01\x02\x00\x00\x00\x010123456789abcdefk"))
	f.Add([]byte("\x81\x01\x00\x00\x00\x00k"))
	f.Add([]byte("\x01\x000123456789abcdefv"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := (subscriptionSerde{}).Decode(b); err == nil {
			if back, err := (subscriptionSerde{}).Append(nil, s); err != nil || !bytes.Equal(back, b) {
				t.Errorf("%q: %+v: %q, %v", b, s, back, err)
			}
		}
		rs := responseSerde[[]byte]{serde.Bytes}
		if r, err := rs.Decode(b); err == nil {
			if back, err := rs.Append(nil, r); err != nil || !bytes.Equal(back, b) {
				t.Errorf("%q: %+v: %q, %v", b, r, back, err)
			}
		}
	})
}

// The rows for one foreign key lie together, whatever the keys' bytes: no key's rows are among those of another
// that begins with it.
func TestForeignKeysOrder(t *testing.T) {
	type row struct{ foreign, left string }
	var rows []row
	for _, fk := range []string{"", "a", "ab", "\xff", "\xff\xff", "b"} {
		for _, left := range []string{"", "a", "b", "\xff"} {
			rows = append(rows, row{fk, left})
		}
	}
	key := func(r row) []byte { return append(appendForeignKey(nil, []byte(r.foreign)), r.left...) }
	slices.SortFunc(rows, func(a, b row) int { return bytes.Compare(key(a), key(b)) })
	for _, fk := range []string{"", "a", "ab", "\xff", "\xff\xff", "b"} {
		front := appendForeignKey(nil, []byte(fk))
		var got []string
		for i, r := range rows {
			if !bytes.HasPrefix(key(r), front) {
				continue
			}
			if len(got) > 0 && rows[i-1].foreign != fk {
				t.Errorf("%q: other rows lie between its own", fk)
			}
			got = append(got, r.left)
			if r.foreign != fk {
				t.Errorf("%q: the row %q of %q begins with its key", fk, r.left, r.foreign)
			}
		}
		if want := []string{"", "a", "b", "\xff"}; !slices.Equal(got, want) {
			t.Errorf("%q: left keys %q, want %q", fk, got, want)
		}
	}
}
