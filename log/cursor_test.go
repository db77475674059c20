package log

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// Batches at any offsets, of any producer, with markers among them: a cursor passes on what a loop over the
// records would.
func TestCursorPassesOnWhatItShould(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var buf []byte
		var want []Record
		from := rapid.Int64Range(0, 60).Draw(rt, "from")
		skipped := rapid.Int64Range(0, 3).Draw(rt, "skipped producer")
		next, unpacked := int64(0), 0
		for range rapid.IntRange(0, 8).Draw(rt, "batches") {
			next += rapid.Int64Range(0, 3).Draw(rt, "gap")
			producer := rapid.Int64Range(0, 3).Draw(rt, "producer")
			at := len(buf)
			if rapid.IntRange(0, 4).Draw(rt, "marker") == 0 {
				buf = appendMarker(buf, producer, 0, true, 0, 0)
				setBatchPlace(buf[at:], next, 0)
				next++
				continue
			}
			rs := variedRecords(rapid.IntRange(1, 20).Draw(rt, "records"))
			c := rapid.SampledFrom(allCompressions).Draw(rt, "compression")
			b := mustEncode(t, rs, c, producerStamp{id: producer, transactional: true}, next)
			buf = append(buf, b...)
			end := next + int64(len(rs))
			if producer != skipped && end > from {
				if h, err := parseBatchHeader(b); err != nil {
					rt.Fatal(err)
				} else if h.compression() != CompressionNone {
					plain := mustEncode(t, rs, CompressionNone, noProducer, 0)
					unpacked += len(plain) - batchHeaderSize
				}
				for i, r := range rs {
					if offset := next + int64(i); offset >= from {
						want = append(want, Record{Offset: offset, Timestamp: r.timestamp, Key: r.key, Value: r.value}.WithHeaders(r.headers))
					}
				}
			}
			next = end
		}
		c := newCursor(buf, from, next+5, func(h *batchHeader) bool {
			if h.isControl() {
				rt.Error("skip is asked about a control batch")
			}
			return h.producerID == skipped
		})
		got, err := readAllRecords(c, rapid.IntRange(1, 30).Draw(rt, "at a time"))
		if err != nil {
			rt.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			rt.Errorf("records\n%v\nwant\n%v", got, want)
		}
		if c.End() != next+5 || c.Bytes() != len(buf)+unpacked {
			rt.Errorf("end %d, want %d; %d bytes, want %d", c.End(), next+5, c.Bytes(), len(buf)+unpacked)
		}
	})
}

// Uncompressed records are slices of the buffer, and appending to one does not touch what follows it.
func TestCursorDecodesInPlace(t *testing.T) {
	buf := mustEncode(t, []testRecord{{0, []byte("key"), []byte("value"), nil}}, CompressionNone, noProducer, 0)
	rs, err := readAllRecords(newCursor(buf, 0, 1, nil), 1)
	if err != nil {
		t.Fatal(err)
	}
	if cap(rs[0].Key) != 3 || cap(rs[0].Value) != 5 {
		t.Errorf("key and value have room for %d and %d bytes, want 3 and 5", cap(rs[0].Key), cap(rs[0].Value))
	}
	clear(buf)
	if string(rs[0].Key) != "\x00\x00\x00" {
		t.Errorf("key %q is a copy", rs[0].Key)
	}
}

// batchWithRecord has four records, of which the third is given as bytes. It is followed by as little as can be
// or by more, so that it is decoded either way (see recordDecoder.next).
func batchWithRecord(t *testing.T, record string, followed bool) []byte {
	t.Helper()
	b := mustEncode(t, []testRecord{{}, {}}, CompressionNone, noProducer, 1000)
	b = append(b, record...)
	if followed {
		b = append(b, "\x5c\x00\x00\x06\x01\x50this value takes 40 bytes, as it happens\x00"...)
	} else {
		b = append(b, "\x0c\x00\x00\x06\x01\x01\x00"...)
	}
	return withHeader(b, func(h *batchHeader) { h.recordCount, h.lastOffsetDelta = 4, 3 })
}

// What is wrong is said with file, position and base offset, once and for good, and what stands before it is
// read first.
func TestCursorErrors(t *testing.T) {
	good := mustEncode(t, variedRecords(5), CompressionNone, noProducer, 100)
	zstd := mustEncode(t, variedRecords(50), CompressionZstd, noProducer, 1000)
	change := func(b []byte, f func(h *batchHeader)) []byte { return withHeader(b, f) }
	for _, c := range []struct {
		name     string
		bad      []byte
		readable int // of bad
		want     string
	}{
		{"bits beyond what is defined", change(zstd, func(h *batchHeader) { h.attributes |= 0x7f80 &^ 0x38 }), 50, ""},
		{"no records, as compaction leaves it", change(good[:61], func(h *batchHeader) { h.baseOffset, h.recordCount = 1000, 0 }), 0, ""},

		{"header cut short", good[:60], 0, "batch header cut short: 60 of 61 bytes"},
		{"batch cut short", zstd[:len(zstd)-1], 0, fmt.Sprintf("batch with base offset 1000: cut short: %d of %d bytes", len(zstd)-1, len(zstd))},
		{"zeros", make([]byte, 4096), 0, "batch magic is 0, want 2"},
		{"offset goes back", change(zstd, func(h *batchHeader) { h.baseOffset = 104 }), 0, "batch with base offset 104: the batch before it ends at offset 104"},
		{"base offset negative", change(zstd, func(h *batchHeader) { h.baseOffset = -1 }), 0, "base offset is negative"},
		{"last offset delta negative", change(zstd, func(h *batchHeader) { h.lastOffsetDelta = -1 }), 0, "last offset delta is -1"},
		{"offsets at their end", change(zstd, func(h *batchHeader) { h.baseOffset = 1<<63 - 50 }), 0, "last offset delta is 49"},
		{"more records than offsets", change(zstd, func(h *batchHeader) { h.lastOffsetDelta = 48 }), 0, "record count is 50, with last offset delta 48"},
		{"record count negative", change(zstd, func(h *batchHeader) { h.recordCount = -1 }), 0, "record count is -1, with last offset delta 49"},
		{"more records than bytes", change(good, func(h *batchHeader) { h.baseOffset, h.recordCount, h.lastOffsetDelta = 1000, 1e9, 1e9 }), 0,
			fmt.Sprintf("record count is 1000000000, with %d bytes of records", len(good)-61)},
		{"no record, but bytes", change(good, func(h *batchHeader) { h.baseOffset, h.recordCount = 1000, 0 }), 0, "record count is 0"},
		{"fewer records than there are", change(good, func(h *batchHeader) { h.baseOffset, h.recordCount = 1000, 4 }), 3, "bytes left over after its 4 records"},
		{"unknown codec", change(zstd, func(h *batchHeader) { h.attributes = 7 }), 0, "records with compression(7): unknown codec"},
		{"wrong codec", change(zstd, func(h *batchHeader) { h.attributes = int16(CompressionGzip) }), 0, "records with gzip: "},
		{"sum", append(bytes.Clone(zstd[:len(zstd)-1]), zstd[len(zstd)-1]^1), 0, "CRC mismatch: stored "},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 6, 100} {
				cur := newCursor(append(bytes.Clone(good), c.bad...), 0, 2000, nil)
				cur.path, cur.basePos = "dir/00000000000000000100.log", 4096
				rs, err := readAllRecords(cur, size)
				if len(rs) != 5+c.readable {
					t.Errorf("%d at a time: %d records are read, want %d", size, len(rs), 5+c.readable)
				}
				if c.want == "" {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				var corrupt *CorruptError
				if !errors.Is(err, ErrCorrupt) || !errors.As(err, &corrupt) {
					t.Fatalf("error %v is not ErrCorrupt", err)
				}
				if corrupt.Path != cur.path || corrupt.Offset != 4096+int64(len(good)) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want position %d and %s", err, 4096+len(good), c.want)
				}
				if _, err := parseBatchHeader(c.bad); err == nil && !strings.Contains(corrupt.Err.Error(), "batch with base offset ") {
					t.Errorf("error %v does not name the batch", corrupt)
				}
				for range 2 {
					if n, again := cur.Next(make([]Record, 3)); n != 0 || again != err {
						t.Errorf("after the error: %d records, %v", n, again)
					}
				}
			}
		})
	}
}

// A bad record, with good ones before it and after.
func TestCursorRefusesRecord(t *testing.T) {
	for _, c := range []struct {
		name   string
		record string
		want   string // "" if it is accepted
	}{
		{"good", "\x0c\x00\x00\x04\x01\x01\x00", ""},
		{"good, with attrs", "\x0c\xff\x00\x04\x01\x01\x00", ""},
		{"good, numbers longer than they need be", "\x98\x80\x00\x00\x80\x00\x84\x00\x81\x00\x81\x80\x00\x80\x00", ""},
		{"length no number", "\xff\xff\xff\xff\xff\xff\xff", "its length is bad (0"},
		{"length negative", "\x01\x00\x00\x04\x01\x01\x00", "its length is bad (-1"},
		{"length too small", "\x0a\x00\x00\x04\x01\x01\x00", "its length is bad (5"},
		{"length too large", "\xc8\x01\x00\x00\x04\x01\x01\x00", "its length is bad (100"},
		{"length huge", "\xfe\xff\xff\xff\x0f\x00\x00", "its length is bad (2147483647"},
		{"timestamp too long", "\x0c\x00\xff\xff\xff\xff\xff", "its key size is bad (0) or it is cut short in 6 bytes"},
		{"key size -2", "\x0c\x00\x00\x04\x03\x01\x00", "its key size is bad (-2)"},
		{"key past the record", "\x0c\x00\x00\x04\x06\x01\x00", "its key size is bad (3)"},
		{"no value", "\x0c\x00\x00\x04\x04\x01\x00", "its value size is bad (0)"},
		{"value size -2", "\x0c\x00\x00\x04\x01\x03\x00", "its value size is bad (-2)"},
		{"value past the record", "\x0c\x00\x00\x04\x01\x04\x00", "its value size is bad (2)"},
		{"no header count", "\x0c\x00\x00\x04\x01\x02\x00", "header count is no number"},
		{"header that is not there", "\x0c\x00\x00\x04\x01\x01\x02", "header count is 1, with 0 bytes left"},
		{"bytes after the record's headers", "\x0e\x00\x00\x04\x01\x01\x00\x00", "1 bytes left over after 0 headers"},
		{"offset delta twice", "\x0c\x00\x00\x02\x01\x01\x00", "its offset delta is 1, want one after 1"},
		{"offset delta negative", "\x0c\x00\x00\x01\x01\x01\x00", "its offset delta is -1, want one after 1"},
		{"offset delta past the last", "\x0c\x00\x00\x08\x01\x01\x00", "its offset delta is 4, want one after 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, followed := range []bool{false, true} {
				rs, err := readAllRecords(newCursor(batchWithRecord(t, c.record, followed), 0, 2000, nil), 100)
				if c.want == "" {
					if len(rs) != 4 || err != nil {
						t.Errorf("%d records, error %v", len(rs), err)
					}
					continue
				}
				want := "batch with base offset 1000: record 2 of 4: " + c.want
				if len(rs) != 2 || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
					t.Errorf("%d records, error %v, want %s", len(rs), err, want)
				}
			}
		})
	}
}

// A batch that is passed over must be whole all the same: what says that it may be passed over could be what
// is damaged.
func TestCursorChecksWhatItPassesOver(t *testing.T) {
	data := mustEncode(t, variedRecords(5), CompressionNone, noProducer, 0)
	marker := appendMarker(nil, 1, 0, true, 0, 0)
	for _, c := range []struct {
		name string
		b    []byte
		from int64
		skip func(*batchHeader) bool
	}{
		{"control batch", marker, 0, nil},
		{"batch below from", data, 5, nil},
		{"batch of an aborted transaction", data, 0, func(*batchHeader) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if rs, err := readAllRecords(newCursor(c.b, c.from, 0, c.skip), 10); len(rs) != 0 || err != nil {
				t.Fatalf("whole: %d records, error %v", len(rs), err)
			}
			damaged := bytes.Clone(c.b)
			damaged[len(damaged)-1] ^= 1
			if _, err := readAllRecords(newCursor(damaged, c.from, 0, c.skip), 10); !errors.Is(err, ErrCorrupt) {
				t.Errorf("damaged: error %v", err)
			}
		})
	}
}

// Compaction leaves gaps between offset deltas and after the last.
func TestCursorReadsCompactedBatch(t *testing.T) {
	b := mustEncode(t, make([]testRecord, 2), CompressionNone, noProducer, 1000)
	b = append(b, "\x0c\x00\x03\x80\x01\x01\x01\x00"...)
	b[len(b)-8] = 0x0e // its offset delta of 64 takes two bytes
	b = withHeader(b, func(h *batchHeader) {
		h.recordCount, h.lastOffsetDelta, h.baseTimestamp, h.attributes = 3, 99, 50, 0x40
	})
	got, err := readAllRecords(newCursor(b, 1001, 0, nil), 10)
	if err != nil {
		t.Fatal(err)
	}
	want := []Record{{Offset: 1001, Timestamp: 50}, {Offset: 1064, Timestamp: 48}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("records %+v, want %+v", got, want)
	}
}

func FuzzBatch(f *testing.F) {
	for _, c := range allCompressions {
		f.Add(mustEncode(f, variedRecords(12), c, noProducer, 0), int64(0))
		f.Add(mustEncode(f, variedRecords(40), c, producerStamp{id: 1, epoch: 2, sequence: 3, transactional: true}, 1000), int64(1010))
		f.Add(readTestdata(f, c.String()+".batch"), int64(0))
	}
	f.Add(appendMarker(nil, 4711, 3, true, 12, kafkaNow), int64(0))
	f.Add(readTestdata(f, "append-time.batch"), int64(1050))
	f.Fuzz(func(t *testing.T, raw []byte, from int64) {
		// As it is, in two halves, and as a batch that is whole as far as its header says.
		for _, b := range [][]byte{raw, append(bytes.Clone(raw), raw...), repairBatch(raw)} {
			dst := make([]Record, 16)
			c := newCursor(b, from, 0, nil)
			before := int64(-1)
			read := func() {
				for {
					n, err := c.Next(dst)
					for i := range dst[:n] {
						if dst[i].Offset <= before || dst[i].Offset < from {
							t.Errorf("offset %d comes after %d, from %d", dst[i].Offset, before, from)
						}
						before = dst[i].Offset
						dst[i].Headers() // panics if they were not checked
					}
					if err != nil && !errors.Is(err, ErrCorrupt) {
						t.Errorf("error %v is not ErrCorrupt", err)
					}
					if err != nil || n == 0 {
						return
					}
				}
			}
			// A decompressed byte is written about twice, and codecs have buffers of up to a few MiB. Headers
			// that come of two bytes take 40, and the keys as many as they have.
			if n, limit := allocatedBy(read), 32<<20+40*uint64(c.Bytes()); n > limit {
				t.Errorf("%d bytes allocated for %d, decompressed %d", n, len(b), c.unpacked)
			}
		}
		checkReencoded(t, repairBatch(raw))
		checkQuickly(t, repairBatch(raw))
	})
}

// checkQuickly compares the quick way of decoding a batch with the thorough one.
func checkQuickly(t *testing.T, b []byte) {
	if len(b) < batchHeaderSize {
		return
	}
	h, err := parseBatchHeader(b)
	if err != nil || h.compression() != CompressionNone || checkBatchHeader(&h) != nil {
		return
	}
	var d recordDecoder
	if err := d.reset(&h, b[batchHeaderSize:], math.MinInt64); err != nil {
		return
	}
	thorough := d
	got := make([]Record, d.left)
	n, err := d.next(got)
	for i := range n {
		p, err := thorough.locate(thorough.at)
		if err != nil {
			t.Fatalf("record %d of %d that are read: %v", i, n, err)
		}
		want := Record{Offset: h.baseOffset + int64(p.offsetDelta), Timestamp: h.baseTimestamp + p.timestampDelta}
		if h.isLogAppendTime() {
			want.Timestamp = h.maxTimestamp
		}
		if p.keyEnd >= p.key {
			want.Key = thorough.b[p.key:p.keyEnd]
		}
		if p.valueEnd >= p.value {
			want.Value = thorough.b[p.value:p.valueEnd]
		}
		if want.headers, err = thorough.headers(thorough.b[max(p.value, p.valueEnd):p.end]); err != nil {
			t.Fatalf("record %d of %d that are read: %v", i, n, err)
		}
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("record %d is %+v, want %+v", i, got[i], want)
		}
		thorough.at = p.end
		thorough.left--
	}
	if err == nil && (d.left > 0 || thorough.at != len(thorough.b)) {
		t.Errorf("no error, but %d records left, and %d bytes", d.left, len(thorough.b)-thorough.at)
	}
}

// checkReencoded encodes what an uncompressed batch holds and compares, if all in it is as we write it.
func checkReencoded(t *testing.T, b []byte) {
	if len(b) < batchHeaderSize {
		return
	}
	h, err := parseBatchHeader(b)
	if err != nil || h.compression() != CompressionNone || h.isControl() || h.isLogAppendTime() {
		return
	}
	rs, err := readAllRecords(newCursor(b, 0, 0, nil), 100)
	if err != nil || len(rs) == 0 {
		return
	}
	block := new(Block)
	for i := range rs {
		block.Append(rs[i].Timestamp, rs[i].Key, rs[i].Value, rs[i].Headers())
	}
	p := producerStamp{id: h.producerID, epoch: h.producerEpoch, sequence: h.baseSequence, transactional: h.isTransactional()}
	again, err := appendBatch(nil, block, 0, len(rs), CompressionNone, p)
	if err != nil {
		t.Fatalf("encode again: %v", err)
	}
	setBatchPlace(again, h.baseOffset, h.leaderEpoch)
	h2, err := parseBatchHeader(again)
	if err != nil {
		t.Fatal(err)
	}
	// Equal sizes mean that no number was longer than it need be.
	h.crc = h2.crc
	if h == h2 && recordsAsWeWriteThem(t, b[batchHeaderSize:], len(rs)) && !bytes.Equal(b, again) {
		t.Errorf("%x\nencodes again as\n%x", b, again)
	}
	got, err := readAllRecords(newCursor(again, 0, 0, nil), 100)
	if err != nil || len(got) != len(rs) {
		t.Fatalf("%d records come back as %d, error %v", len(rs), len(got), err)
	}
	for i := range got {
		got[i].Offset = rs[i].Offset // gaps are not written
		if !reflect.DeepEqual(got[i].Headers(), rs[i].Headers()) {
			t.Errorf("headers of record %d are %v, were %v", i, got[i].Headers(), rs[i].Headers())
		}
		got[i].headers = rs[i].headers
	}
	if !reflect.DeepEqual(got, rs) {
		t.Errorf("records\n%v\ncome back as\n%v", rs, got)
	}
}

// recordsAsWeWriteThem asks another decoder whether attrs are 0, and offset deltas without gaps.
func recordsAsWeWriteThem(t *testing.T, b []byte, count int) bool {
	for i := range count {
		size, next := readVarint(b, 0)
		var r kmsg.Record
		if err := r.ReadFrom(b[:next+int(size)]); err != nil {
			t.Fatalf("kmsg on record %d of %d: %v", i, count, err)
		}
		if r.Attributes != 0 || r.OffsetDelta != int32(i) {
			return false
		}
		b = b[next+int(size):]
	}
	return true
}
