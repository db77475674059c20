package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// This file owns the frame: what one append is in the journal. All of a frame comes to be, or nothing: a
// transaction's commit is one frame with all its markers and its offsets. Big-endian:
//
//	 0        4      8        12         16              24           32              40
//	+--------+------+--------+----------+---------------+------------+---------------+----------+------+
//	| magic  | CRC  | length | sections | journal file  | sequence   | synced        | sections | data |
//	|   4    |  4   |   4    |    4     | number 8      |     8      |     8         | 44 each  | ...  |
//	+--------+------+--------+----------+---------------+------------+---------------+----------+------+
//
// length is that of the whole frame. CRC is CRC-32C from length to the end of the sections; the data have
// sums of their own, so that a batch, which brings one, is summed once. synced is the highest sequence that
// was known to be on disk when the frame was written: recovery tells by it damage from a torn tail.
//
// A frame without sections says nothing but what is synced.
//
// A section says where in the log its data belong:
//
//	 0      1     4           8        12          16              24            32       36           40    44
//	+------+-----+-----------+--------+-----------+---------------+-------------+--------+------------+-----+
//	| kind | 0 0 | partition | leader | position  | segment's     | base offset | length | last       | CRC |
//	|  1   | 3   | number 4  | epoch 4| in it 4   | base offset 8 |     8       |   4    | offset 4   |  4  |
//	+------+-----+-----------+--------+-----------+---------------+-------------+--------+------------+-----+
//
// The data of a batch section are one record batch; CRC is the batch's own, and what lies outside of that
// (base offset, length, leader epoch) is in the section. The data of a meta section are a metaEntry
// (meta.go), CRC is over all of them, and the fields that place a batch are 0.
//
// A journal file is recycled, so that its pages and blocks are warm; what it held before must never be taken
// for new. The file's number is in every frame, is never used again, and so tells them apart.

const (
	frameMagic      = 0x4d4c4446 // "MLDF"
	frameHeaderSize = 40
	sectionSize     = 44

	// maxFrame keeps length an int32, and a damaged length from asking for more memory than there is.
	maxFrame = 1 << 30
)

type sectionKind uint8

const (
	sectionBatch sectionKind = 1
	sectionMeta  sectionKind = 2
)

type section struct {
	kind            sectionKind
	partition       int32
	leaderEpoch     int32
	position        uint32
	segment         int64
	baseOffset      int64
	length          uint32
	lastOffsetDelta int32
	crc             uint32

	start int // of the data, in the frame; not stored
}

// frame is a frame in the making, or one that was read back.
type frame struct {
	file, sequence, synced uint64
	sections               []section
	buf                    []byte
	dataStart              int
	splits                 []int // scratch of whoever encodes a Block
}

// reset empties the frame and leaves room for the given number of sections. As many must be added.
func (fr *frame) reset(numSections int) {
	n := frameHeaderSize + numSections*sectionSize
	fr.buf = slices.Grow(fr.buf[:0], n)[:n]
	fr.dataStart = n
	fr.sections = slices.Grow(fr.sections[:0], numSections)
}

// nextData is where the data of the next section start.
func (fr *frame) nextData() int {
	if n := len(fr.sections); n > 0 {
		return fr.sections[n-1].start + int(fr.sections[n-1].length)
	}
	return fr.dataStart
}

// addBatch makes a section of the batch that was appended to fr.buf since the last one.
func (fr *frame) addBatch() {
	start := fr.nextData()
	b := fr.buf[start:]
	fr.sections = append(fr.sections, section{
		kind:            sectionBatch,
		length:          uint32(len(b)),
		lastOffsetDelta: int32(binary.BigEndian.Uint32(b[lastOffsetDeltaAt:])),
		crc:             binary.BigEndian.Uint32(b[crcAt:]),
		start:           start,
	})
}

// addMeta appends a meta entry as a section.
func (fr *frame) addMeta(m metaEntry) {
	start := fr.nextData()
	fr.buf = appendMeta(fr.buf, m)
	b := fr.buf[start:]
	fr.sections = append(fr.sections, section{
		kind: sectionMeta, length: uint32(len(b)), crc: crc32.Checksum(b, castagnoli), start: start,
	})
}

// data are the bytes of section i.
func (fr *frame) data(i int) []byte {
	s := &fr.sections[i]
	return fr.buf[s.start : s.start+int(s.length) : s.start+int(s.length)]
}

// seal writes header and sections in front of the data.
func (fr *frame) seal(file, sequence, synced uint64) {
	if fr.dataStart != frameHeaderSize+len(fr.sections)*sectionSize {
		panic(fmt.Sprintf("log: frame has %d sections and room for %d bytes of them", len(fr.sections), fr.dataStart-frameHeaderSize))
	}
	fr.file, fr.sequence, fr.synced = file, sequence, synced
	b, be := fr.buf, binary.BigEndian
	be.PutUint32(b, frameMagic)
	be.PutUint32(b[8:], uint32(len(b)))
	be.PutUint32(b[12:], uint32(len(fr.sections)))
	be.PutUint64(b[16:], file)
	be.PutUint64(b[24:], sequence)
	be.PutUint64(b[32:], synced)
	for i := range fr.sections {
		s, at := &fr.sections[i], b[frameHeaderSize+i*sectionSize:]
		be.PutUint32(at, uint32(s.kind)<<24)
		be.PutUint32(at[4:], uint32(s.partition))
		be.PutUint32(at[8:], uint32(s.leaderEpoch))
		be.PutUint32(at[12:], s.position)
		be.PutUint64(at[16:], uint64(s.segment))
		be.PutUint64(at[24:], uint64(s.baseOffset))
		be.PutUint32(at[32:], s.length)
		be.PutUint32(at[36:], uint32(s.lastOffsetDelta))
		be.PutUint32(at[40:], s.crc)
	}
	be.PutUint32(b[4:], crc32.Checksum(b[8:fr.dataStart], castagnoli))
}

// parseFrame reads the frame at the start of b: header and sections, whose sum must hold, with all of the
// data there. The data are not looked at: that is checkData's. The frame aliases b.
func parseFrame(b []byte) (*frame, error) {
	be := binary.BigEndian
	if len(b) < frameHeaderSize {
		return nil, fmt.Errorf("frame header cut short: %d of %d bytes", len(b), frameHeaderSize)
	}
	if m := be.Uint32(b); m != frameMagic {
		return nil, fmt.Errorf("frame magic is %08x, want %08x", m, frameMagic)
	}
	length, count := be.Uint32(b[8:]), be.Uint32(b[12:])
	if length > maxFrame || int(length) > len(b) {
		return nil, fmt.Errorf("frame length is %d, with %d bytes left", length, len(b))
	}
	if length < frameHeaderSize || count > (length-frameHeaderSize)/sectionSize {
		return nil, fmt.Errorf("frame of %d bytes says it has %d sections", length, count)
	}
	b = b[:length:length]
	dataStart := frameHeaderSize + int(count)*sectionSize
	if stored, computed := be.Uint32(b[4:]), crc32.Checksum(b[8:dataStart], castagnoli); stored != computed {
		return nil, fmt.Errorf("frame CRC mismatch: stored %08x, computed %08x", stored, computed)
	}
	fr := &frame{
		file:      be.Uint64(b[16:]),
		sequence:  be.Uint64(b[24:]),
		synced:    be.Uint64(b[32:]),
		sections:  make([]section, count),
		buf:       b,
		dataStart: dataStart,
	}
	start := dataStart
	for i := range fr.sections {
		at := b[frameHeaderSize+i*sectionSize:]
		s := section{
			kind:            sectionKind(at[0]),
			partition:       int32(be.Uint32(at[4:])),
			leaderEpoch:     int32(be.Uint32(at[8:])),
			position:        be.Uint32(at[12:]),
			segment:         int64(be.Uint64(at[16:])),
			baseOffset:      int64(be.Uint64(at[24:])),
			length:          be.Uint32(at[32:]),
			lastOffsetDelta: int32(be.Uint32(at[36:])),
			crc:             be.Uint32(at[40:]),
			start:           start,
		}
		if int(s.length) > len(b)-start {
			return nil, fmt.Errorf("section %d of the frame is %d bytes long, with %d left", i, s.length, len(b)-start)
		}
		start += int(s.length)
		fr.sections[i] = s
	}
	if start != len(b) {
		return nil, fmt.Errorf("%d bytes left over after the frame's %d sections", len(b)-start, count)
	}
	return fr, nil
}

var errUnknownSection = errors.New("a newer version wrote a kind of section that this one does not know")

// checkData checks the data of section i against its sum and its place.
func (fr *frame) checkData(i int) error {
	s, b := &fr.sections[i], fr.data(i)
	switch s.kind {
	case sectionMeta:
		if computed := crc32.Checksum(b, castagnoli); computed != s.crc {
			return fmt.Errorf("CRC mismatch: stored %08x, computed %08x over %d bytes", s.crc, computed, len(b))
		}
		return nil
	case sectionBatch:
		h, err := parseBatchHeader(b)
		if err != nil {
			return err
		}
		if err := checkBatchCRC(b); err != nil {
			return err
		}
		if h.crc != s.crc || h.size() != len(b) || h.baseOffset != s.baseOffset || h.leaderEpoch != s.leaderEpoch || h.lastOffsetDelta != s.lastOffsetDelta {
			return fmt.Errorf("batch at offset %d of %d bytes is not the section's, which has offset %d and %d bytes",
				h.baseOffset, h.size(), s.baseOffset, s.length)
		}
		return nil
	default:
		return errUnknownSection
	}
}
