package log

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Partition is one partition of a topic: its segments, what it knows of its producers, and how far readers
// may read. Its methods may be called concurrently.
type Partition struct {
	tp       TopicPartition
	number   int32 // over all topics; locks are taken in its order
	dir      string
	fs       files
	settings *topicSettings
	life     *lifetime

	// mu is held to append. Lock order: partitions by number, then the log's meta, then the journal.
	mu        sync.Mutex
	end       int64
	producers producers
	dirSynced bool // the directory's own name is on disk

	leaderEpoch int32 // grows at open only

	// segments are by base offset; there is always one. Replaced as a whole, by the holder of mu.
	segments atomic.Pointer[[]*segment]

	start         atomic.Int64 // log start offset
	highWatermark atomic.Int64
	lastStable    atomic.Int64
	// appended and openAt let a member read its own open epoch: the log end, and the open transactions.
	appended atomic.Int64
	openTxns atomic.Pointer[[]openTxn]

	// fault is what was found damaged. From its offset on nothing is read any more, and nothing is appended.
	fault atomic.Pointer[partitionFault]

	watchMu  sync.Mutex
	watchers atomic.Pointer[[]*watcher]
}

// partitionFault says from which offset on a partition cannot be trusted.
type partitionFault struct {
	offset int64
	err    *CorruptError
	// durable: what shows the damage will be gone, so the checkpoint must remember it.
	durable bool
}

// watcher is somebody who waits for partitions to grow. One watcher may watch many.
type watcher struct {
	c chan struct{} // holds one wake-up
	// early wakes at append, for a member that reads its own open epoch, and not only once it is visible.
	early bool
}

func newWatcher(early bool) *watcher { return &watcher{c: make(chan struct{}, 1), early: early} }

func (w *watcher) wake() {
	select {
	case w.c <- struct{}{}:
	default: // there is one to come
	}
}

func (p *Partition) watch(w *watcher) {
	p.watchMu.Lock()
	defer p.watchMu.Unlock()
	var all []*watcher
	if old := p.watchers.Load(); old != nil {
		all = append(all, *old...)
	}
	all = append(all, w)
	p.watchers.Store(&all)
}

func (p *Partition) unwatch(w *watcher) {
	p.watchMu.Lock()
	defer p.watchMu.Unlock()
	if old := p.watchers.Load(); old != nil {
		all := slices.DeleteFunc(slices.Clone(*old), func(o *watcher) bool { return o == w })
		p.watchers.Store(&all)
	}
}

func (p *Partition) wakeWatchers(early bool) {
	if all := p.watchers.Load(); all != nil {
		for _, w := range *all {
			if w.early || !early {
				w.wake()
			}
		}
	}
}

// TopicPartition is the partition's name.
func (p *Partition) TopicPartition() TopicPartition { return p.tp }

// Offsets are the partition's bounds now.
func (p *Partition) Offsets() PartitionOffsets {
	// The high watermark last: it is never before the last stable offset then.
	o := PartitionOffsets{Start: p.start.Load(), LastStable: p.lastStable.Load(), LeaderEpoch: p.leaderEpoch}
	o.HighWatermark = p.highWatermark.Load()
	return o
}

// bound is the offset up to which readers read.
func (p *Partition) bound(iso Isolation) int64 {
	if iso == ReadCommitted {
		return p.lastStable.Load()
	}
	return p.highWatermark.Load()
}

// ownBound is the offset up to which the given producer may read, when it reads what it wrote in a
// transaction that is still open.
func (p *Partition) ownBound(producerID int64) int64 {
	end := p.appended.Load() // before the transactions: one that comes to be in between starts at or after it
	if open := p.openTxns.Load(); open != nil {
		for _, t := range *open {
			if t.producerID != producerID {
				return min(end, t.firstOffset)
			}
		}
	}
	return end
}

// reveal moves what readers see. Calls come in the order of the appends.
func (p *Partition) reveal(end, lastStable int64) {
	p.highWatermark.Store(end)
	p.lastStable.Store(lastStable)
	p.wakeWatchers(false)
}

func (p *Partition) active() *segment {
	segs := *p.segments.Load()
	return segs[len(segs)-1]
}

// check says whether the batch at the start of b may be appended. The caller holds mu.
func (p *Partition) check(b []byte) (duplicate *rememberedBatch, err error) {
	if f := p.fault.Load(); f != nil {
		return nil, f.err
	}
	h, err := parseBatchHeader(b)
	if err != nil {
		return nil, err
	}
	if h.producerID < 0 || h.isControl() {
		return nil, nil
	}
	return p.producers.states[h.producerID].check(&h)
}

// place gives the batches in sections [from, to) of the frame their offsets and writes them to the segment,
// or to a new one. They are no part of the partition before settle. nowMs is the time they are given, if the
// topic wants it. The caller holds mu.
func (p *Partition) place(fr *frame, from, to int, nowMs int64) error {
	s, end := p.active(), p.end
	position := s.size.Load()
	group, groupAt := from, position // sections not yet written, which lie together in frame and segment
	flush := func(upTo int) error {
		if group == upTo {
			return nil
		}
		last := &fr.sections[upTo-1]
		b := fr.buf[fr.sections[group].start : last.start+int(last.length)]
		group = upTo
		return s.write(b, groupAt)
	}
	for i := from; i < to; i++ {
		sec, b := &fr.sections[i], fr.data(i)
		next := end + int64(sec.lastOffsetDelta) + 1
		if !s.fits(position, len(b), next, p.settings.segmentBytes) {
			if err := flush(i); err != nil {
				return err
			}
			var err error
			if s, err = p.roll(end, position); err != nil {
				return err
			}
			position, groupAt = 0, 0
		}
		setBatchPlace(b, end, p.leaderEpoch)
		if p.settings.logAppendTime {
			sec.crc = setLogAppendTime(b, nowMs)
		}
		sec.partition, sec.leaderEpoch = p.number, p.leaderEpoch
		sec.segment, sec.position, sec.baseOffset = s.base, uint32(position), end
		end = next
		position += int64(len(b))
	}
	return flush(to)
}

// roll adds an empty segment that starts at base, after one that is oldSize bytes long: settled ones, and those
// that place has just written.
func (p *Partition) roll(base, oldSize int64) (*segment, error) {
	// A failed append may have left bytes behind the last batch. The file's size must be right before nothing
	// overwrites them any more.
	if err := p.active().trim(oldSize); err != nil {
		return nil, err
	}
	s, err := newSegment(p.fs, p.dir, base, p.settings.indexInterval)
	if err != nil {
		return nil, err
	}
	segs := append(slices.Clone(*p.segments.Load()), s)
	p.segments.Store(&segs)
	return s, nil
}

// unplace takes back what place did, after the frame could not be written.
func (p *Partition) unplace() error {
	segs := *p.segments.Load()
	n := len(segs)
	for n > 1 && segs[n-1].base > p.end {
		n--
	}
	gone := segs[n:]
	segs = slices.Clone(segs[:n])
	p.segments.Store(&segs)
	var first error
	for _, s := range gone {
		if err := s.remove(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// settle makes the batches of sections [from, to) part of the partition, after the frame was written or
// while it is replayed. The caller holds mu.
func (p *Partition) settle(fr *frame, from, to int, nowMs int64) error {
	for i := from; i < to; i++ {
		if err := p.settleBatch(&fr.sections[i], fr.data(i), nowMs); err != nil {
			return err
		}
	}
	if old := p.openTxns.Load(); old == nil || !slices.Equal(*old, p.producers.open) {
		open := slices.Clone(p.producers.open)
		p.openTxns.Store(&open)
	}
	p.appended.Store(p.end)
	p.wakeWatchers(true)
	return nil
}

func (p *Partition) settleBatch(sec *section, b []byte, nowMs int64) error {
	h, err := parseBatchHeader(b)
	if err != nil {
		return err
	}
	s := p.segmentAt(sec.segment)
	if s == nil || s.size.Load() != int64(sec.position) || p.end != h.baseOffset {
		return fmt.Errorf("batch at offset %d belongs at %d in segment %d, and %s ends at offset %d", h.baseOffset, sec.position, sec.segment, p.tp, p.end)
	}
	commit := false
	if h.isControl() {
		if commit, _, err = parseMarker(b); err != nil {
			return err
		}
	}
	s.grow(&h)
	p.end = h.nextOffset()
	if a := p.producers.append(&h, commit, nowMs); a != nil {
		s.addAbort(*a)
	}
	return nil
}

// segmentAt returns the segment with the given base, one of the last; nil if there is none.
func (p *Partition) segmentAt(base int64) *segment {
	segs := *p.segments.Load()
	for i := len(segs) - 1; i >= 0 && segs[i].base >= base; i-- {
		if segs[i].base == base {
			return segs[i]
		}
	}
	return nil
}

// mark is how far readers may see once the frame that ends there counts as synced.
type mark struct {
	p               *Partition
	sequence        uint64
	end, lastStable int64
}

// mark tells it for the partition as it is now. The caller holds mu.
func (p *Partition) mark(sequence uint64) mark {
	return mark{p: p, sequence: sequence, end: p.end, lastStable: p.producers.firstOpen(p.end, -1)}
}

// create makes the directory and the first, empty segment of a new partition.
func (p *Partition) create() error {
	if err := p.fs.mkdir(p.dir); err != nil {
		return err
	}
	s, err := newSegment(p.fs, p.dir, 0, p.settings.indexInterval)
	if err != nil {
		return err
	}
	p.segments.Store(&[]*segment{s})
	return nil
}

// discard removes what create has made of a partition that nobody knows yet.
func (p *Partition) discard() error {
	err := p.close()
	if rerr := p.fs.RemoveAll(p.dir); err == nil {
		err = fileError("remove", p.dir, rerr)
	}
	return err
}

// close closes the partition's files.
func (p *Partition) close() error {
	var first error
	if segs := p.segments.Load(); segs != nil {
		for _, s := range *segs {
			if err := s.close(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}
