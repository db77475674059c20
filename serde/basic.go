package serde

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/google/uuid"
)

// This file owns the bytes of the basic types. They are those of the serializers in
// org.apache.kafka.common.serialization; all numbers are big-endian:
//
//	String   StringSerializer     the UTF-8 bytes; no length, no terminator
//	Bytes    ByteArraySerializer  the bytes
//	Int64    LongSerializer       8 bytes, two's complement
//	Int32    IntegerSerializer    4 bytes, two's complement
//	Int16    ShortSerializer      2 bytes, two's complement
//	Float64  DoubleSerializer     8 bytes, IEEE 754; every NaN becomes 7ff8000000000000
//	Float32  FloatSerializer      4 bytes, IEEE 754; a NaN keeps its bits
//	Bool     BooleanSerializer    1 byte, 01 for true and 00 for false; anything else is an error
//	UUID     UUIDSerializer       the 36 characters of xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, lower case

// The basic serdes. Values that String and Bytes decode alias the bytes they were decoded from.
var (
	String  Serde[string]    = stringSerde{}
	Bytes   Serde[[]byte]    = bytesSerde{}
	Int64   Serde[int64]     = int64Serde{}
	Int32   Serde[int32]     = int32Serde{}
	Int16   Serde[int16]     = int16Serde{}
	Float64 Serde[float64]   = float64Serde{}
	Float32 Serde[float32]   = float32Serde{}
	Bool    Serde[bool]      = boolSerde{}
	UUID    Serde[uuid.UUID] = uuidSerde{}
)

// For returns the basic serde whose values are of type T, if there is one. Types that are merely defined
// in terms of a basic one, such as `type ID string`, have none: how they are written is their owner's choice.
func For[T any]() (Serde[T], bool) {
	for _, s := range []any{String, Bytes, Int64, Int32, Int16, Float64, Float32, Bool, UUID} {
		if s, ok := s.(Serde[T]); ok {
			return s, true
		}
	}
	return nil, false
}

// errNull is what a serde answers when null reaches it although the contract says it never does. To write
// nothing instead would turn a delete into an empty value.
var errNull = errors.New("null (nil) reached a serde; a record carries it beside its value")

func checkLen(what string, b []byte, want int) error {
	if len(b) == want {
		return nil
	}
	return fmt.Errorf("serde: %s takes %d bytes, got %d", what, want, len(b))
}

type stringSerde struct{}

func (stringSerde) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (stringSerde) Decode(b []byte) (string, error) {
	return unsafe.String(unsafe.SliceData(b), len(b)), nil
}

type bytesSerde struct{}

func (bytesSerde) Append(dst []byte, v []byte) ([]byte, error) {
	if v == nil {
		return dst, fmt.Errorf("serde: Bytes: %w", errNull)
	}
	return append(dst, v...), nil
}

// Decode gives back b, but never nil: bytes that are there and empty are not null.
func (bytesSerde) Decode(b []byte) ([]byte, error) {
	if b == nil {
		return []byte{}, nil
	}
	return b[:len(b):len(b)], nil
}

type int64Serde struct{}

func (int64Serde) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}
func (int64Serde) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, checkLen("Int64", b, 8)
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

type int32Serde struct{}

func (int32Serde) Append(dst []byte, v int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
}
func (int32Serde) Decode(b []byte) (int32, error) {
	if len(b) != 4 {
		return 0, checkLen("Int32", b, 4)
	}
	return int32(binary.BigEndian.Uint32(b)), nil
}

type int16Serde struct{}

func (int16Serde) Append(dst []byte, v int16) ([]byte, error) {
	return binary.BigEndian.AppendUint16(dst, uint16(v)), nil
}
func (int16Serde) Decode(b []byte) (int16, error) {
	if len(b) != 2 {
		return 0, checkLen("Int16", b, 2)
	}
	return int16(binary.BigEndian.Uint16(b)), nil
}

type float64Serde struct{}

// canonicalNaN is what Java's Double.doubleToLongBits, which DoubleSerializer uses, makes of every NaN.
// Go's math.NaN() has other bits, and equal keys must have equal bytes.
const canonicalNaN = 0x7ff8000000000000

func (float64Serde) Append(dst []byte, v float64) ([]byte, error) {
	bits := math.Float64bits(v)
	if v != v {
		bits = canonicalNaN
	}
	return binary.BigEndian.AppendUint64(dst, bits), nil
}
func (float64Serde) Decode(b []byte) (float64, error) {
	if len(b) != 8 {
		return 0, checkLen("Float64", b, 8)
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

type float32Serde struct{}

// FloatSerializer, unlike DoubleSerializer, writes the raw bits (Float.floatToRawIntBits).
func (float32Serde) Append(dst []byte, v float32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(v)), nil
}
func (float32Serde) Decode(b []byte) (float32, error) {
	if len(b) != 4 {
		return 0, checkLen("Float32", b, 4)
	}
	return math.Float32frombits(binary.BigEndian.Uint32(b)), nil
}

type boolSerde struct{}

func (boolSerde) Append(dst []byte, v bool) ([]byte, error) {
	if v {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}
func (boolSerde) Decode(b []byte) (bool, error) {
	if len(b) != 1 {
		return false, checkLen("Bool", b, 1)
	}
	switch b[0] {
	case 0:
		return false, nil
	case 1:
		return true, nil
	}
	return false, fmt.Errorf("serde: Bool takes a byte 00 or 01, got %02x", b[0])
}

type uuidSerde struct{}

const uuidTextLen = 36

func (uuidSerde) Append(dst []byte, v uuid.UUID) ([]byte, error) {
	const hex = "0123456789abcdef"
	for i, c := range v {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[c>>4], hex[c&15])
	}
	return dst, nil
}

// Decode takes the one form that UUIDSerializer writes, in either case. (uuid.ParseBytes knows more forms:
// two texts for one key would be two keys to a partitioner.)
func (uuidSerde) Decode(b []byte) (uuid.UUID, error) {
	if len(b) != uuidTextLen {
		return uuid.UUID{}, checkLen("UUID", b, uuidTextLen)
	}
	v, err := uuid.ParseBytes(b)
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("serde: UUID: %q: %w", b, err)
	}
	return v, nil
}
