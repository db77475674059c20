package serde

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var someUUID = uuid.MustParse("0123ABCD-4567-89ab-cdef-0123456789ab")

// The bytes are what the serializers of kafka-clients 4.4.0 wrote for these values.
func TestBasicGolden(t *testing.T) {
	golden(t, String, "", "")
	golden(t, String, "a", "61")
	golden(t, String, "Zürich 川", "5ac3bc7269636820e5b79d")
	golden(t, String, "\x00\xff", "00ff")
	golden(t, Bytes, []byte{}, "")
	golden(t, Bytes, []byte{0, 1, 0xff}, "0001ff")
	golden(t, Int64, 0, "0000000000000000")
	golden(t, Int64, 1, "0000000000000001")
	golden(t, Int64, -1, "ffffffffffffffff")
	golden(t, Int64, math.MinInt64, "8000000000000000")
	golden(t, Int64, math.MaxInt64, "7fffffffffffffff")
	golden(t, Int32, 258, "00000102")
	golden(t, Int32, -2, "fffffffe")
	golden(t, Int16, 258, "0102")
	golden(t, Int16, math.MinInt16, "8000")
	golden(t, Float64, 0, "0000000000000000")
	golden(t, Float64, math.Copysign(0, -1), "8000000000000000")
	golden(t, Float64, 1.5, "3ff8000000000000")
	golden(t, Float64, math.Pi, "400921fb54442d18")
	golden(t, Float64, math.Inf(-1), "fff0000000000000")
	golden(t, Float32, 1.5, "3fc00000")
	golden(t, Float32, float32(math.Inf(1)), "7f800000")
	golden(t, Bool, true, "01")
	golden(t, Bool, false, "00")
	golden(t, UUID, someUUID, hex.EncodeToString([]byte("0123abcd-4567-89ab-cdef-0123456789ab")))
}

func golden[T any](t *testing.T, s Serde[T], v T, want string) {
	t.Helper()
	b, err := s.Append([]byte("dst"), v)
	if err != nil || !bytes.HasPrefix(b, []byte("dst")) || hex.EncodeToString(b[3:]) != want {
		t.Errorf("%T %v: bytes %x, %v; want dst + %s", v, v, b, err, want)
		return
	}
	back, err := s.Decode(b[3:])
	if err != nil || !reflect.DeepEqual(back, v) {
		t.Errorf("%T: %x decodes to %v, %v; want %v", v, b[3:], back, err, v)
	}
}

func TestNaNsAreJavas(t *testing.T) {
	for _, bits := range []uint64{0x7ff8000000000001, 0xfff8000000000000, 0x7ff0000000000001} {
		b, err := Float64.Append(nil, math.Float64frombits(bits))
		if err != nil || hex.EncodeToString(b) != "7ff8000000000000" {
			t.Errorf("NaN %x: %x, %v", bits, b, err)
		}
		if v, err := Float64.Decode(b); err != nil || v == v {
			t.Errorf("decode: %v, %v", v, err)
		}
	}
	if b, err := Float32.Append(nil, math.Float32frombits(0x7fc00001)); err != nil || hex.EncodeToString(b) != "7fc00001" {
		t.Errorf("a NaN of 32 bits: %x, %v", b, err)
	}
}

func TestBasicRoundTrip(t *testing.T) {
	t.Run("string", func(t *testing.T) { roundTrip(t, String, rapid.String()) })
	t.Run("bytes", func(t *testing.T) {
		roundTrip(t, Bytes, rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) []byte { return append([]byte{}, b...) }))
	})
	t.Run("int64", func(t *testing.T) { roundTrip(t, Int64, rapid.Int64()) })
	t.Run("int32", func(t *testing.T) { roundTrip(t, Int32, rapid.Int32()) })
	t.Run("int16", func(t *testing.T) { roundTrip(t, Int16, rapid.Int16()) })
	t.Run("float64", func(t *testing.T) { roundTrip(t, Float64, rapid.Float64()) })
	t.Run("float32", func(t *testing.T) { roundTrip(t, Float32, rapid.Float32()) })
	t.Run("bool", func(t *testing.T) { roundTrip(t, Bool, rapid.Bool()) })
	t.Run("uuid", func(t *testing.T) {
		roundTrip(t, UUID, rapid.Custom(func(t *rapid.T) uuid.UUID {
			return uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
		}))
	})
}

func roundTrip[T any](t *testing.T, s Serde[T], values *rapid.Generator[T]) {
	rapid.Check(t, func(t *rapid.T) {
		v := values.Draw(t, "v")
		b, err := s.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			b = []byte{}
		}
		back, err := s.Decode(b)
		if err != nil || !reflect.DeepEqual(back, v) {
			t.Fatalf("%x decodes to %v, %v", b, back, err)
		}
	})
}

// A wrong length says what was expected and what was there; a wrong byte which one.
func TestBasicRefuses(t *testing.T) {
	refuses(t, Int64, "1234567", "Int64 takes 8 bytes, got 7")
	refuses(t, Int64, "", "Int64 takes 8 bytes, got 0")
	refuses(t, Int64, "123456789", "Int64 takes 8 bytes, got 9")
	refuses(t, Int32, "123", "Int32 takes 4 bytes, got 3")
	refuses(t, Int16, "123", "Int16 takes 2 bytes, got 3")
	refuses(t, Float64, "1", "Float64 takes 8 bytes, got 1")
	refuses(t, Float32, "12345678", "Float32 takes 4 bytes, got 8")
	refuses(t, Bool, "", "Bool takes 1 bytes, got 0")
	refuses(t, Bool, "\x02", "Bool takes a byte 00 or 01, got 02")
	refuses(t, UUID, "0123abcd456789abcdef0123456789ab", "UUID takes 36 bytes, got 32")
	refuses(t, UUID, "0123abcd-4567-89ab-cdef-0123456789ax", "UUID")
	refuses(t, JSON[int](), "1 2", "JSON into int")
	refuses(t, JSON[int](), "", "JSON into int")
	refuses(t, JSON[map[string]int](), "{}}", "JSON into map")
	if _, err := Bytes.Append(nil, nil); err == nil || !strings.Contains(err.Error(), "null") {
		t.Errorf("Bytes of nil: %v", err)
	}
}

func refuses[T any](t *testing.T, s Serde[T], b, want string) {
	t.Helper()
	v, err := s.Decode([]byte(b))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("decode %q: %v, %v; want an error with %q", b, v, err, want)
	}
}

func TestFor(t *testing.T) {
	found(t, String)
	found(t, Bytes)
	found(t, Int64)
	found(t, Int32)
	found(t, Int16)
	found(t, Float64)
	found(t, Float32)
	found(t, Bool)
	found(t, UUID)
	type id string
	if s, ok := For[id](); ok {
		t.Errorf("a defined type has a serde: %v", s)
	}
	if s, ok := For[int](); ok {
		t.Errorf("int has a serde: %v", s)
	}
	if s, ok := For[any](); ok {
		t.Errorf("any has a serde: %v", s)
	}
}

func found[T any](t *testing.T, want Serde[T]) {
	t.Helper()
	if s, ok := For[T](); !ok || any(s) != any(want) {
		t.Errorf("For: %v, %v", s, ok)
	}
}

func TestBasicSharesNothing(t *testing.T) {
	type point struct{ X, Y int64 }
	type hidden struct{ X, y int64 }
	_ = hidden{}.y
	type dropped struct {
		X int `json:"-"`
	}
	type twice struct {
		A int `json:"B"`
		B int
	}
	type tagged struct {
		A int `json:"a"`
		B int `json:"b"`
	}
	for _, c := range []struct {
		name      string
		got, want bool
	}{
		{"String", SharesNothing(String), true},
		{"Bytes", SharesNothing(Bytes), false},
		{"Int64", SharesNothing(Int64), true},
		{"UUID", SharesNothing(UUID), true},
		{"Nullable", SharesNothing(Nullable(Int64)), false},
		{"JSON struct", SharesNothing(JSON[point]()), true},
		{"JSON array", SharesNothing(JSON[[2]point]()), true},
		{"JSON tags", SharesNothing(JSON[tagged]()), true},
		{"JSON unexported", SharesNothing(JSON[hidden]()), false},
		{"JSON dropped", SharesNothing(JSON[dropped]()), false},
		{"JSON same name", SharesNothing(JSON[twice]()), false},
		{"JSON marshaler", SharesNothing(JSON[uuid.UUID]()), false},
		{"JSON string", SharesNothing(JSON[string]()), false},
		{"JSON map", SharesNothing(JSON[map[string]int]()), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: SharesNothing is %v", c.name, c.got)
		}
	}
}

func TestBasicAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 64)
	key := []byte("key")
	var sink int
	if n := testing.AllocsPerRun(100, func() {
		b, _ := Int64.Append(buf, 5)
		v, _ := Int64.Decode(b)
		b, _ = String.Append(buf, "word")
		s, _ := String.Decode(key)
		b, _ = UUID.Append(b, someUUID)
		sink += int(v) + len(s) + len(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
