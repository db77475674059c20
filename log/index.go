package log

import (
	"encoding/binary"
	"fmt"
	"sort"
)

// This file owns the three indexes beside a segment, in Kafka's formats (OffsetIndex, TimeIndex,
// TransactionIndex), big-endian. They say what a walk over the batches says as well: they are never trusted
// beyond the count of entries that the checkpoint has, and the first two are made anew when they do not fit
// the segment.
//
// .index, one entry for every index.interval.bytes of batches, in order:
//
//	+------------------------------------------------+------------------------+
//	| last offset of a batch - segment's base offset | position of the batch  |
//	|                     4                          |           4            |
//	+------------------------------------------------+------------------------+
//
// .timeindex, at the same moments, and once more when a checkpoint covers the segment as it is; only if there
// is a larger timestamp than in the entry before. It says that up to this batch, and up to the moment of the
// entry, nothing in the segment has a larger one; the batch is the first that has it:
//
//	+------------------------------+-----------------------------------------------------+
//	| largest timestamp so far     | last offset of its batch - segment's base offset    |
//	|              8               |                          4                          |
//	+------------------------------+-----------------------------------------------------+
//
// .txnindex, one entry for every transaction whose abort marker is in the segment:
//
//	+-----------+---------------+----------------+--------------------------+----------------------+
//	| version 2 | producer id 8 | first offset 8 | last offset 8: of the    | last stable offset   |
//	| (=0)      |               |                | marker                   | after the abort 8    |
//	+-----------+---------------+----------------+--------------------------+----------------------+

const (
	indexEntrySize = 8
	timeEntrySize  = 12
	abortEntrySize = 34
)

// indexEntry says that the batch at position ends with the record at offset, counted from the segment's base.
type indexEntry struct {
	offset   uint32
	position uint32
}

func appendIndex(dst []byte, entries []indexEntry) []byte {
	for _, e := range entries {
		dst = binary.BigEndian.AppendUint32(dst, e.offset)
		dst = binary.BigEndian.AppendUint32(dst, e.position)
	}
	return dst
}

// parseIndex reads the entries in b, which must ascend and lie inside of size bytes of segment.
func parseIndex(b []byte, size int64) ([]indexEntry, error) {
	if len(b)%indexEntrySize != 0 {
		return nil, fmt.Errorf("%d bytes are no multiple of an entry's %d", len(b), indexEntrySize)
	}
	entries := make([]indexEntry, len(b)/indexEntrySize)
	for i := range entries {
		e := indexEntry{
			offset:   binary.BigEndian.Uint32(b[i*indexEntrySize:]),
			position: binary.BigEndian.Uint32(b[i*indexEntrySize+4:]),
		}
		if int64(e.position)+batchHeaderSize > size {
			return nil, fmt.Errorf("entry %d points to %d, and the segment has %d bytes", i, e.position, size)
		}
		if i > 0 && (e.offset <= entries[i-1].offset || e.position <= entries[i-1].position) {
			return nil, fmt.Errorf("entry %d does not come after the one before it", i)
		}
		entries[i] = e
	}
	return entries, nil
}

// floorIndex returns the last entry whose batch starts at or before the record at offset, counted from the
// segment's base. Its own batch ends at the entry's offset, so that may be the one.
func floorIndex(entries []indexEntry, offset uint32) (indexEntry, bool) {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].offset > offset })
	if i == 0 {
		return indexEntry{}, false
	}
	return entries[i-1], true
}

// timeEntry says that the batch that ends with the record at offset, counted from the segment's base, is the
// first with the largest timestamp so far.
type timeEntry struct {
	timestamp int64
	offset    uint32
}

// noTime stands before all entries, as in Kafka: what has no timestamp, which is -1, is in no index.
var noTime = timeEntry{timestamp: noTimestamp}

// noTimestamp is Kafka's timestamp of a record that has none.
const noTimestamp = -1

func appendTimes(dst []byte, entries []timeEntry) []byte {
	for _, e := range entries {
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.timestamp))
		dst = binary.BigEndian.AppendUint32(dst, e.offset)
	}
	return dst
}

// parseTimes reads the entries in b, which must ascend, up to newest at most.
func parseTimes(b []byte, newest timeEntry) ([]timeEntry, error) {
	if len(b)%timeEntrySize != 0 {
		return nil, fmt.Errorf("%d bytes are no multiple of an entry's %d", len(b), timeEntrySize)
	}
	entries := make([]timeEntry, len(b)/timeEntrySize)
	for i := range entries {
		e := timeEntry{
			timestamp: int64(binary.BigEndian.Uint64(b[i*timeEntrySize:])),
			offset:    binary.BigEndian.Uint32(b[i*timeEntrySize+8:]),
		}
		if e.timestamp < 0 || e.timestamp > newest.timestamp || e.offset > newest.offset {
			return nil, fmt.Errorf("entry %d has timestamp %d at offset %d, and the largest is %d at %d", i, e.timestamp, e.offset, newest.timestamp, newest.offset)
		}
		if i > 0 && (e.timestamp <= entries[i-1].timestamp || e.offset <= entries[i-1].offset) {
			return nil, fmt.Errorf("entry %d does not come after the one before it", i)
		}
		entries[i] = e
	}
	return entries, nil
}

// floorTime returns the last entry before the given offset, counted from the segment's base, with a smaller
// timestamp: up to its batch there is nothing of what is looked for.
func floorTime(entries []timeEntry, timestampMs, end int64) (timeEntry, bool) {
	i := sort.Search(len(entries), func(i int) bool {
		return entries[i].timestamp >= timestampMs || int64(entries[i].offset) >= end
	})
	if i == 0 {
		return noTime, false
	}
	return entries[i-1], true
}

// AbortedTransaction is a transaction of which readers under ReadCommitted must skip the batches: those of
// the producer from FirstOffset to LastOffset, which is that of its abort marker.
type AbortedTransaction struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64

	lastStable int64 // of the partition, right after the abort
}

func appendAborts(dst []byte, aborts []AbortedTransaction) []byte {
	for _, a := range aborts {
		dst = appendInt16(dst, 0)
		dst = appendInt64(dst, a.ProducerID)
		dst = appendInt64(dst, a.FirstOffset)
		dst = appendInt64(dst, a.LastOffset)
		dst = appendInt64(dst, a.lastStable)
	}
	return dst
}

// parseAborts reads the entries in b, whose markers must ascend and lie in [base, end).
func parseAborts(b []byte, base, end int64) ([]AbortedTransaction, error) {
	if len(b)%abortEntrySize != 0 {
		return nil, fmt.Errorf("%d bytes are no multiple of an entry's %d", len(b), abortEntrySize)
	}
	r := fieldReader{b: b}
	aborts := make([]AbortedTransaction, len(b)/abortEntrySize)
	for i := range aborts {
		version := r.int16()
		a := AbortedTransaction{ProducerID: r.int64(), FirstOffset: r.int64(), LastOffset: r.int64(), lastStable: r.int64()}
		switch {
		case version != 0:
			return nil, fmt.Errorf("entry %d has version %d, want 0", i, version)
		case a.FirstOffset < 0 || a.FirstOffset > a.LastOffset || a.LastOffset < base || a.LastOffset >= end:
			return nil, fmt.Errorf("entry %d spans [%d, %d], and the segment [%d, %d)", i, a.FirstOffset, a.LastOffset, base, end)
		case i > 0 && a.LastOffset <= aborts[i-1].LastOffset:
			return nil, fmt.Errorf("entry %d does not come after the one before it", i)
		}
		aborts[i] = a
	}
	return aborts, nil
}
