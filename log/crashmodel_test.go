package log

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// This file is the oracle of the crash tests: what a workload did, one frame of the journal after the other, and
// what of that a log may have after a crash: all up to some step, which comes after the last that was promised,
// over all partitions at once.

type stepKind int

const (
	stepAppend  stepKind = iota // a block of records, in a transaction or not
	stepCommit                  // of a transaction, with its offsets
	stepOffsets                 // committed outside of any
	stepTopic
	stepOther // changes nothing that can be read: an abort, a new producer
)

// crashStep is one frame: it is there as a whole after a crash, or not at all.
type crashStep struct {
	kind    stepKind
	tp      TopicPartition
	records []crashRecord
	txn     int // 0: none
	offsets map[TopicPartition]int64
	topic   string
	encoded []byte // an append's batch as a client has it, to send it again

	base         int64  // of an append; -1 until it has returned
	sequence     uint64 // no frame of the step has a higher one; 0 until it has returned
	began, ended int64  // by the run's clock; ended is 0 until it has returned
}

// crashRecord is a record with all that is said of it. offset is -1 where it is not known.
type crashRecord struct {
	offset, timestamp  int64
	key, value, header string
}

func (r crashRecord) String() string {
	return fmt.Sprintf("%d@%d %s=%.30s %s", r.offset, r.timestamp, r.key, r.value, r.header)
}

// history is what one worker did, and what of it a crash must leave. Its topics are its own.
type history struct {
	group string
	steps []crashStep
	floor int // so many steps must be there
	// durable is how many must be there if the machine stops too, after the process alone has.
	durable int
	// visible is how far readers could read before the crash.
	visible map[TopicPartition]int64
}

// partitionsOf returns the partitions of the topics that the steps create.
func partitionsOf(steps []crashStep) (tps []TopicPartition) {
	for i := range steps {
		if steps[i].kind == stepTopic {
			for n := range crashTopicPartitions {
				tps = append(tps, TopicPartition{steps[i].topic, n})
			}
		}
	}
	return tps
}

// crashTopicPartitions is how many partitions each topic of the workload has.
const crashTopicPartitions = int32(2)

// contents are what can be read.
type contents struct {
	all       map[TopicPartition][]crashRecord // under ReadUncommitted
	committed map[TopicPartition][]crashRecord
	offsets   map[TopicPartition]int64
}

// expect is what is there after the steps, with what they left open aborted.
func expect(steps []crashStep) contents {
	c := contents{
		all:       make(map[TopicPartition][]crashRecord),
		committed: make(map[TopicPartition][]crashRecord),
		offsets:   make(map[TopicPartition]int64),
	}
	committed := map[int]bool{0: true}
	for i := range steps {
		if s := &steps[i]; s.kind == stepCommit {
			committed[s.txn] = true
		}
	}
	for i := range steps {
		s := &steps[i]
		switch s.kind {
		case stepAppend:
			for j, r := range s.records {
				if r.offset = -1; s.base >= 0 {
					r.offset = s.base + int64(j)
				}
				c.all[s.tp] = append(c.all[s.tp], r)
				if committed[s.txn] {
					c.committed[s.tp] = append(c.committed[s.tp], r)
				}
			}
		case stepCommit, stepOffsets:
			maps.Copy(c.offsets, s.offsets)
		}
	}
	return c
}

// observe reads all that the log has of the partitions. Partitions of topics that are not there are left out.
// What was read before an error is returned with it.
func observe(ctx context.Context, l *Log, group string, tps []TopicPartition) (c contents, err error) {
	c.all, c.committed = make(map[TopicPartition][]crashRecord), make(map[TopicPartition][]crashRecord)
	c.offsets = make(map[TopicPartition]int64)
	for _, tp := range tps {
		if l.topic(tp.Topic) == nil {
			continue
		}
		if c.all[tp], err = readRecords(ctx, l, tp, Earliest, ReadUncommitted); err != nil {
			return c, fmt.Errorf("read %s uncommitted: %w", tp, err)
		}
		if c.committed[tp], err = readRecords(ctx, l, tp, Earliest, ReadCommitted); err != nil {
			return c, fmt.Errorf("read %s committed: %w", tp, err)
		}
	}
	for tp, o := range l.CommittedOffsets(group, tps) {
		c.offsets[tp] = o.Offset
	}
	return c, nil
}

func readRecords(ctx context.Context, l *Log, tp TopicPartition, offset int64, iso Isolation) ([]crashRecord, error) {
	p, err := l.Partition(tp)
	if err != nil {
		return nil, err
	}
	r, err := l.NewReader(tp, offset, iso)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []crashRecord
	records := make([]Record, 16)
	// To the end, also where a transaction that will never end would be in the way: that is to be an error.
	for r.Position() < p.bound(iso) || r.Position() < p.highWatermark.Load() && p.fault.Load() != nil {
		n, err := r.Read(ctx, records)
		if err != nil {
			return out, err
		}
		for i := range records[:n] {
			rec := &records[i]
			c := crashRecord{offset: rec.Offset, timestamp: rec.Timestamp, key: string(rec.Key), value: string(rec.Value)}
			for _, h := range rec.Headers() {
				c.header += h.Key + ":" + string(h.Value)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// differs says where got is not what is wanted; "" if it is. Offsets that are not known are anything that ascends.
func differs(tp TopicPartition, got, want []crashRecord) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("%s lacks record %d of %d: %v", tp, i, len(want), want[i])
		case i >= len(want):
			return fmt.Sprintf("%s has a record %d that nobody promised: %v", tp, i, got[i])
		}
		w := want[i]
		if w.offset < 0 && (i == 0 || got[i].offset > got[i-1].offset) {
			w.offset = got[i].offset
		}
		if got[i] != w {
			return fmt.Sprintf("%s has at record %d %v, want %v", tp, i, got[i], w)
		}
	}
	return ""
}

// diff says where the contents are not what is wanted; "" if they are.
func (c contents) diff(want contents, tps []TopicPartition) string {
	for _, tp := range tps {
		if d := differs(tp, c.all[tp], want.all[tp]); d != "" {
			return d
		}
		if d := differs(tp, c.committed[tp], want.committed[tp]); d != "" {
			return "under ReadCommitted " + d
		}
	}
	if !maps.Equal(c.offsets, want.offsets) {
		return fmt.Sprintf("the committed offsets are %v, want %v", c.offsets, want.offsets)
	}
	return ""
}

func (c contents) numRecords() (n int) {
	for _, records := range c.all {
		n += len(records)
	}
	return n
}

// match finds how many steps the contents are those of: any number in [lo, hi] will do, since some steps change
// nothing.
func (h *history) match(c contents, topics func(name string) bool) (lo, hi int, err error) {
	tps := partitionsOf(h.steps)
	lo, hi = -1, -1
	numRecords, closest := c.numRecords(), ""
	for k := h.floor; k <= len(h.steps); k++ {
		n := 0
		for i := range h.steps[:k] {
			n += len(h.steps[i].records)
		}
		if n != numRecords {
			continue
		}
		d := c.diff(expect(h.steps[:k]), tps)
		for i := range h.steps {
			if s := &h.steps[i]; s.kind == stepTopic && topics(s.topic) != (i < k) && d == "" {
				d = fmt.Sprintf("topic %s is there: %v, want %v", s.topic, !(i < k), i < k)
			}
		}
		if d != "" {
			closest = fmt.Sprintf("after %d steps: %s", k, d)
			continue
		}
		if lo < 0 {
			lo = k
		}
		hi = k
	}
	if lo < 0 {
		if closest == "" {
			closest = fmt.Sprintf("there are %d records: %s", numRecords, c.diff(expect(h.steps[:h.floor]), tps))
		}
		return 0, 0, fmt.Errorf("not what any number of steps from %d to %d leaves; %s", h.floor, len(h.steps), closest)
	}
	return lo, hi, nil
}

// recovered is how much of each history is there.
type recovered struct{ lo, hi []int }

// verify holds the log against what the workers did.
func verify(ctx context.Context, l *Log, hs []history) (r recovered, err error) {
	for i := range hs {
		h := &hs[i]
		tps := partitionsOf(h.steps)
		c, err := observe(ctx, l, h.group, tps)
		if err != nil {
			return r, err
		}
		lo, hi, err := h.match(c, func(name string) bool { return l.topic(name) != nil })
		if err != nil {
			return r, fmt.Errorf("worker %d: %w", i, err)
		}
		r.lo, r.hi = append(r.lo, lo), append(r.hi, hi)
		for _, tp := range tps {
			if err := verifyPartition(ctx, l, tp, c, h.visible[tp]); err != nil {
				return r, err
			}
		}
	}
	return r, r.check(hs)
}

// check: a step that had returned before another began is there if that one is, whosever they are.
func (r recovered) check(hs []history) error {
	for i := range hs {
		if r.hi[i] == len(hs[i].steps) {
			continue
		}
		missing := &hs[i].steps[r.hi[i]]
		for j := range hs {
			for k := range hs[j].steps[:r.lo[j]] {
				if s := &hs[j].steps[k]; missing.ended > 0 && s.began > missing.ended {
					return fmt.Errorf("no prefix: step %d of worker %d is there, and step %d of worker %d is not, which had returned before", k, j, r.hi[i], i)
				}
			}
		}
	}
	return nil
}

// verifyPartition checks what else can be seen of a partition that has just been opened.
func verifyPartition(ctx context.Context, l *Log, tp TopicPartition, c contents, visible int64) error {
	p, err := l.Partition(tp)
	if err != nil {
		if visible > 0 {
			return fmt.Errorf("%s is gone, and was visible up to %d", tp, visible)
		}
		return nil
	}
	o, end := p.Offsets(), p.appended.Load()
	if o.HighWatermark != end || o.LastStable != end {
		return fmt.Errorf("%s ends at %d, its high watermark is %d, and its last stable offset %d", tp, end, o.HighWatermark, o.LastStable)
	}
	if end < visible {
		return fmt.Errorf("%s ends at %d, and was visible up to %d", tp, end, visible)
	}
	if all := c.all[tp]; len(all) > 0 {
		// From the middle on: by the index, and by the aborted transactions that reach across.
		from := all[len(all)/2].offset
		got, err := readRecords(ctx, l, tp, from, ReadCommitted)
		if err != nil {
			return fmt.Errorf("read %s from %d on: %w", tp, from, err)
		}
		i, _ := slices.BinarySearchFunc(c.committed[tp], from, func(r crashRecord, at int64) int { return cmp.Compare(r.offset, at) })
		if d := differs(tp, got, c.committed[tp][i:]); d != "" {
			return fmt.Errorf("from %d on %s", from, d)
		}
	}
	return nil
}
