package log

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"sync/atomic"
)

// segment is a run of a partition's batches in a file that is named after its first offset, with its indexes
// beside it.
//
// Invariants:
//  1. The bytes below size are whole batches, contiguous in offsets, and never change. What lies above is
//     left of an append that failed or was cut, belongs to nobody, and is overwritten by the next append.
//  2. Only a partition's last segment grows. Only the holder of the partition's lock makes it grow.
//  3. Nothing here is synced by an append: the journal is. A checkpoint syncs what became dirty, and writes
//     the index entries that are only in memory.
type segment struct {
	fs       files
	dir      string
	base     int64
	interval int // index.interval.bytes

	size atomic.Int64

	// Of the partition's lock.
	next       int64 // the offset after the last batch
	unindexed  int   // bytes since the last index entry
	dirty      bool  // written to since the checkpoint took note of it
	newInDir   bool  // its name is not synced yet
	openHandle atomic.Pointer[file]

	mu     sync.Mutex
	index  sidecar[indexEntry]
	times  sidecar[timeEntry]
	aborts sidecar[AbortedTransaction]
	// abortSum is over the bytes of all entries of aborts: the file has no sum, and a bit that is flipped there
	// makes an aborted record a committed one.
	abortSum uint32
	// newest is what an entry of times for all of the segment says; lastTime is the last that there is. Only
	// the holder of the partition's lock changes newest.
	newest   timeEntry
	lastTime int64
}

// sidecar is an index file's entries: those in the file, which are read when they are first needed, and those
// that came since.
type sidecar[E any] struct {
	stored  int // entries in the file that count
	loaded  bool
	entries []E // if loaded, all; else those after the stored ones
	rebuilt int // how many times
}

// rebuild puts entries in the place of all that there were. They are not in the file.
func (s *sidecar[E]) rebuild(entries []E) {
	*s = sidecar[E]{loaded: true, entries: entries, rebuilt: s.rebuilt + 1}
}

func (s *sidecar[E]) len() int {
	if s.loaded {
		return len(s.entries)
	}
	return s.stored + len(s.entries)
}

// fresh are the entries after the stored ones.
func (s *sidecar[E]) fresh() []E {
	if s.loaded {
		return s.entries[s.stored:]
	}
	return s.entries
}

// Endings of a segment's files.
const (
	logSuffix   = ".log"
	indexSuffix = ".index"
	timeSuffix  = ".timeindex"
	abortSuffix = ".txnindex"
)

// segmentSuffixes are those of all files that a segment may have, sidecarSuffixes of those beside the first.
var (
	segmentSuffixes = []string{logSuffix, indexSuffix, timeSuffix, abortSuffix}
	sidecarSuffixes = segmentSuffixes[1:]
)

func (s *segment) path(suffix string) string {
	return s.fs.PathJoin(s.dir, fmt.Sprintf("%020d", s.base)+suffix)
}

// newSegment makes an empty segment and its file.
func newSegment(fs files, dir string, base int64, interval int) (*segment, error) {
	s := &segment{
		fs: fs, dir: dir, base: base, next: base, interval: interval, dirty: true, newInDir: true,
		newest: noTime, lastTime: noTime.timestamp,
	}
	s.index.loaded, s.times.loaded, s.aborts.loaded = true, true, true
	for _, suffix := range sidecarSuffixes {
		if err := fs.removeIfThere(s.path(suffix)); err != nil {
			return nil, err
		}
	}
	f, err := fs.create(s.path(logSuffix))
	if err != nil {
		return nil, err
	}
	s.openHandle.Store(f)
	return s, nil
}

// file returns the open log file.
func (s *segment) file() (*file, error) {
	if f := s.openHandle.Load(); f != nil {
		return f, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.openHandle.Load(); f != nil {
		return f, nil
	}
	f, err := s.fs.open(s.path(logSuffix))
	if err != nil {
		return nil, err
	}
	s.openHandle.Store(f)
	return f, nil
}

// fits reports whether a batch may go into the segment: not past segmentBytes, and not so far from the base
// that index entries could not say it. An empty segment takes any batch.
func (s *segment) fits(position int64, batchBytes int, nextOffset, segmentBytes int64) bool {
	if position == 0 {
		return true
	}
	return position+int64(batchBytes) <= segmentBytes && nextOffset-s.base <= math.MaxInt32
}

// write puts whole batches at position, which is size or further on. They count once grow is called.
func (s *segment) write(b []byte, position int64) error {
	f, err := s.file()
	if err != nil {
		return err
	}
	return f.writeAt(b, position)
}

// grow makes the batch with header h, written at size, part of the segment.
func (s *segment) grow(h *batchHeader) {
	position, last := s.size.Load(), uint32(h.nextOffset()-1-s.base)
	if due := s.unindexed > s.interval; due || h.maxTimestamp > s.newest.timestamp {
		s.mu.Lock()
		if h.maxTimestamp > s.newest.timestamp {
			s.newest = timeEntry{h.maxTimestamp, last}
		}
		if due {
			s.index.entries = append(s.index.entries, indexEntry{last, uint32(position)})
			s.addTime()
			s.unindexed = 0
		}
		s.mu.Unlock()
	}
	s.unindexed += h.size()
	s.next = h.nextOffset()
	s.dirty = true
	s.size.Store(position + int64(h.size()))
}

// addAbort takes note of a transaction whose abort marker was written to this segment.
func (s *segment) addAbort(a AbortedTransaction) {
	s.mu.Lock()
	s.aborts.entries = append(s.aborts.entries, a)
	s.abortSum = crc32.Update(s.abortSum, castagnoli, appendAborts(nil, []AbortedTransaction{a}))
	s.mu.Unlock()
}

// place is a point in a segment where a batch starts. base is the batch's base offset, last its last offset;
// -1 for what is not known.
type place struct {
	position   int64
	base, last int64
}

// locate returns the nearest known place at or before the batch that holds offset.
func (s *segment) locate(offset int64) (place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.loadIndex(); err != nil {
		return place{}, err
	}
	if e, ok := floorIndex(s.index.entries, uint32(min(offset-s.base, math.MaxUint32))); ok {
		return place{position: int64(e.position), base: -1, last: s.base + int64(e.offset)}, nil
	}
	return place{position: 0, base: s.base, last: -1}, nil
}

// loadIndex reads the stored entries. The caller holds mu. An index that does not fit its segment is no loss:
// every entry is in the segment too.
func (s *segment) loadIndex() error {
	if s.index.loaded {
		return nil
	}
	var entries []indexEntry
	b, err := readEntries(s.fs, s.path(indexSuffix), s.index.stored*indexEntrySize)
	if err == nil {
		entries, err = parseIndex(b, s.size.Load())
	}
	if err != nil {
		if entries, err = s.rebuildIndex(); err != nil {
			return err
		}
		s.index.rebuild(entries)
		return nil
	}
	s.index.entries = append(entries, s.index.entries...)
	s.index.loaded = true
	return nil
}

// rebuildIndex walks the segment for its index.
func (s *segment) rebuildIndex() ([]indexEntry, error) {
	var entries []indexEntry
	unindexed := 0
	err := s.walk(func(h *batchHeader, position int64) error {
		if unindexed > s.interval {
			entries = append(entries, indexEntry{uint32(h.nextOffset() - 1 - s.base), uint32(position)})
			unindexed = 0
		}
		unindexed += h.size()
		return nil
	})
	return entries, err
}

// walk calls visit for each batch's header.
func (s *segment) walk(visit func(h *batchHeader, position int64) error) error {
	f := s.openHandle.Load() // the caller may hold mu
	if f == nil {
		var err error
		if f, err = s.fs.open(s.path(logSuffix)); err != nil {
			return err
		}
		defer f.close()
	}
	var b [batchHeaderSize]byte
	next := s.base
	for position, size := int64(0), s.size.Load(); position < size; {
		n := min(int64(len(b)), size-position)
		if err := f.readAt(b[:n], position); err != nil {
			return err
		}
		h, err := parseBatchHeader(b[:n])
		if err == nil && (h.baseOffset != next || int64(h.size()) > size-position || h.lastOffsetDelta < 0) {
			err = fmt.Errorf("batch of %d bytes with base offset %d stands where offset %d is to be", h.size(), h.baseOffset, next)
		}
		if err == nil {
			err = visit(&h, position)
		}
		if err != nil {
			return &CorruptError{Path: f.path, Offset: position, Err: err}
		}
		next = h.nextOffset()
		position += int64(h.size())
	}
	return nil
}

// loadAborts reads the stored entries; end is the offset after the segment. The caller holds mu.
func (s *segment) loadAborts(end int64) error {
	if s.aborts.loaded {
		return nil
	}
	path := s.path(abortSuffix)
	b, err := readEntries(s.fs, path, s.aborts.stored*abortEntrySize)
	if err == nil {
		computed := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, appendAborts(nil, s.aborts.entries))
		if computed != s.abortSum {
			err = fmt.Errorf("CRC mismatch: computed %08x, and the checkpoint says %08x", computed, s.abortSum)
		}
	}
	if err == nil {
		var entries []AbortedTransaction
		if entries, err = parseAborts(b, s.base, end); err == nil {
			s.aborts.entries = append(entries, s.aborts.entries...)
			s.aborts.loaded = true
			return nil
		}
	}
	// Unlike the offset index this one cannot be made anew from its own segment, since a transaction may
	// start in an earlier one. To guess would be to pass on what was taken back.
	return &CorruptError{Path: path, Err: err}
}

// abortsIn appends to dst the aborted transactions that have batches in [from, to) and whose markers are in
// this segment. done says that later segments have no more of them. end is the offset after the segment.
func (s *segment) abortsIn(dst []AbortedTransaction, from, to, end int64) (out []AbortedTransaction, done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborts.len() == 0 {
		return dst, false, nil
	}
	if err := s.loadAborts(end); err != nil {
		return dst, false, err
	}
	for _, a := range s.aborts.entries {
		if a.FirstOffset < to && a.LastOffset >= from {
			dst = append(dst, a)
		}
		if a.lastStable >= to {
			return dst, true, nil
		}
	}
	return dst, false, nil
}

// readEntries reads the first n bytes of an index file.
func readEntries(fs files, path string, n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := fs.readFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < n {
		return nil, fmt.Errorf("%d bytes, want %d", len(b), n)
	}
	return b[:n], nil
}

// hasFresh reports whether there are index entries that are only in memory.
func (s *segment) hasFresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.index.fresh()) > 0 || len(s.times.fresh()) > 0 || len(s.aborts.fresh()) > 0
}

// segmentSync is what a checkpoint has to do for one segment: taken under the partition's lock, done without.
type segmentSync struct {
	p                    *Partition
	s                    *segment
	index, times, aborts sidecarSync
	dir                  bool
}

// sidecarSync is what is to be written to an index file.
type sidecarSync struct {
	entries []byte
	at      int64
	total   int // entries that the file has then
	rebuilt int // of the sidecar
}

// take notes what is not in the file yet.
func (s *sidecar[E]) take(entrySize int, encode func(dst []byte, entries []E) []byte) sidecarSync {
	return sidecarSync{entries: encode(nil, s.fresh()), at: int64(s.stored * entrySize), total: s.len(), rebuilt: s.rebuilt}
}

// begins reports whether the file comes to be.
func (t *sidecarSync) begins() bool { return t.at == 0 && len(t.entries) > 0 }

// take notes what is not on disk yet. The caller holds the partition's lock.
func (s *segment) take(p *Partition) segmentSync {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addTime()
	t := segmentSync{
		p:      p,
		s:      s,
		index:  s.index.take(indexEntrySize, appendIndex),
		times:  s.times.take(timeEntrySize, appendTimes),
		aborts: s.aborts.take(abortEntrySize, appendAborts),
		dir:    s.newInDir,
	}
	s.dirty, s.newInDir = false, false
	return t
}

// newNames reports whether do leaves names in the directory that are not synced.
func (t *segmentSync) newNames() bool {
	return t.dir || t.index.begins() || t.times.begins() || t.aborts.begins()
}

// restore makes what take noted due again, after it could not be done. The caller holds the partition's lock.
func (t *segmentSync) restore() {
	t.s.dirty = true
	t.s.newInDir = t.s.newInDir || t.newNames()
}

// do writes and syncs. Entries and bytes that came after take may go along; they do not count.
func (t *segmentSync) do() error {
	s := t.s
	f, err := s.file()
	if err != nil {
		return err
	}
	if err := f.sync(); err != nil {
		return fmt.Errorf("%w: %w", ErrSyncFailed, err)
	}
	// Kafka reads no .timeindex without its .index, even if that has no entry yet.
	if len(t.index.entries) > 0 || t.times.begins() {
		if err := writeEntries(s.fs, s.path(indexSuffix), &t.index); err != nil {
			return err
		}
	}
	if len(t.times.entries) > 0 {
		if err := writeEntries(s.fs, s.path(timeSuffix), &t.times); err != nil {
			return err
		}
	}
	if len(t.aborts.entries) > 0 {
		if err := writeEntries(s.fs, s.path(abortSuffix), &t.aborts); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.index.settle(&t.index)
	s.times.settle(&t.times)
	s.aborts.settle(&t.aborts)
	s.mu.Unlock()
	return nil
}

// settle takes note that what was taken is in the file.
func (s *sidecar[E]) settle(t *sidecarSync) {
	if s.rebuilt != t.rebuilt {
		return // other entries have taken their place
	}
	if !s.loaded {
		s.entries = s.entries[t.total-s.stored:]
	}
	s.stored = t.total
}

func writeEntries(fs files, path string, t *sidecarSync) error {
	open := fs.open
	if t.at == 0 {
		open = fs.create // an index made anew may be shorter than what there was
	}
	f, err := open(path)
	if err != nil {
		return err
	}
	if len(t.entries) > 0 {
		err = f.writeAt(t.entries, t.at)
	}
	if err == nil {
		if serr := f.sync(); serr != nil {
			err = fmt.Errorf("%w: %w", ErrSyncFailed, serr)
		}
	}
	return errors.Join(err, f.close())
}

func (s *segment) close() error {
	if f := s.openHandle.Swap(nil); f != nil {
		return f.close()
	}
	return nil
}

// trim cuts what the file has beyond the given size.
func (s *segment) trim(size int64) error {
	f, err := s.file()
	if err != nil {
		return err
	}
	have, err := f.size()
	if err != nil || have <= size {
		return err
	}
	if err := s.fs.cut(f.path, size); err != nil {
		return err
	}
	if !s.fs.onDisk {
		// The name now stands for another file. The old one stays open for who is reading it: the bytes that
		// count are the same.
		s.openHandle.Store(nil)
	}
	return nil
}

// remove removes a segment with its files.
func (s *segment) remove() error {
	err := s.close()
	for _, suffix := range segmentSuffixes {
		err = errors.Join(err, s.fs.removeIfThere(s.path(suffix)))
	}
	return err
}

// tidy makes the files as long as the segment and its stored index entries.
func (s *segment) tidy() error {
	if err := s.trim(s.size.Load()); err != nil {
		return err
	}
	for suffix, want := range map[string]int{
		indexSuffix: s.index.stored * indexEntrySize,
		timeSuffix:  s.times.stored * timeEntrySize,
		abortSuffix: s.aborts.stored * abortEntrySize,
	} {
		size, ok, err := s.fs.size(s.path(suffix))
		if err == nil && ok && size > int64(want) {
			err = s.fs.cut(s.path(suffix), int64(want))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
