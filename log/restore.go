package log

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// This file makes topics and partitions what the checkpoint says they are, before the journal is replayed
// over them, and clears away what neither of the two knows.

// restoreTopic makes a topic with its partitions as the checkpoint has them.
func (r *recovery) restoreTopic(ts *topicState) error {
	l := r.l
	numPartitions := len(ts.partitions)
	if numPartitions == 0 {
		numPartitions = 1 // the first topic of a new log
	}
	t, err := l.buildTopic(metaEntry{
		name: ts.name, id: ts.id, config: ts.config, firstPartition: int32(len(l.partitions)), partitions: int32(numPartitions),
	})
	if err != nil {
		return err
	}
	l.addTopic(t)
	if len(ts.partitions) == 0 {
		return t.partitions[0].create()
	}
	for i := range ts.partitions {
		if err := r.restorePartition(t.partitions[i], &ts.partitions[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) restorePartition(p *Partition, st *partitionState) error {
	p.end, p.leaderEpoch, p.dirSynced = st.end, st.leaderEpoch, true
	p.start.Store(st.start)
	p.producers.states = st.producers
	for id, s := range st.producers {
		if s.firstOffset >= 0 {
			p.producers.open = append(p.producers.open, openTxn{id, s.firstOffset})
		}
	}
	slices.SortFunc(p.producers.open, func(a, b openTxn) int { return int(min(max(a.firstOffset-b.firstOffset, -1), 1)) })
	segs := make([]*segment, len(st.segments))
	for i, ss := range st.segments {
		s := &segment{fs: p.fs, dir: p.dir, base: ss.base, next: st.end, interval: p.settings.indexInterval}
		if i+1 < len(st.segments) {
			s.next = st.segments[i+1].base
		}
		s.index.stored, s.times.stored, s.aborts.stored = ss.index, ss.times, ss.aborted
		s.index.loaded, s.times.loaded, s.aborts.loaded = ss.index == 0, ss.times == 0, ss.aborted == 0
		s.abortSum = ss.abortSum
		s.newest, s.lastTime = ss.newest, ss.newest.timestamp // a checkpoint covers it all, so the last entry does
		s.unindexed = p.settings.indexInterval + 1            // since when is not known: the next batch gets an entry
		if ss.size == 0 {
			s.unindexed = 0
		}
		s.size.Store(ss.size)
		segs[i] = s
		size, ok, err := p.fs.size(s.path(logSuffix))
		if err != nil {
			return err
		}
		switch {
		case ok && size >= ss.size:
		case !ok && ss.size == 0:
			s.newInDir, s.dirty = true, true // opening it makes it
		default:
			r.fenceShort(p, s, size)
		}
	}
	p.segments.Store(&segs)
	if st.fault != nil {
		p.fault.Store(st.fault)
	}
	return nil
}

// fenceShort fences a partition from the first batch on that its segment does not have any more.
func (r *recovery) fenceShort(p *Partition, s *segment, size int64) {
	want := s.size.Load()
	offset, position := s.base, int64(0)
	s.size.Store(size)
	// The error is where the walk ends, and that is known then.
	_ = s.walk(func(h *batchHeader, at int64) error {
		offset, position = h.nextOffset(), at+int64(h.size())
		return nil
	})
	s.size.Store(want)
	_ = p.damaged(&CorruptError{
		Path: s.path(logSuffix), Offset: position,
		Err: fmt.Errorf("%s: %d bytes, want %d", decisions[segmentShort].what, size, want),
	}, offset)
}

// tidy makes a partition's files what the state says they are.
func (r *recovery) tidy(p *Partition) error {
	known := make(map[string]bool)
	segs := *p.segments.Load()
	for i, s := range segs {
		for _, suffix := range segmentSuffixes {
			known[p.fs.PathBase(s.path(suffix))] = true
		}
		if i == len(segs)-1 || s.dirty {
			if err := s.tidy(); err != nil {
				return err
			}
		}
	}
	names, err := p.fs.list(p.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		suffix := name[max(strings.LastIndexByte(name, '.'), 0):]
		if (suffix == tempSuffix || slices.Contains(segmentSuffixes, suffix)) && !known[name] {
			if err := p.fs.removeIfThere(p.fs.PathJoin(p.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// tidyTopics removes the directories of topics that nobody knows.
func (r *recovery) tidyTopics() error {
	l := r.l
	topics := l.fs.PathJoin(l.dir, topicsDir)
	names, err := l.fs.list(topics)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(l.partitions))
	for _, p := range l.partitions {
		known[l.fs.PathBase(p.dir)] = true
	}
	for _, name := range names {
		// Only names that a partition could have: what else is there is somebody's.
		if id, _, ok := strings.Cut(name[min(len(name), uuidSize):], "-"); known[name] || !ok || id != "" || uuid.Validate(name[:uuidSize]) != nil {
			continue
		}
		if err := l.fs.RemoveAll(l.fs.PathJoin(topics, name)); err != nil {
			return fileError("remove", l.fs.PathJoin(topics, name), err)
		}
	}
	return nil
}

// uuidSize is the length of a topic id as it stands in a name.
const uuidSize = 36
