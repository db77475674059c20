package log

import (
	"encoding/binary"
	"math"
	"testing"
)

var varintEdges = []int64{
	0, 1, -1, 2, -2, 63, 64, -64, -65, 127, 128, 8191, 8192, -8192, -8193, 1 << 20, -1 << 20, 1<<27 - 1, 1 << 27,
	math.MaxInt32 - 1, math.MaxInt32, math.MinInt32, math.MaxInt32 + 1, math.MinInt32 - 1,
	1 << 48, -1 << 48, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64,
}

// The standard library's Varint is the same zigzag encoding, and takes as long for a long.
func TestVarintIsZigzag(t *testing.T) {
	for _, v := range varintEdges {
		want := binary.AppendVarint(nil, v)
		got := appendVarint(nil, v)
		if string(got) != string(want) {
			t.Errorf("appendVarint(%d) = %x, want %x", v, got, want)
		}
		if n := sizeVarint(v); n != len(want) {
			t.Errorf("sizeVarint(%d) = %d, want %d", v, n, len(want))
		}
		put := make([]byte, len(want))
		if n := putVarint(put, 0, v); n != len(want) || string(put) != string(want) {
			t.Errorf("putVarint(%d) = %d, %x, want %x", v, n, put, want)
		}
		// At an offset, and with bytes after it.
		b := append(append([]byte{0xff}, want...), 0xff)
		if u, next := readVarlong(b, 1); u != v || next != 1+len(want) {
			t.Errorf("readVarlong of %d = %d, index %d", v, u, next)
		}
		u, next := readVarint(b, 1)
		if v == int64(int32(v)) {
			if int64(u) != v || next != 1+len(want) {
				t.Errorf("readVarint of %d = %d, index %d", v, u, next)
			}
		} else if next != -1 {
			t.Errorf("readVarint of %d, which is no int, = %d, index %d", v, u, next)
		}
	}
}

func TestVarintRefusesWhatIsNoNumber(t *testing.T) {
	ff := func(n int, last ...byte) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = 0xff
		}
		return append(b, last...)
	}
	for _, c := range []struct {
		name      string
		b         []byte
		at        int
		ok32      bool
		ok64      bool
		want      int64
		wantIndex int
	}{
		{name: "empty", b: nil},
		{name: "past the end", b: []byte{1}, at: 1},
		{name: "far past the end", b: []byte{1}, at: 7},
		{name: "after no number", b: []byte{1, 2, 3}, at: -1},
		{name: "cut after one byte", b: []byte{0x80}},
		{name: "cut after four bytes", b: ff(4)},
		{name: "int of all bits", b: ff(4, 0x0f), ok32: true, ok64: true, want: math.MinInt32, wantIndex: 5},
		{name: "int of 33 bits", b: ff(4, 0x1f), ok64: true, want: -1 << 32, wantIndex: 5},
		{name: "six bytes", b: ff(5, 0x00), ok64: true, want: -1 << 34, wantIndex: 6},
		{name: "zero in two bytes", b: []byte{0x80, 0}, ok32: true, ok64: true, wantIndex: 2},
		{name: "zero in five bytes", b: []byte{0x80, 0x80, 0x80, 0x80, 0}, ok32: true, ok64: true, wantIndex: 5},
		{name: "long of all bits", b: ff(9, 0x01), ok64: true, want: math.MinInt64, wantIndex: 10},
		{name: "long of 65 bits", b: ff(9, 0x02)},
		{name: "eleven bytes", b: ff(10, 0x00)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v, next := readVarint(c.b, c.at); c.ok32 && (int64(v) != c.want || next != c.wantIndex) || !c.ok32 && next != -1 {
				t.Errorf("readVarint = %d, index %d", v, next)
			}
			if v, next := readVarlong(c.b, c.at); c.ok64 && (v != c.want || next != c.wantIndex) || !c.ok64 && next != -1 {
				t.Errorf("readVarlong = %d, index %d", v, next)
			}
		})
	}
}
