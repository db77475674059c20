package stream

// This file owns the rows of the buffer of Suppress. One store, and so one changelog, has two kinds:
//
//	key    'd' | due 8, big-endian | encoded key       value  the change, below
//	key    'k' | encoded key                           value  due 8: where the key's change lies
//
// so that changes lie in the order in which they are due, and then of their keys. A change:
//
//	+---------+-------------+-----------------+----------------+-------------------+-------+-------+
//	| flags 1 | timestamp 8 | headers uvarint | of each header: key and value, with   | new   | old   |
//	| 1: new  | big-endian  | their number    | their length before them; 0 of a      | with  | with  |
//	| 2: old  |             |                 | value is null, else it is 1 more      | lgth. | lgth. |
//	+---------+-------------+-----------------+---------------------------------------+-------+-------+
//
// Lengths are uvarints. new and old are there as the flags say.

import (
	"encoding/binary"
	"errors"
)

const (
	dueRow = 'd'
	keyRow = 'k'

	dueRowKey = 1 + 8 // what stands before the encoded key

	heldNew = 1
	heldOld = 2
)

// held is a change that is held back, its values encoded; nil: none.
type held struct {
	new, old  []byte
	timestamp int64
	headers   Headers
}

func appendDueRow(dst []byte, due int64, key []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, dueRow), uint64(due))
	return append(dst, key...)
}

func appendKeyRow(dst, key []byte) []byte { return append(append(dst, keyRow), key...) }

func appendHeld(dst []byte, h held) []byte {
	var flags byte
	if h.new != nil {
		flags |= heldNew
	}
	if h.old != nil {
		flags |= heldOld
	}
	dst = binary.BigEndian.AppendUint64(append(dst, flags), uint64(h.timestamp))
	dst = binary.AppendUvarint(dst, uint64(len(h.headers)))
	for _, x := range h.headers {
		dst = appendSized(dst, []byte(x.Key), 0)
		if x.Value == nil {
			dst = append(dst, 0)
		} else {
			dst = appendSized(dst, x.Value, 1)
		}
	}
	if h.new != nil {
		dst = appendSized(dst, h.new, 0)
	}
	if h.old != nil {
		dst = appendSized(dst, h.old, 0)
	}
	return dst
}

// appendSized appends b with its length, and more, before it.
func appendSized(dst, b []byte, more int) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b)+more)), b...)
}

var errHeld = errors.New("the row of a change that is held back is damaged")

// parseHeld reads what appendHeld wrote. What it returns aliases b.
func parseHeld(b []byte) (h held, err error) {
	if len(b) < 9 || b[0] > heldNew|heldOld {
		return h, errHeld
	}
	flags := b[0]
	h.timestamp = int64(binary.BigEndian.Uint64(b[1:]))
	b = b[9:]
	number, n := binary.Uvarint(b)
	if n <= 0 || number > uint64(len(b)) {
		return h, errHeld
	}
	b = b[n:]
	ok := true
	sized := func(more uint64) (part []byte) { // nil: null
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n)+more {
			ok = false
			return nil
		}
		b = b[n:]
		if size < more {
			return nil
		}
		size -= more
		part, b = b[:size:size], b[size:]
		return part
	}
	for range number {
		key, value := sized(0), sized(1)
		if !ok {
			return h, errHeld
		}
		h.headers = append(h.headers, Header{Key: string(key), Value: value})
	}
	if flags&heldNew != 0 {
		h.new = sized(0)
	}
	if flags&heldOld != 0 {
		h.old = sized(0)
	}
	if !ok || len(b) > 0 {
		return h, errHeld
	}
	return h, nil
}
