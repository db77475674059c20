package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log/txn"
)

// This file owns DIR/meta/checkpoint: all that a log knows beside its batches, as it was after a given frame
// of the journal. Open reads it and replays what the journal has after that frame; so the segments are never
// walked, and the files of the journal before it are free.
//
//	+---------+-----------+-------+----------------------------------+--------------+
//	| magic 8 | version 4 | clean | journal: sequence of the next    | fields below | CRC-32C 4 of all
//	|         | (=3)      | 1     | frame 8, its file 8, position 8  |              | before it
//	+---------+-----------+-------+----------------------------------+--------------+
//
// Fields are big-endian numbers, strings behind a four-byte size and lists behind a four-byte count, in the
// order in which encode writes them. The file is replaced as a whole (temporary file, sync, rename, sync of
// the directory).

const (
	checkpointMagic   = 0x4d4f4c4443484b50 // "MOLDCHKP"
	checkpointVersion = 3
	checkpointName    = "checkpoint"
)

// logState is what a checkpoint holds.
type logState struct {
	clean    bool   // the log was closed, and has nothing to replay
	syncOS   bool   // readers saw what was not synced
	boot     string // of the machine that had the log open; "" if it is not known
	sequence uint64 // of the first frame to replay
	file     uint64 // where that is, or will be
	position int64

	producerIDs int64
	topics      []topicState // in the order of their partitions' numbers
	owners      map[string]txn.Identity
	groups      map[string]map[TopicPartition]CommittedOffset
}

type topicState struct {
	name       string
	id         uuid.UUID
	config     map[string]string
	partitions []partitionState
}

type partitionState struct {
	leaderEpoch int32
	start, end  int64
	segments    []segmentState
	producers   map[int64]*producerState
	fault       *partitionFault
}

type segmentState struct {
	base, size            int64
	index, times, aborted int // entries
	newest                timeEntry
	abortSum              uint32 // CRC-32C of the .txnindex, which has none of its own
}

func (st *logState) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, checkpointMagic)
	b = appendInt32(b, checkpointVersion)
	b = appendBool(b, st.clean)
	b = appendInt64(b, int64(st.sequence))
	b = appendInt64(b, int64(st.file))
	b = appendInt64(b, st.position)
	b = appendBool(b, st.syncOS)
	b = appendString(b, st.boot)
	b = appendInt64(b, st.producerIDs)
	b = appendInt32(b, int32(len(st.topics)))
	for i := range st.topics {
		t := &st.topics[i]
		b = appendString(b, t.name)
		b = append(b, t.id[:]...)
		b = appendStrings(b, t.config)
		b = appendInt32(b, int32(len(t.partitions)))
		for j := range t.partitions {
			b = t.partitions[j].encode(b)
		}
	}
	b = appendInt32(b, int32(len(st.owners)))
	for _, name := range slices.Sorted(maps.Keys(st.owners)) {
		b = appendString(b, name)
		b = appendInt64(b, st.owners[name].ID)
		b = appendInt16(b, st.owners[name].Epoch)
	}
	b = appendInt32(b, int32(len(st.groups)))
	for _, name := range slices.Sorted(maps.Keys(st.groups)) {
		offsets := st.groups[name]
		b = appendString(b, name)
		b = appendInt32(b, int32(len(offsets)))
		for _, tp := range slices.SortedFunc(maps.Keys(offsets), compareTopicPartitions) {
			b = appendString(b, tp.Topic)
			b = appendInt32(b, tp.Partition)
			b = appendInt64(b, offsets[tp].Offset)
			b = appendString(b, offsets[tp].Metadata)
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (p *partitionState) encode(b []byte) []byte {
	b = appendInt32(b, p.leaderEpoch)
	b = appendInt64(b, p.start)
	b = appendInt64(b, p.end)
	b = appendInt32(b, int32(len(p.segments)))
	for _, s := range p.segments {
		b = appendInt64(b, s.base)
		b = appendInt64(b, s.size)
		b = appendInt32(b, int32(s.index))
		b = appendInt32(b, int32(s.times))
		b = appendInt32(b, int32(s.aborted))
		b = appendTimes(b, []timeEntry{s.newest})
		b = appendInt32(b, int32(s.abortSum))
	}
	b = appendInt32(b, int32(len(p.producers)))
	for _, id := range slices.Sorted(maps.Keys(p.producers)) {
		s := p.producers[id]
		b = appendInt64(b, id)
		b = appendInt16(b, s.epoch)
		b = appendInt64(b, s.firstOffset)
		b = appendInt64(b, s.usedMs)
		b = appendInt32(b, int32(s.count))
		for _, r := range s.batches[:s.count] {
			b = appendInt32(b, r.baseSequence)
			b = appendInt32(b, r.lastSequence)
			b = appendInt64(b, r.baseOffset)
			b = appendInt64(b, r.lastOffset)
		}
	}
	b = appendBool(b, p.fault != nil)
	if p.fault != nil {
		b = appendInt64(b, p.fault.offset)
		b = appendString(b, p.fault.err.Path)
		b = appendInt64(b, p.fault.err.Offset)
		b = appendString(b, p.fault.err.Err.Error())
	}
	return b
}

// parseState is the inverse of encode.
func parseState(b []byte) (*logState, error) {
	n := len(b) - 4
	if n < 0 {
		return nil, fmt.Errorf("checkpoint of %d bytes is cut short", len(b))
	}
	if stored, computed := binary.BigEndian.Uint32(b[n:]), crc32.Checksum(b[:n], castagnoli); stored != computed {
		return nil, fmt.Errorf("CRC mismatch: stored %08x, computed %08x over %d bytes", stored, computed, n)
	}
	r := fieldReader{b: b[:n]}
	if m := uint64(r.int64()); m != checkpointMagic {
		return nil, fmt.Errorf("magic is %016x, want %016x", m, uint64(checkpointMagic))
	}
	if v := r.int32(); v != checkpointVersion {
		return nil, fmt.Errorf("version is %d; this program knows version %d", v, checkpointVersion)
	}
	st := &logState{clean: r.bool(), sequence: uint64(r.int64()), file: uint64(r.int64()), position: r.int64()}
	st.syncOS, st.boot, st.producerIDs = r.bool(), r.string(), r.int64()
	for range r.count(28) {
		t := topicState{name: r.string()}
		copy(t.id[:], r.bytes(len(t.id)))
		t.config = r.strings()
		for range r.count(33) {
			t.partitions = append(t.partitions, parsePartitionState(&r))
		}
		st.topics = append(st.topics, t)
	}
	st.owners = make(map[string]txn.Identity)
	for range r.count(14) {
		name := r.string()
		st.owners[name] = txn.Identity{ID: r.int64(), Epoch: r.int16()}
	}
	st.groups = make(map[string]map[TopicPartition]CommittedOffset)
	for range r.count(8) {
		name := r.string()
		offsets := make(map[TopicPartition]CommittedOffset)
		for range r.count(20) {
			tp := TopicPartition{r.string(), r.int32()}
			offsets[tp] = CommittedOffset{Offset: r.int64(), Metadata: r.string()}
		}
		st.groups[name] = offsets
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return st, st.check()
}

func parsePartitionState(r *fieldReader) partitionState {
	p := partitionState{leaderEpoch: r.int32(), start: r.int64(), end: r.int64()}
	for range r.count(44) {
		p.segments = append(p.segments, segmentState{
			r.int64(), r.int64(), int(r.int32()), int(r.int32()), int(r.int32()), timeEntry{r.int64(), uint32(r.int32())}, uint32(r.int32()),
		})
	}
	p.producers = make(map[int64]*producerState)
	for range r.count(30) {
		id := r.int64()
		s := &producerState{epoch: r.int16(), firstOffset: r.int64(), usedMs: r.int64(), count: r.count(24)}
		if s.count > numRememberedBatches {
			r.err = fmt.Errorf("%d batches of a producer, at most %d are remembered", s.count, numRememberedBatches)
			return p
		}
		for i := range s.count {
			s.batches[i] = rememberedBatch{r.int32(), r.int32(), r.int64(), r.int64()}
		}
		p.producers[id] = s
	}
	if r.bool() {
		p.fault = &partitionFault{offset: r.int64(), err: &CorruptError{Path: r.string(), Offset: r.int64()}, durable: true}
		p.fault.err.Err = errors.New(r.string())
	}
	return p
}

// check reports what a right CRC does not rule out: the mistake of a writer.
func (st *logState) check() error {
	if len(st.topics) == 0 || st.topics[0].name != offsetsTopic {
		return fmt.Errorf("the first topic is not %s", offsetsTopic)
	}
	for i := range st.topics {
		t := &st.topics[i]
		if len(t.partitions) == 0 {
			return fmt.Errorf("topic %s has no partitions", t.name)
		}
		for n, p := range t.partitions {
			if len(p.segments) == 0 {
				return fmt.Errorf("%s-%d has no segments", t.name, n)
			}
			base := p.start
			for _, s := range p.segments {
				if s.base < base || s.base > p.end || s.size < 0 || s.size > math.MaxUint32 || s.index < 0 || s.times < 0 || s.aborted < 0 {
					return fmt.Errorf("%s-%d ends at offset %d, and has a segment at %d of %d bytes", t.name, n, p.end, s.base, s.size)
				}
				base = s.base
			}
		}
	}
	return nil
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// checkpointer makes one checkpoint at a time.
type checkpointer struct {
	mu    sync.Mutex    // held while one is made
	poke  chan struct{} // holds one request
	endMu sync.Mutex
	ended *sync.Cond // told whenever one is made, or could not be
	tries int
}

func newCheckpointer() *checkpointer {
	c := &checkpointer{poke: make(chan struct{}, 1)}
	c.ended = sync.NewCond(&c.endMu)
	return c
}

// request asks for a checkpoint. It does not wait.
func (c *checkpointer) request() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// await waits until enough holds, but no longer than the next checkpoint takes to succeed or fail.
func (c *checkpointer) await(enough func() bool) {
	c.endMu.Lock()
	defer c.endMu.Unlock()
	for tries := c.tries; !enough() && c.tries < tries+2; {
		c.request()
		c.ended.Wait()
	}
}

func (c *checkpointer) end() {
	c.endMu.Lock()
	c.tries++
	c.ended.Broadcast()
	c.endMu.Unlock()
}

// runCheckpoints makes checkpoints when files of the journal are full.
func (l *Log) runCheckpoints() {
	defer l.checkpoints.end()
	for {
		select {
		case <-l.checkpoints.poke:
		case <-l.life.done:
			return
		}
		if l.journal.err() != nil {
			l.checkpoints.end()
			continue
		}
		if err := l.journal.prepare(); err != nil {
			l.logger.Warn("no journal file could be made ready; the next append will try", "error", err)
		}
		if err := l.checkpoint(false); err != nil {
			l.logger.Warn("no checkpoint could be made; the journal grows until one can", "error", err)
		}
		l.checkpoints.end()
	}
}

// snapshot is the log's state at one moment, and what is to be synced before it can be relied on.
type snapshot struct {
	state    logState
	segments []segmentSync
	dirs     []*Partition // directories with new names in them
	newDirs  []*Partition // directories that are new themselves
}

// checkpoint makes one. closing says that nothing is written after it.
func (l *Log) checkpoint(closing bool) error {
	l.checkpoints.mu.Lock()
	defer l.checkpoints.mu.Unlock()
	unlock := l.lockEverything()
	l.journal.mu.Lock()
	file, position, sequence := l.journal.here()
	if closing {
		// Nothing will be found there: the next file to be made is one that does not exist.
		file, position = l.journal.nextNumber, 0
	}
	l.journal.mu.Unlock()
	snap := l.snapshot(closing, file, position, sequence)
	unlock()
	if err := l.save(snap); err != nil {
		return err
	}
	return l.journal.release(sequence - 1)
}

// lockEverything stops all that changes the log's state.
func (l *Log) lockEverything() (unlock func()) {
	l.createMu.Lock()
	unlockPartitions := lockAll(l.partitions)
	l.meta.mu.Lock()
	return func() {
		l.meta.mu.Unlock()
		unlockPartitions()
		l.createMu.Unlock()
	}
}

// snapshot takes the state, with everything locked. The arguments say where replay is to start.
func (l *Log) snapshot(clean bool, file uint64, position int64, sequence uint64) *snapshot {
	snap := &snapshot{state: logState{
		clean:       clean,
		syncOS:      l.mode.os,
		boot:        bootID(l.fs),
		sequence:    sequence,
		file:        file,
		position:    position,
		producerIDs: l.meta.producerIDs,
		owners:      maps.Clone(l.meta.owners),
		groups:      make(map[string]map[TopicPartition]CommittedOffset),
	}}
	now := l.nowMs()
	for at := 0; at < len(l.partitions); {
		t := l.topic(l.partitions[at].tp.Topic)
		ts := topicState{name: t.name, id: t.id, config: t.config}
		for _, p := range t.partitions {
			ts.partitions = append(ts.partitions, p.snapshot(snap, now))
		}
		snap.state.topics = append(snap.state.topics, ts)
		at += len(t.partitions)
	}
	for group, offsets := range l.offsets.groups {
		snap.state.groups[group] = maps.Clone(offsets)
	}
	return snap
}

func (p *Partition) snapshot(snap *snapshot, nowMs int64) partitionState {
	p.producers.expire(nowMs)
	st := partitionState{
		leaderEpoch: p.leaderEpoch,
		start:       p.start.Load(),
		end:         p.end,
		producers:   make(map[int64]*producerState, len(p.producers.states)),
	}
	for id, s := range p.producers.states {
		c := *s
		st.producers[id] = &c
	}
	if f := p.fault.Load(); f != nil && f.durable {
		st.fault = f
	}
	newNames := false
	for _, s := range *p.segments.Load() {
		if s.dirty || s.hasFresh() {
			t := s.take(p)
			newNames = newNames || t.newNames()
			snap.segments = append(snap.segments, t)
		}
		s.mu.Lock()
		st.segments = append(st.segments, segmentState{
			base: s.base, size: s.size.Load(), index: s.index.len(), times: s.times.len(), aborted: s.aborts.len(), newest: s.newest,
			abortSum: s.abortSum,
		})
		s.mu.Unlock()
	}
	if newNames {
		snap.dirs = append(snap.dirs, p)
	}
	if !p.dirSynced {
		snap.newDirs = append(snap.newDirs, p)
	}
	return st
}

// save makes a snapshot durable.
func (l *Log) save(snap *snapshot) error {
	err := l.syncSnapshot(snap)
	if err != nil {
		for i := range snap.segments {
			t := &snap.segments[i]
			t.p.mu.Lock()
			t.restore()
			t.p.mu.Unlock()
		}
		if errors.Is(err, ErrSyncFailed) && l.journal != nil {
			l.journal.fail(err)
		}
		return err
	}
	return l.fs.replace(l.fs.PathJoin(l.dir, metaDir, checkpointName), snap.state.encode())
}

func (l *Log) syncSnapshot(snap *snapshot) error {
	for i := range snap.segments {
		if err := snap.segments[i].do(); err != nil {
			return err
		}
	}
	for _, p := range snap.dirs {
		if err := l.fs.syncDir(p.dir); err != nil {
			return err
		}
	}
	if len(snap.newDirs) == 0 {
		return nil
	}
	if err := l.fs.syncDir(l.fs.PathJoin(l.dir, topicsDir)); err != nil {
		return err
	}
	for _, p := range snap.newDirs {
		p.mu.Lock()
		p.dirSynced = true
		p.mu.Unlock()
	}
	return nil
}
