package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/moldau-io/moldau/log"
)

// Join makes the caller a member of its group, and returns when it has its partitions. Under ExactlyOnce who
// wrote for the group before is fenced first, so that the offsets read then are those of its last commit.
func (b *Broker) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := b.join(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("join group %s: %w", spec.Group, err)
	}
	return m, nil
}

func (b *Broker) join(ctx context.Context, spec log.MemberSpec) (*member, error) {
	if spec.Group == "" {
		return nil, errors.New("kafka: the group's name is empty")
	}
	if len(spec.SameEpoch) > 0 {
		return nil, errors.New("kafka: SameEpoch needs Capabilities.SoleWriter, which a cluster has not")
	}
	infos, err := b.Topics(ctx, spec.Topics)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, info := range infos {
		errs = append(errs, info.Err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	m := &member{b: b, spec: spec, wake: make(chan struct{}, 1), left: make(chan struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.start(ctx); err != nil {
		_ = m.Close()
		return nil, err
	}
	if err := b.enlist(m); err != nil {
		_ = m.Close()
		return nil, err
	}
	return m, nil
}

// start makes the member's producer, fetcher and place in the group, in this order.
func (m *member) start(ctx context.Context) error {
	var err error
	if m.producer, err = m.b.newProducer(ctx, m.spec); err != nil {
		return err
	}
	if len(m.spec.Topics) == 0 {
		return nil
	}
	if m.fetcher, err = m.b.newFetcher(log.ReadCommitted, m.spec.MaxFetchBytes, m.signal); err != nil {
		return err
	}
	g, err := newGroup(m)
	if err != nil {
		return err
	}
	m.group = g
	return g.awaitJoin(ctx)
}

// member is an instance's place in its group. It joins again by itself whenever the group loses it.
type member struct {
	b        *Broker
	spec     log.MemberSpec
	producer *producer
	fetcher  *fetcher // nil without topics
	group    *group   // nil without topics
	wake     chan struct{}
	left     chan struct{} // closed by Close
	ctx      context.Context
	cancel   context.CancelFunc

	mu        sync.Mutex
	events    []log.Event   // but Fetched, in order
	revoking  chan struct{} // of the Revoking that was delivered; closed by Done
	epoch     *epoch
	beginning bool
	fenced    error // somebody else writes for the group
	closed    bool
}

// signal wakes Next.
func (m *member) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// assigned begins to read partitions where the group stands.
func (m *member) assigned(tps []log.TopicPartition) error {
	if len(tps) == 0 {
		m.mu.Lock()
		m.events = append(m.events, log.Assigned{})
		m.mu.Unlock()
		m.signal()
		return nil
	}
	for wait := (backoff{logger: m.b.logger}); ; {
		from, ends, err := m.positions(tps)
		if err == nil {
			m.mu.Lock()
			m.events = append(m.events, log.Assigned{Partitions: tps})
			m.mu.Unlock()
			m.fetcher.add(from, ends)
			m.signal()
			return nil
		}
		if err := wait.wait(m.ctx, nil, "the offsets of group "+m.spec.Group, err); err != nil {
			return err
		}
	}
}

// positions are where to read on, and where there is nothing more.
func (m *member) positions(tps []log.TopicPartition) (from, ends map[log.TopicPartition]int64, err error) {
	committed, err := m.Committed(m.ctx, tps)
	if err != nil {
		return nil, nil, err
	}
	bounds, err := m.b.Offsets(m.ctx, tps)
	if err != nil {
		return nil, nil, err
	}
	from, ends = map[log.TopicPartition]int64{}, map[log.TopicPartition]int64{}
	for _, tp := range tps {
		ends[tp] = bounds[tp].LastStable
		if o, ok := committed[tp]; ok {
			from[tp] = o.Offset
		} else {
			from[tp] = bounds[tp].Start
		}
	}
	return from, ends, nil
}

// revoked waits until the partitions are given back.
func (m *member) revoked(tps []log.TopicPartition) {
	m.fetcher.remove(tps)
	done := make(chan struct{})
	m.mu.Lock()
	if m.closed || m.fenced != nil {
		m.mu.Unlock()
		return
	}
	m.events = append(m.events, log.Revoking{Partitions: tps})
	m.revoking = done
	m.mu.Unlock()
	m.signal()
	select {
	case <-done:
	case <-m.left:
	}
}

func (m *member) lost(tps []log.TopicPartition) {
	m.fetcher.remove(tps)
	m.mu.Lock()
	m.events = append(m.events, log.Lost{Partitions: tps})
	m.mu.Unlock()
	m.signal()
}

func (m *member) Next(ctx context.Context) (log.Event, error) {
	for {
		e, err := m.next()
		if e != nil || err != nil {
			return e, err
		}
		select {
		case <-m.wake:
		case <-m.left:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next is the next event; nil if there is none yet.
func (m *member) next() (log.Event, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, fmt.Errorf("group %s: member: %w", m.spec.Group, log.ErrClosed)
	}
	if len(m.events) > 0 {
		e := m.events[0]
		m.events = m.events[1:]
		m.mu.Unlock()
		return e, nil
	}
	fenced := m.fenced
	m.mu.Unlock()
	if m.fetcher == nil {
		return nil, fenced
	}
	if err := m.fatal(); err != nil {
		return nil, err
	}
	f, ok, err := m.fetcher.take()
	if ok {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", m.spec.Group, err)
	}
	return nil, nil
}

// fatal is why the member can only be closed; nil: it is well.
func (m *member) fatal() error {
	m.mu.Lock()
	fenced := m.fenced
	m.mu.Unlock()
	if fenced != nil || m.group == nil {
		return fenced
	}
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	return m.group.fatal
}

// Done lets the group have the partitions.
func (m *member) Done(log.Revoking) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revoking != nil {
		close(m.revoking)
		m.revoking = nil
	}
}

func (m *member) Pause(tps []log.TopicPartition)  { m.setPaused(tps, true) }
func (m *member) Resume(tps []log.TopicPartition) { m.setPaused(tps, false) }

func (m *member) setPaused(tps []log.TopicPartition, paused bool) {
	if m.fetcher != nil {
		m.fetcher.setPaused(tps, paused)
	}
}

func (m *member) Seek(at map[log.TopicPartition]int64) {
	if m.fetcher != nil {
		m.fetcher.seek(at)
	}
}

// End is the last stable offset as this Broker last heard of it: from the fetch before, from Offsets, or from a
// commit of its own.
func (m *member) End(tp log.TopicPartition) (end int64, known bool) {
	if m.fetcher == nil {
		return 0, false
	}
	end, known = m.fetcher.endOf(tp)
	return max(end, m.b.seenEnd(tp)), known
}

// Committed waits for undecided offsets for as long as ctx lets it.
func (m *member) Committed(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.CommittedOffset, error) {
	wait := backoff{logger: m.b.logger}
	for {
		out, err := m.committed(ctx, tps)
		if err == nil {
			return out, nil
		}
		if errors.Is(err, kerr.UnstableOffsetCommit) || passing(err) && wait.elapsed() < requestTimeout {
			done := wait.wait(ctx, nil, "the committed offsets of group "+m.spec.Group, err)
			if done == nil {
				continue
			}
			err = fmt.Errorf("%w: %w", done, err)
		}
		return nil, fmt.Errorf("group %s: read committed offsets: %w", m.spec.Group, mapped(err))
	}
}

func (m *member) committed(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.CommittedOffset, error) {
	out := map[log.TopicPartition]log.CommittedOffset{}
	all, err := m.b.admin.FetchOffsets(kadm.RequireStable(ctx), m.spec.Group)
	if err != nil {
		return nil, err
	}
	for _, tp := range tps {
		o, ok := all.Lookup(tp.Topic, tp.Partition)
		if !ok {
			continue
		}
		if o.Err != nil {
			return nil, o.Err
		}
		if o.At >= 0 {
			out[tp] = log.CommittedOffset{Offset: o.At, Metadata: o.Metadata}
		}
	}
	return out, nil
}

func (m *member) Begin() (log.Epoch, error) {
	if err := m.fatal(); err != nil {
		return nil, err
	}
	if err := m.reserve(); err != nil {
		return nil, fmt.Errorf("group %s: %w", m.spec.Group, err)
	}
	err := m.producer.begin(m.ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beginning = false
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", m.spec.Group, err)
	}
	m.epoch = newEpoch(m)
	return m.epoch, nil
}

// reserve keeps a second epoch from beginning.
func (m *member) reserve() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return fmt.Errorf("member: %w", log.ErrClosed)
	case m.epoch != nil || m.beginning:
		return fmt.Errorf("%w: an epoch is open", log.ErrInvalidTransactionState)
	}
	m.beginning = true
	return nil
}

// fence notes that somebody else writes for the group, and returns why.
func (m *member) fence(cause error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fenced == nil {
		m.fenced = fmt.Errorf("group %s: %w: another instance has taken its place", m.spec.Group, cause)
		if !errors.Is(cause, log.ErrFenced) {
			m.fenced = fmt.Errorf("%w: %w", log.ErrFenced, m.fenced)
		}
		if m.group != nil {
			m.group.mu.Lock()
			var tps []log.TopicPartition
			for tp := range m.group.owned {
				tps = append(tps, tp)
			}
			m.group.owned = map[log.TopicPartition]bool{}
			m.group.mu.Unlock()
			if len(tps) > 0 {
				m.events = append(m.events, log.Lost{Partitions: tps})
			}
		}
		m.signal()
	}
	return m.fenced
}

// closeTimeout bounds the abort of the epoch that a member has open when it is closed.
const closeTimeout = 10 * time.Second

// Close leaves the group. What could not be aborted or left in its time is the cluster's to end.
func (m *member) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	e := m.epoch
	m.mu.Unlock()
	close(m.left)
	if e != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := e.Abort(ctx); err != nil && !errors.Is(err, log.ErrFenced) {
			m.b.logger.Warn("the epoch could not be aborted; the next member, or its time-out, does", "group", m.spec.Group, "cause", err)
		}
	}
	m.cancel()
	if m.group != nil {
		m.group.close()
	}
	if m.fetcher != nil {
		m.fetcher.close()
	}
	if m.producer != nil {
		m.producer.close()
	}
	m.b.delist(m)
	return nil
}

// checkPartition makes sure that a topic has the partition: kgo would keep records of one that is not there.
func (m *member) checkPartition(ctx context.Context, tp log.TopicPartition) error {
	if n, ok := m.producer.partitions.Load(tp.Topic); ok && tp.Partition >= 0 && tp.Partition < n.(int32) {
		return nil
	}
	details, err := m.b.describe(ctx, []string{tp.Topic})
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", tp.Topic, err)
	}
	if err := partitionKnown(details, tp); err != nil {
		return err
	}
	m.producer.partitions.Store(tp.Topic, int32(len(details[tp.Topic].Partitions)))
	return nil
}

// byTopic orders partitions for a request.
func byTopic(next map[log.TopicPartition]log.CommittedOffset) []log.TopicPartition {
	tps := make([]log.TopicPartition, 0, len(next))
	for tp := range next {
		tps = append(tps, tp)
	}
	slices.SortFunc(tps, func(a, b log.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return tps
}
