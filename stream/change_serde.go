package stream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/moldau-io/moldau/serde"
)

// This file owns the values of the repartition topics of grouped tables. They are Kafka Streams' (KIP-904):
//
//	old value | 0
//	new value | 1
//	length of the new value, a zigzag varint | new value | old value | 2
//
// The last byte says which.
const (
	onlyOld = iota
	onlyNew
	oldAndNew
)

// changeSerde encodes changes, of values as inner does.
type changeSerde[V any] struct{ inner serde.Serde[V] }

func (s changeSerde[V]) ForTopic(topic string, isKey bool) (serde.Serde[change[V]], error) {
	inner, err := serde.Bind(s.inner, topic, isKey)
	return changeSerde[V]{inner}, err
}

func (s changeSerde[V]) Append(dst []byte, c change[V]) ([]byte, error) {
	switch {
	case !c.HasNew && !c.HasOld:
		return nil, errors.New("a change from nothing to nothing")
	case !c.HasNew:
		dst, err := s.inner.Append(dst, c.Old)
		return append(dst, onlyOld), err
	case !c.HasOld:
		dst, err := s.inner.Append(dst, c.New)
		return append(dst, onlyNew), err
	}
	start := len(dst)
	dst, err := s.inner.Append(append(dst, 0), c.New) // leaves room for a short length
	if err != nil {
		return nil, err
	}
	var length [binary.MaxVarintLen64]byte
	value := len(dst) - start - 1
	n := binary.PutVarint(length[:], int64(value))
	if n > 1 {
		dst = append(dst, length[1:n]...)
		copy(dst[start+n:], dst[start+1:start+1+value])
	}
	copy(dst[start:], length[:n])
	dst, err = s.inner.Append(dst, c.Old)
	return append(dst, oldAndNew), err
}

func (s changeSerde[V]) Decode(b []byte) (c change[V], err error) {
	if len(b) == 0 {
		return c, errors.New("a change of no bytes")
	}
	b, kind := b[:len(b)-1:len(b)-1], b[len(b)-1]
	switch kind {
	case onlyOld:
		c.HasOld = true
		c.Old, err = s.inner.Decode(b)
	case onlyNew:
		c.HasNew = true
		c.New, err = s.inner.Decode(b)
	case oldAndNew:
		length, n := binary.Varint(b)
		if n <= 0 || length < 0 || length > int64(len(b)-n) {
			return c, errors.New("a change without the length of its new value")
		}
		end := n + int(length)
		c.HasNew, c.HasOld = true, true
		if c.New, err = s.inner.Decode(b[n:end:end]); err == nil {
			c.Old, err = s.inner.Decode(b[end:])
		}
	default:
		return c, fmt.Errorf("a change of kind %d", kind)
	}
	return c, err
}
