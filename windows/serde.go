package windows

import (
	"encoding/binary"
	"fmt"

	"github.com/moldau-io/moldau/serde"
)

// This file owns the bytes of windowed keys, big-endian, after those of the key:
//
//	TimeSerde      start 8           TimeWindowedSerializer of Kafka Streams; the end follows from the start
//	BoundsSerde    start 8, end 8    of windows whose ends do not follow from their starts
//	SessionSerde   end 8, start 8    SessionWindowedSerializer of Kafka Streams

// TimeSerde is how the keys of windows of one kind are written to topics.
func TimeSerde[K any](key serde.Serde[K], t Time) serde.Serde[Windowed[K]] {
	return windowedSerde[K]{key: key, name: "a windowed key", tail: 8,
		append: func(dst []byte, w Windowed[K]) []byte { return binary.BigEndian.AppendUint64(dst, uint64(w.Start)) },
		decode: func(tail []byte) (start, end int64) {
			start = int64(binary.BigEndian.Uint64(tail))
			return start, t.End(start)
		}}
}

// SessionSerde is how the keys of sessions are written to topics.
func SessionSerde[K any](key serde.Serde[K]) serde.Serde[Windowed[K]] {
	return windowedSerde[K]{key: key, name: "a session's key", tail: 16,
		append: func(dst []byte, w Windowed[K]) []byte { return appendTwo(dst, w.End, w.Start) },
		decode: func(tail []byte) (start, end int64) {
			end, start = two(tail)
			return start, end
		}}
}

// BoundsSerde writes both bounds of a windowed key, so that whoever reads it need not know the kind of windows.
func BoundsSerde[K any](key serde.Serde[K]) serde.Serde[Windowed[K]] {
	return windowedSerde[K]{key: key, name: "a windowed key with both bounds", tail: 16,
		append: func(dst []byte, w Windowed[K]) []byte { return appendTwo(dst, w.Start, w.End) },
		decode: two}
}

func appendTwo(dst []byte, a, b int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(a)), uint64(b))
}

func two(tail []byte) (a, b int64) {
	return int64(binary.BigEndian.Uint64(tail)), int64(binary.BigEndian.Uint64(tail[8:]))
}

// windowedSerde writes a key, and its window after it.
type windowedSerde[K any] struct {
	key    serde.Serde[K]
	name   string
	tail   int
	append func(dst []byte, w Windowed[K]) []byte
	decode func(tail []byte) (start, end int64)
}

func (s windowedSerde[K]) Append(dst []byte, w Windowed[K]) ([]byte, error) {
	dst, err := s.key.Append(dst, w.Key)
	if err != nil {
		return nil, err
	}
	return s.append(dst, w), nil
}

func (s windowedSerde[K]) Decode(b []byte) (w Windowed[K], err error) {
	n := len(b) - s.tail
	if n < 0 {
		return w, fmt.Errorf("serde: %s has at least %d bytes, got %d", s.name, s.tail, len(b))
	}
	w.Start, w.End = s.decode(b[n:])
	w.Key, err = s.key.Decode(b[:n:n])
	return w, err
}

// ForTopic binds the serde of the key.
func (s windowedSerde[K]) ForTopic(topic string, isKey bool) (serde.Serde[Windowed[K]], error) {
	key, err := serde.Bind(s.key, topic, isKey)
	s.key = key
	return s, err
}

// SharesNothing is as true as for the key.
func (s windowedSerde[K]) SharesNothing() bool { return serde.SharesNothing(s.key) }
