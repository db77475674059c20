package log

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/moldau-io/moldau/log/txn"
)

// ProducerSpec says what a producer is for. The zero value is an idempotent producer without transactions.
type ProducerSpec struct {
	// Owner is whose transactions it writes (Kafka's transactional.id). There is one producer for an owner
	// at a time: a new one fences the one before, and aborts its open transaction. "" means none.
	Owner string
	// Compression is for topics whose compression.type is "producer".
	Compression Compression
}

// Producer appends to the log. A producer with an owner does so in transactions, others at once; both are
// idempotent. Its methods may be called concurrently.
type Producer struct {
	l           *Log
	owner       *owner // nil: no transactions
	compression Compression

	mu      sync.RWMutex
	who     txn.Identity
	lanes   map[TopicPartition]*lane
	current *Txn
	serial  uint64 // of the last transaction begun
	closed  bool
}

// NewProducer makes a producer. For one with an owner it waits until the open transaction of the producer
// before, if there is any, is aborted as durably as a commit would be.
func (l *Log) NewProducer(spec ProducerSpec) (*Producer, error) {
	if err := l.life.enter(); err != nil {
		return nil, err
	}
	defer l.life.leave()
	p := &Producer{l: l, compression: spec.Compression, lanes: make(map[TopicPartition]*lane)}
	if spec.Owner == "" {
		id, err := l.freshProducerID()
		if err != nil {
			return nil, fmt.Errorf("new producer: %w", err)
		}
		p.who = txn.Identity{ID: id}
		return p, nil
	}
	o, err := l.ownerOf(spec.Owner)
	if err == nil {
		p.owner = o
		p.who, err = o.initialize(l)
	}
	if err != nil {
		return nil, fmt.Errorf("new producer for %s: %w", spec.Owner, err)
	}
	return p, nil
}

// lane returns the producer's way into the partition.
func (p *Producer) lane(tp TopicPartition) (*lane, txn.Identity, error) {
	p.mu.RLock()
	ln, who, closed := p.lanes[tp], p.who, p.closed
	p.mu.RUnlock()
	if closed {
		return nil, who, fmt.Errorf("producer: %w", ErrClosed)
	}
	if ln != nil {
		return ln, who, nil
	}
	part, err := p.l.partition(tp)
	if err == nil && part == p.l.offsetsPart {
		err = errOffsetsTopic
	}
	if err != nil {
		return nil, who, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ln = p.lanes[tp]; ln == nil {
		ln = &lane{p: part, who: producerStamp{id: -1}}
		p.lanes[tp] = ln
	}
	return ln, p.who, nil
}

// as makes the lane one of the given identity; the first sequence of an epoch is 0. The caller holds the
// lane's lock.
func (ln *lane) as(who txn.Identity, transactional bool) {
	if ln.who.id != who.ID || ln.who.epoch != who.Epoch {
		ln.who = producerStamp{id: who.ID, epoch: who.Epoch, transactional: transactional}
	}
}

// Append writes the block's records to the partition, in order, and takes the block over whatever the result.
// base is the offset of the first. It returns once they are as durable as the log's Sync says; ctx is looked
// at before anything is written, and not after.
//
// Errors: ErrUnknownTopic, ErrRecordTooLarge, ErrFenced, ErrDiskFull and others that say that nothing was
// appended; ErrSyncFailed, after which only opening the log again tells.
func (p *Producer) Append(ctx context.Context, tp TopicPartition, b *Block) (base int64, err error) {
	l := p.l
	if err = ctx.Err(); err == nil {
		err = l.life.enter()
	}
	if err != nil {
		b.Release()
		return -1, fmt.Errorf("append to %s: %w", tp, err)
	}
	defer l.life.leave()
	if p.owner != nil {
		b.Release()
		return -1, fmt.Errorf("append to %s: %w: a producer with an owner appends in a transaction", tp, ErrInvalidTransactionState)
	}
	base, sequence, err := p.append(tp, b)
	if err == nil {
		err = l.ack(sequence)
	}
	if err != nil {
		return -1, fmt.Errorf("append to %s: %w", tp, err)
	}
	return base, nil
}

// append is Append without waiting.
func (p *Producer) append(tp TopicPartition, b *Block) (base int64, sequence uint64, err error) {
	ln, who, err := p.lane(tp)
	if err != nil {
		b.Release()
		return -1, 0, err
	}
	p.l.throttle()
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.as(who, false)
	return ln.append(p.l, b, p.compression)
}

// Close ends the producer. An open transaction is aborted.
func (p *Producer) Close() error {
	p.mu.Lock()
	t := p.current
	p.mu.Unlock()
	var err error
	if t != nil {
		if err = t.Abort(context.Background()); errors.Is(err, ErrFenced) {
			err = nil // whoever fenced it has aborted it
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return err
}

// producerIDBlock is how many producer ids one frame reserves.
const producerIDBlock = 1000

// freshProducerID hands out an id that was never used.
func (l *Log) freshProducerID() (int64, error) {
	l.ids.mu.Lock()
	defer l.ids.mu.Unlock()
	if l.ids.next == l.ids.limit {
		limit := l.ids.limit + producerIDBlock
		fr := newFrame()
		defer fr.release()
		fr.reset(1)
		fr.addMeta(metaEntry{kind: metaProducerIDs, producerID: limit})
		l.meta.mu.Lock()
		_, err := l.write(fr, nil, func() { l.meta.producerIDs = limit })
		l.meta.mu.Unlock()
		if err != nil {
			return 0, err
		}
		l.ids.limit = limit
	}
	l.ids.next++
	return l.ids.next - 1, nil
}
