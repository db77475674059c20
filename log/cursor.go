package log

import (
	"errors"
	"fmt"
	"math"
)

// batchCursor reads the records of a buffer of whole batches, as a fetch or a read of a segment returns them.
//
// Every batch's CRC is checked before anything but its length is believed, also of batches that are then
// passed over: what says that a batch is a control batch, or of an aborted transaction, lies under the CRC.
// Control batches, batches for which skip says so, and records below from are not passed on. Uncompressed
// records are slices of the buffer, which must never be written again; others of one that is made for their
// batch.
//
// An error names file, byte position and base offset of the batch and matches ErrCorrupt. The records
// before it are returned first.
type batchCursor struct {
	// path and basePos say where buf comes from: the file, and the position of buf's first byte in it. The
	// caller may set them; they only go into errors.
	path    string
	basePos int64

	buf  []byte
	from int64
	end  int64
	skip func(h *batchHeader) bool

	at         int   // in buf: where the next batch starts
	nextOffset int64 // the least base offset that it may have
	batchAt    int   // in buf: where the batch of records starts
	records    recordDecoder
	unpacked   int // bytes that batches were decompressed into
	err        error
}

var _ Cursor = (*batchCursor)(nil)

// newCursor returns a cursor over buf. end is what End returns; skip may be nil.
func newCursor(buf []byte, from, end int64, skip func(h *batchHeader) bool) *batchCursor {
	return &batchCursor{buf: buf, from: from, end: end, skip: skip}
}

// End is the offset after everything in the buffer.
func (c *batchCursor) End() int64 { return c.end }

// Bytes is the size of the buffer and of what has been decompressed from it so far.
func (c *batchCursor) Bytes() int { return len(c.buf) + c.unpacked }

// Next fills dst, over as many batches as it takes. It returns an error only in a call of its own, with no
// records, and then always.
func (c *batchCursor) Next(dst []Record) (int, error) {
	n := 0
	for n < len(dst) && c.err == nil {
		if c.records.left == 0 {
			if c.at == len(c.buf) {
				break
			}
			if err := c.nextBatch(); err != nil {
				c.fail(err)
			}
			continue
		}
		read, err := c.records.next(dst[n:])
		n += read
		if err != nil {
			c.fail(err)
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, c.err
}

// fail remembers what is wrong with the batch at batchAt.
func (c *batchCursor) fail(err error) {
	c.records.left = 0
	c.err = &CorruptError{Path: c.path, Offset: c.basePos + int64(c.batchAt), Err: err}
}

// nextBatch makes the next batch's records those to be read; none if the batch is to be passed over.
func (c *batchCursor) nextBatch() error {
	c.batchAt = c.at
	rest := c.buf[c.at:]
	h, err := parseBatchHeader(rest)
	if err != nil {
		return err
	}
	if h.size() > len(rest) {
		return fmt.Errorf("batch with base offset %d is cut short: %d of %d bytes", h.baseOffset, len(rest), h.size())
	}
	batch := rest[:h.size():h.size()]
	if err := c.openBatch(&h, batch); err != nil {
		return fmt.Errorf("batch with base offset %d: %w", h.baseOffset, err)
	}
	c.at += len(batch)
	return nil
}

func (c *batchCursor) openBatch(h *batchHeader, batch []byte) error {
	if err := checkBatchCRC(batch); err != nil {
		return err
	}
	if err := checkBatchHeader(h); err != nil {
		return err
	}
	if h.baseOffset < c.nextOffset {
		return fmt.Errorf("the batch before it ends at offset %d", c.nextOffset-1)
	}
	c.nextOffset = h.nextOffset()
	if h.isControl() || c.nextOffset <= c.from || c.skip != nil && c.skip(h) {
		return nil
	}
	records, err := decompress(batch[batchHeaderSize:], h.compression())
	if err != nil {
		return err
	}
	if h.compression() != CompressionNone {
		c.unpacked += len(records)
	}
	return c.records.reset(h, records, c.from)
}

// checkBatchHeader checks what a right CRC does not promise, so that a writer's mistake is not taken for
// records.
func checkBatchHeader(h *batchHeader) error {
	switch {
	case h.baseOffset < 0:
		return errors.New("base offset is negative")
	case h.lastOffsetDelta < 0 || h.baseOffset > math.MaxInt64-int64(h.lastOffsetDelta)-1:
		return fmt.Errorf("last offset delta is %d", h.lastOffsetDelta)
	case h.recordCount < 0 || int64(h.recordCount) > int64(h.lastOffsetDelta)+1:
		return fmt.Errorf("record count is %d, with last offset delta %d", h.recordCount, h.lastOffsetDelta)
	}
	return nil
}

// recordDecoder decodes the records of one batch in place.
type recordDecoder struct {
	b               []byte // uncompressed records
	at              int    // in b: where the next record starts
	left            int    // records to come
	count           int    // records in the batch
	from            int64
	baseOffset      int64
	baseTimestamp   int64
	maxTimestamp    int64
	logAppendTime   bool
	lastOffsetDelta int32
	previous        int32 // offset delta of the record before; -1 at the start
}

// minRecordSize is the size of a record with a length of one byte and nothing in it.
const minRecordSize = 7

// reset starts on the records b of the batch with header h. Records below offset from will not be returned.
func (d *recordDecoder) reset(h *batchHeader, b []byte, from int64) error {
	if int(h.recordCount) > len(b)/minRecordSize || h.recordCount == 0 && len(b) > 0 {
		return fmt.Errorf("record count is %d, with %d bytes of records", h.recordCount, len(b))
	}
	*d = recordDecoder{
		b:               b,
		left:            int(h.recordCount),
		count:           int(h.recordCount),
		from:            from,
		baseOffset:      h.baseOffset,
		baseTimestamp:   h.baseTimestamp,
		maxTimestamp:    h.maxTimestamp,
		logAppendTime:   h.isLogAppendTime(),
		lastOffsetDelta: h.lastOffsetDelta,
		previous:        -1,
	}
	return nil
}

// next fills dst with records. Fewer than len(dst) mean that the batch has no more, or the error, which is
// one of the record after them or of the batch's end.
func (d *recordDecoder) next(dst []Record) (n int, err error) {
	b, at := d.b, d.at
	for n < len(dst) && d.left > 0 {
		size, i := readVarint(b, at)
		if i < 0 || size < minRecordSize-1 || int(size) > len(b)-i {
			return n, d.bad("its length is bad (%d, with %d bytes left)", int(size), len(b)-at)
		}
		end := i + int(size)
		body := b[:end]
		timestampDelta, i := readVarlong(body, i+1) // one byte of attrs, which mean nothing yet
		offsetDelta, i := readVarint(body, i)
		keySize, i := readVarint(body, i)
		if i < 0 || keySize < -1 || int(keySize) > end-i {
			return n, d.bad("its key size is bad (%d) or it is cut short in %d bytes", int(keySize), int(size))
		}
		var key, value, headers []byte
		if keySize >= 0 {
			key = body[i : i+int(keySize) : i+int(keySize)]
			i += int(keySize)
		}
		valueSize, i := readVarint(body, i)
		if i < 0 || valueSize < -1 || int(valueSize) > end-i {
			return n, d.bad("its value size is bad (%d) or it is cut short in %d bytes", int(valueSize), int(size))
		}
		if valueSize >= 0 {
			value = body[i : i+int(valueSize) : i+int(valueSize)]
			i += int(valueSize)
		}
		if end-i != 1 || body[i] != 0 {
			if headers, err = d.headers(body[i:]); err != nil {
				return n, err
			}
		}
		if offsetDelta <= d.previous || offsetDelta > d.lastOffsetDelta {
			return n, d.bad("its offset delta is %d, want one after %d", int(offsetDelta), int(d.previous))
		}
		d.previous = offsetDelta
		d.left--
		at = end
		d.at = at
		if d.left == 0 && at != len(b) {
			return n, fmt.Errorf("%d bytes left over after its %d records", len(b)-at, d.count)
		}
		offset := d.baseOffset + int64(offsetDelta)
		if offset < d.from {
			continue
		}
		timestamp := d.baseTimestamp + timestampDelta
		if d.logAppendTime {
			timestamp = d.maxTimestamp
		}
		dst[n] = Record{Offset: offset, Timestamp: timestamp, Key: key, Value: value, headers: headers}
		n++
	}
	return n, nil
}

// headers checks the encoded headers of the next record, so that Record.Headers can rely on them. No headers
// are nil, in whatever way their count is written.
func (d *recordDecoder) headers(b []byte) ([]byte, error) {
	if _, err := checkHeaders(b); err != nil {
		return nil, d.bad("%w", err)
	}
	if count, _ := readVarint(b, 0); count == 0 {
		return nil, nil
	}
	return b, nil
}

// bad makes an error about the next record.
func (d *recordDecoder) bad(format string, args ...any) error {
	return fmt.Errorf("record %d of %d: "+format, append([]any{d.count - d.left, d.count}, args...)...)
}
