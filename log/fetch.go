package log

import (
	"errors"
	"fmt"
	"log/slog"
	"sort"
)

// defaultFetchBytes bounds a fetch where nobody says otherwise.
const defaultFetchBytes = 1 << 20

// Batches are whole record batches of one partition, as they are on disk.
type Batches struct {
	// Buf holds the batches, one after another. It is never written again, and never pooled.
	Buf []byte
	// Next is the offset to go on from.
	Next int64
	// Aborted are the transactions to skip under ReadCommitted (KIP-98).
	Aborted []AbortedTransaction

	path string
	at   position // of Buf's first byte
	next position
}

// Cursor reads the batches' records from the given offset on, without those of Aborted. It is for brokers that
// fetch whole batches of Kafka's format from elsewhere.
func (b *Batches) Cursor(from int64) Cursor {
	return newCursor(b.Buf, from, b.Next, skipAborted(b.Aborted))
}

// position is where a batch starts whose base offset is known, so that reading on needs no index.
type position struct {
	s      *segment
	at     int64
	offset int64
}

// Fetch returns the batches of p from the one that holds offset onward, in offset order, until maxBytes bytes
// are gathered. At least one batch is returned if there is one, so that a batch larger than maxBytes cannot
// stop a consumer for good (KIP-74). The first batch may start before offset: its earlier records are the
// caller's to skip.
//
// With ReadCommitted nothing at or past the last stable offset is returned, and Aborted lists the
// transactions to skip.
//
// Fetch never waits: at the high watermark it returns no batches and a nil error. It returns
// ErrOffsetOutOfRange outside of [log start, high watermark], and an error matching ErrCorrupt for a batch
// whose CRC does not hold; offsets before that batch stay readable. At a last stable offset that will never move,
// since the partition is damaged, it returns that error too.
func (p *Partition) Fetch(offset int64, maxBytes int, iso Isolation) (Batches, error) {
	if err := p.life.enter(); err != nil {
		return Batches{}, fmt.Errorf("fetch %s: %w", p.tp, err)
	}
	defer p.life.leave()
	if hw := p.highWatermark.Load(); offset > hw {
		return Batches{}, p.outOfRange(offset, hw)
	}
	f, err := p.fetch(position{offset: offset}, p.bound(iso), maxBytes)
	if err != nil {
		return Batches{}, err
	}
	for at := 0; at < len(f.Buf); {
		h, err := parseBatchHeader(f.Buf[at:])
		if err == nil {
			err = checkBatchCRC(f.Buf[at : at+h.size()])
		}
		if err != nil {
			bad := p.damaged(&CorruptError{Path: f.path, Offset: f.at.at + int64(at), Err: err}, h.baseOffset)
			if at == 0 {
				return Batches{}, bad
			}
			f.Buf, f.Next = f.Buf[:at:at], h.baseOffset
			break
		}
		at += h.size()
	}
	if iso == ReadCommitted {
		if f.Aborted, err = p.aborted(offset, f.Next); err != nil {
			return Batches{}, err
		}
	}
	return f, nil
}

func (p *Partition) outOfRange(offset, end int64) error {
	return fmt.Errorf("%w: %s has offsets from %d to %d, and %d is not one", ErrOffsetOutOfRange, p.tp, p.start.Load(), end, offset)
}

// fetch is Fetch up to the given bound, without the check of CRCs, which a cursor makes too, and without
// Aborted. from.s may be nil.
func (p *Partition) fetch(from position, bound int64, maxBytes int) (Batches, error) {
	none := Batches{Next: from.offset, at: from, next: from}
	if from.offset < p.start.Load() {
		return none, p.outOfRange(from.offset, p.highWatermark.Load())
	}
	if maxBytes <= 0 {
		maxBytes = defaultFetchBytes
	}
	fault, limit := p.fault.Load(), bound
	if fault != nil {
		limit = min(limit, fault.offset) // what comes after may look well
	}
	for from.offset < limit {
		b, err := p.fetchSegment(from, limit, maxBytes)
		if err != nil || len(b.Buf) > 0 {
			return b, err
		}
		// The segment ends before the offset: a later one has it.
		segs := *p.segments.Load()
		i := sort.Search(len(segs), func(i int) bool { return segs[i].base > b.at.s.base })
		if i == len(segs) {
			return none, nil // what is visible is not all settled yet: a wake-up follows
		}
		from = position{s: segs[i], offset: max(from.offset, segs[i].base)}
	}
	if fault != nil {
		if from.offset < bound {
			return none, fault.err
		}
		// Nothing is appended any more. What an open transaction holds back will never be let go: whoever waits
		// for it is told, or would wait for good.
		if end := p.appended.Load(); bound < end && p.highWatermark.Load() == end {
			return none, fault.err
		}
	}
	return none, nil
}

// fetchSegment reads from the segment that holds the offset, or from the one before it. No batches and no
// error mean that the segment ends before the offset.
func (p *Partition) fetchSegment(from position, bound int64, maxBytes int) (Batches, error) {
	s := from.s
	pl := place{position: from.at, base: from.offset, last: -1}
	if s == nil || from.at == 0 {
		segs := *p.segments.Load()
		s = segs[max(sort.Search(len(segs), func(i int) bool { return segs[i].base > from.offset })-1, 0)]
		var err error
		if pl, err = s.locate(from.offset); err != nil {
			return Batches{}, p.readError(err, from.offset)
		}
	}
	empty := Batches{Next: from.offset, at: position{s: s}}
	size := s.size.Load()
	if pl.position >= size {
		return empty, nil
	}
	f, err := s.file()
	if err != nil {
		return Batches{}, err
	}
	want := maxBytes
	for pl.position < size {
		buf := make([]byte, min(int64(want), size-pl.position))
		n, err := f.readUpTo(buf, pl.position)
		if err != nil {
			return Batches{}, p.readError(err, from.offset)
		}
		short := n < len(buf) // of what the segment is to have
		buf = buf[:n]
		w := batchWalk{p: p, path: f.path, buf: buf, start: pl.position, left: size - pl.position, next: pl.base, last: pl.last}
		if err := w.run(from.offset, bound); err != nil {
			if pl.last < 0 {
				return Batches{}, p.damaged(err, w.next)
			}
			// Segment and index disagree. The segment has sums, and is asked from its start on.
			pl = place{position: 0, base: s.base, last: -1}
			continue
		}
		if w.from < w.to {
			return Batches{
				Buf:  buf[w.from:w.to:w.to],
				Next: w.next,
				path: f.path,
				at:   position{s: s, at: pl.position + int64(w.from), offset: w.first},
				next: position{s: s, at: pl.position + int64(w.to), offset: w.next},
			}, nil
		}
		if short {
			bad := &CorruptError{Path: f.path, Offset: pl.position + int64(w.from),
				Err: fmt.Errorf("the file ends after %d bytes, and the segment has %d", pl.position+int64(n), size)}
			return Batches{}, p.damaged(bad, max(w.next, pl.last))
		}
		// All of it was passed over, or the first batch is larger than what was asked for.
		pl = place{position: pl.position + int64(w.from), base: w.next, last: -1}
		want = max(maxBytes, w.need)
	}
	return empty, nil
}

// batchWalk goes over the batches in a piece of a segment by their headers, to find which of them are wanted.
//
// Base offset, length and leader epoch lie outside of a batch's CRC, so they are held against what is known:
// batches in a segment follow one another without gaps.
type batchWalk struct {
	p     *Partition
	path  string
	buf   []byte
	start int64 // of buf in the file
	left  int64 // bytes of the segment from start on
	last  int64 // last offset of the first batch, where known; else -1

	from, to int   // the wanted batches in buf; if there are none, from is where to read on
	first    int64 // their first offset
	next     int64 // base offset of the batch at to, where known; else -1. The caller sets that of the first batch
	need     int   // if there are none: at least how much of the next batch is to be read
}

// run finds the batches from the one that holds offset up to bound. An error is damage before the first of
// them; next is then its offset, as far as it is known. Damage further on ends the walk before it.
func (w *batchWalk) run(offset, bound int64) *CorruptError {
	started := false
	for at := 0; at < len(w.buf); {
		h, whole, err := w.header(at)
		if err != nil {
			if started {
				return nil // the next fetch starts there and says so
			}
			return &CorruptError{Path: w.path, Offset: w.start + int64(at), Err: err}
		}
		switch {
		case !whole:
			w.need = batchHeaderSize
		case h.size() > len(w.buf)-at:
			w.need = h.size()
		default:
			w.need = 0
		}
		if w.need > 0 || started && h.baseOffset >= bound {
			return nil
		}
		if !started && h.nextOffset() <= offset {
			// Passed over unread: its CRC is all that stands for where it ends.
			if err := checkBatchCRC(w.buf[at : at+h.size()]); err != nil {
				return &CorruptError{Path: w.path, Offset: w.start + int64(at), Err: err}
			}
		} else if !started {
			started = true
			w.first = h.baseOffset
		}
		at += h.size()
		w.to, w.next = at, h.nextOffset()
		if !started {
			w.from = at
		}
	}
	return nil
}

// header reads the header at buf[at:] and holds it against what is known; whole is false if buf ends inside of
// it.
func (w *batchWalk) header(at int) (h batchHeader, whole bool, err error) {
	if len(w.buf)-at < batchHeaderSize {
		if int64(at)+batchHeaderSize > w.left {
			err = fmt.Errorf("%d bytes are less than a batch header", w.left-int64(at))
		}
		return h, false, err
	}
	h, err = parseBatchHeader(w.buf[at:])
	switch {
	case err != nil:
	case w.next >= 0 && h.baseOffset != w.next:
		err = fmt.Errorf("batch has base offset %d, want %d", h.baseOffset, w.next)
	case h.leaderEpoch < 0 || h.leaderEpoch > w.p.leaderEpoch:
		err = fmt.Errorf("batch has leader epoch %d, and the partition %d", h.leaderEpoch, w.p.leaderEpoch)
	case h.lastOffsetDelta < 0:
		err = fmt.Errorf("batch has last offset delta %d", h.lastOffsetDelta)
	case at == 0 && w.last >= 0 && h.nextOffset() != w.last+1:
		err = fmt.Errorf("batch ends at offset %d, and the index says %d", h.nextOffset()-1, w.last)
	case int64(at)+int64(h.size()) > w.left:
		err = fmt.Errorf("batch of %d bytes reaches past the segment's end, %d bytes on", h.size(), w.left-int64(at))
	}
	return h, true, err
}

// damaged takes note that the batch at offset is damaged, once, and returns what to say of it.
func (p *Partition) damaged(err *CorruptError, offset int64) error {
	f := &partitionFault{offset: offset, err: err}
	for {
		old := p.fault.Load()
		if old != nil && old.offset <= f.offset {
			return err
		}
		if p.fault.CompareAndSwap(old, f) {
			p.settings.logger.Error("partition is damaged: nothing is read from this offset on, and nothing appended",
				slog.String("partition", p.tp.String()), slog.Int64("offset", f.offset),
				slog.String("file", err.Path), slog.Int64("position", err.Offset), slog.Any("error", err.Err))
			p.wakeWatchers(false)
			return err
		}
	}
}

// readError tells damage from a read that failed.
func (p *Partition) readError(err error, offset int64) error {
	if ce := (*CorruptError)(nil); errors.As(err, &ce) {
		return p.damaged(ce, offset)
	}
	return fmt.Errorf("read %s at offset %d: %w", p.tp, offset, err)
}

// aborted returns the aborted transactions that have batches in [from, to).
func (p *Partition) aborted(from, to int64) ([]AbortedTransaction, error) {
	if from >= to {
		return nil, nil
	}
	segs := *p.segments.Load()
	i := max(sort.Search(len(segs), func(i int) bool { return segs[i].base > from })-1, 0)
	var out []AbortedTransaction
	for ; i < len(segs); i++ {
		end := p.appended.Load()
		if i+1 < len(segs) {
			end = segs[i+1].base
		}
		var done bool
		var err error
		if out, done, err = segs[i].abortsIn(out, from, to, end); err != nil {
			return nil, p.readError(err, from)
		}
		if done {
			break
		}
	}
	return out, nil
}

// skipAborted says of a batch whether readers under ReadCommitted must skip it.
func skipAborted(aborted []AbortedTransaction) func(h *batchHeader) bool {
	if len(aborted) == 0 {
		return nil
	}
	return func(h *batchHeader) bool {
		if !h.isTransactional() {
			return false
		}
		for i := range aborted {
			a := &aborted[i]
			if a.ProducerID == h.producerID && a.FirstOffset <= h.baseOffset && h.baseOffset <= a.LastOffset {
				return true
			}
		}
		return false
	}
}

// partitionCursor is a cursor that tells its partition of damage.
type partitionCursor struct {
	batchCursor
	p *Partition
}

// cursor returns a cursor over fetched batches, from the given offset on.
func (p *Partition) cursor(f *Batches, from int64) *partitionCursor {
	c := &partitionCursor{batchCursor: *newCursor(f.Buf, from, f.Next, skipAborted(f.Aborted)), p: p}
	c.path, c.basePos = f.path, f.at.at
	return c
}

// Next is batchCursor's; an error names the partition as well.
func (c *partitionCursor) Next(dst []Record) (int, error) {
	n, err := c.batchCursor.Next(dst)
	if err != nil {
		if ce := (*CorruptError)(nil); errors.As(err, &ce) {
			offset := c.batchCursor.nextOffset
			if offset == 0 {
				offset = c.from
			}
			_ = c.p.damaged(ce, offset)
		}
		return n, fmt.Errorf("read %s: %w", c.p.tp, err)
	}
	return n, err
}
