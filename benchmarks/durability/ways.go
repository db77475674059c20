//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// frameHeader is the room in front of a batch for what the journal says about it: checksum, length,
// sequence number, partition, base offset.
const frameHeader = 32

const (
	markerBytes = 78 // a control batch with one record
	offsetBytes = 90 // a committed offset: group, topic, partition; offset and metadata
)

// way is one way of making a commit over many partitions survive power loss. One goroutine uses it.
type way interface {
	// append writes the batch in frame, after its header, to partition p. Nothing waits for the disk.
	append(p int, frame []byte) error
	// commit returns when the appends since the last one, the group's offsets and the decision to commit
	// are durable, and the markers written.
	commit(touched []int) error
	// settle returns when every segment is on disk.
	settle() error
	close() error
}

// files are some files that only grow, each with its end.
type files struct {
	files []*os.File
	ends  []int64
}

func newFiles(dir, name string, n int) (*files, error) {
	fs := &files{ends: make([]int64, n)}
	for i := range n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d", name, i)))
		if err != nil {
			return nil, err
		}
		fs.files = append(fs.files, f)
	}
	return fs, nil
}

func (fs *files) append(i int, b []byte) error {
	_, err := fs.files[i].WriteAt(b, fs.ends[i])
	fs.ends[i] += int64(len(b))
	return err
}

func (fs *files) sync(i int) error { return datasync(fs.files[i]) }

func (fs *files) close() error {
	for _, f := range fs.files {
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

// fill writes zeros and syncs them, so that writing over them changes neither the size nor the blocks of
// the file, and a sync has no metadata to write.
func fill(f *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	return datasync(f)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(frame []byte, p int, seq int64) {
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)))
	binary.BigEndian.PutUint64(frame[8:], uint64(seq))
	binary.BigEndian.PutUint64(frame[16:], uint64(p))
	binary.BigEndian.PutUint32(frame, crc32.Checksum(frame[4:], castagnoli))
}

// syncPool syncs files on several threads at the same time.
type syncPool struct {
	fs      *files
	work    chan int
	errs    chan error
	threads sync.WaitGroup
}

func newSyncPool(fs *files, threads int) *syncPool {
	p := &syncPool{fs: fs, work: make(chan int, len(fs.files)), errs: make(chan error, len(fs.files))}
	for range min(threads, len(fs.files)) {
		p.threads.Go(func() {
			for i := range p.work {
				p.errs <- datasync(p.fs.files[i])
			}
		})
	}
	return p
}

// wait returns the first error of the n files that were handed to work.
func (p *syncPool) wait(n int) (first error) {
	for range n {
		if err := <-p.errs; first == nil {
			first = err
		}
	}
	return first
}

func (p *syncPool) close() {
	close(p.work)
	p.threads.Wait()
}

// journal is way (a). Two preallocated files take turns. When one is full, a checkpoint syncs the dirty
// segments in the background, after which that file may be written over; whoever fills the second one
// before that has to wait. The last segment is the offsets topic's.
type journal struct {
	segments *files
	dirty    []bool
	halves   *files
	half     int
	bytes    int64 // size of each half
	seq      int64
	gather   bool   // keep frames in memory until the commit or one megabyte, and write them at once
	buf      []byte // gathered frames
	pending  chan error
	markers  []byte
	offsets  []byte
}

func newJournal(dir string, partitions int, bytes int64, gather bool) (way, error) {
	segments, err := newFiles(dir, "segment", partitions+1)
	if err != nil {
		return nil, err
	}
	halves, err := newFiles(dir, "journal", 2)
	if err != nil {
		return nil, err
	}
	for _, f := range halves.files {
		if err := fill(f, bytes); err != nil {
			return nil, err
		}
	}
	return &journal{segments: segments, halves: halves, bytes: bytes, gather: gather, dirty: make([]bool, partitions+1)}, nil
}

func (j *journal) append(p int, frame []byte) error {
	if err := j.write(p, frame); err != nil {
		return err
	}
	j.dirty[p] = true
	return j.segments.append(p, frame[frameHeader:])
}

// write puts one frame into the journal, or where it gathers.
func (j *journal) write(p int, frame []byte) error {
	j.seq++
	seal(frame, p, j.seq)
	if !j.gather {
		return j.put(frame)
	}
	j.buf = append(j.buf, frame...)
	if len(j.buf) >= 1<<20 {
		return j.flush()
	}
	return nil
}

func (j *journal) flush() error {
	if len(j.buf) == 0 {
		return nil
	}
	err := j.put(j.buf)
	j.buf = j.buf[:0]
	return err
}

func (j *journal) put(b []byte) error {
	if j.halves.ends[j.half]+int64(len(b)) > j.bytes {
		// What this file holds of an open commit must be durable before it is left behind.
		if err := j.halves.sync(j.half); err != nil {
			return err
		}
		if err := j.awaitCheckpoint(); err != nil {
			return err
		}
		j.startCheckpoint()
		j.half = 1 - j.half
		j.halves.ends[j.half] = 0
	}
	return j.halves.append(j.half, b)
}

func (j *journal) startCheckpoint() {
	var dirty []int
	for i, d := range j.dirty {
		if d {
			dirty, j.dirty[i] = append(dirty, i), false
		}
	}
	done := make(chan error, 1)
	j.pending = done
	go func() {
		for _, i := range dirty {
			if err := j.segments.sync(i); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
}

func (j *journal) awaitCheckpoint() error {
	if j.pending == nil {
		return nil
	}
	err := <-j.pending
	j.pending = nil
	return err
}

// commit writes one frame with the offsets and all markers, so that the commit is there or not.
func (j *journal) commit(touched []int) error {
	offsetsAt := len(j.dirty) - 1
	j.offsets = grow(j.offsets, len(touched)*offsetBytes)
	j.markers = grow(j.markers, frameHeader+len(touched)*markerBytes+len(j.offsets))
	if err := j.write(offsetsAt, j.markers); err != nil {
		return err
	}
	if err := j.flush(); err != nil {
		return err
	}
	if err := j.halves.sync(j.half); err != nil {
		return err
	}
	for _, p := range touched {
		j.dirty[p] = true
		if err := j.segments.append(p, j.markers[frameHeader:frameHeader+markerBytes]); err != nil {
			return err
		}
	}
	j.dirty[offsetsAt] = true
	return j.segments.append(offsetsAt, j.offsets)
}

func (j *journal) settle() error {
	if err := j.awaitCheckpoint(); err != nil {
		return err
	}
	j.startCheckpoint()
	return j.awaitCheckpoint()
}

func (j *journal) close() error {
	if err := j.halves.close(); err != nil {
		return err
	}
	return j.segments.close()
}

// perFile is way (b). The last two files are the offsets topic's segment and the transaction log, whose
// record carries the end of every partition it covers.
type perFile struct {
	fs        *files
	pool      *syncPool
	twoRounds bool // write the record after the data is durable, rather than make recovery check the ends
	record    []byte
}

func newPerFile(dir string, partitions, syncers int, twoRounds bool) (way, error) {
	fs, err := newFiles(dir, "segment", partitions+2)
	if err != nil {
		return nil, err
	}
	return &perFile{fs: fs, pool: newSyncPool(fs, syncers), twoRounds: twoRounds}, nil
}

func (w *perFile) append(p int, frame []byte) error { return w.fs.append(p, frame[frameHeader:]) }

func (w *perFile) commit(touched []int) error {
	offsetsAt, txnLog := len(w.fs.files)-2, len(w.fs.files)-1
	w.record = grow(w.record, 64+len(touched)*offsetBytes)
	if err := w.fs.append(offsetsAt, w.record[64:]); err != nil {
		return err
	}
	decision := w.record[:64+8*len(touched)]
	syncs := len(touched) + 1
	if !w.twoRounds {
		if err := w.fs.append(txnLog, decision); err != nil {
			return err
		}
		w.pool.work <- txnLog
		syncs++
	}
	w.pool.work <- offsetsAt
	for _, p := range touched {
		w.pool.work <- p
	}
	if err := w.pool.wait(syncs); err != nil {
		return err
	}
	if w.twoRounds {
		if err := w.fs.append(txnLog, decision); err != nil {
			return err
		}
		if err := w.fs.sync(txnLog); err != nil {
			return err
		}
	}
	for _, p := range touched {
		if err := w.fs.append(p, w.record[:markerBytes]); err != nil {
			return err
		}
	}
	return nil
}

func (w *perFile) settle() error {
	for i := range w.fs.files {
		if err := w.fs.sync(i); err != nil {
			return err
		}
	}
	return nil
}

func (w *perFile) close() error {
	w.pool.close()
	return w.fs.close()
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
