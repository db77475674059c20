package log

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// This file owns the marker that ends a transaction in a partition: a control batch of one record (KIP-98).
// Source: Kafka's ControlRecordType and EndTransactionMarker.
//
//	key   +-----------+------------------------+     value +-----------+---------------------+
//	      | version 2 | type 2                 |           | version 2 | coordinator epoch 4 |
//	      | (=0)      | 0 abort, 1 commit      |           | (=0)      |                     |
//	      +-----------+------------------------+           +-----------+---------------------+
//
// A later version may add fields at the end of the value, never change these.

const (
	markerAbort  = 0
	markerCommit = 1

	markerKeySize   = 4
	markerValueSize = 6
)

// appendMarker appends the batch that ends the producer's transaction, with base offset 0 and leader epoch -1.
func appendMarker(dst []byte, producerID int64, producerEpoch int16, commit bool, coordinatorEpoch int32, timestampMs int64) []byte {
	kind := uint16(markerAbort)
	if commit {
		kind = markerCommit
	}
	var key [markerKeySize]byte
	binary.BigEndian.PutUint16(key[2:], kind)
	var value [markerValueSize]byte
	binary.BigEndian.PutUint32(value[2:], uint32(coordinatorEpoch))

	start := len(dst)
	var header [batchHeaderSize]byte
	dst = append(dst, header[:]...)
	dst = appendVarint(dst, 1+1+1+1+markerKeySize+1+markerValueSize+1)
	dst = append(dst, 0, 0, 0) // attrs, timestamp delta, offset delta
	dst = appendVarint(dst, markerKeySize)
	dst = append(dst, key[:]...)
	dst = appendVarint(dst, markerValueSize)
	dst = append(dst, value[:]...)
	dst = append(dst, 0) // no headers
	finishBatch(dst[start:], batchHeader{
		attributes:    attrTransactional | attrControl,
		baseTimestamp: timestampMs,
		maxTimestamp:  timestampMs,
		producerID:    producerID,
		producerEpoch: producerEpoch,
		baseSequence:  -1,
		recordCount:   1,
	})
	return dst
}

// errNotMarker is matched by the error of parseMarker for a control batch that is none of a transaction.
var errNotMarker = errors.New("control batch is no transaction marker")

// parseMarker reads a batch for which isControl holds and whose CRC has been checked.
func parseMarker(batch []byte) (commit bool, coordinatorEpoch int32, err error) {
	h, err := parseBatchHeader(batch)
	if err != nil {
		return false, 0, err
	}
	switch {
	case h.size() != len(batch):
		return false, 0, fmt.Errorf("control batch says it has %d bytes, and has %d", h.size(), len(batch))
	case !h.isControl():
		return false, 0, errors.New("batch is no control batch")
	case h.compression() != CompressionNone:
		return false, 0, fmt.Errorf("control batch is compressed with %v", h.compression())
	case h.recordCount != 1:
		return false, 0, fmt.Errorf("control batch has %d records, want 1", h.recordCount)
	}
	var d recordDecoder
	if err := d.reset(&h, batch[batchHeaderSize:], 0); err != nil {
		return false, 0, err
	}
	var r [1]Record
	if _, err := d.next(r[:]); err != nil {
		return false, 0, err
	}
	key, value := r[0].Key, r[0].Value
	if len(key) < markerKeySize {
		return false, 0, fmt.Errorf("control record's key has %d bytes, want %d", len(key), markerKeySize)
	}
	kind := binary.BigEndian.Uint16(key[2:])
	if kind != markerAbort && kind != markerCommit {
		return false, 0, fmt.Errorf("%w: its type is %d", errNotMarker, kind)
	}
	if len(value) < markerValueSize {
		return false, 0, fmt.Errorf("transaction marker's value has %d bytes, want %d", len(value), markerValueSize)
	}
	if v := int16(binary.BigEndian.Uint16(value)); v < 0 {
		return false, 0, fmt.Errorf("transaction marker's version is %d", v)
	}
	return kind == markerCommit, int32(binary.BigEndian.Uint32(value[2:])), nil
}
