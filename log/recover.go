package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/moldau-io/moldau/log/txn"
)

// This file decides what becomes of what a crash leaves behind. The rule: what was never synced may be cut;
// what was synced is kept, or its damage is reported and its partition fenced, never passed over in silence.

// finding is something that recovery can come upon.
type finding int

const (
	journalEnds finding = iota
	frameTorn
	syncedBatchDamaged
	syncedMetaDamaged
	syncedFrameLost
	frameUnknown
	segmentTail
	segmentShort
	segmentUnknown
	directoryUnknown
	indexTail
	indexDamaged
	abortIndexDamaged
	checkpointMissing
	checkpointDamaged
	temporaryFile
	numFindings
)

// action is what is done about a finding.
type action int

const (
	keep    action = iota // it is as it should be
	cut                   // drop it: it was never acknowledged
	remove                // remove the file
	rebuild               // make it anew from what is sure, when it is needed
	fence                 // go on without the partition: its reads from there on and its appends fail
	refuse                // fail Open: nobody knows whose bytes they were
)

// decisions is the whole of it. "Synced" is said by the checkpoint, which covers what it names, and by any
// later frame of the journal, which tells up to where it was synced when that frame was written. The last
// frames before a crash have none after them: damaged, they cannot be told from torn ones, and are cut.
var decisions = [numFindings]struct {
	do   action
	what string
}{
	journalEnds:        {keep, "the journal ends after a whole frame: zeros, or what the file held before, follow"},
	frameTorn:          {cut, "a frame is not whole, and nothing says that it was synced: its append never returned, or is lost with the machine as the mode allows. What follows builds on it and goes too"},
	syncedBatchDamaged: {fence, "a batch of a synced frame is damaged"},
	syncedMetaDamaged:  {refuse, "an entry of a synced frame that is of no one partition, or is an offset commit, is damaged"},
	syncedFrameLost:    {refuse, "a synced frame is damaged so that it does not tell whose it was"},
	frameUnknown:       {refuse, "a newer version has written the frame"},
	segmentTail:        {cut, "a segment is longer than journal and checkpoint say: an append that did not come to its end"},
	segmentShort:       {fence, "a segment is shorter than the checkpoint says, or missing"},
	segmentUnknown:     {remove, "a segment that no frame knows: rolled for an append that did not come to its end"},
	directoryUnknown:   {remove, "a directory of no topic: made for a topic whose creation did not come to its end"},
	indexTail:          {cut, "an index is longer than the checkpoint says: it goes on from there"},
	indexDamaged:       {rebuild, "an index is shorter than the checkpoint says, or does not fit its segment: the segment has it all"},
	abortIndexDamaged:  {fence, "the index of aborted transactions is damaged: without it aborted records would be read as committed"},
	checkpointMissing:  {refuse, "there is a journal or a topic, and no checkpoint"},
	checkpointDamaged:  {refuse, "the checkpoint is damaged"},
	temporaryFile:      {remove, "a file that was to replace another, and did not"},
}

// recovery brings a log from checkpoint and journal to where it was. It may be stopped at any point and done
// again: it changes nothing that it reads.
type recovery struct {
	l  *Log
	st *logState

	sequence     uint64 // of the next frame
	nextFile     uint64 // number of a journal file that never was
	journalFiles []string
	passed       journalEnd // where the file before ended, if another one was to go on from there
	cutBytes     bool       // something was cut that had been written as part of the log
	frames       int        // replayed
	nowMs        int64
}

// journalEnd is where a file of the journal has no frame any more, and why.
type journalEnd struct {
	path  string
	at    int
	cause error
}

func (r *recovery) run() error {
	r.nowMs = r.l.nowMs()
	if err := r.readCheckpoint(); err != nil {
		return err
	}
	l := r.l
	l.meta.producerIDs = r.st.producerIDs
	l.offsets.groups = r.st.groups
	if r.st.owners != nil {
		l.meta.owners = r.st.owners
	}
	for i := range r.st.topics {
		if err := r.restoreTopic(&r.st.topics[i]); err != nil {
			return err
		}
	}
	l.offsetsPart = l.partitions[offsetsPartition]
	r.sequence, r.nextFile = r.st.sequence, r.st.file
	if err := r.replayJournal(); err != nil {
		return err
	}
	l.ids.next, l.ids.limit = l.meta.producerIDs, l.meta.producerIDs
	if r.frames > 0 {
		l.logger.Info("replayed the journal", slog.Int("frames", r.frames))
	}
	boot := bootID(l.fs)
	sameBoot := boot != "" && boot == r.st.boot
	seenAndLost := r.st.syncOS && !r.st.clean && (r.cutBytes || !sameBoot)
	for _, p := range l.partitions {
		if !r.st.clean {
			if err := r.tidy(p); err != nil {
				return err
			}
		}
		if seenAndLost {
			// Readers saw what was written, synced or not, and some of that may be gone. The leader epoch
			// tells them that offsets they know may now be other records (KIP-101).
			p.leaderEpoch++
		}
		p.appended.Store(p.end)
		open := slices.Clone(p.producers.open)
		p.openTxns.Store(&open)
	}
	if r.st.clean {
		return nil
	}
	return r.tidyTopics()
}

// readCheckpoint reads the checkpoint, or makes the state of a new log.
func (r *recovery) readCheckpoint() error {
	l := r.l
	path := l.fs.PathJoin(l.dir, metaDir, checkpointName)
	if err := l.fs.removeIfThere(path + tempSuffix); err != nil {
		return err
	}
	names, err := l.fs.list(l.fs.PathJoin(l.dir, journalDir))
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := parseJournalName(name); ok {
			r.journalFiles = append(r.journalFiles, name)
		}
	}
	slices.Sort(r.journalFiles) // the names have leading zeros
	b, err := l.fs.readFile(path)
	if err == nil {
		if r.st, err = parseState(b); err != nil {
			return r.refuse(checkpointDamaged, path, 0, err)
		}
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(r.journalFiles) > 0 {
		return r.refuse(checkpointMissing, path, 0, errors.New("the file does not exist"))
	}
	// The first checkpoint is durable before the journal is begun: what is in topics is of a log whose
	// making was cut short.
	r.st = newState()
	topics := l.fs.PathJoin(l.dir, topicsDir)
	left, err := l.fs.list(topics)
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := l.fs.RemoveAll(l.fs.PathJoin(topics, name)); err != nil {
			return fileError("remove", l.fs.PathJoin(topics, name), err)
		}
	}
	return nil
}

// refuse is the error of a finding that Open fails with.
func (r *recovery) refuse(f finding, path string, offset int64, err error) error {
	return &CorruptError{Path: path, Offset: offset, Err: fmt.Errorf("%s: %w", decisions[f].what, err)}
}

// replayJournal does again what the frames after the checkpoint say.
func (r *recovery) replayJournal() error {
	l := r.l
	dir := l.fs.PathJoin(l.dir, journalDir)
	position := r.st.position
	stopped := false
	for i, name := range r.journalFiles {
		number, _ := parseJournalName(name)
		if number >= r.nextFile {
			r.nextFile = number + 1
		}
		if number < r.st.file || stopped {
			continue
		}
		if number > r.st.file {
			position = 0
		}
		path := l.fs.PathJoin(dir, name)
		b, err := l.fs.readFile(path)
		if err != nil {
			return err
		}
		ended, err := r.replayFile(path, number, b, position, r.journalFiles[i+1:])
		if err != nil {
			return err
		}
		stopped = ended
	}
	return nil
}

// replayFile replays the frames of one file from position on. later are the names of the files after it. ended
// says that nothing after it counts.
func (r *recovery) replayFile(path string, number uint64, b []byte, position int64, later []string) (ended bool, err error) {
	at := int(min(position, int64(len(b))))
	for {
		fr, err := parseFrame(b[at:])
		if err == nil && (fr.file != number || fr.sequence != r.sequence) {
			err = fmt.Errorf("frame %d of file %d stands where frame %d of file %d is to be", fr.sequence, fr.file, r.sequence, number)
			fr = nil
		}
		if err != nil {
			return r.endFile(path, number, b, at, later, err)
		}
		for i := range fr.sections {
			if err := fr.checkData(i); err != nil {
				if errors.Is(err, errUnknownSection) {
					return false, r.refuse(frameUnknown, path, int64(at), err)
				}
				synced, serr := r.syncedUpTo(number, b[at+len(fr.buf):], later)
				if serr != nil {
					return false, serr
				}
				if synced < fr.sequence {
					r.cut(frameTorn, path, at, err)
					return true, nil
				}
				if err := r.fenceBatch(fr, i, path, at, err); err != nil {
					return false, err
				}
			}
		}
		if err := r.replayFrame(fr, path, at); err != nil {
			return false, err
		}
		r.sequence++
		r.frames++
		at += len(fr.buf)
	}
}

// endFile says what it means that there is no frame at b[at:].
func (r *recovery) endFile(path string, number uint64, b []byte, at int, later []string, cause error) (ended bool, err error) {
	torn := r.looksTorn(number, b[at:])
	if !torn && len(later) > 0 {
		r.passed = journalEnd{path, at, cause}
		return false, nil // a file ends so when the next was begun; and if it was not, that one shows
	}
	synced, err := r.syncedUpTo(number, b[at:], later)
	if err != nil {
		return false, err
	}
	if synced >= r.sequence {
		if fr, perr := parseFrame(b); at == 0 && perr == nil && fr.file == number && r.passed.path != "" {
			// This file begins well: the frame that is missing was at the end of the one before.
			path, at, cause = r.passed.path, r.passed.at, fmt.Errorf("%w; in the next file %w", r.passed.cause, cause)
		}
		return false, r.refuse(syncedFrameLost, path, int64(at), cause)
	}
	if torn {
		r.cut(frameTorn, path, at, cause)
	}
	return true, nil
}

// looksTorn reports whether b, at whose start no frame was found, has part of one that belongs to this file:
// its header, or whole frames further on.
func (r *recovery) looksTorn(number uint64, b []byte) bool {
	if len(b) >= frameHeaderSize && binary.BigEndian.Uint32(b) == frameMagic && binary.BigEndian.Uint64(b[16:]) == number {
		return true
	}
	found := false
	scanFrames(b, number, func(*frame) { found = true })
	return found
}

// cut takes note of a tail that is given up.
func (r *recovery) cut(f finding, path string, at int, cause error) {
	r.cutBytes = true
	r.l.logger.Warn("cut the journal's tail: "+decisions[f].what,
		slog.String("file", path), slog.Int("position", at), slog.Any("error", cause))
}

// syncedUpTo returns the highest sequence that a frame in the rest of a file, or in a later file, says was
// synced; 0 if there is none.
func (r *recovery) syncedUpTo(number uint64, rest []byte, later []string) (synced uint64, err error) {
	visit := func(fr *frame) { synced = max(synced, fr.synced) }
	scanFrames(rest, number, visit)
	for _, name := range later {
		b, err := r.l.fs.readFile(r.l.fs.PathJoin(r.l.dir, journalDir, name))
		if err != nil {
			return 0, err
		}
		number, _ := parseJournalName(name)
		scanFrames(b, number, visit)
	}
	return synced, nil
}

// scanFrames visits all frames of the file with the given number that stand anywhere in b and have a whole
// head.
func scanFrames(b []byte, number uint64, visit func(fr *frame)) {
	magic := binary.BigEndian.AppendUint32(nil, frameMagic)
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			return
		}
		b = b[i:]
		fr, err := parseFrame(b)
		if err != nil || fr.file != number {
			b = b[1:]
			continue
		}
		visit(fr)
		n := len(fr.buf)
		for i := range fr.sections {
			if fr.checkData(i) != nil {
				n = 1 // its length may be as wrong: what it would cover may be frames
			}
		}
		b = b[n:]
	}
}

// sectionDamaged takes the place of a section's kind after its data were found damaged.
const sectionDamaged sectionKind = 0xff

// fenceBatch fences the partition whose synced batch, in section i, is damaged.
func (r *recovery) fenceBatch(fr *frame, i int, path string, at int, cause error) error {
	s := &fr.sections[i]
	position := int64(at + s.start)
	p := r.l.partitionNumbered(s.partition)
	if s.kind != sectionBatch || s.partition == offsetsPartition || p == nil {
		return r.refuse(syncedMetaDamaged, path, position, cause)
	}
	s.kind = sectionDamaged
	if f := p.fault.Load(); f != nil && f.offset <= s.baseOffset {
		return nil
	}
	// It may be the marker of a transaction that is open by now. Its producer's next marker would end that one
	// too, and show as committed what was aborted; so nothing is read from its first record on.
	offset := p.producers.firstOpen(s.baseOffset, -1)
	ce := &CorruptError{Path: path, Offset: position, Err: fmt.Errorf("%s: %w", decisions[syncedBatchDamaged].what, cause)}
	p.fault.Store(&partitionFault{offset: offset, err: ce, durable: true})
	r.l.logger.Error("partition is damaged: nothing is read from this offset on, and nothing appended",
		slog.String("partition", p.tp.String()), slog.Int64("offset", offset), slog.Any("error", ce))
	return nil
}

// replayFrame does again what a frame says.
func (r *recovery) replayFrame(fr *frame, path string, at int) error {
	for i := range fr.sections {
		var err error
		if fr.sections[i].kind == sectionMeta {
			err = r.replayMeta(fr.data(i))
		} else {
			err = r.replayBatch(fr, i)
		}
		if err != nil {
			if errors.Is(err, ErrDiskFull) {
				return err
			}
			return fmt.Errorf("replay %s:%d: %w", path, at, err)
		}
	}
	return nil
}

func (r *recovery) replayMeta(b []byte) error {
	l := r.l
	m, err := parseMeta(b)
	if err != nil {
		return err
	}
	switch m.kind {
	case metaOwner:
		l.meta.owners[m.name] = txn.Identity{ID: m.producerID, Epoch: m.producerEpoch}
	case metaProducerIDs:
		l.meta.producerIDs = m.producerID
	case metaTopic:
		if int(m.firstPartition) != len(l.partitions) {
			return fmt.Errorf("log: topic %s starts with partition number %d, and there are %d", m.name, m.firstPartition, len(l.partitions))
		}
		t, err := l.buildTopic(m)
		if err != nil {
			return err
		}
		for _, p := range t.partitions {
			if err := p.create(); err != nil {
				return err
			}
		}
		l.addTopic(t)
	}
	return nil
}

func (r *recovery) replayBatch(fr *frame, i int) error {
	l := r.l
	sec, b := &fr.sections[i], fr.data(i)
	p := l.partitionNumbered(sec.partition)
	if p == nil {
		return fmt.Errorf("log: there is no partition with number %d", sec.partition)
	}
	s := p.segmentAt(sec.segment)
	if s == nil && sec.position == 0 && sec.segment == p.end {
		var err error
		if s, err = p.roll(p.end, p.active().size.Load()); err != nil {
			return err
		}
	}
	if s == nil || s.size.Load() != int64(sec.position) || p.end != sec.baseOffset {
		return fmt.Errorf("log: batch at offset %d belongs at %d in segment %d, and %s ends at offset %d",
			sec.baseOffset, sec.position, sec.segment, p.tp, p.end)
	}
	if sec.kind == sectionDamaged {
		// Its place is kept, with whatever the segment has there, so that what follows is where it was.
		h := batchHeader{
			baseOffset: sec.baseOffset, length: int32(sec.length) - batchOverhead, lastOffsetDelta: sec.lastOffsetDelta,
			maxTimestamp: noTimestamp, // not known, and nobody will read it
		}
		s.grow(&h)
		p.end = h.nextOffset()
		return nil
	}
	if err := s.write(b, int64(sec.position)); err != nil {
		return err
	}
	if err := p.settle(fr, i, i+1, r.nowMs); err != nil {
		return err
	}
	if p == l.offsetsPart && !isControlBatch(b) {
		return l.offsets.replay(b)
	}
	return nil
}

func isControlBatch(b []byte) bool {
	h, err := parseBatchHeader(b)
	return err == nil && h.isControl()
}
