package log

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// This file finds offsets by time. A segment's time index says up to where no timestamp is large enough; from
// there on the batches are looked through.

// Times with a meaning of their own, as in Kafka's ListOffsets.
const (
	LatestTime   int64 = -1 // the offset that Latest stands for
	EarliestTime int64 = -2 // the log start offset
	MaxTime      int64 = -3 // the first record with the largest timestamp (KIP-734)
)

// TimestampOffset is a record found by its timestamp.
type TimestampOffset struct {
	Offset int64
	// Timestamp is the record's, in milliseconds since the epoch; -1 for LatestTime and EarliestTime.
	Timestamp int64
	// LeaderEpoch is that of the record's batch; for LatestTime the partition's, and -1 for EarliestTime.
	LeaderEpoch int32
}

// OffsetsForTimes returns for each partition what OffsetForTime returns under ReadUncommitted, Kafka's
// default; partitions where nothing is found are absent. Errors: ErrUnknownTopic, ErrCorrupt, ErrClosed.
func (l *Log) OffsetsForTimes(ctx context.Context, times map[TopicPartition]int64) (map[TopicPartition]TimestampOffset, error) {
	out := make(map[TopicPartition]TimestampOffset, len(times))
	for _, tp := range slices.SortedFunc(maps.Keys(times), compareTopicPartitions) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("find an offset of %s by time: %w", tp, err)
		}
		p, err := l.partition(tp)
		if err != nil {
			return nil, err
		}
		at, found, err := p.OffsetForTime(times[tp], ReadUncommitted)
		if err != nil {
			return nil, err
		}
		if found {
			out[tp] = at
		}
	}
	return out, nil
}

// OffsetForTime finds the first record whose timestamp is timestampMs or later; timestampMs may be LatestTime,
// EarliestTime or MaxTime. Timestamps need not ascend: records after it may be older.
//
// Nothing at or past the end that readers under iso have is found. As in Kafka, records of aborted
// transactions and the markers that end transactions count, although no reader gets them: reading from the
// offset starts at the next record after it then. And as there MaxTime finds nothing while the record with
// the largest timestamp cannot be read yet.
//
// It reads the index and the batches from a little before the record on; it never waits for records.
func (p *Partition) OffsetForTime(timestampMs int64, iso Isolation) (at TimestampOffset, found bool, err error) {
	if err := p.life.enter(); err != nil {
		return at, false, fmt.Errorf("find an offset of %s by time: %w", p.tp, err)
	}
	defer p.life.leave()
	bound := p.bound(iso)
	switch timestampMs {
	case LatestTime:
		return TimestampOffset{Offset: bound, Timestamp: noTimestamp, LeaderEpoch: p.leaderEpoch}, true, nil
	case EarliestTime:
		return TimestampOffset{Offset: p.start.Load(), Timestamp: noTimestamp, LeaderEpoch: -1}, true, nil
	case MaxTime:
		at, found, err = p.newestRecord(bound)
	default:
		if timestampMs < 0 {
			return at, false, fmt.Errorf("log: find an offset of %s by time: %d is no time", p.tp, timestampMs)
		}
		at, found, err = p.firstRecordSince(timestampMs, bound)
	}
	if err != nil {
		return at, false, fmt.Errorf("find an offset of %s by time: %w", p.tp, err)
	}
	return at, found, nil
}

// firstRecordSince finds the first record before bound with the timestamp or a larger one.
func (p *Partition) firstRecordSince(timestampMs, bound int64) (at TimestampOffset, found bool, err error) {
	segs := *p.segments.Load()
	for i, s := range segs {
		end := bound
		if i+1 < len(segs) {
			end = min(end, segs[i+1].base)
		}
		if s.largestTimestamp() < timestampMs || end <= p.start.Load() {
			continue
		}
		if at, found, err = p.searchSegment(s, timestampMs, end); found || err != nil {
			return at, found, err
		}
	}
	return at, false, nil
}

// searchSegment finds it in one segment, before offset end.
func (p *Partition) searchSegment(s *segment, timestampMs, end int64) (at TimestampOffset, found bool, err error) {
	start := max(p.start.Load(), s.base)
	e, known := s.floorTime(timestampMs, end)
	for {
		from, lies := start, false
		if last := s.base + int64(e.offset); known && last > start {
			from = last
		}
		err = p.eachBatch(from, end, func(h *batchHeader, batch []byte) (more bool, err error) {
			if from > start && h.baseOffset <= from && (h.maxTimestamp != e.timestamp || h.nextOffset() != from+1) {
				lies = true
				return false, nil
			}
			if h.maxTimestamp < timestampMs {
				return true, nil
			}
			at, found, err = recordSince(h, batch, timestampMs, start)
			return !found, err
		})
		if !lies {
			return at, found, err
		}
		// The segment has sums and the index has none: it is made anew, for those who come after.
		s.dropTimes()
		known = false
	}
}

// newestRecord finds the first record with the largest timestamp, if it lies before bound.
func (p *Partition) newestRecord(bound int64) (at TimestampOffset, found bool, err error) {
	largest, last := int64(noTimestamp), int64(-1)
	for _, s := range *p.segments.Load() {
		s.mu.Lock()
		if s.newest.timestamp > largest {
			largest, last = s.newest.timestamp, s.base+int64(s.newest.offset)
		}
		s.mu.Unlock()
	}
	start := p.start.Load()
	if last < start || last >= bound {
		return at, false, nil
	}
	err = p.eachBatch(last, bound, func(h *batchHeader, batch []byte) (more bool, err error) {
		at, found, err = recordSince(h, batch, largest, start)
		return false, err
	})
	return at, found, err
}

// timeScanBytes is how much of a segment is read at once to look for a timestamp: the index has an entry for
// every few thousand bytes.
const timeScanBytes = 64 << 10

// eachBatch calls visit for the batches from the one that holds offset from up to offset end, until it says
// that it wants no more. The batches' sums hold; an error of visit says that the batch is damaged all the same.
func (p *Partition) eachBatch(from, end int64, visit func(h *batchHeader, batch []byte) (more bool, err error)) error {
	for next := (position{offset: from}); next.offset < end; {
		f, err := p.fetch(next, end, timeScanBytes)
		if err != nil || len(f.Buf) == 0 {
			return err
		}
		for at := 0; at < len(f.Buf); {
			h, err := parseBatchHeader(f.Buf[at:])
			if err != nil {
				return err // not to be: fetch has parsed it
			}
			batch, more := f.Buf[at:at+h.size()], false
			if err = checkBatchCRC(batch); err == nil {
				err = checkBatchHeader(&h)
			}
			if err == nil {
				more, err = visit(&h, batch)
			}
			if err != nil {
				return p.damaged(&CorruptError{Path: f.path, Offset: f.at.at + int64(at), Err: inBatch(&h, err)}, h.baseOffset)
			}
			if !more {
				return nil
			}
			at += len(batch)
		}
		next = f.next
	}
	return nil
}

// recordSince finds the first record of the batch, from the given offset on, with the timestamp or a larger
// one.
func recordSince(h *batchHeader, batch []byte, timestampMs, from int64) (at TimestampOffset, found bool, err error) {
	records, err := decompress(batch[batchHeaderSize:], h.compression())
	if err != nil {
		return at, false, err
	}
	var d recordDecoder
	if err := d.reset(h, records, from); err != nil {
		return at, false, err
	}
	var some [64]Record
	for {
		n, err := d.next(some[:])
		i := slices.IndexFunc(some[:n], func(r Record) bool { return r.Timestamp >= timestampMs })
		if i >= 0 {
			return TimestampOffset{Offset: some[i].Offset, Timestamp: some[i].Timestamp, LeaderEpoch: h.leaderEpoch}, true, nil
		}
		if err != nil {
			return at, false, err
		}
		if n == 0 {
			return at, false, nil
		}
	}
}

// largestTimestamp is that of the segment's records; -1 if none has one.
func (s *segment) largestTimestamp() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest.timestamp
}

// addTime adds an entry, if there is a larger timestamp than in the one before. The caller holds mu.
func (s *segment) addTime() {
	if s.newest.timestamp > s.lastTime {
		s.times.entries = append(s.times.entries, s.newest)
		s.lastTime = s.newest.timestamp
	}
}

// floorTime returns the last entry before offset end with a smaller timestamp. None is always a right answer: an
// index that cannot be had costs time, and what is wrong will show where the batches are read.
func (s *segment) floorTime(timestampMs, end int64) (e timeEntry, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.loadTimes(); err != nil {
		return noTime, false
	}
	return floorTime(s.times.entries, timestampMs, end-s.base)
}

// loadTimes reads the stored entries. The caller holds mu. As with the offset index, what does not fit the
// segment is made anew from it.
func (s *segment) loadTimes() error {
	if s.times.loaded {
		return nil
	}
	var entries []timeEntry
	b, err := readEntries(s.fs, s.path(timeSuffix), s.times.stored*timeEntrySize)
	if err == nil {
		entries, err = parseTimes(b, s.newest)
	}
	if err != nil {
		return s.rebuildTimes()
	}
	s.times.entries = append(entries, s.times.entries...)
	s.times.loaded = true
	return nil
}

// dropTimes makes the time index anew, after what it says was found not to be so.
func (s *segment) dropTimes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rebuildTimes() != nil {
		s.times.rebuild(nil)
		s.lastTime = noTime.timestamp
	}
}

// rebuildTimes walks the segment for its time index. The caller holds mu.
func (s *segment) rebuildTimes() error {
	var entries []timeEntry
	newest, lastTime, unindexed := noTime, noTime.timestamp, 0
	err := s.walk(func(h *batchHeader, _ int64) error {
		if h.maxTimestamp > newest.timestamp {
			newest = timeEntry{h.maxTimestamp, uint32(h.nextOffset() - 1 - s.base)}
		}
		if unindexed > s.interval {
			unindexed = 0
			if newest.timestamp > lastTime {
				entries = append(entries, newest)
				lastTime = newest.timestamp
			}
		}
		unindexed += h.size()
		return nil
	})
	if err != nil {
		return err
	}
	s.times.rebuild(entries)
	s.lastTime = lastTime
	return nil
}
