package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"reflect"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

var allCompressions = []Compression{CompressionNone, CompressionGzip, CompressionSnappy, CompressionLZ4, CompressionZstd}

// testRecord is a record on its way in; nil is null.
type testRecord struct {
	timestamp  int64
	key, value []byte
	headers    []Header
}

func blockOf(rs []testRecord) *Block {
	b := new(Block)
	for _, r := range rs {
		b.Append(r.timestamp, r.key, r.value, r.headers)
	}
	return b
}

// variedRecords have everything a record can have: nulls, empties, headers, time going backwards, sizes of
// one to three bytes.
func variedRecords(n int) []testRecord {
	rs := make([]testRecord, n)
	for i := range rs {
		r := &rs[i]
		r.timestamp = 1_700_000_000_000 + int64(i*37%101) - 50
		switch i % 5 {
		case 0: // null
		case 1:
			r.key = []byte{}
		default:
			r.key = fmt.Appendf(nil, "key-%d", i)
		}
		switch i % 7 {
		case 0: // null
		case 1:
			r.value = []byte{}
		default:
			r.value = bytes.Repeat(fmt.Appendf(nil, "value-%d", i), i%40)
		}
		if i%3 > 0 {
			r.headers = append(r.headers, Header{"trace-ä", fmt.Append(nil, i)})
		}
		if i%3 > 1 {
			h := Header{"", []byte{}}
			if i%2 == 0 {
				h.Value = nil
			}
			r.headers = append(r.headers, h)
		}
	}
	return rs
}

// mustEncode makes one batch of all of rs, at baseOffset.
func mustEncode(t testing.TB, rs []testRecord, c Compression, p producerStamp, baseOffset int64) []byte {
	t.Helper()
	out, err := appendBatch(nil, blockOf(rs), 0, len(rs), c, p)
	if err != nil {
		t.Fatal(err)
	}
	setBatchPlace(out, baseOffset, 7)
	return out
}

// readAllRecords takes everything from a cursor, size records at a time.
func readAllRecords(c Cursor, size int) ([]Record, error) {
	var all []Record
	dst := make([]Record, size)
	for {
		n, err := c.Next(dst)
		all = append(all, dst[:n]...)
		if err != nil || n == 0 {
			return all, err
		}
	}
}

// sameRecords compares what was read with what was written, null and empty told apart.
func sameRecords(t interface {
	Helper()
	Errorf(string, ...any)
}, got []Record, want []testRecord, baseOffset int64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
		return
	}
	for i, g := range got {
		w := want[i]
		if g.Offset != baseOffset+int64(i) || g.Timestamp != w.timestamp {
			t.Errorf("record %d: offset %d, timestamp %d; want %d, %d", i, g.Offset, g.Timestamp, baseOffset+int64(i), w.timestamp)
		}
		if !reflect.DeepEqual(g.Key, w.key) || !reflect.DeepEqual(g.Value, w.value) {
			t.Errorf("record %d: key %#v, value %#v; want %#v, %#v", i, g.Key, g.Value, w.key, w.value)
		}
		if hs := g.Headers(); !reflect.DeepEqual(hs, w.headers) || g.HasHeaders() != (len(w.headers) > 0) {
			t.Errorf("record %d: headers %#v, want %#v", i, hs, w.headers)
		}
	}
}

// The batch as another implementation sees it: franz-go's message types and its client's codecs.
func TestBatchGolden(t *testing.T) {
	decompressor := kgo.DefaultDecompressor()
	rs := variedRecords(200)
	for _, c := range allCompressions {
		t.Run(c.String(), func(t *testing.T) {
			p := producerStamp{id: 4711, epoch: 3, sequence: math.MaxInt32 - 10, transactional: true}
			ours := mustEncode(t, rs, c, p, 1000)

			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(ours); err != nil {
				t.Fatal(err)
			}
			records, err := decompressor.Decompress(batch.Records, kgo.CompressionCodecType(c))
			if err != nil {
				t.Fatal(err)
			}
			batch.Records = nil
			want := kmsg.RecordBatch{
				FirstOffset: 1000, Length: int32(len(ours) - 12), PartitionLeaderEpoch: 7, Magic: 2,
				CRC:        int32(crc32.Checksum(ours[21:], crc32.MakeTable(crc32.Castagnoli))),
				Attributes: int16(c) | 1<<4, LastOffsetDelta: 199,
				FirstTimestamp: 1_700_000_000_000 - 50, MaxTimestamp: 1_700_000_000_000 + 50,
				ProducerID: 4711, ProducerEpoch: 3, FirstSequence: math.MaxInt32 - 10, NumRecords: 200,
			}
			if !reflect.DeepEqual(batch, want) {
				t.Errorf("batch is %+v\nwant %+v", batch, want)
			}
			for i, r := range rs {
				length, at := binary.Varint(records)
				if at <= 0 || int(length)+at > len(records) {
					t.Fatalf("record %d: length %d of %d", i, length, len(records))
				}
				var got kmsg.Record
				if err := got.ReadFrom(records[:at+int(length)]); err != nil {
					t.Fatalf("record %d: %v", i, err)
				}
				want := kmsgRecord(r, i, batch.FirstTimestamp)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("record %d is %+v\nwant %+v", i, got, want)
				}
				records = records[at+int(length):]
			}
			if len(records) > 0 {
				t.Errorf("%d bytes left over", len(records))
			}

			// And the same from there: byte for byte where it is not compressed, otherwise as records.
			theirs := kmsgBatch(t, rs, c, want)
			if c == CompressionNone && !bytes.Equal(ours, theirs) {
				t.Errorf("batches differ:\nours   %x\ntheirs %x", ours, theirs)
			}
			got, err := readAllRecords(newCursor(theirs, 0, 0, nil), 7)
			if err != nil {
				t.Fatal(err)
			}
			sameRecords(t, got, rs, 1000)
		})
	}
}

func kmsgRecord(r testRecord, i int, firstTimestamp int64) kmsg.Record {
	delta := r.timestamp - firstTimestamp
	k := kmsg.Record{TimestampDelta: int32(delta), TimestampDelta64: delta, OffsetDelta: int32(i), Key: r.key, Value: r.value}
	for _, h := range r.headers {
		k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	k.Length = int32(len(k.AppendTo(nil)) - 1) // its length of 0 has taken a byte
	return k
}

func kmsgBatch(t *testing.T, rs []testRecord, c Compression, batch kmsg.RecordBatch) []byte {
	for i, r := range rs {
		k := kmsgRecord(r, i, batch.FirstTimestamp)
		batch.Records = k.AppendTo(batch.Records)
	}
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	if c != CompressionNone {
		compressor, err := kgo.DefaultCompressor(codecs[c])
		if err != nil {
			t.Fatal(err)
		}
		batch.Records, _ = compressor.Compress(new(bytes.Buffer), batch.Records)
	}
	batch.Length = int32(49 + len(batch.Records))
	b := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// Numbers of one to five bytes, and what surrounds each size.
func TestBatchWithNumbersOfEverySize(t *testing.T) {
	var rs []testRecord
	for _, edge := range []int{1, 1 << 6, 1 << 13, 1 << 20, 1 << 27, 1 << 34, 1 << 62} {
		for n := edge - 1; n <= edge; n++ {
			r := testRecord{timestamp: int64(n)}
			if n <= 1<<20 {
				r.key, r.value = make([]byte, n), make([]byte, n)
			}
			rs = append(rs, r, testRecord{timestamp: int64(-n), value: []byte("between")})
		}
	}
	ours := mustEncode(t, rs, CompressionNone, noProducer, 1000)
	theirs := kmsgBatch(t, rs, CompressionNone, kmsg.RecordBatch{
		FirstOffset: 1000, PartitionLeaderEpoch: 7, Magic: 2, LastOffsetDelta: int32(len(rs) - 1), MaxTimestamp: 1 << 62,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(rs)),
	})
	if !bytes.Equal(ours, theirs) {
		t.Errorf("batches differ: %d bytes, want %d", len(ours), len(theirs))
	}
	got, err := readAllRecords(newCursor(ours, 0, 0, nil), 10)
	if err != nil {
		t.Fatal(err)
	}
	sameRecords(t, got, rs, 1000)
}

// Any records, in any number of batches, with any codec, come back as they went in; fit keeps its promise.
func TestBatchRoundTrip(t *testing.T) {
	maybe := func(rt *rapid.T, label string, maxLen int) []byte {
		if rapid.IntRange(0, 3).Draw(rt, label+" is null") == 0 {
			return nil
		}
		b := rapid.SliceOfN(rapid.Byte(), 0, maxLen).Draw(rt, label)
		return append([]byte{}, b...)
	}
	rapid.Check(t, func(rt *rapid.T) {
		rs := make([]testRecord, rapid.IntRange(1, 60).Draw(rt, "records"))
		timestamps := rapid.OneOf(rapid.Int64Range(1_700_000_000_000, 1_700_000_100_000), rapid.Int64())
		for i := range rs {
			rs[i] = testRecord{timestamp: timestamps.Draw(rt, "timestamp"), key: maybe(rt, "key", 80), value: maybe(rt, "value", 300)}
			for range rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(rt, "headers") {
				rs[i].headers = append(rs[i].headers, Header{string(maybe(rt, "header key", 5)), maybe(rt, "header value", 5)})
			}
		}
		b := blockOf(rs)
		for i, r := range rs {
			alone, err := appendBatch(nil, b, i, i+1, CompressionNone, noProducer)
			if n := RecordBytes(int(b.spans[i].keyLen), int(b.spans[i].valueLen), r.headers); err != nil || len(alone) != batchHeaderSize+n {
				rt.Fatalf("record %d alone makes a batch of %d bytes, RecordBytes is %d; %v", i, len(alone), n, err)
			}
		}
		maxBytes := rapid.IntRange(0, 2000).Draw(rt, "max bytes")
		base := rapid.Int64Range(0, 1<<50).Draw(rt, "base offset")
		buf := []byte("before")
		for from := 0; from < b.Len(); {
			to := b.fit(from, maxBytes)
			if to <= from || to > b.Len() {
				rt.Fatalf("fit(%d, %d) = %d of %d", from, maxBytes, to, b.Len())
			}
			at := len(buf)
			var err error
			c := rapid.SampledFrom(allCompressions).Draw(rt, "compression")
			if buf, err = appendBatch(buf, b, from, to, c, noProducer); err != nil {
				rt.Fatal(err)
			}
			if n := len(buf) - at; n > maxBytes && to > from+1 {
				rt.Errorf("fit(%d, %d) = %d, which takes %d bytes", from, maxBytes, to, n)
			}
			if to < b.Len() {
				larger, err := appendBatch(nil, b, from, to+1, CompressionNone, noProducer)
				if err != nil {
					rt.Fatal(err)
				}
				if len(larger) <= maxBytes {
					rt.Errorf("fit(%d, %d) = %d, but one more would take %d bytes only", from, maxBytes, to, len(larger))
				}
			}
			h, err := parseBatchHeader(buf[at:])
			if err != nil {
				rt.Fatal(err)
			}
			maxTimestamp := rs[from].timestamp
			for _, r := range rs[from:to] {
				maxTimestamp = max(maxTimestamp, r.timestamp)
			}
			if h.size() != len(buf)-at || h.recordCount != int32(to-from) || h.maxTimestamp != maxTimestamp || h.producerID != -1 || h.lastSequence() != -1 {
				rt.Errorf("records %d to %d have the header %+v", from, to, h)
			}
			setBatchPlace(buf[at:], base+int64(from), 1)
			from = to
		}
		got, err := readAllRecords(newCursor(buf[6:], 0, 0, nil), rapid.IntRange(1, 70).Draw(rt, "read at a time"))
		if err != nil {
			rt.Fatal(err)
		}
		sameRecords(rt, got, rs, base)
	})
}

func TestFit(t *testing.T) {
	b := new(Block)
	for range 10 {
		b.Append(0, nil, make([]byte, 92), nil) // 101 bytes
	}
	for _, c := range []struct{ from, maxBytes, want int }{
		{0, 0, 1}, {0, -1, 1}, {0, 61 + 101, 1}, {0, 61 + 201, 1}, {0, 61 + 202, 2}, {0, 61 + 1009, 9}, {0, 61 + 1010, 10},
		{0, 1 << 30, 10}, {9, 1, 10}, {10, 1000, 10}, {8, 61 + 201, 9}, {8, 61 + 202, 10},
	} {
		if to := b.fit(c.from, c.maxBytes); to != c.want {
			t.Errorf("fit(%d, %d) = %d, want %d", c.from, c.maxBytes, to, c.want)
		}
	}
}

// Whatever is damaged after the fields that append sets, a reader sees it. Damage before them shows where it
// makes no sense.
func TestEveryFlippedBitIsCaught(t *testing.T) {
	for _, c := range []Compression{CompressionNone, CompressionZstd} {
		b := mustEncode(t, variedRecords(9), c, noProducer, 0)
		for i := crcAt; i < len(b); i++ {
			for bit := range 8 {
				damaged := bytes.Clone(b)
				damaged[i] ^= 1 << bit
				if err := checkBatchCRC(damaged); err == nil {
					t.Errorf("%v: byte %d, bit %d: CRC is right", c, i, bit)
				}
				rs, err := readAllRecords(newCursor(damaged, 0, 0, nil), 100)
				if !errors.Is(err, ErrCorrupt) || len(rs) > 0 {
					t.Errorf("%v: byte %d, bit %d: %d records, error %v", c, i, bit, len(rs), err)
				}
			}
		}
		for i := lengthAt; i < leaderEpochAt; i++ {
			for bit := range 8 {
				damaged := bytes.Clone(b)
				damaged[i] ^= 1 << bit
				if _, err := readAllRecords(newCursor(damaged, 0, 0, nil), 100); !errors.Is(err, ErrCorrupt) {
					t.Errorf("%v: byte %d of the length, bit %d: error %v", c, i, bit, err)
				}
			}
		}
	}
}

func TestParseBatchHeaderRefuses(t *testing.T) {
	good := mustEncode(t, variedRecords(3), CompressionNone, noProducer, 5)
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   string
	}{
		{"nothing", func(b []byte) []byte { return nil }, "batch header cut short: 0 of 61 bytes"},
		{"cut short", func(b []byte) []byte { return b[:60] }, "batch header cut short: 60 of 61 bytes"},
		{"zeros", func(b []byte) []byte { return make([]byte, 100) }, "batch magic is 0, want 2"},
		{"magic 1", func(b []byte) []byte { b[16] = 1; return b }, "batch magic is 1, want 2"},
		{"magic of a later version", func(b []byte) []byte { b[16] = 3; return b }, "batch magic is 3, want 2"},
		{"length too small", func(b []byte) []byte { binary.BigEndian.PutUint32(b[8:], 48); return b }, "batch length is 48, want 49 to 134217716"},
		{"length negative", func(b []byte) []byte { b[8] = 0xff; return b }, "want 49 to 134217716"},
		{"length too large", func(b []byte) []byte { b[8] = 0x10; return b }, "want 49 to 134217716"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseBatchHeader(c.change(bytes.Clone(good))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
	if h, err := parseBatchHeader(good[:61]); err != nil || h.baseOffset != 5 || h.nextOffset() != 8 || h.leaderEpoch != 7 {
		t.Errorf("header alone: %+v, %v", h, err)
	}
	if err := checkBatchCRC(good[:60]); err == nil {
		t.Error("the CRC of half a header is right")
	}
}

// Kafka's sequences go from 2^31-1 to 0 (DefaultRecordBatch.incrementSequence).
func TestLastSequenceWraps(t *testing.T) {
	for _, c := range []struct{ base, delta, want int32 }{
		{0, 0, 0}, {0, 9, 9}, {-1, 0, -1}, {-1, 9, -1}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0},
		{math.MaxInt32 - 1, 3, 1}, {math.MaxInt32, math.MaxInt32, math.MaxInt32 - 1},
	} {
		h := batchHeader{baseSequence: c.base, lastOffsetDelta: c.delta}
		if got := h.lastSequence(); got != c.want {
			t.Errorf("sequence %d and %d records more end in %d, want %d", c.base, c.delta, got, c.want)
		}
	}
}

func TestAppendBatchRefuses(t *testing.T) {
	dst := []byte("before")
	for _, c := range []struct {
		name     string
		b        *Block
		from, to int
		codec    Compression
		want     string
	}{
		{"no records", blockOf(variedRecords(2)), 1, 1, CompressionNone, "a batch needs at least one record"},
		{"unknown codec", blockOf(variedRecords(2)), 0, 2, 5, "with compression(5): unknown codec"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := appendBatch(dst, c.b, c.from, c.to, c.codec, noProducer)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			if string(out) != "before" {
				t.Errorf("dst is now %d bytes", len(out))
			}
		})
	}
}

// A batch as large as can be, one record more, and one byte too much in the only record: in a block whose arena
// says so before anything is copied, and in one where only the framing does.
func TestAppendBatchKnowsItsLimit(t *testing.T) {
	if raceEnabled() {
		t.Skip("copies half a GiB, which takes seconds under the race detector")
	}
	const most = maxBatchBytes - batchHeaderSize - 13
	b := new(Block)
	b.Add(make([]byte, most), -1, most, 0, nil)
	b.Append(0, []byte("k"), []byte("v"), nil)
	out, err := appendBatch([]byte("before"), b, 0, 1, CompressionNone, noProducer)
	if err != nil || len(out) != len("before")+maxBatchBytes {
		t.Errorf("%d bytes, error %v", len(out), err)
	}
	out, err = appendBatch([]byte("before"), b, 0, 2, CompressionNone, noProducer)
	want := "records 0 to 1 of the block do not fit into one batch of 134217728 bytes"
	if err == nil || !strings.Contains(err.Error(), want) || string(out) != "before" {
		t.Errorf("%d bytes, error %v, want %s", len(out), err, want)
	}
	for _, n := range []int{most + 1, maxBatchBytes + 1} {
		b := new(Block)
		b.Add(make([]byte, n), -1, n, 0, nil)
		want := fmt.Sprintf("record 0 of the block has key 0, value %d, headers 0 bytes; a batch holds at most 134217728", n)
		allocated := allocatedBy(func() { _, err = appendBatch(nil, b, 0, 1, CompressionNone, noProducer) })
		if !errors.Is(err, ErrRecordTooLarge) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		if n > maxBatchBytes && allocated > 1<<20 {
			t.Errorf("%d bytes allocated for a record that cannot fit", allocated)
		}
	}
}

// What does not get smaller is stored as it is, so that a batch keeps to the size that fit has promised.
func TestIncompressibleIsStoredUncompressed(t *testing.T) {
	rs := []testRecord{{timestamp: 1, value: []byte{1, 2, 3}}}
	plain := mustEncode(t, rs, CompressionNone, noProducer, 0)
	for _, c := range allCompressions {
		if b := mustEncode(t, rs, c, noProducer, 0); !bytes.Equal(b, plain) {
			t.Errorf("%v: %x, want %x", c, b, plain)
		}
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	b := blockOf(variedRecords(500))
	var dst []byte
	for _, c := range allCompressions {
		if c != CompressionNone && raceEnabled() {
			continue // under the race detector sync.Pool drops things at random
		}
		encode := func() {
			var err error
			if dst, err = appendBatch(dst[:0], b, 0, b.Len(), c, noProducer); err != nil {
				t.Fatal(err)
			}
		}
		encode()
		if n := testing.AllocsPerRun(50, encode); n != 0 {
			t.Errorf("%v: %v allocations in a batch", c, n)
		}
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	batch := mustEncode(t, variedRecords(500), CompressionNone, noProducer, 0)
	buf := append(bytes.Clone(batch), batch...)
	setBatchPlace(buf[len(batch):], 500, 0)
	dst := make([]Record, 128)
	var c batchCursor
	if n := testing.AllocsPerRun(50, func() {
		c = *newCursor(buf, 0, 1000, nil)
		total := 0
		for {
			n, err := c.Next(dst)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			total += n
		}
		if total != 1000 {
			t.Fatalf("%d records", total)
		}
	}); n != 0 {
		t.Errorf("%v allocations in two batches", n)
	}
}

func raceEnabled() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// allocatedBy is the number of bytes that f allocates; what else runs meanwhile counts too.
func allocatedBy(f func()) uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	return sample[0].Value.Uint64() - before
}
