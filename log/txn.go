package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/moldau-io/moldau/log/txn"
)

// coordinatorEpoch goes into markers. There is one coordinator, and it never moves.
const coordinatorEpoch = 0

// owner is a transactional id with where its transactions stand.
type owner struct {
	name string

	mu      sync.Mutex // stands above the locks of partitions
	machine txn.Machine
}

// ownerOf returns the owner of that name, made if it is new.
func (l *Log) ownerOf(name string) (*owner, error) {
	l.ownersMu.Lock()
	defer l.ownersMu.Unlock()
	if o := l.owners[name]; o != nil {
		return o, nil
	}
	id, err := l.freshProducerID()
	if err != nil {
		return nil, err
	}
	// The first Initialize makes the epoch 0.
	o := &owner{name: name, machine: txn.Machine{Current: txn.Identity{ID: id, Epoch: -1}}}
	l.owners[name] = o
	return o, nil
}

// initialize puts a new producer in the place of the one before.
func (o *owner) initialize(l *Log) (txn.Identity, error) {
	o.mu.Lock()
	sequence, err := o.step(l, txn.Event{Kind: txn.Initialize}, "", nil)
	who := o.machine.Current
	o.mu.Unlock()
	if err == nil {
		err = l.ack(sequence)
	}
	return who, err
}

// add takes the partition into the producer's transaction.
func (o *owner) add(who txn.Identity, partition int32) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	m, _, err := o.machine.Step(txn.Event{Kind: txn.AddPartition, Who: who, Partition: partition})
	if err != nil {
		return coordinatorError(err)
	}
	o.machine = m
	return nil
}

// coordinatorError says it in the log's own terms.
func coordinatorError(err error) error {
	switch {
	case errors.Is(err, txn.ErrFenced):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	case errors.Is(err, txn.ErrState):
		return fmt.Errorf("%w: %w", ErrInvalidTransactionState, err)
	}
	return err
}

// step takes the machine through an event that ends a transaction, or starts a producer: all that it demands
// is written in one frame, so that it happens as a whole or not at all. The caller holds mu.
func (o *owner) step(l *Log, e txn.Event, group string, offsets map[TopicPartition]CommittedOffset) (sequence uint64, err error) {
	if o.machine.Exhausted() {
		if e.FreshID, err = l.freshProducerID(); err != nil {
			return 0, err
		}
	}
	next, effect, err := o.machine.Step(e)
	if err != nil {
		return 0, coordinatorError(err)
	}
	if effect.Again {
		return 0, nil
	}
	var parts []*Partition
	for _, number := range effect.Markers {
		p := l.partitionNumbered(number)
		if f := p.fault.Load(); f == nil {
			parts = append(parts, p)
		} else if effect.Commit {
			return 0, f.err
		}
		// An abort leaves damaged partitions out: nothing is read of what it would end there.
	}
	now := l.clock.Now()
	block := offsetsBlock(group, offsets, now)
	defer block.Release()
	fr := newFrame()
	defer fr.release()
	fr.split(block, l.offsetsPart.settings.maxMessageBytes)
	fr.reset(len(fr.splits) + len(parts) + 1)
	at := make([]part, len(parts))
	for i, p := range parts {
		at[i] = part{p: p, from: len(fr.sections)}
		if p == l.offsetsPart && block.Len() > 0 {
			stamp := producerStamp{id: o.machine.Current.ID, epoch: o.machine.Current.Epoch, transactional: true}
			if err := fr.addBlock(block, CompressionNone, stamp, p.settings.maxMessageBytes); err != nil {
				return 0, err
			}
		}
		m := effect.MarkerAs
		fr.buf = appendMarker(fr.buf, m.ID, m.Epoch, effect.Commit, coordinatorEpoch, now.UnixMilli())
		fr.addBatch()
		at[i].to = len(fr.sections)
	}
	fr.addMeta(metaEntry{kind: metaOwner, name: o.name, producerID: effect.Next.ID, producerEpoch: effect.Next.Epoch})

	defer lockAll(parts)()
	l.meta.mu.Lock()
	defer l.meta.mu.Unlock()
	return l.write(fr, at, func() {
		o.machine = next
		l.meta.owners[o.name] = effect.Next
		if block.Len() > 0 {
			l.offsets.setAll(group, offsets)
		}
	})
}

// Txn is a transaction: all of its records and offsets become visible together, or none.
//
// Append may be called concurrently, and not after Commit or Abort began.
type Txn struct {
	p      *Producer
	who    txn.Identity
	serial uint64

	failed atomic.Pointer[error] // of an append: after it only Abort is left

	mu      sync.RWMutex // appends share it, the end has it alone
	group   string
	offsets map[TopicPartition]CommittedOffset
	ended   bool
}

// Begin starts a transaction. A producer has one at a time; one whose Abort could not be written is aborted
// first.
func (p *Producer) Begin() (*Txn, error) {
	if p.owner == nil {
		return nil, fmt.Errorf("begin: %w: the producer has no owner", ErrInvalidTransactionState)
	}
	if err := p.l.life.enter(); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer p.l.life.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("begin: producer: %w", ErrClosed)
	}
	if p.current != nil {
		return nil, fmt.Errorf("begin: %w: the transaction before is still open", ErrInvalidTransactionState)
	}
	o := p.owner
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.machine.Current != p.who {
		return nil, fmt.Errorf("begin: %w: another producer of %s has taken its place", ErrFenced, o.name)
	}
	if o.machine.State == txn.Ongoing {
		if _, err := o.step(p.l, txn.Event{Kind: txn.Abort, Who: p.who}, "", nil); err != nil {
			return nil, fmt.Errorf("begin: abort the transaction before: %w", err)
		}
		p.who = o.machine.Current
	}
	p.serial++
	p.current = &Txn{p: p, who: p.who, serial: p.serial}
	return p.current, nil
}

// Append writes the block's records to the partition, in order, and takes the block over whatever the result.
// base is the offset of the first. It returns once they are written, and does not wait for a sync: Commit
// does. An error leaves the transaction only Abort.
func (t *Txn) Append(tp TopicPartition, b *Block) (base int64, err error) {
	base, err = t.append(tp, b)
	if err != nil {
		err = fmt.Errorf("append to %s: %w", tp, err)
		t.failed.CompareAndSwap(nil, &err)
		return -1, err
	}
	return base, nil
}

func (t *Txn) append(tp TopicPartition, b *Block) (base int64, err error) {
	l := t.p.l
	if err := l.life.enter(); err != nil {
		b.Release()
		return -1, err
	}
	defer l.life.leave()
	t.mu.RLock()
	defer t.mu.RUnlock()
	ln, _, err := t.p.lane(tp)
	if err == nil && t.ended {
		err = fmt.Errorf("%w: the transaction has ended", ErrInvalidTransactionState)
	}
	if err != nil {
		b.Release()
		return -1, err
	}
	l.throttle()
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.txn != t.serial {
		if err := t.p.owner.add(t.who, ln.p.number); err != nil {
			b.Release()
			return -1, err
		}
		ln.txn = t.serial
	}
	ln.as(t.who, true)
	base, _, err = ln.append(l, b, t.p.compression)
	return base, err
}

// CommitOffsets makes the offsets those that the group goes on from, if the transaction commits. Later calls
// add to earlier ones; a transaction commits offsets for one group.
func (t *Txn) CommitOffsets(group string, offsets map[TopicPartition]CommittedOffset) error {
	if err := t.p.l.checkOffsets(group, offsets); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended:
		return fmt.Errorf("commit offsets of group %s: %w: the transaction has ended", group, ErrInvalidTransactionState)
	case t.group != "" && t.group != group:
		return fmt.Errorf("commit offsets of group %s: %w: the transaction commits those of group %s", group, ErrInvalidTransactionState, t.group)
	}
	t.group = group
	if t.offsets == nil {
		t.offsets = make(map[TopicPartition]CommittedOffset, len(offsets))
	}
	for tp, o := range offsets {
		t.offsets[tp] = o
	}
	return nil
}

// Commit makes the transaction's records and offsets visible together, and returns once they are as durable
// as the log's Sync says. ctx is looked at before anything is written, and not after, so that the outcome is
// known: after an error that does not match ErrSyncFailed nothing is committed, and the transaction is there
// to be aborted.
func (t *Txn) Commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := t.end(txn.Commit); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Abort takes back all that was appended. ctx is looked at before anything is written, and not after. The
// transaction is over then in any case: if its end could not be written, nothing of it is visible all the
// same, readers under ReadCommitted wait at it, and the next Begin, or the next Open, writes the end.
func (t *Txn) Abort(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	if err := t.end(txn.Abort); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	return nil
}

func (t *Txn) end(kind txn.Kind) error {
	l := t.p.l
	if err := l.life.enter(); err != nil {
		return err
	}
	defer l.life.leave()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return fmt.Errorf("%w: the transaction has ended", ErrInvalidTransactionState)
	}
	commit := kind == txn.Commit
	if commit {
		if err := t.failed.Load(); err != nil {
			return fmt.Errorf("%w: an append failed: %w", ErrInvalidTransactionState, *err)
		}
	}
	sequence, who, err := t.write(kind, commit)
	if err == nil || !commit || errors.Is(err, ErrFenced) {
		t.finish(who)
	}
	if err != nil {
		return err
	}
	return l.ack(sequence)
}

// write writes the end and returns the producer's identity after it. The caller holds t.mu.
func (t *Txn) write(kind txn.Kind, commit bool) (sequence uint64, who txn.Identity, err error) {
	o := t.p.owner
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.machine
	if before.Current != t.who {
		return 0, t.who, fmt.Errorf("%w: another producer of %s has taken its place", ErrFenced, o.name)
	}
	var offsets map[TopicPartition]CommittedOffset
	if commit && len(t.offsets) > 0 {
		offsets = t.offsets
		m, _, err := o.machine.Step(txn.Event{Kind: txn.AddPartition, Who: t.who, Partition: offsetsPartition})
		if err != nil {
			return 0, t.who, coordinatorError(err)
		}
		o.machine = m
	}
	if o.machine.State != txn.Ongoing {
		return 0, t.who, nil // nothing was added, there is nothing to end
	}
	if sequence, err = o.step(t.p.l, txn.Event{Kind: kind, Who: t.who}, t.group, offsets); err != nil {
		o.machine = before
		return 0, t.who, err
	}
	return sequence, o.machine.Current, nil
}

// finish lets the producer begin another transaction, as the given identity.
func (t *Txn) finish(who txn.Identity) {
	t.ended = true
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.p.current == t {
		t.p.current, t.p.who = nil, who
	}
}
