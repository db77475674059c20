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

	at         int         // in buf: where the next batch starts
	nextOffset int64       // the least base offset that it may have
	batchAt    int         // in buf: where the batch of records starts
	header     batchHeader // its header; here, since what skip is given would escape from a local variable
	records    recordDecoder
	unpacked   int // bytes that batches were decompressed into
	err        error
}

var _ Cursor = (*batchCursor)(nil)

// newCursor returns a cursor over buf. end is what End returns; skip may be nil, and must not keep h.
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
			c.fail(inBatch(&c.header, err))
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
	var err error
	if c.header, err = parseBatchHeader(rest); err != nil {
		return err
	}
	h := &c.header
	if h.size() > len(rest) {
		return inBatch(h, fmt.Errorf("cut short: %d of %d bytes", len(rest), h.size()))
	}
	batch := rest[:h.size():h.size()]
	if err := c.openBatch(h, batch); err != nil {
		return inBatch(h, err)
	}
	c.at += len(batch)
	return nil
}

func inBatch(h *batchHeader, err error) error {
	return fmt.Errorf("batch with base offset %d: %w", h.baseOffset, err)
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
	baseTimestamp   int64 // the max timestamp with LogAppendTime
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
		logAppendTime:   h.isLogAppendTime(),
		lastOffsetDelta: h.lastOffsetDelta,
		previous:        -1,
	}
	if d.logAppendTime {
		d.baseTimestamp = h.maxTimestamp
	}
	return nil
}

// next fills dst with records. Fewer than len(dst) mean that the batch has no more, or the error, which is
// one of the record after them or of the batch's end.
//
// The numbers of most records take up to three bytes and are not the last in the batch. They are read from a
// window, whose size spares the checks of bounds, in half the time; locate takes what is left, and says what
// is wrong.
func (d *recordDecoder) next(dst []Record) (n int, err error) {
	b, at := d.b, d.at
	for n < len(dst) && d.left > 0 {
		var (
			timestampDelta                    int64
			offsetDelta                       int32
			key, keyEnd, value, valueEnd, end int
		)
		quick := false
		if len(b)-at >= varintWindow {
			w := (*[varintWindow]byte)(b[at:])
			size, i := shortVarint(w, 0)
			end = at + i + int(size)
			delta, i := shortVarint(w, i+1)
			timestampDelta = int64(delta)
			offsetDelta, i = shortVarint(w, i)
			keySize, i := shortVarint(w, i)
			key = at + i
			keyEnd = key + int(keySize)
			valueSizeAt := max(key, keyEnd)
			if i < varintWindow && keySize >= -1 && end <= len(b) && len(b)-valueSizeAt >= varintWindow {
				valueSize, i := shortVarint((*[varintWindow]byte)(b[valueSizeAt:]), 0)
				value = valueSizeAt + i
				valueEnd = value + int(valueSize)
				quick = i < varintWindow && valueSize >= -1 && max(value, valueEnd) < end
			}
		}
		if !quick {
			p, err := d.locate(at)
			if err != nil {
				return n, err
			}
			timestampDelta, offsetDelta = p.timestampDelta, p.offsetDelta
			key, keyEnd, value, valueEnd, end = p.key, p.keyEnd, p.value, p.valueEnd, p.end
		}
		if offsetDelta <= d.previous || offsetDelta > d.lastOffsetDelta {
			return n, d.bad("its offset delta is %d, want one after %d", int(offsetDelta), int(d.previous))
		}
		r := &dst[n]
		r.headers = nil
		if h := max(value, valueEnd); end-h != 1 || b[h] != 0 {
			if r.headers, err = d.headers(b[h:end:end]); err != nil {
				return n, err
			}
		}
		d.previous = offsetDelta
		d.left--
		d.at, at = end, end
		if d.left == 0 && end != len(b) {
			return n, fmt.Errorf("%d bytes left over after its %d records", len(b)-end, d.count)
		}
		r.Offset = d.baseOffset + int64(offsetDelta)
		if r.Offset < d.from {
			continue
		}
		if d.logAppendTime {
			timestampDelta = 0
		}
		r.Timestamp = d.baseTimestamp + timestampDelta
		r.Key, r.Value = nil, nil
		if keyEnd >= key {
			r.Key = b[key:keyEnd:keyEnd]
		}
		if valueEnd >= value {
			r.Value = b[value:valueEnd:valueEnd]
		}
		n++
	}
	return n, nil
}

// recordParts says where the parts of a record are. The end of what is null lies before its start.
type recordParts struct {
	timestampDelta               int64
	offsetDelta                  int32
	key, keyEnd, value, valueEnd int
	end                          int // of the record
}

// locate finds the parts of the record at b[at:], whatever its numbers.
func (d *recordDecoder) locate(at int) (p recordParts, err error) {
	size, i := readVarint(d.b, at)
	if i < 0 || size < minRecordSize-1 || int(size) > len(d.b)-i {
		return p, d.bad("its length is bad (%d, with %d bytes left)", int(size), len(d.b)-at)
	}
	p.end = i + int(size)
	b := d.b[:p.end]
	p.timestampDelta, i = readVarlong(b, i+1) // one byte of attrs, which mean nothing yet
	p.offsetDelta, i = readVarint(b, i)
	keySize, i := readVarint(b, i)
	if i < 0 || keySize < -1 || int(keySize) > p.end-i {
		return p, d.bad("its key size is bad (%d) or it is cut short in %d bytes", int(keySize), int(size))
	}
	p.key, p.keyEnd = i, i+int(keySize)
	valueSize, i := readVarint(b, max(p.key, p.keyEnd))
	if i < 0 || valueSize < -1 || int(valueSize) > p.end-i {
		return p, d.bad("its value size is bad (%d) or it is cut short in %d bytes", int(valueSize), int(size))
	}
	p.value, p.valueEnd = i, i+int(valueSize)
	return p, nil
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
