package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Join makes the caller the group's member. The directory lock lets in one process, and the latest Join of a
// group takes the place of the one before: that one gets Lost, and its epochs OutcomeFenced. Its open epoch
// is aborted when Join returns.
func (l *Log) Join(ctx context.Context, spec MemberSpec) (Member, error) {
	m, err := l.join(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("join group %s: %w", spec.Group, err)
	}
	return m, nil
}

func (l *Log) join(ctx context.Context, spec MemberSpec) (*member, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if spec.Group == "" {
		return nil, errors.New("log: the group's name is empty")
	}
	if len(spec.SameEpoch) > 0 && spec.Guarantee != ExactlyOnce {
		return nil, errors.New("log: SameEpoch needs ExactlyOnce")
	}
	m := &member{l: l, spec: spec, w: newWatcher(len(spec.SameEpoch) > 0), left: make(chan struct{})}
	if m.spec.MaxFetchBytes <= 0 {
		m.spec.MaxFetchBytes = defaultFetchBytes
	}
	for _, name := range spec.SameEpoch {
		if !slices.Contains(spec.Topics, name) {
			return nil, fmt.Errorf("log: topic %s of SameEpoch is not one of Topics", name)
		}
	}
	for _, name := range spec.Topics {
		t := l.topic(name)
		if t == nil {
			return nil, fmt.Errorf("%w: %s", ErrUnknownTopic, name)
		}
		for _, p := range t.partitions {
			if !slices.ContainsFunc(m.inputs, func(in *input) bool { return in.p == p }) {
				m.inputs = append(m.inputs, &input{p: p, own: slices.Contains(spec.SameEpoch, name)})
			}
		}
	}
	producerSpec := ProducerSpec{}
	if spec.Guarantee == ExactlyOnce {
		producerSpec.Owner = spec.Group
	}
	l.membersMu.Lock()
	defer l.membersMu.Unlock()
	if old := l.members[spec.Group]; old != nil {
		old.replaced.Store(true)
		old.w.wake()
	}
	var err error
	if m.producer, err = l.NewProducer(producerSpec); err != nil {
		return nil, err
	}
	// Only now, with the producer before fenced, are the offsets those of its last commit.
	committed := l.offsets.get(spec.Group, m.partitions())
	for _, in := range m.inputs {
		in.at = position{offset: in.p.start.Load()}
		if o, ok := committed[in.p.tp]; ok {
			in.at.offset = o.Offset
		}
		in.p.watch(m.w)
	}
	l.members[spec.Group] = m
	return m, nil
}

// member is the one member of its group.
type member struct {
	l        *Log
	spec     MemberSpec
	producer *Producer
	inputs   []*input // fixed
	w        *watcher
	left     chan struct{} // closed by Close
	replaced atomic.Bool   // by a later Join

	// Of the goroutine that calls Next.
	assigned bool // Assigned was delivered
	lost     bool // Lost was delivered
	turn     int  // which input is looked at first

	mu     sync.Mutex // guards the inputs' at and paused, and epoch
	epoch  *epoch
	closed bool
}

// input is a partition that the member reads.
type input struct {
	p      *Partition
	own    bool // records of the member's own open epoch are delivered
	at     position
	paused bool
}

func (m *member) partitions() []TopicPartition {
	tps := make([]TopicPartition, len(m.inputs))
	for i, in := range m.inputs {
		tps[i] = in.p.tp
	}
	return tps
}

func (m *member) input(tp TopicPartition) *input {
	for _, in := range m.inputs {
		if in.p.tp == tp {
			return in
		}
	}
	return nil
}

// bound is the offset up to which the member may read.
func (m *member) bound(in *input) int64 {
	if !in.own {
		return in.p.lastStable.Load()
	}
	return in.p.ownBound(m.producerID())
}

func (m *member) producerID() int64 {
	m.producer.mu.RLock()
	defer m.producer.mu.RUnlock()
	return m.producer.who.ID
}

func (m *member) Next(ctx context.Context) (Event, error) {
	for {
		if m.replaced.Load() {
			if m.assigned && !m.lost {
				m.lost = true
				return Lost{Partitions: m.partitions()}, nil
			}
			return nil, fmt.Errorf("group %s: %w: another member has taken its place", m.spec.Group, ErrFenced)
		}
		select {
		case <-m.left:
			return nil, fmt.Errorf("group %s: member: %w", m.spec.Group, ErrClosed)
		default:
		}
		if !m.assigned {
			m.assigned = true
			return Assigned{Partitions: m.partitions()}, nil
		}
		if f, ok, err := m.fetch(); ok || err != nil {
			return f, err
		}
		select {
		case <-m.w.c:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.left:
		case <-m.l.life.done:
			return nil, fmt.Errorf("group %s: %w", m.spec.Group, ErrClosed)
		}
	}
}

// fetch brings records of the next partition in turn that has some.
func (m *member) fetch() (Event, bool, error) {
	if err := m.l.life.enter(); err != nil {
		return nil, false, fmt.Errorf("group %s: %w", m.spec.Group, err)
	}
	defer m.l.life.leave()
	for range m.inputs {
		in := m.inputs[m.turn]
		m.turn = (m.turn + 1) % len(m.inputs)
		m.mu.Lock()
		at, paused := in.at, in.paused
		m.mu.Unlock()
		if paused {
			continue
		}
		bound := m.bound(in)
		if at.offset >= bound {
			if at.offset > in.p.appended.Load() {
				return nil, false, fmt.Errorf("group %s: %w", m.spec.Group, in.p.outOfRange(at.offset, in.p.highWatermark.Load()))
			}
			continue
		}
		f, err := in.p.fetch(at, bound, m.spec.MaxFetchBytes)
		if err == nil && len(f.Buf) == 0 {
			continue
		}
		if err == nil {
			f.Aborted, err = in.p.aborted(at.offset, f.Next)
		}
		if err != nil {
			return nil, false, fmt.Errorf("group %s: read %s: %w", m.spec.Group, in.p.tp, err)
		}
		m.mu.Lock()
		in.at = f.next
		m.mu.Unlock()
		return Fetched{Partition: in.p.tp, Records: in.p.cursor(&f, at.offset)}, true, nil
	}
	return nil, false, nil
}

// Done has nothing to give back: partitions are never revoked here, only lost.
func (m *member) Done(Revoking) {}

func (m *member) Pause(tps []TopicPartition)  { m.setPaused(tps, true) }
func (m *member) Resume(tps []TopicPartition) { m.setPaused(tps, false) }

func (m *member) setPaused(tps []TopicPartition, paused bool) {
	m.mu.Lock()
	for _, tp := range tps {
		if in := m.input(tp); in != nil {
			in.paused = paused
		}
	}
	m.mu.Unlock()
	if !paused {
		m.w.wake()
	}
}

func (m *member) Seek(at map[TopicPartition]int64) {
	m.mu.Lock()
	for tp, offset := range at {
		if in := m.input(tp); in != nil {
			in.at = position{offset: offset}
		}
	}
	m.mu.Unlock()
	m.w.wake()
}

func (m *member) End(tp TopicPartition) (end int64, known bool) {
	in := m.input(tp)
	if in == nil {
		return 0, false
	}
	return m.bound(in), true
}

// Committed never waits: a transaction's offsets are written with its decision.
func (m *member) Committed(ctx context.Context, tps []TopicPartition) (map[TopicPartition]CommittedOffset, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("group %s: %w", m.spec.Group, err)
	}
	if err := m.l.life.enter(); err != nil {
		return nil, fmt.Errorf("group %s: %w", m.spec.Group, err)
	}
	defer m.l.life.leave()
	return m.l.offsets.get(m.spec.Group, tps), nil
}

func (m *member) Begin() (Epoch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, fmt.Errorf("group %s: member: %w", m.spec.Group, ErrClosed)
	case m.replaced.Load():
		return nil, fmt.Errorf("group %s: %w: another member has taken its place", m.spec.Group, ErrFenced)
	case m.epoch != nil:
		return nil, fmt.Errorf("group %s: %w: an epoch is open", m.spec.Group, ErrInvalidTransactionState)
	}
	e := &epoch{m: m}
	if m.spec.Guarantee == ExactlyOnce {
		t, err := m.producer.Begin()
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", m.spec.Group, err)
		}
		e.txn = t
	}
	m.epoch = e
	return e, nil
}

func (m *member) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.mu.Unlock()
	close(m.left)
	for _, in := range m.inputs {
		in.p.unwatch(m.w)
	}
	m.l.membersMu.Lock()
	if m.l.members[m.spec.Group] == m {
		delete(m.l.members, m.spec.Group)
	}
	m.l.membersMu.Unlock()
	if err := m.producer.Close(); err != nil {
		return fmt.Errorf("group %s: leave: %w", m.spec.Group, err)
	}
	return nil
}

// epoch is one epoch of a member: a transaction under ExactlyOnce, or else plain appends of an idempotent
// producer.
type epoch struct {
	m   *member
	txn *Txn // nil under AtLeastOnce

	ended    atomic.Bool
	sequence atomic.Uint64         // AtLeastOnce: of the last frame
	failed   atomic.Pointer[error] // AtLeastOnce: of an append
}

func (e *epoch) Append(tp TopicPartition, b *Block) (base int64, err error) {
	if e.txn != nil {
		return e.txn.Append(tp, b)
	}
	base, err = e.appendPlain(tp, b)
	if err != nil {
		err = fmt.Errorf("append to %s: %w", tp, err)
		e.failed.CompareAndSwap(nil, &err)
		return -1, err
	}
	return base, nil
}

func (e *epoch) appendPlain(tp TopicPartition, b *Block) (base int64, err error) {
	l := e.m.l
	if err = l.life.enter(); err != nil {
		b.Release()
		return -1, err
	}
	defer l.life.leave()
	if err := e.check(); err != nil {
		b.Release()
		return -1, err
	}
	base, sequence, err := e.m.producer.append(tp, b)
	if err != nil {
		return -1, err
	}
	for {
		old := e.sequence.Load()
		if old >= sequence || e.sequence.CompareAndSwap(old, sequence) {
			break
		}
	}
	// Nobody waits for this frame before the commit, and readers are not to wait that long.
	l.syncSoon()
	return base, nil
}

// check says why nothing may be written under the epoch any more.
func (e *epoch) check() error {
	if e.ended.Load() {
		return fmt.Errorf("%w: the epoch has ended", ErrInvalidTransactionState)
	}
	if e.m.replaced.Load() {
		return fmt.Errorf("%w: another member has taken its place", ErrFenced)
	}
	return nil
}

func (e *epoch) Commit(ctx context.Context, next map[TopicPartition]CommittedOffset) (Outcome, error) {
	outcome, err := e.commit(ctx, next)
	if err != nil {
		err = fmt.Errorf("group %s: %w", e.m.spec.Group, err)
	}
	return outcome, err
}

func (e *epoch) commit(ctx context.Context, next map[TopicPartition]CommittedOffset) (Outcome, error) {
	if err := e.check(); err != nil {
		e.end()
		return OutcomeFenced, err
	}
	if e.txn == nil {
		return e.commitPlain(ctx, next)
	}
	var err error
	if len(next) > 0 {
		err = e.txn.CommitOffsets(e.m.spec.Group, next)
	}
	if err == nil {
		err = e.txn.Commit(ctx)
	}
	defer e.end()
	switch {
	case err == nil:
		return OutcomeCommitted, nil
	case errors.Is(err, ErrFenced):
		return OutcomeFenced, err
	case errors.Is(err, ErrSyncFailed), errors.Is(err, ErrClosed):
		// The log is at its end, and what is on disk shows when it is opened again. This member has no more
		// to say in it.
		return OutcomeFenced, err
	}
	if aerr := e.txn.Abort(context.WithoutCancel(ctx)); errors.Is(aerr, ErrFenced) {
		return OutcomeFenced, err
	}
	// Should the abort not have been written, the next Begin writes it.
	return OutcomeAborted, err
}

// commitPlain waits for the appends and then commits the offsets.
func (e *epoch) commitPlain(ctx context.Context, next map[TopicPartition]CommittedOffset) (Outcome, error) {
	defer e.end()
	l := e.m.l
	if err := ctx.Err(); err != nil {
		return OutcomeAborted, err
	}
	if err := e.failed.Load(); err != nil {
		return OutcomeAborted, fmt.Errorf("%w: an append failed: %w", ErrInvalidTransactionState, *err)
	}
	if err := l.life.enter(); err != nil {
		return OutcomeFenced, err
	}
	defer l.life.leave()
	// The journal keeps the order: offsets cannot be on disk before the appends are.
	sequence, err := l.commitOffsets(e.m.spec.Group, next)
	if err != nil {
		return OutcomeAborted, err
	}
	if err := l.ack(max(sequence, e.sequence.Load())); err != nil {
		return OutcomeFenced, err
	}
	return OutcomeCommitted, nil
}

func (e *epoch) Abort(ctx context.Context) error {
	if e.ended.Load() {
		return nil
	}
	defer e.end()
	if e.txn == nil {
		return nil
	}
	if err := e.txn.Abort(ctx); err != nil {
		return fmt.Errorf("group %s: %w", e.m.spec.Group, err)
	}
	return nil
}

// end lets the member begin another epoch.
func (e *epoch) end() {
	e.ended.Store(true)
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	if e.m.epoch == e {
		e.m.epoch = nil
	}
}
