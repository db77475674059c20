package log

import "math/bits"

// This file owns the variable-length integers of a record: zigzag (0, -1, 1, -2, ... become 0, 1, 2, 3, ...),
// then seven bits a byte, lowest first, the top bit set on all bytes but the last. An int takes at most five
// bytes, a long ten. Source: Kafka's ByteUtils, which is protobuf's sint32 and sint64.
//
// Readers take and return an index into b; -1 is "no number here", and reading on from -1 gives -1 again, so
// that a row of fields needs one check at its end.

const (
	maxVarint  = 5
	maxVarlong = 10
)

// sizeVarint is the number of bytes putVarint writes for v.
func sizeVarint(v int64) int {
	// ceil(bits / 7), for 1 to 64 bits.
	return (bits.Len64(zigzag(v)|1)*9 + 64) >> 6
}

// putVarint writes v at b[i:] and returns the index after it. b must have the room.
func putVarint(b []byte, i int, v int64) int {
	u := zigzag(v)
	for u >= 0x80 {
		b[i] = byte(u) | 0x80
		u >>= 7
		i++
	}
	b[i] = byte(u)
	return i + 1
}

// appendVarint appends v to dst.
func appendVarint(dst []byte, v int64) []byte {
	u := zigzag(v)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// readVarint reads an int at b[i:].
func readVarint(b []byte, i int) (v int32, next int) {
	if uint(i) < uint(len(b)) && b[i] < 0x80 {
		u := uint32(b[i])
		return int32(u>>1) ^ -int32(u&1), i + 1
	}
	return readLongerVarint(b, i)
}

// readLongerVarint is readVarint for two bytes and more, and for what is no number.
func readLongerVarint(b []byte, i int) (v int32, next int) {
	if i >= 0 && i+1 < len(b) && b[i+1] < 0x80 {
		u := uint32(b[i]&0x7f) | uint32(b[i+1])<<7
		return int32(u>>1) ^ -int32(u&1), i + 2
	}
	u, next := readUvarint(b, i, maxVarint)
	if u > 1<<32-1 {
		return 0, -1
	}
	return int32(uint32(u)>>1) ^ -int32(u&1), next
}

// readVarlong reads a long at b[i:].
func readVarlong(b []byte, i int) (v int64, next int) {
	if uint(i) < uint(len(b)) && b[i] < 0x80 {
		u := uint64(b[i])
		return int64(u>>1) ^ -int64(u&1), i + 1
	}
	u, next := readUvarint(b, i, maxVarlong)
	return int64(u>>1) ^ -int64(u&1), next
}

// readUvarint reads up to maxBytes bytes. More of them, or bits beyond 64, are no number.
func readUvarint(b []byte, i, maxBytes int) (u uint64, next int) {
	if i < 0 {
		return 0, -1
	}
	for shift := 0; shift < 7*maxBytes; shift += 7 {
		if i >= len(b) {
			return 0, -1
		}
		c := b[i]
		i++
		if shift == 63 && c > 1 {
			return 0, -1
		}
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return u, i
		}
	}
	return 0, -1
}

// varintWindow is more than the bytes of the numbers that shortVarint is good for, of a whole record.
const varintWindow = 16

// shortVarint is readVarint for numbers of up to three bytes, without checks and so small that it is inlined.
// For longer ones next, and the next of all that are read on from there, is varintWindow at least.
func shortVarint(w *[varintWindow]byte, i int) (v int32, next int) {
	u := uint32(w[i&(varintWindow-1)])
	i++
	if u >= 1<<7 {
		u += (uint32(w[i&(varintWindow-1)]) - 1) << 7 // less the bit that said there is more
		i++
		if u >= 1<<14 {
			u += (uint32(w[i&(varintWindow-1)]) - 1) << 14
			i++
			if u >= 1<<21 {
				i = varintWindow
			}
		}
	}
	return int32(u>>1) ^ -int32(u&1), i
}

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }
