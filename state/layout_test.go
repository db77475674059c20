package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// The bytes on disk: a change here needs a new layoutVersion.
func TestLayoutGolden(t *testing.T) {
	p := Position{
		TopicID:     uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"),
		LeaderEpoch: 3, Offset: 258, WallTime: time.UnixMilli(1_700_000_000_000),
	}
	r := &rows{}
	key := []byte("k")
	r.end(append(r.begin(key, 1000), "value"...), len(key))
	for _, c := range []struct {
		what string
		got  []byte
		want string
	}{
		{"version key", versionKey(), "00000000" + "76"},
		{"catalog key", catalogKey("app/0", "s"), "00000000" + "63" + "0005" + hex.EncodeToString([]byte("app/0s"))},
		{"position key", positionKey(258), "00000000" + "70" + "00000102"},
		{"position", appendPosition(nil, p), "00112233445566778899aabbccddeeff" + "00000003" + "0000000000000102" + "0000018bcfe56800"},
		{"row key", append(appendID(nil, 258), key...), "00000102" + "6b"},
		{"row value", r.arena[len(key):], "00000000000003e8" + hex.EncodeToString([]byte("value"))},
	} {
		if hex.EncodeToString(c.got) != c.want {
			t.Errorf("%s is %x, want %s", c.what, c.got, c.want)
		}
	}
}

// Rows lie store by store, in a store in the order of their keys; no store's keys lie in another's range,
// and none in the database's own.
func TestLayoutOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type at struct {
			id  uint32
			key []byte
		}
		row := rapid.Custom(func(t *rapid.T) at {
			return at{rapid.Uint32Range(1, maxID).Draw(t, "id"), rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "key")}
		})
		a, b := row.Draw(t, "a"), row.Draw(t, "b")
		if rapid.Bool().Draw(t, "neighbours") {
			b.id = min(a.id+1, maxID)
		}
		ka, kb := append(appendID(nil, a.id), a.key...), append(appendID(nil, b.id), b.key...)
		want := bytes.Compare(a.key, b.key)
		if a.id != b.id {
			want = -1
			if a.id > b.id {
				want = 1
			}
		}
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("%x and %x compare as %d, want %d", ka, kb, got, want)
		}
		in := bytes.Compare(kb, appendID(nil, a.id)) >= 0 && bytes.Compare(kb, appendID(nil, a.id+1)) < 0
		if in != (a.id == b.id) {
			t.Fatalf("%x in the range of store %d: %v", kb, a.id, in)
		}
		for _, own := range [][]byte{versionKey(), positionKey(b.id), catalogKey("t", "s")} {
			if bytes.Compare(own, appendID(nil, a.id)) >= 0 {
				t.Fatalf("%x lies in the range of store %d", own, a.id)
			}
		}
	})
}

func TestCatalogKey(t *testing.T) {
	prefix := len(catalogKey("", "")) - 2
	rapid.Check(t, func(t *rapid.T) {
		task, store := rapid.String().Draw(t, "task"), rapid.String().Draw(t, "store")
		gotTask, gotStore, err := parseCatalogKey(catalogKey(task, store)[prefix:])
		if err != nil || gotTask != task || gotStore != store {
			t.Fatalf("%q, %q come back as %q, %q, %v", task, store, gotTask, gotStore, err)
		}
	})
}

// fuzzed fails on an error that does not say what it is; nothing may panic.
func fuzzed(t *testing.T, err error) bool {
	if err != nil && !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v is not ErrCorrupt", err)
	}
	return err == nil
}

func FuzzPosition(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, positionLen))
	f.Add(appendPosition(nil, Position{TopicID: uuid.New(), LeaderEpoch: -1, Offset: -1, WallTime: time.Now()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePosition(b)
		if fuzzed(t, err) && !bytes.Equal(appendPosition(nil, p), b) {
			t.Errorf("%x is %+v, which is %x", b, p, appendPosition(nil, p))
		}
	})
}

func FuzzRow(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, timestampLen-1))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x01value"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ts, value, err := parseRow(b)
		if !fuzzed(t, err) {
			return
		}
		r := &rows{}
		if got := append(r.begin(nil, ts), value...); !bytes.Equal(got, b) {
			t.Errorf("%x is %d and %x, which is %x", b, ts, value, got)
		}
	})
}

func FuzzCatalogKey(f *testing.F) {
	prefix := slices.Clone(catalogKey("", "")[:idLen+1])
	f.Add([]byte{})
	f.Add([]byte{0})
	f.Add(catalogKey("app/0", "store")[len(prefix):])
	f.Fuzz(func(t *testing.T, b []byte) {
		task, store, err := parseCatalogKey(b)
		if !fuzzed(t, err) {
			return
		}
		if got := catalogKey(task, store); !bytes.Equal(got, append(slices.Clone(prefix), b...)) {
			t.Errorf("%x is %q, %q, which is %x", b, task, store, got)
		}
	})
}
