package stream

// This file owns the rows of the buffer of Suppress. One store, and so one changelog, has two kinds:
//
//	key    'd' | due 8, big-endian | encoded key       value  the change, below
//	key    'k' | encoded key                           value  due 8: where the key's change lies
//
// so that changes lie in the order in which they are due, and then of their keys. A change:
//
//	+---------+-------------+-------------------+----------------------------------+----------------------------------+
//	| flags 1 | timestamp 8 | headers           | new, with its length before it   | old, with its length before it   |
//	| 1: new  | big-endian  | (header_bytes.go) |                                  |                                  |
//	| 2: old  |             |                   |                                  |                                  |
//	+---------+-------------+-------------------+----------------------------------+----------------------------------+
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
	dst = appendHeaders(dst, h.headers)
	if h.new != nil {
		dst = appendSized(dst, h.new, 0)
	}
	if h.old != nil {
		dst = appendSized(dst, h.old, 0)
	}
	return dst
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
	headers, b, ok := parseHeaders(b)
	if ok && flags&heldNew != 0 {
		h.new, b, ok = takeSized(b, 0)
	}
	if ok && flags&heldOld != 0 {
		h.old, b, ok = takeSized(b, 0)
	}
	if !ok || len(b) > 0 {
		return h, errHeld
	}
	h.headers = headers
	return h, nil
}
