package log

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The fields of meta entries and of the checkpoint: big-endian numbers, and strings behind a four-byte size.

func appendInt16(dst []byte, v int16) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

func appendString(dst []byte, s string) []byte {
	return append(appendInt32(dst, int32(len(s))), s...)
}

// fieldReader reads fields one after another. The first that does not fit makes all later ones zero and is
// what err says: a row of fields needs one check at its end.
type fieldReader struct {
	b   []byte
	err error
}

var errFieldsShort = errors.New("bytes end inside of a field")

func (r *fieldReader) bytes(n int) []byte {
	if r.err == nil && (n < 0 || n > len(r.b)) {
		r.err = fmt.Errorf("%w: %d wanted, %d left", errFieldsShort, n, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *fieldReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *fieldReader) bool() bool { return r.byte() != 0 }

func (r *fieldReader) int16() int16 {
	if b := r.bytes(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *fieldReader) int32() int32 {
	if b := r.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *fieldReader) int64() int64 {
	if b := r.bytes(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *fieldReader) string() string { return string(r.bytes(int(r.int32()))) }

// count reads a number of things that take at least minBytes each, so that a damaged one cannot make the
// caller ask for more memory than there are bytes.
func (r *fieldReader) count(minBytes int) int {
	n := int(r.int32())
	if r.err == nil && (n < 0 || n > len(r.b)/minBytes) {
		r.err = fmt.Errorf("count is %d, with %d bytes left", n, len(r.b))
	}
	if r.err != nil {
		return 0
	}
	return n
}

func (r *fieldReader) strings() map[string]string {
	n := r.count(8)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		k := r.string()
		m[k] = r.string()
	}
	return m
}

// end is the error of the fields read, or that there are bytes left over.
func (r *fieldReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes left over", len(r.b))
	}
	return r.err
}
