package task

import (
	"fmt"
	"runtime/debug"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// decodeAhead is how many records a cursor decodes at a time.
const decodeAhead = 256

// batches is one delivery, and its size when it came: a cursor's grows as it decompresses.
type batches struct {
	log.Cursor
	bytes int
}

// input is the queue of one source partition: fetched batches, of which only the first is being decoded,
// and its head record, which is the only one a source has decoded.
type input struct {
	tp   log.TopicPartition
	src  Source
	node *graph.Node

	fetched  []batches
	bytes    int   // of fetched
	position int64 // offset after all that was taken, and after the batches it was taken from; -1: nothing yet
	moved    bool  // something was taken since the last commit

	recs     []log.Record // records decoded from fetched[0]
	i        int          // the head's place in recs
	headSet  bool         // src holds recs[i], with timestamp headTime
	headTime int64

	partitionTime int64 // highest timestamp processed, -1 before the first
}

// next is the offset to go on from when everything taken so far is committed: the head's, or, if no head
// is decoded, that after all that was taken, transaction markers at the end of a fetch included.
func (in *input) next() int64 {
	if in.i < len(in.recs) {
		return in.recs[in.i].Offset
	}
	return in.position
}

// fill makes a head, if there is a record. Records that the source drops are passed.
func (in *input) fill(t *Task) (bool, error) {
	for !in.headSet {
		if in.i == len(in.recs) {
			if ok, err := in.decode(); !ok || err != nil {
				return false, err
			}
		}
		t.at = in
		t.Enter(in.node.Index)
		ts, ok, err := in.decodeHead(t)
		if err != nil {
			err = t.undecodable(in.node, err)
			t.at = nil
			if err != nil {
				return false, err
			}
			in.pop()
			continue
		}
		t.at = nil
		if !ok {
			in.pop()
			t.dropped[in.node.Index].Timestamp++
			continue
		}
		in.headSet, in.headTime = true, ts
	}
	return true, nil
}

// decodeHead decodes the record in line. A panic is an error, if there is someone to answer it.
func (in *input) decodeHead(t *Task) (timestampMs int64, ok bool, err error) {
	if t.Handles(Deserialization) {
		defer func() {
			if r := recover(); r != nil {
				err = &PanicError{Value: r, Stack: debug.Stack()}
			}
		}()
	}
	return in.src.Decode(&in.recs[in.i], in.partitionTime)
}

// decode takes the next records from the fetched batches; false if there are none.
func (in *input) decode() (bool, error) {
	for len(in.fetched) > 0 {
		if in.recs == nil {
			in.recs = make([]log.Record, decodeAhead)
		}
		c := in.fetched[0]
		n, err := c.Next(in.recs[:decodeAhead])
		in.recs, in.i = in.recs[:n], 0
		if n > 0 {
			return true, nil // an error comes again, before the record it is about
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", in.tp, err)
		}
		in.position = c.End()
		in.bytes -= c.bytes
		in.fetched[0] = batches{}
		in.fetched = in.fetched[1:]
	}
	return false, nil
}

// pop drops the head, which was processed or dropped.
func (in *input) pop() {
	in.position = in.recs[in.i].Offset + 1
	in.i++
	in.headSet = false
	in.moved = true
}

// input finds the queue of a partition, nil if the task does not read it.
func (t *Task) input(tp log.TopicPartition) *input {
	for _, in := range t.inputs {
		if in.tp == tp {
			return in
		}
	}
	return nil
}

// StartsAt has the offset at which a partition begins committed with the next epoch, whatever is read until then: if
// that is the end of the log, it is somewhere else later.
func (t *Task) StartsAt(tp log.TopicPartition) { t.input(tp).moved = true }

// Deliver appends fetched records to the queue of their partition.
func (t *Task) Deliver(f log.Fetched) {
	in := t.input(f.Partition)
	if in == nil {
		panic(fmt.Sprintf("task %s was given records of %s", t.ID, f.Partition))
	}
	b := batches{f.Records, f.Records.Bytes()}
	in.fetched = append(in.fetched, b)
	in.bytes += b.bytes
}

// Queued is the memory, in bytes, that a partition's fetched batches hold.
func (t *Task) Queued(tp log.TopicPartition) int {
	if in := t.input(tp); in != nil {
		return in.bytes
	}
	return 0
}

// Inputs lists the task's source partitions.
func (t *Task) Inputs() []log.TopicPartition {
	tps := make([]log.TopicPartition, len(t.inputs))
	for i, in := range t.inputs {
		tps[i] = in.tp
	}
	return tps
}

// Positions adds the offsets that the task goes on reading from.
func (t *Task) Positions(at map[log.TopicPartition]int64) {
	for _, in := range t.inputs {
		at[in.tp] = in.position
	}
}

// Drained reports whether all that was delivered is processed, and every partition read to its end.
func (t *Task) Drained() bool {
	for _, in := range t.inputs {
		if in.i < len(in.recs) || len(in.fetched) > 0 || !t.Env.CaughtUp(in.tp, in.position) {
			return false
		}
	}
	return true
}

// choose returns the input whose head has the lowest timestamp, the first of those with the same; nil if
// nothing can be processed now. Inside a partition offset order always wins. A partition whose queue is
// empty holds the others up until it is known to have no more records (KIP-695, max.task.idle.ms=0).
func (t *Task) choose() (*input, error) {
	var best *input
	for _, in := range t.inputs {
		if !in.headSet {
			ok, err := in.fill(t)
			if err != nil {
				return nil, err
			}
			if !ok {
				if len(t.inputs) > 1 && !t.Env.CaughtUp(in.tp, in.position) {
					return nil, nil
				}
				continue
			}
		}
		if best == nil || in.headTime < best.headTime {
			best = in
		}
	}
	return best, nil
}
