package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

// This file owns the record batch, version 2 ("magic 2"): the bytes in a segment and on the wire are the same,
// big-endian, and never change after append, which sets base offset and leader epoch (both outside the CRC).
// Source: Kafka's DefaultRecordBatch and DefaultRecord; checked byte for byte against what they write by
// TestReadBatchOfKafka, and field by field against another client by TestBatchGolden.
//
//	 0             8          12           16      17      21      23
//	+-------------+----------+------------+-------+-------+-------+-----------------+
//	| base offset | length   | leader     | magic | CRC   | attrs | last offset     |
//	|    8        |    4     | epoch 4    | 1 (=2)|  4    |  2    | delta 4         |
//	+-------------+----------+------------+-------+-------+-------+-----------------+ 27
//	| base timestamp 8 | max timestamp 8 | producer id 8 | producer epoch 2 |
//	+------------------+-----------------+---------------+------------------+ 53
//	| base sequence 4 | record count 4 | records, compressed as one block ... |
//	+-----------------+----------------+--------------------------------------+
//	53                57               61
//
// attrs, from the lowest bit: 0-2 compression; 3 the timestamps are the max timestamp (LogAppendTime);
// 4 transactional; 5 control; 6 base timestamp is a delete horizon (compaction; changes nothing for readers).
//
// A record; all numbers but attrs (unused, 0) are varints (varint.go), headers are drawn in headers.go:
//
//	+--------+---------+-----------------+--------------+------------------------+--------------------------+---------+
//	| length | attrs 1 | timestamp delta | offset delta | key size, -1 null | key | value size, -1 null | value | headers |
//	+--------+---------+-----------------+--------------+------------------------+--------------------------+---------+
//
// Invariants, held by append and assumed by every reader:
//  1. length counts the bytes after itself; 49 <= length <= maxBatchBytes-12.
//  2. CRC-32C covers attrs to the end of the batch, so append needs no new CRC unless it sets timestamps (LogAppendTime).
//  3. next batch's base offset > this base offset + last offset delta (gaps are legal: compaction).
//  4. base sequence is -1 exactly when producer id is -1, but for markers, which have an id and no sequence.
//  5. offset deltas of records ascend strictly, from 0 on, up to last offset delta at most (gaps are legal).
//
// A batch that breaks 1 or 2 at the tail is a torn write: recovery cuts it. Anywhere else it is ErrCorrupt.

// batchHeaderSize is the size of a batch without its records.
const batchHeaderSize = 61

// maxBatchBytes is the largest batch, and the most its records may take once decompressed. Kafka itself has
// no such limit, but no request larger than 100 MiB gets through to it (socket.request.max.bytes).
const maxBatchBytes = 128 << 20

// Where the fields are.
const (
	lengthAt          = 8
	leaderEpochAt     = 12
	magicAt           = 16
	crcAt             = 17
	attributesAt      = 21
	lastOffsetDeltaAt = 23
	baseTimestampAt   = 27
	maxTimestampAt    = 35
	producerIDAt      = 43
	producerEpochAt   = 51
	baseSequenceAt    = 53
	recordCountAt     = 57
)

// batchOverhead is what a batch is larger than its length field says.
const batchOverhead = leaderEpochAt

const batchMagic = 2

// Bits of attrs.
const (
	attrCompression   = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchHeader is what stands before a batch's records.
type batchHeader struct {
	baseOffset      int64
	length          int32
	leaderEpoch     int32
	magic           int8
	crc             uint32
	attributes      int16
	lastOffsetDelta int32
	baseTimestamp   int64
	maxTimestamp    int64
	producerID      int64
	producerEpoch   int16
	baseSequence    int32
	recordCount     int32
}

// size is the number of bytes of the whole batch.
func (h *batchHeader) size() int { return batchOverhead + int(h.length) }

// nextOffset is the first offset after the batch.
func (h *batchHeader) nextOffset() int64 { return h.baseOffset + int64(h.lastOffsetDelta) + 1 }

// lastSequence is the sequence of the last record; -1 if there are no sequences. After 2^31-1 comes 0.
func (h *batchHeader) lastSequence() int32 {
	if h.baseSequence < 0 {
		return -1
	}
	return int32((int64(h.baseSequence) + int64(h.lastOffsetDelta)) & math.MaxInt32)
}

func (h *batchHeader) isControl() bool       { return h.attributes&attrControl != 0 }
func (h *batchHeader) isTransactional() bool { return h.attributes&attrTransactional != 0 }
func (h *batchHeader) isLogAppendTime() bool { return h.attributes&attrLogAppendTime != 0 }

func (h *batchHeader) compression() Compression { return Compression(h.attributes & attrCompression) }

// parseBatchHeader reads the header at the start of b, which must hold at least batchHeaderSize bytes. It
// checks magic and length, so that size can be relied on to find the batch's end; everything else can be
// believed only after checkBatchCRC, and base offset, length and leader epoch not even then.
func parseBatchHeader(b []byte) (batchHeader, error) {
	if len(b) < batchHeaderSize {
		return batchHeader{}, fmt.Errorf("batch header cut short: %d of %d bytes", len(b), batchHeaderSize)
	}
	_ = b[batchHeaderSize-1]
	h := batchHeader{
		baseOffset:      int64(binary.BigEndian.Uint64(b)),
		length:          int32(binary.BigEndian.Uint32(b[lengthAt:])),
		leaderEpoch:     int32(binary.BigEndian.Uint32(b[leaderEpochAt:])),
		magic:           int8(b[magicAt]),
		crc:             binary.BigEndian.Uint32(b[crcAt:]),
		attributes:      int16(binary.BigEndian.Uint16(b[attributesAt:])),
		lastOffsetDelta: int32(binary.BigEndian.Uint32(b[lastOffsetDeltaAt:])),
		baseTimestamp:   int64(binary.BigEndian.Uint64(b[baseTimestampAt:])),
		maxTimestamp:    int64(binary.BigEndian.Uint64(b[maxTimestampAt:])),
		producerID:      int64(binary.BigEndian.Uint64(b[producerIDAt:])),
		producerEpoch:   int16(binary.BigEndian.Uint16(b[producerEpochAt:])),
		baseSequence:    int32(binary.BigEndian.Uint32(b[baseSequenceAt:])),
		recordCount:     int32(binary.BigEndian.Uint32(b[recordCountAt:])),
	}
	// Magic first: of a batch older than version 2 the rest of the header means something else.
	if h.magic != batchMagic {
		return batchHeader{}, fmt.Errorf("batch magic is %d, want %d", h.magic, batchMagic)
	}
	if h.length < batchHeaderSize-batchOverhead || h.length > maxBatchBytes-batchOverhead {
		return batchHeader{}, fmt.Errorf("batch length is %d, want %d to %d",
			h.length, batchHeaderSize-batchOverhead, maxBatchBytes-batchOverhead)
	}
	return h, nil
}

// checkBatchCRC checks the sum of b, which is exactly one batch.
func checkBatchCRC(b []byte) error {
	if len(b) < batchHeaderSize {
		return fmt.Errorf("batch header cut short: %d of %d bytes", len(b), batchHeaderSize)
	}
	stored, computed := binary.BigEndian.Uint32(b[crcAt:]), crc32.Checksum(b[attributesAt:], castagnoli)
	if stored != computed {
		return fmt.Errorf("CRC mismatch: stored %08x, computed %08x over %d bytes", stored, computed, len(b)-attributesAt)
	}
	return nil
}

// setBatchPlace says where in the log the batch at the start of b stands. Both fields lie outside the CRC.
func setBatchPlace(b []byte, baseOffset int64, leaderEpoch int32) {
	binary.BigEndian.PutUint64(b, uint64(baseOffset))
	binary.BigEndian.PutUint32(b[leaderEpochAt:], uint32(leaderEpoch))
}

// setLogAppendTime makes nowMs the timestamp of all records of b, which is exactly one batch, and returns its new
// sum. What the records say themselves stays, as in Kafka, and is not read any more.
func setLogAppendTime(b []byte, nowMs int64) (crc uint32) {
	b[attributesAt+1] |= attrLogAppendTime
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(nowMs))
	crc = crc32.Checksum(b[attributesAt:], castagnoli)
	binary.BigEndian.PutUint32(b[crcAt:], crc)
	return crc
}

// producerStamp is what an idempotent or transactional producer puts on a batch.
type producerStamp struct {
	id            int64
	epoch         int16
	sequence      int32 // of the first record
	transactional bool
}

// noProducer is the stamp of a producer that is neither.
var noProducer = producerStamp{id: -1, epoch: -1, sequence: -1}

var errNoRecords = errors.New("log: a batch needs at least one record")

// appendBatch appends records [from, to) of b to dst, as one batch with base offset 0 and leader epoch -1,
// and returns the extended slice; it does not keep b. Records that do not shrink are stored uncompressed
// whatever c is, so that the batch is never larger than fit has promised.
//
// An error says which records are too large for one batch (for a single one it matches ErrRecordTooLarge), or
// that c is unknown; dst is returned as it was.
func appendBatch(dst []byte, b *Block, from, to int, c Compression, p producerStamp) ([]byte, error) {
	if from >= to {
		return dst, errNoRecords
	}
	start := len(dst)
	out, maxTimestamp, err := appendRecords(dst, b, from, to)
	if err != nil {
		return dst, err
	}
	attributes := int16(0)
	if c != CompressionNone {
		n, err := compressInPlace(out[start+batchHeaderSize:], c)
		if err != nil {
			return dst, err
		}
		if n > 0 {
			out = out[:start+batchHeaderSize+n]
			attributes = int16(c)
		}
	}
	if p.transactional {
		attributes |= attrTransactional
	}
	finishBatch(out[start:], batchHeader{
		attributes:      attributes,
		lastOffsetDelta: int32(to - from - 1),
		baseTimestamp:   b.spans[from].timestamp,
		maxTimestamp:    maxTimestamp,
		producerID:      p.id,
		producerEpoch:   p.epoch,
		baseSequence:    p.sequence,
		recordCount:     int32(to - from),
	})
	return out, nil
}

// finishBatch writes the header in front of records that are already in b, the whole batch. Place, length,
// magic and CRC are its own business.
func finishBatch(b []byte, h batchHeader) {
	setBatchPlace(b, 0, -1)
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-batchOverhead))
	b[magicAt] = batchMagic
	binary.BigEndian.PutUint16(b[attributesAt:], uint16(h.attributes))
	binary.BigEndian.PutUint32(b[lastOffsetDeltaAt:], uint32(h.lastOffsetDelta))
	binary.BigEndian.PutUint64(b[baseTimestampAt:], uint64(h.baseTimestamp))
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(h.maxTimestamp))
	binary.BigEndian.PutUint64(b[producerIDAt:], uint64(h.producerID))
	binary.BigEndian.PutUint16(b[producerEpochAt:], uint16(h.producerEpoch))
	binary.BigEndian.PutUint32(b[baseSequenceAt:], uint32(h.baseSequence))
	binary.BigEndian.PutUint32(b[recordCountAt:], uint32(h.recordCount))
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
}

// maxRecordOverhead is the most that a record takes beside its key, value and headers: five varints of which
// one is long, attrs, and the header count where there are no headers.
const maxRecordOverhead = 4*maxVarint + maxVarlong + 2

// appendRecords leaves room for the header and appends the records [from, to).
func appendRecords(dst []byte, b *Block, from, to int) (out []byte, maxTimestamp int64, err error) {
	start := len(dst)
	if len(b.arena) > math.MaxInt32 {
		return dst, 0, fmt.Errorf("log: block of %d bytes is too large; a batch holds at most %d", len(b.arena), maxBatchBytes)
	}
	spans := b.spans[from:to]
	// A guess that is right for most: eight bytes around each record. What is missing is made up below.
	data := len(b.arena) - int(spans[0].start)
	if to < len(b.spans) {
		data = int(b.spans[to].start) - int(spans[0].start)
	}
	if data > maxBatchBytes {
		return dst, 0, batchTooLarge(b, from, to)
	}
	dst = slices.Grow(dst, batchHeaderSize+data+8*len(spans))
	buf, i := dst[:cap(dst)], start+batchHeaderSize

	base := spans[0].timestamp
	maxTimestamp = base
	for delta := range spans {
		s := &spans[delta]
		maxTimestamp = max(maxTimestamp, s.timestamp)
		size := recordSize(s, s.timestamp-base, delta)
		if i+maxVarint+size > len(buf) {
			if i+size-start > maxBatchBytes {
				return dst, 0, batchTooLarge(b, from, to)
			}
			buf = slices.Grow(buf[:i], maxVarint+size+(len(spans)-delta)*8)
			buf = buf[:cap(buf)]
		}
		i = putVarint(buf, i, int64(size))
		buf[i] = 0
		i = putVarint(buf, i+1, s.timestamp-base)
		i = putVarint(buf, i, int64(delta))
		i = putVarint(buf, i, int64(s.keyLen))
		at := int(s.start)
		if s.keyLen > 0 {
			i += copy(buf[i:], b.arena[at:at+int(s.keyLen)])
			at += int(s.keyLen)
		}
		i = putVarint(buf, i, int64(s.valueLen))
		rest := max(int(s.valueLen), 0) + int(s.headerLen) // the headers stand right after the value
		i += copy(buf[i:], b.arena[at:at+rest])
		if s.headerLen == 0 {
			buf[i] = 0 // no headers
			i++
		}
	}
	if i-start > maxBatchBytes {
		return dst, 0, batchTooLarge(b, from, to)
	}
	return buf[:i], maxTimestamp, nil
}

func batchTooLarge(b *Block, from, to int) error {
	if to-from == 1 {
		s := b.spans[from]
		return fmt.Errorf("%w: record %d of the block has key %d, value %d, headers %d bytes; a batch holds at most %d",
			ErrRecordTooLarge, from, max(s.keyLen, 0), max(s.valueLen, 0), s.headerLen, maxBatchBytes)
	}
	return fmt.Errorf("log: records %d to %d of the block do not fit into one batch of %d bytes", from, to-1, maxBatchBytes)
}

// recordSize is the size of an encoded record without its length field.
func recordSize(s *span, timestampDelta int64, offsetDelta int) int {
	return 1 + sizeVarint(timestampDelta) + sizeVarint(int64(offsetDelta)) +
		sizeVarint(int64(s.keyLen)) + max(int(s.keyLen), 0) +
		sizeVarint(int64(s.valueLen)) + max(int(s.valueLen), 0) +
		max(int(s.headerLen), 1)
}

// RecordBytes is the size of a record with its framing, alone in a batch: what is to be at most
// TopicInfo.MaxRecordBytes. keyLen and valueLen are in bytes, -1 for null.
func RecordBytes(keyLen, valueLen int, headers []Header) int {
	s := span{keyLen: int32(keyLen), valueLen: int32(valueLen), headerLen: uint32(headersSize(headers))}
	size := recordSize(&s, 0, 0)
	return sizeVarint(int64(size)) + size
}

// fit returns how far one batch may reach that starts at record from and has at most maxBytes bytes, however
// it is compressed: as many records as fit, but at least one, even if that is larger.
func (b *Block) fit(from, maxBytes int) (to int) {
	spans := b.spans[from:]
	if len(spans) == 0 {
		return from
	}
	if batchHeaderSize+len(b.arena)-int(spans[0].start)+maxRecordOverhead*len(spans) <= maxBytes {
		return len(b.spans)
	}
	base, total := spans[0].timestamp, batchHeaderSize
	for delta := range spans {
		size := recordSize(&spans[delta], spans[delta].timestamp-base, delta)
		total += sizeVarint(int64(size)) + size
		if total > maxBytes && delta > 0 {
			return from + delta
		}
	}
	return len(b.spans)
}
