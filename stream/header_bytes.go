package stream

import "encoding/binary"

// This file owns how headers are kept in stores, by operators that hold records back:
//
//	number, an unsigned varint | of each header: its key and its value, with their lengths before them
//
// Lengths are unsigned varints. That of a value is one more than it is, 0 for null.

func appendHeaders(dst []byte, headers Headers) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for _, h := range headers {
		dst = appendSized(dst, []byte(h.Key), 0)
		if h.Value == nil {
			dst = append(dst, 0)
		} else {
			dst = appendSized(dst, h.Value, 1)
		}
	}
	return dst
}

// parseHeaders reads what appendHeaders wrote, and returns what follows. The values alias b.
func parseHeaders(b []byte) (headers Headers, rest []byte, ok bool) {
	number, n := binary.Uvarint(b)
	if n <= 0 || number > uint64(len(b)) {
		return nil, nil, false
	}
	b = b[n:]
	for range number {
		key, afterKey, ok := takeSized(b, 0)
		if !ok {
			return nil, nil, false
		}
		value, rest, ok := takeSized(afterKey, 1)
		if !ok {
			return nil, nil, false
		}
		headers, b = append(headers, Header{Key: string(key), Value: value}), rest
	}
	return headers, b, true
}

// appendSized appends b with its length, and more, before it.
func appendSized(dst, b []byte, more int) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b)+more)), b...)
}

// takeSized reads what appendSized wrote, nil if the length is less than more, and returns what follows.
func takeSized(b []byte, more uint64) (part, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n)+more {
		return nil, nil, false
	}
	b = b[n:]
	if size < more {
		return nil, b, true
	}
	size -= more
	return b[:size:size], b[size:], true
}
