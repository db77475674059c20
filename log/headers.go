package log

import (
	"errors"
	"fmt"
	"strings"
)

// This file owns the headers of a record, as they stand at its end: a varint count, then for each header
//
//	+-----------------+-----------+---------------------------+-------------+
//	| key size varint | key UTF-8 | value size varint, -1 null | value       |
//	+-----------------+-----------+---------------------------+-------------+
//
// A key may be empty but not null, and may occur more than once. Source: Kafka's DefaultRecord.

// minHeaderSize is the size of a header with an empty key and a null or empty value.
const minHeaderSize = 2

// appendHeaders appends the encoded headers, their count first.
func appendHeaders(dst []byte, hs []Header) []byte {
	dst = appendVarint(dst, int64(len(hs)))
	for i := range hs {
		h := &hs[i]
		dst = appendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		if h.Value == nil {
			dst = appendVarint(dst, -1)
			continue
		}
		dst = appendVarint(dst, int64(len(h.Value)))
		dst = append(dst, h.Value...)
	}
	return dst
}

// headersSize is how many bytes appendHeaders appends for a record's headers; none at all are 0, as in a span.
func headersSize(hs []Header) int {
	if len(hs) == 0 {
		return 0
	}
	n := sizeVarint(int64(len(hs)))
	for i := range hs {
		n += sizeVarint(int64(len(hs[i].Key))) + len(hs[i].Key)
		if hs[i].Value == nil {
			n++
		} else {
			n += sizeVarint(int64(len(hs[i].Value))) + len(hs[i].Value)
		}
	}
	return n
}

// decodeHeaders decodes what appendHeaders wrote; b must be used up. Values alias b, keys do not: a string
// over bytes that a Block will recycle would change. No headers are a nil slice.
func decodeHeaders(b []byte) ([]Header, error) {
	keyBytes, err := checkHeaders(b)
	if err != nil {
		return nil, err
	}
	count, at := readVarint(b, 0)
	if count == 0 {
		return nil, nil
	}
	hs := make([]Header, count)
	var keys strings.Builder // the keys share one string, which never moves: Grow has made all the room
	keys.Grow(keyBytes)
	for i := range hs {
		keySize, key := readVarint(b, at)
		keys.Write(b[key : key+int(keySize)])
		hs[i].Key = keys.String()[keys.Len()-int(keySize):]
		valueSize, value := readVarint(b, key+int(keySize))
		at = value
		if valueSize >= 0 {
			at += int(valueSize)
			hs[i].Value = b[value:at:at]
		}
	}
	return hs, nil
}

// checkHeaders walks encoded headers without allocating and returns the size of all keys. An error is what
// makes decodeHeaders fail.
func checkHeaders(b []byte) (keyBytes int, err error) {
	count, at := readVarint(b, 0)
	switch {
	case at < 0:
		return 0, errors.New("header count is no number")
	case count < 0:
		return 0, fmt.Errorf("header count is %d", count)
	case int(count) > (len(b)-at)/minHeaderSize:
		return 0, fmt.Errorf("header count is %d, with %d bytes left", count, len(b)-at)
	}
	for i := range int(count) {
		keySize, key := readVarint(b, at)
		if key < 0 || keySize < 0 || int(keySize) > len(b)-key {
			return 0, fmt.Errorf("header %d of %d: key size is bad (%d, with %d bytes left)", i, count, keySize, len(b)-at)
		}
		keyBytes += int(keySize)
		at = key + int(keySize)
		valueSize, value := readVarint(b, at)
		if value < 0 || valueSize < -1 || int(valueSize) > len(b)-value {
			return 0, fmt.Errorf("header %d of %d: value size is bad (%d, with %d bytes left)", i, count, valueSize, len(b)-at)
		}
		at = value + max(int(valueSize), 0)
	}
	if at != len(b) {
		return 0, fmt.Errorf("%d bytes left over after %d headers", len(b)-at, count)
	}
	return keyBytes, nil
}
