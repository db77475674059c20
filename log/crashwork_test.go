package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// This file is the workload of the crash tests: idempotent and transactional producers, retries, commits, aborts,
// fencing, offset commits, compression, blocks of many batches, new topics, clean stops; with segments, indexes
// and journal files so small that rolls, checkpoints and recycling go on all the time.

// crashOwners is how many transactional producers a worker has, whose transactions overlap.
const crashOwners = 2

// crashWorker does steps and writes them down. One goroutine does them; others take snapshots.
type crashWorker struct {
	id    int
	rng   *rand.Rand
	clock *atomic.Int64
	l     *Log
	// planted, if not nil, does a transaction's end in its own, wrong way.
	planted func(w *crashWorker, x *Txn, i int, tps []TopicPartition) error

	mu       sync.Mutex
	steps    []crashStep
	returned int // so many of steps have
	acked    int // so many are as durable as SyncCommit says

	values    int
	topics    []string
	plain     *Producer
	owners    [crashOwners]crashOwner
	clientID  int64 // of the client that sends batches it has encoded
	clientSeq int32
}

type crashOwner struct {
	p       *Producer
	x       *Txn
	txn     int
	offsets map[TopicPartition]int64
	tps     []TopicPartition
}

func newCrashWorker(id int, seed uint64, clock *atomic.Int64) *crashWorker {
	return &crashWorker{id: id, rng: rand.New(rand.NewPCG(seed, uint64(id))), clock: clock, clientID: -1}
}

func (w *crashWorker) group() string { return fmt.Sprint("group", w.id) }

// history is what the worker did so far. Of what has not returned, nothing or all may be there.
func (w *crashWorker) history() history {
	w.mu.Lock()
	defer w.mu.Unlock()
	return history{group: w.group(), steps: slices.Clone(w.steps), floor: w.acked}
}

// start lets the worker go on with a log: a new one, or one that was opened again and has the steps.
func (w *crashWorker) start(l *Log) error {
	w.l, w.plain = l, nil
	w.owners = [crashOwners]crashOwner{}
	codec := []Compression{CompressionNone, CompressionLZ4, CompressionGzip, CompressionSnappy, CompressionZstd}[w.rng.IntN(5)]
	if err := w.other(false, func() (err error) {
		w.plain, err = l.NewProducer(ProducerSpec{Compression: codec})
		return err
	}); err != nil {
		return err
	}
	if len(w.topics) == 0 {
		return w.createTopic()
	}
	return nil
}

// stopped is told after the log was closed: all is durable.
func (w *crashWorker) stopped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = w.returned
}

// do writes down a step and does it. f reports whether what it did is as durable as the log's mode says. A step
// that fails never was, unless a sync failed, after which nobody knows.
func (w *crashWorker) do(s crashStep, f func() (base int64, acked bool, err error)) error {
	s.base, s.began = -1, w.clock.Add(1)
	w.mu.Lock()
	i := len(w.steps)
	w.steps = append(w.steps, s)
	w.mu.Unlock()

	base, acked, err := f()

	w.l.journal.mu.Lock() // not under mu, which the hook takes under this one
	sequence := w.l.journal.sequence - 1
	w.l.journal.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if !errors.Is(err, ErrSyncFailed) {
			w.steps = w.steps[:i]
		}
		return fmt.Errorf("step %d of worker %d: %w", i, w.id, err)
	}
	done := &w.steps[i]
	done.base, done.ended = base, w.clock.Add(1)
	done.sequence = sequence
	w.returned = i + 1
	if acked {
		w.acked = i + 1
	}
	return nil
}

// other does what changes nothing that can be read. Most of that does not wait for a sync.
func (w *crashWorker) other(waits bool, f func() error) error {
	return w.do(crashStep{kind: stepOther}, func() (int64, bool, error) { return -1, waits, f() })
}

func (w *crashWorker) createTopic() error {
	name := fmt.Sprintf("w%d-%d", w.id, len(w.topics))
	config := map[string]string{
		"segment.bytes": fmt.Sprint(700 + w.rng.IntN(1500)), "index.interval.bytes": fmt.Sprint(100 + w.rng.IntN(300)), "max.message.bytes": "700",
	}
	err := w.do(crashStep{kind: stepTopic, topic: name}, func() (int64, bool, error) {
		return -1, true, w.l.CreateTopics(context.Background(), []TopicSpec{{Name: name, Partitions: crashTopicPartitions, Config: config}})
	})
	if err == nil {
		w.topics = append(w.topics, name)
	}
	return err
}

func (w *crashWorker) partition() TopicPartition {
	return TopicPartition{w.topics[w.rng.IntN(len(w.topics))], w.rng.Int32N(crashTopicPartitions)}
}

// block makes records that are all different, some of them long and easy to compress.
func (w *crashWorker) block(max int) (*Block, []crashRecord) {
	b := NewBlock()
	var records []crashRecord
	for range 1 + w.rng.IntN(max) {
		w.values++
		r := crashRecord{
			offset: -1, timestamp: int64(1000 + w.rng.IntN(50)), key: fmt.Sprint("key", w.rng.IntN(9)),
			value: fmt.Sprintf("%d/%d%s", w.id, w.values, strings.Repeat(" and more", w.rng.IntN(1+w.rng.IntN(30)))),
		}
		var headers []Header
		if w.rng.IntN(4) == 0 {
			headers, r.header = []Header{{Key: "h", Value: []byte("x")}}, "h:x"
		}
		b.Append(r.timestamp, []byte(r.key), []byte(r.value), headers)
		records = append(records, r)
	}
	return b, records
}

// step does one thing, by chance.
func (w *crashWorker) step() error {
	ctx := context.Background()
	i := w.rng.IntN(crashOwners)
	o := &w.owners[i]
	switch n := w.rng.IntN(100); {
	case n < 15:
		tp := w.partition()
		b, records := w.block(4)
		return w.do(crashStep{kind: stepAppend, tp: tp, records: records}, func() (int64, bool, error) {
			base, err := w.plain.Append(ctx, tp, b)
			return base, true, err
		})
	case n < 18: // many batches at once, over segments
		tp := w.partition()
		b, records := w.block(40)
		return w.do(crashStep{kind: stepAppend, tp: tp, records: records}, func() (int64, bool, error) {
			base, err := w.plain.Append(ctx, tp, b)
			return base, true, err
		})
	case n < 27:
		return w.send()
	case n < 30:
		return w.resend()
	case n < 34:
		offsets := map[TopicPartition]int64{w.partition(): int64(w.rng.IntN(1000))}
		return w.do(crashStep{kind: stepOffsets, offsets: offsets}, func() (int64, bool, error) {
			return -1, true, w.l.CommitOffsets(w.group(), committedOffsets(offsets))
		})
	case n < 36 && len(w.topics) < 3:
		return w.createTopic()
	case n < 40: // a new producer takes the place of the old one, and aborts what that has open
		*o = crashOwner{}
		return w.join(o, i)
	case o.x == nil:
		return w.begin(o, i)
	case n < 75:
		return w.appendIn(o)
	case n < 83:
		if o.offsets == nil {
			o.offsets = make(map[TopicPartition]int64)
		}
		offsets := map[TopicPartition]int64{w.partition(): int64(w.rng.IntN(1000))}
		for tp, n := range offsets {
			o.offsets[tp] = n
		}
		return o.x.CommitOffsets(w.group(), committedOffsets(offsets)) // nothing is written yet
	default:
		return w.end(o, i, n < 88)
	}
}

func committedOffsets(offsets map[TopicPartition]int64) map[TopicPartition]CommittedOffset {
	out := make(map[TopicPartition]CommittedOffset, len(offsets))
	for tp, o := range offsets {
		out[tp] = CommittedOffset{Offset: o}
	}
	return out
}

func (w *crashWorker) join(o *crashOwner, i int) error {
	return w.other(true, func() (err error) {
		o.p, err = w.l.NewProducer(ProducerSpec{Owner: fmt.Sprintf("owner %d-%d", w.id, i), Compression: CompressionLZ4})
		return err
	})
}

func (w *crashWorker) begin(o *crashOwner, i int) error {
	if o.p == nil {
		if err := w.join(o, i); err != nil {
			return err
		}
	}
	if err := w.other(false, func() (err error) { // it aborts what could not be aborted before
		o.x, err = o.p.Begin()
		return err
	}); err != nil {
		return err
	}
	w.values++
	o.txn, o.offsets, o.tps = w.values, nil, nil
	return w.appendIn(o)
}

func (w *crashWorker) appendIn(o *crashOwner) error {
	tp := w.partition()
	b, records := w.block(5)
	o.tps = append(o.tps, tp)
	return w.do(crashStep{kind: stepAppend, tp: tp, records: records, txn: o.txn}, func() (int64, bool, error) {
		base, err := o.x.Append(tp, b)
		return base, false, err
	})
}

func (w *crashWorker) end(o *crashOwner, i int, abort bool) error {
	ctx := context.Background()
	x, s := o.x, crashStep{kind: stepCommit, txn: o.txn, offsets: o.offsets}
	if abort {
		o.x = nil
		return w.other(true, func() error { return x.Abort(ctx) })
	}
	err := w.do(s, func() (int64, bool, error) {
		if w.planted != nil {
			return -1, true, w.planted(w, x, i, o.tps)
		}
		return -1, true, x.Commit(ctx)
	})
	if err == nil {
		o.x = nil
	}
	return err
}

// send appends a batch as a client of another language would: encoded by itself, with its own sequence.
func (w *crashWorker) send() error {
	if w.clientID < 0 {
		if err := w.other(false, func() (err error) {
			w.clientID, err = w.l.freshProducerID()
			return err
		}); err != nil {
			return err
		}
	}
	tp := TopicPartition{w.topics[0], 0} // sequences are counted by partition
	b, records := w.block(2)
	batch, err := appendBatch(nil, b, 0, b.Len(), CompressionNone, producerStamp{id: w.clientID, sequence: w.clientSeq})
	b.Release()
	if err != nil {
		return err
	}
	s := crashStep{kind: stepAppend, tp: tp, records: records, encoded: batch}
	err = w.do(s, func() (int64, bool, error) { return w.sendBatch(tp, batch) })
	if err == nil {
		w.clientSeq += int32(len(records))
	}
	return err
}

func (w *crashWorker) sendBatch(tp TopicPartition, batch []byte) (int64, bool, error) {
	p, err := w.l.Partition(tp)
	if err != nil {
		return -1, false, err
	}
	base, sequence, err := w.l.appendEncoded(p, slices.Clone(batch))
	if err == nil {
		err = w.l.ack(sequence)
	}
	return base, true, err
}

// resend sends the client's last batch again, as after an answer that was lost: it is not to be there twice.
func (w *crashWorker) resend() error {
	i := w.lastSent()
	if i < 0 {
		return nil
	}
	s := w.steps[i]
	return w.other(false, func() error {
		base, _, err := w.sendBatch(s.tp, s.encoded)
		if err == nil && s.base >= 0 && base != s.base {
			return fmt.Errorf("a batch that was sent again is at offset %d, and was at %d", base, s.base)
		}
		return err
	})
}

func (w *crashWorker) lastSent() int {
	for i := len(w.steps) - 1; i >= 0; i-- {
		if w.steps[i].encoded != nil {
			return i
		}
	}
	return -1
}

// resume makes a worker that goes on with a recovered log, which has the given steps.
func resume(h *history, k, id int, seed uint64, l *Log) (*crashWorker, error) {
	w := newCrashWorker(id, seed, new(atomic.Int64))
	w.steps = slices.Clone(h.steps[:k])
	w.returned, w.acked, w.values = k, k, 1<<20 // values that were not there before
	for i := range w.steps {
		if s := &w.steps[i]; s.kind == stepTopic {
			w.topics = append(w.topics, s.topic)
		}
	}
	if i := w.lastSent(); i >= 0 {
		s := &w.steps[i]
		b, err := parseBatchHeader(s.encoded)
		if err != nil {
			return nil, err
		}
		w.clientID, w.clientSeq = b.producerID, b.lastSequence()+1
	}
	if err := w.start(l); err != nil {
		return nil, err
	}
	// The client has had no answer, and the producer of an open transaction is gone: what they do next.
	if err := w.resend(); err != nil {
		return nil, err
	}
	for i := range w.owners {
		o := &w.owners[i]
		if err := w.begin(o, i); err != nil {
			return nil, err
		}
		o.offsets = map[TopicPartition]int64{w.partition(): int64(i)}
		if err := o.x.CommitOffsets(w.group(), committedOffsets(o.offsets)); err != nil {
			return nil, err
		}
		if err := w.end(o, i, i == 1); err != nil {
			return nil, err
		}
	}
	return w, nil
}
