package log

import (
	"fmt"
	"math"
	"slices"
	"sync"
)

// This file is the way into the log: encode, place in the segments, one frame into the journal, settle.

// frames are reused, each with the memory of the largest append it has held.
var frames = sync.Pool{New: func() any { return new(frame) }}

// maxPooledFrame keeps a frame that one huge append grew from staying in the pool for good.
const maxPooledFrame = 8 << 20

func newFrame() *frame { return frames.Get().(*frame) }

func (fr *frame) release() {
	if cap(fr.buf) <= maxPooledFrame {
		frames.Put(fr)
	}
}

// split says how the block is cut into batches of at most maxBytes.
func (fr *frame) split(b *Block, maxBytes int) {
	fr.splits = fr.splits[:0]
	for from := 0; from < b.Len(); {
		from = b.fit(from, maxBytes)
		fr.splits = append(fr.splits, from)
	}
}

// addBlock encodes the block as split says, one section for each batch.
func (fr *frame) addBlock(b *Block, c Compression, stamp producerStamp, maxBytes int) error {
	from := 0
	for _, to := range fr.splits {
		if to-from == 1 {
			if s := &b.spans[from]; s.bytes() > maxBatchBytes-batchHeaderSize-maxRecordOverhead {
				return tooLarge(s.bytes(), maxBytes)
			}
		}
		start := len(fr.buf)
		var err error
		if fr.buf, err = appendBatch(fr.buf, b, from, to, c, stamp); err != nil {
			return err
		}
		if size := len(fr.buf) - start; size > maxBytes {
			return tooLarge(size, maxBytes)
		}
		fr.addBatch()
		if stamp.sequence >= 0 {
			stamp.sequence = int32((int64(stamp.sequence) + int64(to-from)) & math.MaxInt32)
		}
		from = to
	}
	return nil
}

// bytes is the size of key, value and headers.
func (s *span) bytes() int { return int(max(s.keyLen, 0)) + int(max(s.valueLen, 0)) + int(s.headerLen) }

func tooLarge(size, maxBytes int) error {
	return fmt.Errorf("%w: one record makes a batch of %d bytes, and max.message.bytes is %d", ErrRecordTooLarge, size, maxBytes)
}

// part is what of a frame goes into one partition.
type part struct {
	p        *Partition
	from, to int // sections
}

// write writes a frame whose parts are all batches it has. If it fails, nothing has changed. The caller holds
// the locks of all partitions concerned, and of the meta state if the frame has meta sections. apply, if not
// nil, runs before the sequence is returned: what it changes is as durable as the frame.
func (l *Log) write(fr *frame, parts []part, apply func()) (sequence uint64, err error) {
	now := l.nowMs()
	placed := 0
	for _, pt := range parts {
		placed++
		if err = pt.p.place(fr, pt.from, pt.to, now); err != nil {
			break
		}
	}
	if err == nil {
		sequence, err = l.journal.append(fr)
	}
	if err != nil {
		for _, pt := range parts[:placed] {
			if uerr := pt.p.unplace(); uerr != nil {
				l.logger.Warn("an empty segment stays behind after an append that failed", "partition", pt.p.tp.String(), "error", uerr)
			}
		}
		return 0, err
	}
	for _, pt := range parts {
		if err := pt.p.settle(fr, pt.from, pt.to, now); err != nil {
			// It was checked before it was written: the state in memory is wrong, and must not be built on.
			l.journal.fail(fmt.Errorf("log: frame %d does not fit %s: %w", sequence, pt.p.tp, err))
			return 0, l.journal.err()
		}
	}
	if apply != nil {
		apply()
	}
	for _, pt := range parts {
		l.journal.reveal(pt.p.mark(sequence))
	}
	return sequence, nil
}

// ack waits until the frame counts as synced by the mode in which appends are acknowledged.
func (l *Log) ack(sequence uint64) error {
	if l.mode != SyncCommit {
		return nil
	}
	return l.journal.wait(sequence)
}

// lane is one producer's way into one partition. Its lock is held from before a batch is encoded, since the
// sequence is under the batch's CRC, until it is written.
type lane struct {
	p *Partition

	mu   sync.Mutex
	who  producerStamp // id, epoch and the next sequence
	part [1]part
	txn  uint64 // serial of the transaction that has the partition
}

// append appends the block and releases it. The caller holds mu.
func (ln *lane) append(l *Log, b *Block, c Compression) (base int64, sequence uint64, err error) {
	defer b.Release()
	p := ln.p
	if b.Len() == 0 {
		return p.appended.Load(), 0, nil
	}
	if !p.settings.byProducer {
		c = p.settings.compression
	}
	fr := newFrame()
	defer fr.release()
	fr.split(b, p.settings.maxMessageBytes)
	fr.reset(len(fr.splits))
	if err := fr.addBlock(b, c, ln.who, p.settings.maxMessageBytes); err != nil {
		return -1, 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	duplicate, err := p.check(fr.data(0))
	if err != nil {
		return -1, 0, err
	}
	if duplicate != nil {
		return duplicate.baseOffset, l.journal.written(), nil
	}
	ln.part[0] = part{p: p, from: 0, to: len(fr.sections)}
	if sequence, err = l.write(fr, ln.part[:], nil); err != nil {
		return -1, 0, err
	}
	ln.who.sequence = int32((int64(ln.who.sequence) + int64(b.Len())) & math.MaxInt32)
	return fr.sections[0].baseOffset, sequence, nil
}

// appendEncoded appends one batch as a client has encoded it: with its own producer id, epoch and sequence. A
// batch that is there already is not appended again; its offset is returned as before. batch is changed: it
// gets its place.
func (l *Log) appendEncoded(p *Partition, batch []byte) (base int64, sequence uint64, err error) {
	if p == l.offsetsPart {
		return -1, 0, errOffsetsTopic
	}
	h, err := parseBatchHeader(batch)
	if err != nil {
		return -1, 0, err
	}
	if h.size() != len(batch) {
		return -1, 0, fmt.Errorf("log: %d bytes are not the one batch of %d bytes that they start with", len(batch), h.size())
	}
	if err := checkBatchCRC(batch); err != nil {
		return -1, 0, err
	}
	if err := checkBatchHeader(&h); err != nil {
		return -1, 0, err
	}
	if len(batch) > p.settings.maxMessageBytes {
		return -1, 0, tooLarge(len(batch), p.settings.maxMessageBytes)
	}
	fr := newFrame()
	defer fr.release()
	fr.reset(1)
	fr.buf = append(fr.buf, batch...)
	fr.addBatch()
	p.mu.Lock()
	defer p.mu.Unlock()
	duplicate, err := p.check(batch)
	if err != nil {
		return -1, 0, err
	}
	if duplicate != nil {
		return duplicate.baseOffset, l.journal.written(), nil
	}
	if sequence, err = l.write(fr, []part{{p: p, from: 0, to: 1}}, nil); err != nil {
		return -1, 0, err
	}
	return fr.sections[0].baseOffset, sequence, nil
}

// lockAll takes the locks of partitions, which are in the order of their numbers.
func lockAll(ps []*Partition) (unlock func()) {
	for _, p := range ps {
		p.mu.Lock()
	}
	return func() {
		for _, p := range slices.Backward(ps) {
			p.mu.Unlock()
		}
	}
}
