package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// This file owns how the records of a batch are compressed: all of them, behind the batch header, as one
// gzip stream, snappy stream, LZ4 frame or zstd frame.
//
// Snappy is written as Java's client writes it (xerial's SnappyOutputStream) and read both so and as the
// plain snappy block that other clients write:
//
//	+------------------------+-----------+--------------+----------------------+-----------------+
//	| 82 'S' 'N' 'A' 'P' 'P' | version 4 | compatible 4 | block size 4         | snappy block of |  size and block
//	| 'Y' 00                 | (=1)      | (=1)         | big-endian           | up to 32 KiB    |  repeat
//	+------------------------+-----------+--------------+----------------------+-----------------+
//
// LZ4 is the standard frame, with what Kafka's own reader insists on: independent blocks. It has 64 KiB blocks
// and no checksum of its own, as Kafka writes it; the batch has one.

// Compression is how the records of a batch are compressed. The values are Kafka's, as the batch has them.
type Compression int8

const (
	CompressionNone Compression = iota
	CompressionGzip
	CompressionSnappy
	CompressionLZ4
	CompressionZstd
)

var compressionNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String is Kafka's name: "none", "gzip", "snappy", "lz4" or "zstd".
func (c Compression) String() string {
	if c < 0 || int(c) >= len(compressionNames) {
		return fmt.Sprintf("compression(%d)", int8(c))
	}
	return compressionNames[c]
}

// ParseCompression is the inverse of String. It takes "uncompressed" too, which is how the topic setting
// compression.type says "none".
func ParseCompression(name string) (Compression, error) {
	if name == "uncompressed" {
		return CompressionNone, nil
	}
	for i, n := range compressionNames {
		if n == name {
			return Compression(i), nil
		}
	}
	return 0, fmt.Errorf("unknown compression %q; known are none, gzip, snappy, lz4 and zstd", name)
}

// scratch holds compressed or decompressed bytes on their way to where they stay.
type scratch struct{ b []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) release() {
	if cap(s.b) > maxPooledArena {
		s.b = nil
	}
	s.b = s.b[:0]
	scratches.Put(s)
}

// Write appends p.
func (s *scratch) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// compressInPlace compresses the encoded records and puts the result over them. n is its size; 0 means that
// it would not have been smaller, and the records are as they were.
func compressInPlace(records []byte, c Compression) (n int, err error) {
	s := scratches.Get().(*scratch)
	defer s.release()
	switch c {
	case CompressionGzip:
		w := gzipWriters.Get().(*gzip.Writer)
		w.Reset(s)
		err = writeAndClose(w, records)
		gzipWriters.Put(w)
	case CompressionSnappy:
		s.b = appendXerial(s.b, records)
	case CompressionLZ4:
		w := lz4Writers.Get().(*lz4.Writer)
		w.Reset(s)
		err = writeAndClose(w, records)
		lz4Writers.Put(w)
	case CompressionZstd:
		s.b = zstdEncoder().EncodeAll(records, s.b)
	default:
		err = errors.New("unknown codec")
	}
	if err != nil {
		return 0, fmt.Errorf("log: compress %d bytes of records with %v: %w", len(records), c, err)
	}
	if len(s.b) >= len(records) {
		return 0, nil
	}
	return copy(records, s.b), nil
}

func writeAndClose(w io.WriteCloser, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Close()
}

var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

var lz4Writers = sync.Pool{New: func() any {
	w := lz4.NewWriter(nil)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)); err != nil {
		panic(fmt.Sprintf("log: lz4 refuses its own options: %v", err))
	}
	return w
}}

// zstdEncoder and zstdDecoder are shared: EncodeAll and DecodeAll take a worker's state from them for the
// length of the call. The level is the default of Kafka, 3. The batch has its own checksum.
var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderCRC(false),
		zstd.WithZeroFrames(true))
	if err != nil {
		panic(fmt.Sprintf("log: zstd refuses its own options: %v", err))
	}
	return e
})

// zstdWindow is how far back the encoder looks; its memory, per core, is a small multiple of it.
const zstdWindow = 256 << 10

// The window of a frame in memory is its own output, so it may be as large as a batch; and the decoder never
// makes room itself, since it would believe what a frame says of its size.
var zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxBatchBytes),
		zstd.WithDecoderMaxWindow(maxBatchBytes),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(fmt.Sprintf("log: zstd refuses its own options: %v", err))
	}
	return d
})

var errTooMuch = fmt.Errorf("more than %d bytes", maxBatchBytes)

// decompress returns the records that src holds, in a buffer of their size that nothing else refers to. What
// src says of that size is believed only if it is large enough to hold as much, and no more than
// maxBatchBytes come out of it.
func decompress(src []byte, c Compression) (out []byte, err error) {
	switch {
	case c == CompressionNone:
		return src, nil
	case len(src) == 0:
		err = io.ErrUnexpectedEOF
	case c == CompressionGzip:
		out, err = decompressGzip(src)
	case c == CompressionSnappy:
		out, err = decompressSnappy(src)
	case c == CompressionLZ4:
		out, err = decompressLZ4(src)
	case c == CompressionZstd:
		out, err = decompressZstd(src)
	default:
		err = errors.New("unknown codec")
	}
	if err != nil {
		return nil, fmt.Errorf("decompress %d bytes of records with %v: %w", len(src), c, err)
	}
	return out, nil
}

type gzipReader struct {
	r   gzip.Reader
	src bytes.Reader
}

var gzipReaders = sync.Pool{New: func() any { return new(gzipReader) }}

func decompressGzip(src []byte) ([]byte, error) {
	g := gzipReaders.Get().(*gzipReader)
	defer gzipReaders.Put(g)
	g.src.Reset(src)
	defer g.src.Reset(nil)
	if err := g.r.Reset(&g.src); err != nil {
		return nil, err
	}
	return readAll(&g.r)
}

type lz4Reader struct {
	r   *lz4.Reader
	src bytes.Reader
}

var lz4Readers = sync.Pool{New: func() any { return &lz4Reader{r: lz4.NewReader(nil)} }}

func decompressLZ4(src []byte) ([]byte, error) {
	l := lz4Readers.Get().(*lz4Reader)
	defer lz4Readers.Put(l)
	l.src.Reset(src)
	defer l.src.Reset(nil)
	l.r.Reset(&l.src)
	return readAll(l.r)
}

// readAll reads r to its end, by way of a scratch, so that the result is no larger than it must be.
func readAll(r io.Reader) ([]byte, error) {
	s := scratches.Get().(*scratch)
	defer s.release()
	for {
		if len(s.b) == cap(s.b) {
			s.b = slices.Grow(s.b, min(max(len(s.b), 64<<10), maxBatchBytes+1-len(s.b)))
		}
		n, err := r.Read(s.b[len(s.b):cap(s.b)])
		s.b = s.b[:len(s.b)+n]
		if len(s.b) > maxBatchBytes {
			return nil, errTooMuch
		}
		if err == io.EOF {
			return bytes.Clone(s.b), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// maxSnappyRatio: the densest element of a snappy block makes 64 bytes of 3.
const maxSnappyRatio = 22

// snappySize is the size that a snappy block says it has, if it can have it.
func snappySize(block []byte) (int, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return 0, err
	}
	if n > maxSnappyRatio*len(block) {
		return 0, fmt.Errorf("a block of %d bytes says it holds %d", len(block), n)
	}
	return n, nil
}

func decompressSnappy(src []byte) ([]byte, error) {
	if bytes.HasPrefix(src, xerialHeader[:xerialMagicSize]) {
		return decompressXerial(src)
	}
	n, err := snappySize(src)
	if err != nil {
		return nil, err
	}
	if n > maxBatchBytes {
		return nil, errTooMuch
	}
	return s2.Decode(make([]byte, n), src)
}

const (
	xerialMagicSize = 8
	xerialBlockSize = 32 << 10
)

var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

func appendXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		part := src[:min(len(src), xerialBlockSize)]
		src = src[len(part):]
		dst = slices.Grow(dst, 4+s2.MaxEncodedLen(len(part)))
		at := len(dst) + 4
		block := s2.EncodeSnappy(dst[at:cap(dst)], part) // in place: there is room
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = dst[:at+len(block)]
	}
	return dst
}

func decompressXerial(src []byte) ([]byte, error) {
	if len(src) < len(xerialHeader) {
		return nil, fmt.Errorf("xerial header cut short: %d of %d bytes", len(src), len(xerialHeader))
	}
	// The writer's version says nothing; what it is compatible with is what a reader has to know.
	if v := binary.BigEndian.Uint32(src[xerialMagicSize+4:]); v != 1 {
		return nil, fmt.Errorf("xerial framing is of version %d, want 1", v)
	}
	blocks := src[len(xerialHeader):]
	total := 0
	for at := 0; at < len(blocks); {
		block, err := xerialBlock(blocks, at)
		if err != nil {
			return nil, err
		}
		n, err := snappySize(block)
		if err != nil {
			return nil, fmt.Errorf("xerial block at byte %d: %w", len(xerialHeader)+at, err)
		}
		if total += n; total > maxBatchBytes {
			return nil, errTooMuch
		}
		at += 4 + len(block)
	}
	out := make([]byte, 0, total)
	for at := 0; at < len(blocks); {
		block, err := xerialBlock(blocks, at)
		if err != nil {
			return nil, err
		}
		n, err := snappySize(block)
		if err != nil {
			return nil, err
		}
		if _, err := s2.Decode(out[len(out):len(out)+n], block); err != nil {
			return nil, fmt.Errorf("xerial block at byte %d: %w", len(xerialHeader)+at, err)
		}
		out = out[:len(out)+n]
		at += 4 + len(block)
	}
	return out, nil
}

// xerialBlock returns the snappy block whose size stands at blocks[at:].
func xerialBlock(blocks []byte, at int) ([]byte, error) {
	rest := blocks[at:]
	if len(rest) < 4 {
		return nil, fmt.Errorf("xerial block at byte %d cut short: %d bytes left", len(xerialHeader)+at, len(rest))
	}
	size := binary.BigEndian.Uint32(rest)
	if uint64(size) > uint64(len(rest)-4) {
		return nil, fmt.Errorf("xerial block at byte %d is of %d bytes, %d are left", len(xerialHeader)+at, size, len(rest)-4)
	}
	return rest[4 : 4+size], nil
}

func decompressZstd(src []byte) ([]byte, error) {
	size, exact, err := zstdSize(src)
	if err != nil {
		return nil, err
	}
	if exact {
		return zstdInto(make([]byte, 0, size), src)
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	s.b = slices.Grow(s.b, size)
	out, err := zstdInto(s.b[:0:size], src)
	return bytes.Clone(out), err
}

// zstdInto decompresses src into dst, which has the room that zstdSize says.
func zstdInto(dst, src []byte) ([]byte, error) {
	out, err := zstdDecoder().DecodeAll(src, dst)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, errTooMuch
	}
	return out, err
}

// maxZstdBlock is the most that one block of a zstd frame can hold.
const maxZstdBlock = 128 << 10

// zstdSize walks frames and blocks without decompressing any, and returns how much src can hold: exactly, if
// all its frames say it, otherwise at most, and no more than maxBatchBytes in any case. Source: RFC 8878.
//
//	frame: magic 4 | descriptor 1, window, dictionary, content size 1-14 | blocks ... | checksum 0 or 4
//	block: bit 0 last, bits 1-2 kind, bits 3-23 size, little-endian | size bytes, but 1 of kind repeated
func zstdSize(src []byte) (size int, exact bool, err error) {
	exact = true
	for len(src) > 0 {
		var h zstd.Header
		rest, err := h.DecodeAndStrip(src)
		if err != nil {
			return 0, false, err
		}
		if h.Skippable {
			if uint64(h.SkippableSize) > uint64(len(rest)) {
				return 0, false, io.ErrUnexpectedEOF
			}
			src = rest[h.SkippableSize:]
			continue
		}
		holds := uint64(0)
		for last := false; !last; {
			if len(rest) < 3 {
				return 0, false, io.ErrUnexpectedEOF
			}
			head := uint32(rest[0]) | uint32(rest[1])<<8 | uint32(rest[2])<<16
			rest = rest[3:]
			last = head&1 != 0
			stored := int(head >> 3)
			makes := min(stored, maxZstdBlock)
			switch head >> 1 & 3 {
			case 1: // repeated
				stored = 1
			case 2: // compressed
				makes = maxZstdBlock
			}
			if stored > len(rest) {
				return 0, false, io.ErrUnexpectedEOF
			}
			rest = rest[stored:]
			holds += uint64(makes)
		}
		if h.HasCheckSum {
			if len(rest) < 4 {
				return 0, false, io.ErrUnexpectedEOF
			}
			rest = rest[4:]
		}
		if !h.HasFCS {
			exact = false
		} else if h.FrameContentSize > holds {
			return 0, false, fmt.Errorf("a frame of %d bytes says it holds %d, and can hold %d",
				len(src)-len(rest), h.FrameContentSize, holds)
		} else {
			holds = h.FrameContentSize
		}
		if holds > uint64(maxBatchBytes-size) {
			if exact {
				return 0, false, errTooMuch
			}
			holds = uint64(maxBatchBytes - size)
		}
		size += int(holds)
		src = rest
	}
	return size, exact, nil
}
