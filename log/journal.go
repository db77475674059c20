package log

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// journal is where every append goes first, in one order over all partitions. What is synced of it is a
// prefix of that order, so that after any crash the log is one consistent prefix over all partitions; one sync
// serves any number of partitions and waiters.
//
// Invariants:
//  1. Sequences are contiguous, from one file to the next too. A frame never spans two files.
//  2. A frame's number is handed out when it is written, under mu; one that could not be written leaves no
//     gap: the next takes its number and its place.
//  3. A file is recycled only once a checkpoint covers all its frames, and with a new number.
//  4. A frame counts as synced only when all files up to its own were synced after it was written, and its
//     file's name too.
type journal struct {
	fs        files
	dir       string
	fileBytes int64
	mode      Sync
	logger    *slog.Logger

	prepareMu sync.Mutex // held to make the spare file; stands above mu

	mu         sync.Mutex
	cur        *journalFile
	position   int64  // in cur: where the next frame goes
	sequence   uint64 // of the next frame
	nextNumber uint64
	spare      *journalFile   // named and ready to come after cur
	unsynced   []*journalFile // in order; those with frames that are not known synced, cur the last
	retired    []*journalFile // full, and not covered by a checkpoint yet
	numRetired atomic.Int64   // of them, to look at without the lock
	free       []*journalFile // covered

	told    uint64      // what the last frame says is synced
	noted   bool        // the last frame says nothing else
	noting  atomic.Bool // the timer runs
	closing atomic.Bool // no note any more

	failed atomic.Pointer[error] // set once: nothing is written any more

	// syncMu stands below mu: a holder of syncMu never takes mu.
	syncMu  sync.Mutex
	syncEnd *sync.Cond
	syncing bool
	synced  atomic.Uint64 // the highest sequence on disk; written under syncMu
	marks   []mark        // of frames whose effects readers may not see yet

	rolled func() // told that a file is full; must not block
}

// journalFile is one file of the journal. Its name is its number.
type journalFile struct {
	f      *file
	number uint64
	last   uint64 // sequence of the last frame
	size   int64  // of the file, which zeros may have made longer than what is used
}

// maxFreeFiles is how many files are kept for reuse; the rest is removed.
const maxFreeFiles = 4

// zeroAhead is by how much a file is stretched with zeros at once, so that syncs of the frames to come have
// no new size to write.
const zeroAhead = 4 << 20

func journalName(number uint64) string { return fmt.Sprintf("%020d", number) }

// parseJournalName is the inverse of journalName.
func parseJournalName(name string) (number uint64, ok bool) {
	if len(name) != 20 || strings.Trim(name, "0123456789") != "" {
		return 0, false
	}
	_, err := fmt.Sscanf(name, "%d", &number)
	return number, err == nil
}

// start makes the journal ready to take frames, the first with the given sequence, in a file with the given
// number. free are names of files to recycle.
func (j *journal) start(number, sequence uint64, free []string) error {
	j.syncEnd = sync.NewCond(&j.syncMu)
	j.sequence, j.nextNumber = sequence, number
	j.synced.Store(sequence - 1)
	for _, name := range free {
		if len(j.free) == maxFreeFiles {
			if err := j.fs.removeIfThere(j.fs.PathJoin(j.dir, name)); err != nil {
				return err
			}
			continue
		}
		f, err := j.fs.open(j.fs.PathJoin(j.dir, name))
		if err != nil {
			return err
		}
		size, err := f.size()
		if err != nil {
			return errors.Join(err, f.close())
		}
		j.free = append(j.free, &journalFile{f: f, size: size})
	}
	if err := j.prepare(); err != nil {
		return err
	}
	j.cur, j.spare = j.spare, nil
	j.unsynced = []*journalFile{j.cur}
	return nil
}

// prepare makes the spare file, if there is none: a recycled one, whose pages and blocks are warm, if
// possible. Its name is durable when prepare returns.
func (j *journal) prepare() error {
	j.prepareMu.Lock()
	defer j.prepareMu.Unlock()
	j.mu.Lock()
	if j.spare != nil {
		j.mu.Unlock()
		return nil
	}
	number := j.nextNumber
	j.nextNumber++
	var old *journalFile
	if n := len(j.free); n > 0 {
		old, j.free = j.free[n-1], j.free[:n-1]
	}
	j.mu.Unlock()

	jf := &journalFile{number: number}
	path := j.fs.PathJoin(j.dir, journalName(number))
	var err error
	if old != nil {
		jf.f, jf.size = old.f, old.size
		err = fileError("rename", jf.f.path, j.fs.FS.Rename(jf.f.path, path))
		if err == nil {
			jf.f.path = path
		}
	} else {
		jf.f, err = j.fs.create(path)
	}
	if err == nil {
		err = j.fs.syncDir(j.dir)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		if jf.f != nil {
			j.free = append(j.free, jf)
		}
		return err
	}
	j.spare = jf
	return nil
}

// fail stops all writing for good, with the first reason given.
func (j *journal) fail(err error) {
	if j.failed.CompareAndSwap(nil, &err) {
		j.logger.Error("the log takes no more writes until it is opened again", slog.Any("error", err))
		j.syncMu.Lock()
		j.syncEnd.Broadcast()
		j.syncMu.Unlock()
	}
}

// err is why nothing can be written any more; nil if it can.
func (j *journal) err() error {
	if err := j.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// append writes a frame and returns its sequence. If that fails, the frame never was.
func (j *journal) append(fr *frame) (uint64, error) {
	if len(fr.buf) > maxFrame {
		return 0, fmt.Errorf("%w: %d bytes do not fit into one frame of the journal; commit or append less at once", ErrRecordTooLarge, len(fr.buf))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.position > 0 && j.position+int64(len(fr.buf)) > j.fileBytes {
		if j.spare != nil {
			j.roll()
			break
		}
		// It is made in the background, and comes late this time.
		j.mu.Unlock()
		err := j.prepare()
		j.mu.Lock()
		if err != nil {
			return 0, err
		}
	}
	if err := j.err(); err != nil {
		return 0, err
	}
	return j.write(fr)
}

// write writes a frame that fits into the file. The caller holds mu.
func (j *journal) write(fr *frame) (uint64, error) {
	end := j.position + int64(len(fr.buf))
	fr.seal(j.cur.number, j.sequence, j.synced.Load())
	if err := j.cur.f.writeAt(fr.buf, j.position); err != nil {
		j.unwrite(err)
		return 0, err
	}
	j.position = end
	j.told, j.noted = fr.synced, len(fr.sections) == 0
	j.cur.last = j.sequence
	j.sequence++
	if end > j.cur.size {
		j.cur.size = end
		j.stretch(end)
	}
	return j.cur.last, nil
}

// unwrite sees to it that a frame whose write failed is not found there after a crash: it may have come to be
// on disk nevertheless, and its caller is told that it is not.
func (j *journal) unwrite(cause error) {
	err := j.cur.f.writeAt(zeros[:frameHeaderSize], j.position)
	if err != nil && !errors.Is(err, ErrDiskFull) {
		j.fail(fmt.Errorf("%w, and neither can it be taken back: %w", cause, err))
	}
	// Without room for a header there is none.
}

// stretch writes zeros after the frame that made the file longer. What keeps it from that will keep the next
// frame from being written, and is reported then.
func (j *journal) stretch(end int64) {
	if j.mode == SyncOS {
		return
	}
	upTo := min((end/zeroAhead+1)*zeroAhead, j.fileBytes)
	if upTo > end && j.cur.f.writeAt(zeros[:upTo-end], end) == nil {
		j.cur.size = upTo
	}
}

var zeros [zeroAhead]byte

// roll goes on to the spare file. The caller holds mu.
func (j *journal) roll() {
	j.retired = append(j.retired, j.cur)
	j.numRetired.Store(int64(len(j.retired)))
	j.cur, j.position, j.spare = j.spare, 0, nil
	j.unsynced = append(j.unsynced, j.cur)
	j.rolled()
}

// here is the place and the sequence of the next frame. The caller holds mu.
func (j *journal) here() (number uint64, position int64, sequence uint64) {
	return j.cur.number, j.position, j.sequence
}

// written is the sequence of the last frame: what is there now is durable once that is. A batch that comes again is
// acknowledged no sooner than the first time.
func (j *journal) written() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sequence - 1
}

// reveal shows readers the effects of a frame: at once if it counts as synced, and else when it does. Calls
// for one partition come in the order of its frames, so the caller holds its lock.
func (j *journal) reveal(marks ...mark) {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	for _, m := range marks {
		if j.mode == SyncOS || m.sequence <= j.synced.Load() {
			m.p.reveal(m.end, m.lastStable)
		} else {
			j.marks = append(j.marks, m)
		}
	}
}

// wait waits until the frame with the given sequence is on disk. Whoever comes first syncs for all.
func (j *journal) wait(sequence uint64) error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	for j.synced.Load() < sequence {
		if err := j.err(); err != nil {
			return err
		}
		if j.syncing {
			j.syncEnd.Wait()
		} else {
			j.sync()
		}
	}
	return nil
}

// syncAll syncs what was written so far, if it is not. A note does not count.
func (j *journal) syncAll() error {
	j.mu.Lock()
	last := j.sequence - 1
	if j.noted {
		last--
	}
	j.mu.Unlock()
	return j.wait(last)
}

// sync makes one round: it syncs what is written when it starts. The caller holds syncMu, which is free
// meanwhile, and there is one round at a time.
func (j *journal) sync() {
	j.syncing = true
	j.syncMu.Unlock()

	j.mu.Lock()
	last, dirty := j.sequence-1, slices.Clone(j.unsynced)
	j.mu.Unlock()
	var err error
	for _, jf := range dirty {
		if err = jf.f.sync(); err != nil {
			// What a failed sync leaves behind may look clean to the next one, which then succeeds without
			// writing anything: there is no second try.
			j.fail(fmt.Errorf("%w: %w", ErrSyncFailed, err))
			break
		}
	}
	if err == nil {
		j.mu.Lock()
		j.unsynced = slices.DeleteFunc(j.unsynced, func(jf *journalFile) bool {
			return jf != j.cur && slices.Contains(dirty, jf) && jf.last <= last
		})
		j.mu.Unlock()
	}

	j.syncMu.Lock()
	j.syncing = false
	if err == nil {
		j.advance(last)
	}
	j.syncEnd.Broadcast()
}

// advance takes note that frames up to the given one are on disk. The caller holds syncMu.
func (j *journal) advance(synced uint64) {
	if synced <= j.synced.Load() {
		return
	}
	j.synced.Store(synced)
	kept := j.marks[:0]
	for _, m := range j.marks {
		if m.sequence <= synced {
			m.p.reveal(m.end, m.lastStable)
		} else {
			kept = append(kept, m)
		}
	}
	clear(j.marks[len(kept):])
	j.marks = kept
	if !j.noting.Swap(true) {
		time.AfterFunc(noteDelay, j.note)
	}
}

// noteDelay is how long after a sync a note of it is written at the latest.
const noteDelay = 20 * time.Millisecond

// note writes down what is synced, if no frame has come since that says so: without it the last frames before
// a pause, though synced, would have nothing behind them to tell their damage from a torn tail. The note itself
// is not synced; the end of the process does not hurt it, and in time the operating system writes it.
func (j *journal) note() {
	j.noting.Store(false)
	fr := newFrame()
	defer fr.release()
	fr.reset(0)
	j.mu.Lock()
	defer j.mu.Unlock()
	synced := j.synced.Load()
	switch {
	case j.closing.Load(), j.err() != nil:
		return
	case j.told >= synced, synced < j.sequence-1:
		return // it is told, or the next sync comes
	case j.position+int64(len(fr.buf)) > j.fileBytes:
		return // the next file's first frame tells it
	}
	// What keeps it from being written will show when a frame is.
	_, _ = j.write(fr)
}

// release frees the files that a durable checkpoint covers. Their frames count as synced: all they say is in
// segments and checkpoint.
func (j *journal) release(covered uint64) error {
	j.syncMu.Lock()
	for j.syncing {
		j.syncEnd.Wait()
	}
	j.syncing = true // no round may have the files in hand
	j.syncMu.Unlock()

	var gone []*journalFile
	j.mu.Lock()
	old := func(jf *journalFile) bool { return jf != j.cur && jf.last <= covered }
	j.unsynced = slices.DeleteFunc(j.unsynced, old)
	for _, jf := range j.retired {
		if !old(jf) {
			continue
		}
		if len(j.free) < maxFreeFiles {
			j.free = append(j.free, jf)
		} else {
			gone = append(gone, jf)
		}
	}
	j.retired = slices.DeleteFunc(j.retired, old)
	j.numRetired.Store(int64(len(j.retired)))
	j.mu.Unlock()

	j.syncMu.Lock()
	j.syncing = false
	j.advance(covered)
	j.syncEnd.Broadcast()
	j.syncMu.Unlock()

	var err error
	for _, jf := range gone {
		err = errors.Join(err, jf.f.close(), j.fs.removeIfThere(jf.f.path))
	}
	return err
}

// close closes all files. Nobody uses the journal any more.
func (j *journal) close() error {
	j.closing.Store(true)
	j.mu.Lock() // a note may be under way
	defer j.mu.Unlock()
	var err error
	all := slices.Concat(j.retired, j.free, []*journalFile{j.cur, j.spare})
	for _, jf := range all {
		if jf != nil {
			err = errors.Join(err, jf.f.close())
		}
	}
	return err
}
