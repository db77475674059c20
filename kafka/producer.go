package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/moldau-io/moldau/log"
)

const (
	// linger lets small blocks share a batch. A commit does not wait for it.
	linger = 5 * time.Millisecond
	// What is appended and not yet acknowledged is bounded; who appends more waits.
	bufferedRecords = 1 << 18
	bufferedBytes   = 64 << 20
	// concurrentBackoff is how long to wait before a transaction is begun that the one before still keeps out.
	concurrentBackoff = 2 * time.Millisecond
)

// producer is the client that writes for a member. It is made anew after whatever leaves its transaction in
// doubt: the coordinator then aborts what is open.
type producer struct {
	b          *Broker
	spec       log.MemberSpec
	partitions sync.Map // topic name -> int32, how many there are

	mu     sync.Mutex
	client *kgo.Client // nil: to be made
	closed bool
	// silent: the cluster does not tell the states of transactions: it is older than Kafka 3.0.
	silent bool
}

// newProducer makes a producer. Under ExactlyOnce whoever had its transactional id is fenced when it returns,
// and their transaction decided.
func (b *Broker) newProducer(ctx context.Context, spec log.MemberSpec) (*producer, error) {
	p := &producer{b: b, spec: spec}
	return p, p.open(ctx)
}

func (p *producer) exactlyOnce() bool { return p.spec.Guarantee == log.ExactlyOnce }

func (p *producer) open(ctx context.Context) error {
	opts := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			if n, ok := p.b.batches.Load(topic); ok {
				return n.(int32)
			}
			return p.b.maxBatchBytes
		}),
		kgo.ProducerLinger(linger),
		kgo.MaxBufferedRecords(bufferedRecords),
		kgo.MaxBufferedBytes(bufferedBytes),
		kgo.ConcurrentTransactionsBackoff(concurrentBackoff),
	}
	if p.exactlyOnce() {
		opts = append(opts, kgo.TransactionalID(p.spec.Group), kgo.TransactionTimeout(p.b.txnTimeout))
		if !p.b.txnV2 {
			// Without version 5 of this request kgo keeps to transactions of version 1 too, also when the cluster
			// is upgraded meanwhile.
			v := kversion.Stable()
			v.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4)
			opts = append(opts, kgo.MaxVersions(v))
		}
	}
	client, err := p.b.newClient(opts...)
	if err != nil {
		return err
	}
	if p.exactlyOnce() {
		if err := p.initialize(ctx, client); err != nil {
			client.Close()
			return fmt.Errorf("take over transactional id %s: %w", p.spec.Group, mapped(err))
		}
	}
	silent := false
	if p.exactlyOnce() {
		_, err := transactionState(ctx, client, p.spec.Group)
		var ke *kerr.Error
		silent = err != nil && !errors.As(err, &ke)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		client.Close()
		return log.ErrClosed
	}
	p.client, p.silent = client, silent
	return nil
}

// initialize gets a producer id and a new epoch of it.
func (p *producer) initialize(ctx context.Context, client *kgo.Client) error {
	return p.b.retry(ctx, "transactional id "+p.spec.Group, func() error {
		_, _, err := client.ProducerID(ctx)
		return err
	})
}

// begin begins a transaction, if there are any.
func (p *producer) begin(ctx context.Context) error {
	for fresh := false; ; fresh = true {
		client := p.get()
		if client == nil {
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			err := p.open(ctx)
			cancel()
			if err != nil {
				return err
			}
			client, fresh = p.get(), true
		}
		if !p.exactlyOnce() {
			return nil
		}
		err := client.BeginTransaction()
		if err == nil {
			return nil
		}
		if fresh {
			return fmt.Errorf("begin a transaction: %w", mapped(err))
		}
		p.discard()
	}
}

// tells reports whether the cluster tells the states of transactions.
func (p *producer) tells() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.silent
}

func (p *producer) get() *kgo.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client
}

// discard closes the client. What it holds fails, and what its transaction has is aborted when the next is made.
func (p *producer) discard() {
	p.mu.Lock()
	client := p.client
	p.client = nil
	p.mu.Unlock()
	if client != nil {
		client.Close()
	}
}

func (p *producer) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.discard()
}

// slabRecords is how many records a slab has.
const slabRecords = 1024

// slab is a run of records on their way. Slabs, the blocks they are of, and nothing else, are allocated for
// what is appended, and used again.
type slab struct {
	records []kgo.Record
	e       *epoch
	tp      log.TopicPartition
	block   *sharedBlock
	left    atomic.Int32
	promise func(*kgo.Record, error) // done, bound once
}

// sharedBlock is given back when all slabs are done with it.
type sharedBlock struct {
	block *log.Block
	left  atomic.Int32
}

var slabs sync.Pool

func newSlab() *slab {
	if s, ok := slabs.Get().(*slab); ok {
		return s
	}
	s := &slab{records: make([]kgo.Record, 0, slabRecords)}
	s.promise = s.done
	return s
}

// produce hands a block to the client. What comes of it the epoch is told.
func (e *epoch) produce(client *kgo.Client, tp log.TopicPartition, b *log.Block) {
	n := b.Len()
	if n == 0 {
		b.Release()
		return
	}
	shared := &sharedBlock{block: b}
	shared.left.Store(int32((n + slabRecords - 1) / slabRecords))
	for from := 0; from < n; from += slabRecords {
		s := newSlab()
		s.e, s.tp, s.block = e, tp, shared
		count := min(slabRecords, n-from)
		s.records = s.records[:count]
		s.left.Store(int32(count))
		for i := range s.records {
			r := b.At(from + i)
			kr := &s.records[i]
			kr.Key, kr.Value = r.Key, r.Value
			kr.Topic, kr.Partition = tp.Topic, tp.Partition
			kr.Timestamp = time.UnixMilli(r.Timestamp)
			if r.HasHeaders() {
				for _, h := range r.Headers() {
					kr.Headers = append(kr.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
				}
			}
		}
		// The last promise may come, and the slab go, before the loop has ended.
		records, promise := s.records, s.promise
		for i := range records {
			client.Produce(e.m.ctx, &records[i], promise)
		}
	}
}

// done is the promise of each record.
func (s *slab) done(r *kgo.Record, err error) {
	if err != nil {
		s.e.fail(fmt.Errorf("write to %s: %w", s.tp, mapped(err)))
	}
	last := r.Offset
	if s.left.Add(-1) > 0 {
		return
	}
	if err == nil {
		s.e.wrote(s.tp, last)
	}
	if s.block.left.Add(-1) == 0 {
		s.block.block.Release()
	}
	clear(s.records)
	s.e, s.block, s.tp = nil, nil, log.TopicPartition{}
	slabs.Put(s)
}
