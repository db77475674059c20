package log

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestCompressionNames(t *testing.T) {
	for i, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		if c := Compression(i); c.String() != name {
			t.Errorf("%d is %q, want %q", i, c, name)
		}
		if c, err := ParseCompression(name); c != Compression(i) || err != nil {
			t.Errorf("ParseCompression(%q) = %v, %v", name, c, err)
		}
	}
	if c, err := ParseCompression("uncompressed"); c != CompressionNone || err != nil {
		t.Errorf("uncompressed is %v, %v", c, err)
	}
	for _, name := range []string{"", "GZIP", "brotli"} {
		if _, err := ParseCompression(name); err == nil || !strings.Contains(err.Error(), "known are none, gzip, snappy, lz4 and zstd") {
			t.Errorf("ParseCompression(%q): error %v", name, err)
		}
	}
	if s := Compression(7).String() + Compression(-1).String(); s != "compression(7)compression(-1)" {
		t.Error(s)
	}
}

// text is n bytes that compress about as well as JSON does.
func text(n int) []byte {
	words := strings.Fields("the moldau is a river that runs through prague and grows from two springs { } : , 0 1")
	rnd := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < n {
		b = append(append(b, words[rnd.IntN(len(words))]...), byte(rnd.IntN(256)))
	}
	return b[:n]
}

var compressInputs = map[string][]byte{
	"zeros":   make([]byte, 300<<10),
	"text":    text(300 << 10),
	"one MiB": text(1 << 20),
	"short":   bytes.Repeat([]byte("ab"), 100),
	// Blocks of 32 and 64 KiB, to the byte.
	"snappy block": text(32 << 10), "LZ4 block": text(64 << 10), "and a byte": text(64<<10 + 1),
}

func mustCompress(t testing.TB, src []byte, c Compression) []byte {
	t.Helper()
	b := bytes.Clone(src)
	n, err := compressInPlace(b, c)
	if err != nil || n == 0 {
		t.Fatalf("%v: %d bytes compress to %d, error %v", c, len(src), n, err)
	}
	return b[:n]
}

func TestCompress(t *testing.T) {
	for _, c := range allCompressions[1:] {
		for name, src := range compressInputs {
			t.Run(c.String()+"/"+name, func(t *testing.T) {
				b := mustCompress(t, src, c)
				out, err := decompress(b, c)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(out, src) {
					t.Errorf("%d bytes come back as %d", len(src), len(out))
				}
				// It is kept for as long as a record is: no more than the allocator's rounding.
				if cap(out) > len(out)+len(out)/4+64 {
					t.Errorf("%d bytes are in a buffer of %d", len(out), cap(out))
				}
				if theirs, err := kgo.DefaultDecompressor().Decompress(b, kgo.CompressionCodecType(c)); err != nil || !bytes.Equal(theirs, src) {
					t.Errorf("franz-go reads %d bytes of %d, error %v", len(theirs), len(src), err)
				}
			})
		}
	}
}

// Kafka's LZ4 reader takes version 1 and independent blocks only (Lz4BlockInputStream), and a small block size
// spares it memory.
func TestLZ4FrameIsKafkas(t *testing.T) {
	b := mustCompress(t, text(200<<10), CompressionLZ4)
	theirs := readTestdata(t, "lz4.batch")[batchHeaderSize:]
	if !bytes.Equal(b[:7], theirs[:7]) {
		t.Errorf("frame header %x, want Kafka's %x", b[:7], theirs[:7])
	}
}

// What other writers may send: snappy without framing, dependent and large LZ4 blocks with sums, zstd frames
// with and without a size, several frames in a row.
func TestDecompressForeign(t *testing.T) {
	src := text(200 << 10)
	half := len(src) / 2
	zstdStream := func(src []byte, opts ...zstd.EOption) []byte {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, opts...)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeAndClose(w, src); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	zstdAll := func(src []byte) []byte {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll(src, nil)
	}
	lz4Frame := func(src []byte, opts ...lz4.Option) []byte {
		var b bytes.Buffer
		w := lz4.NewWriter(&b)
		if err := w.Apply(opts...); err != nil {
			t.Fatal(err)
		}
		if err := writeAndClose(w, src); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	gzipped := func(src []byte) []byte {
		var b bytes.Buffer
		if err := writeAndClose(gzip.NewWriter(&b), src); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	zeros := make([]byte, 20<<20)
	for _, c := range []struct {
		name  string
		codec Compression
		b     []byte
		want  []byte
	}{
		{"snappy block", CompressionSnappy, s2.EncodeSnappy(nil, src), src},
		{"empty snappy block", CompressionSnappy, s2.EncodeSnappy(nil, nil), nil},
		{"xerial without blocks", CompressionSnappy, xerialHeader, nil},
		{"gzip of two members", CompressionGzip, append(gzipped(src[:half]), gzipped(src[half:])...), src},
		{"LZ4 with sums and a size", CompressionLZ4, lz4Frame(src, lz4.ChecksumOption(true), lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(src)))), src},
		{"LZ4 in one block", CompressionLZ4, lz4Frame(src, lz4.BlockSizeOption(lz4.Block4Mb)), src},
		{"zstd stream", CompressionZstd, zstdStream(src), src},
		{"zstd stream, window of 64 MiB", CompressionZstd, zstdStream(src, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false)), src},
		{"zstd frame with a size", CompressionZstd, zstdAll(src), src},
		{"zstd frames", CompressionZstd, append(zstdAll(src[:half]), zstdStream(src[half:])...), src},
		{"zstd frame of many zeros, with a size", CompressionZstd, zstdAll(zeros), zeros},
		{"zstd stream of many zeros", CompressionZstd, zstdStream(zeros), zeros},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := decompress(c.b, c.codec)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, c.want) {
				t.Errorf("%d bytes, want %d", len(out), len(c.want))
			}
		})
	}
}

// A few bytes cannot make much memory: neither by what they say, nor by what they are.
func TestDecompressRefuses(t *testing.T) {
	src := text(100 << 10)
	bomb := func(c Compression) []byte {
		if raceEnabled() {
			return nil // it is not used
		}
		return mustCompress(t, make([]byte, maxBatchBytes+1), c)
	}
	xerialBlocks := func(blocks ...[]byte) []byte {
		b := bytes.Clone(xerialHeader)
		for _, block := range blocks {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(block))), block...)
		}
		return b
	}
	snappyMiB := s2.EncodeSnappy(nil, make([]byte, 1<<20))
	manyBlocks := make([][]byte, 129)
	for i := range manyBlocks {
		manyBlocks[i] = snappyMiB
	}
	saysMuch := binary.AppendUvarint(nil, 100<<20)
	for _, c := range []struct {
		name  string
		codec Compression
		b     []byte
		limit uint64 // of what is allocated
		want  string
	}{
		{"gzip bomb", CompressionGzip, bomb(CompressionGzip), 4 * maxBatchBytes, "more than 134217728 bytes"},
		{"xerial bomb", CompressionSnappy, xerialBlocks(manyBlocks...), 1 << 20, "more than 134217728 bytes"},
		{"snappy bomb", CompressionSnappy, s2.EncodeSnappy(nil, make([]byte, maxBatchBytes+1)), 1 << 20, "more than 134217728 bytes"},
		{"LZ4 bomb", CompressionLZ4, bomb(CompressionLZ4), 4 * maxBatchBytes, "more than 134217728 bytes"},
		{"zstd bomb", CompressionZstd, bomb(CompressionZstd), 4 * maxBatchBytes, "more than 134217728 bytes"},
		{"snappy that says it is long", CompressionSnappy, append(saysMuch, 0, 1, 2), 1 << 20, "a block of 7 bytes says it holds 104857600"},
		{"xerial that says it is long", CompressionSnappy, xerialBlocks(append(saysMuch, 0, 1, 2)), 1 << 20, "xerial block at byte 16: a block of 7 bytes says it holds 104857600"},
		{"zstd that says it is long", CompressionZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 7, 1, 0, 0}, 1 << 20, "a frame of 12 bytes says it holds 117440512, and can hold 0"},
		{"zstd of unknown size, cut short", CompressionZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xb0, 1, 0}, 1 << 20, "records with zstd: "},

		{"gzip cut short", CompressionGzip, half(mustCompress(t, src, CompressionGzip)), 8 << 20, "unexpected EOF"},
		{"xerial cut short", CompressionSnappy, half(mustCompress(t, src, CompressionSnappy)), 8 << 20, "are left"},
		{"xerial header cut short", CompressionSnappy, xerialHeader[:12], 8 << 20, "xerial header cut short: 12 of 16 bytes"},
		{"xerial block size cut short", CompressionSnappy, append(bytes.Clone(xerialHeader), 0, 0), 8 << 20, "xerial block at byte 16 cut short: 2 bytes left"},
		{"xerial block size negative", CompressionSnappy, append(bytes.Clone(xerialHeader), 255, 255, 255, 255), 8 << 20, "xerial block at byte 16 is of 4294967295 bytes, 0 are left"},
		{"xerial of a later version", CompressionSnappy, []byte("\x82SNAPPY\x00\x00\x00\x00\x02\x00\x00\x00\x02"), 8 << 20, "xerial framing is of version 2, want 1"},
		{"xerial with an empty block", CompressionSnappy, xerialBlocks(nil), 8 << 20, "xerial block at byte 16: "},
		{"LZ4 cut short", CompressionLZ4, half(mustCompress(t, src, CompressionLZ4)), 16 << 20, "EOF"},
		{"zstd cut short", CompressionZstd, half(mustCompress(t, src, CompressionZstd)), 8 << 20, "EOF"},
		{"gzip and more", CompressionGzip, append(mustCompress(t, src, CompressionGzip), "more"...), 8 << 20, "records with gzip: "},
		{"LZ4 and more", CompressionLZ4, append(mustCompress(t, src, CompressionLZ4), "more"...), 16 << 20, "records with lz4: "},
		{"zstd and more", CompressionZstd, append(mustCompress(t, src, CompressionZstd), "more"...), 8 << 20, "records with zstd: "},
		{"no gzip", CompressionGzip, []byte("neither"), 8 << 20, "records with gzip: "},
		{"no snappy", CompressionSnappy, []byte("\xff\xff\xff\xff\xff\xff"), 8 << 20, "records with snappy: "},
		{"no LZ4", CompressionLZ4, []byte("neither"), 8 << 20, "records with lz4: "},
		{"no zstd", CompressionZstd, []byte("neither"), 8 << 20, "records with zstd: "},
		{"empty gzip", CompressionGzip, nil, 8 << 20, "records with gzip: unexpected EOF"},
		{"empty snappy", CompressionSnappy, nil, 8 << 20, "records with snappy: "},
		{"empty LZ4", CompressionLZ4, nil, 8 << 20, "records with lz4: "},
		{"empty zstd", CompressionZstd, nil, 8 << 20, "records with zstd: "},
		{"unknown", 5, []byte("x"), 8 << 20, "decompress 1 bytes of records with compression(5): unknown codec"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if raceEnabled() && c.limit > maxBatchBytes {
				t.Skip("takes seconds under the race detector")
			}
			var err error
			if n := allocatedBy(func() { _, err = decompress(c.b, c.codec) }); n > c.limit {
				t.Errorf("%d bytes allocated for %d, want at most %d", n, len(c.b), c.limit)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			// What failed leaves nothing behind.
			for _, c := range allCompressions[1:] {
				if out, err := decompress(mustCompress(t, src, c), c); err != nil || !bytes.Equal(out, src) {
					t.Errorf("after it, %v: %d bytes, error %v", c, len(out), err)
				}
			}
		})
	}
}

func half(b []byte) []byte { return b[:len(b)/2] }

// Codecs are shared by all partitions: their pools must not mix up what they are given.
func TestCompressConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for worker := range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range 20 {
				c := allCompressions[1+i%4]
				src := text(10_000 + 1000*worker + i)
				b := bytes.Clone(src)
				n, err := compressInPlace(b, c)
				if err != nil {
					t.Error(err)
					return
				}
				out, err := decompress(b[:n], c)
				if err != nil || !bytes.Equal(out, src) {
					t.Errorf("%v: %d bytes come back as %d, error %v", c, len(src), len(out), err)
				}
			}
		})
	}
	wg.Wait()
}

// What one codec library makes of a stream, through two ways of using it: what we accept franz-go's client
// reads as the same bytes, and a zstd stream holds what zstdSize has said.
func FuzzDecompress(f *testing.F) {
	for _, c := range allCompressions[1:] {
		f.Add(int8(c), mustCompress(f, text(500), c))
		f.Add(int8(c), readTestdata(f, c.String()+".batch")[batchHeaderSize:])
	}
	f.Add(int8(CompressionSnappy), s2.EncodeSnappy(nil, text(300)))
	f.Add(int8(CompressionZstd), []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 7, 1, 0, 0})
	f.Add(int8(CompressionZstd), []byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2}) // a frame to be skipped
	f.Add(int8(CompressionZstd), []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xb0, 3, 0, 16, 7})
	theirs := kgo.DefaultDecompressor()
	f.Fuzz(func(t *testing.T, codec int8, src []byte) {
		c := 1 + Compression(uint8(codec)-1)%4
		var out []byte
		var err error
		// Codecs have buffers of up to a few MiB, and what is decompressed moves when it grows. What fails may do
		// so as late as at the largest batch.
		if n := allocatedBy(func() { out, err = decompress(src, c) }); n > 32<<20+4*uint64(len(out)) && (err == nil || n > 4*maxBatchBytes) {
			t.Errorf("%v: %d bytes allocated for %d, decompressed %d", c, n, len(src), len(out))
		}
		if c == CompressionZstd {
			size, exact, sizeErr := zstdSize(src)
			if err == nil && (sizeErr != nil || len(out) > size || exact && len(out) != size) {
				t.Errorf("zstd: %d bytes, while zstdSize says %d, exactly %v, error %v", len(out), size, exact, sizeErr)
			}
		}
		if err != nil || c == CompressionSnappy && len(out) == 0 { // franz-go knows no framing without blocks
			return
		}
		want, err := theirs.Decompress(src, kgo.CompressionCodecType(c))
		if err != nil || !bytes.Equal(out, want) {
			t.Errorf("%v: %d bytes, while franz-go reads %d, error %v", c, len(out), len(want), err)
		}
	})
}
