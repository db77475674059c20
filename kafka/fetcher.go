package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/log"
)

const (
	defaultFetchBytes = 1 << 20
	// responseBytes bounds what one leader sends at once, of all its partitions.
	responseBytes = 16 << 20
	// queueLength is how many fetches of one partition may wait to be taken: one is taken while the next comes.
	queueLength = 2
	// longPoll is how long a leader may wait for records. With partitions that are not asked for now, since
	// they are paused or have enough waiting, it is shortPoll: they may be wanted again at any time, and a
	// leader answers one request after another.
	longPoll  = 500 * time.Millisecond
	shortPoll = 20 * time.Millisecond
	// unknownFor is how long a topic may be unknown to the cluster before it is taken to be deleted: brokers
	// that start hear of their topics late.
	unknownFor = 30 * time.Second
)

// fetcher reads partitions, each from its offset on, and keeps what it read until it is taken. One goroutine
// asks each leader, and one finds leaders out.
type fetcher struct {
	b        *Broker
	client   *kgo.Client
	admin    *kadm.Client // of client
	iso      log.Isolation
	maxBytes int
	wake     func() // there is something to take, or an error; it must not block
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond // sources, their state, or ctx
	sources map[log.TopicPartition]*source
	order   []*source // of sources; whose turn it is to be asked first moves on
	paused  map[log.TopicPartition]bool
	queue   []fetchedOf                  // what was read, oldest first
	asking  map[int32]context.CancelFunc // by leader; cancels the request under way
	err     error
}

// source is a partition that is read.
type source struct {
	tp      log.TopicPartition
	topicID [16]byte
	leader  int32     // -1: to be found
	offset  int64     // of the next fetch
	version int       // grows with each seek: what was asked for before is not wanted any more
	queued  int       // of the fetcher's queue
	end     int64     // what may be read ends here, -1: not known
	unknown time.Time // since when the cluster does not know the partition
}

// fetchedOf is a fetch and its source.
type fetchedOf struct {
	s       *source
	records log.Cursor
}

func (b *Broker) newFetcher(iso log.Isolation, maxBytes int, wake func()) (*fetcher, error) {
	client, err := b.newClient()
	if err != nil {
		return nil, err
	}
	if maxBytes <= 0 {
		maxBytes = defaultFetchBytes
	}
	f := &fetcher{
		b: b, client: client, admin: kadm.NewClient(client), iso: iso, maxBytes: maxBytes, wake: wake,
		sources: map[log.TopicPartition]*source{}, paused: map[log.TopicPartition]bool{}, asking: map[int32]context.CancelFunc{},
	}
	f.changed.L = &f.mu
	f.ctx, f.cancel = context.WithCancel(context.Background())
	context.AfterFunc(f.ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed.Broadcast()
	})
	f.running.Go(f.findLeaders)
	return f, nil
}

func (f *fetcher) close() {
	f.cancel()
	f.running.Wait()
	f.client.Close()
}

// add begins to read partitions, whose readable ends are given where they are known.
func (f *fetcher) add(from, ends map[log.TopicPartition]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, offset := range from {
		f.drop(tp)
		s := &source{tp: tp, leader: -1, offset: offset, end: -1}
		if end, ok := ends[tp]; ok {
			s.end = end
		}
		f.sources[tp] = s
		f.order = append(f.order, s)
	}
	f.askAnew()
}

// askAnew ends the requests under way: they would wait for records of others than are wanted now.
func (f *fetcher) askAnew() {
	for _, cancel := range f.asking {
		cancel()
	}
	f.changed.Broadcast()
}

// remove stops reading partitions. What was read of them is gone.
func (f *fetcher) remove(tps []log.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range tps {
		f.drop(tp)
	}
	f.changed.Broadcast()
}

func (f *fetcher) drop(tp log.TopicPartition) {
	s := f.sources[tp]
	if s == nil {
		return
	}
	delete(f.sources, tp)
	f.order = slices.DeleteFunc(f.order, func(o *source) bool { return o == s })
	f.forget(s)
}

// forget drops what was read of a source, and what is on its way.
func (f *fetcher) forget(s *source) {
	s.version++
	s.queued = 0
	f.queue = slices.DeleteFunc(f.queue, func(q fetchedOf) bool { return q.s == s })
}

// seek sets where to read on.
func (f *fetcher) seek(at map[log.TopicPartition]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, offset := range at {
		if s := f.sources[tp]; s != nil {
			f.forget(s)
			s.offset = offset
		}
	}
	f.askAnew()
}

// setPaused stops partitions from being taken, or lets them be taken again. They need not be sources yet.
func (f *fetcher) setPaused(tps []log.TopicPartition, paused bool) {
	f.mu.Lock()
	for _, tp := range tps {
		if paused {
			f.paused[tp] = true
		} else {
			delete(f.paused, tp)
		}
	}
	f.changed.Broadcast()
	f.mu.Unlock()
	if !paused {
		f.wake()
	}
}

// endOf is where what may be read of a partition ends.
func (f *fetcher) endOf(tp log.TopicPartition) (end int64, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sources[tp]
	if s == nil || s.end < 0 {
		return 0, false
	}
	return s.end, true
}

// take returns the oldest fetch of a partition that is not paused. Once there is an error it comes after all
// that was read before it.
func (f *fetcher) take() (log.Fetched, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, q := range f.queue {
		if f.paused[q.s.tp] {
			continue
		}
		f.queue = slices.Delete(f.queue, i, i+1)
		q.s.queued--
		f.changed.Broadcast()
		return log.Fetched{Partition: q.s.tp, Records: q.records}, true, nil
	}
	return log.Fetched{}, false, f.err
}

// findLeaders asks for the leaders of sources that have none, and starts the goroutine that asks each.
func (f *fetcher) findLeaders() {
	wait := backoff{logger: f.b.logger}
	for {
		lost := f.leaderless()
		if lost == nil {
			return
		}
		err := f.resolve(lost)
		if err == nil {
			wait = backoff{logger: f.b.logger}
			continue
		}
		if wait.wait(f.ctx, nil, "the leader of "+lost[0].String(), err) != nil {
			return
		}
	}
}

// leaderless waits until there are sources without a leader; nil: the fetcher is closed.
func (f *fetcher) leaderless() []log.TopicPartition {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.ctx.Err() == nil {
		var lost []log.TopicPartition
		for _, s := range f.order {
			if s.leader < 0 {
				lost = append(lost, s.tp)
			}
		}
		if len(lost) > 0 {
			return lost
		}
		f.changed.Wait()
	}
	return nil
}

// resolve finds leaders. An error means that some have none yet.
func (f *fetcher) resolve(lost []log.TopicPartition) error {
	details, err := f.b.describeBy(f.ctx, f.admin, topicsOf(lost))
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range lost {
		s := f.sources[tp]
		if s == nil {
			continue
		}
		if unknown := partitionKnown(details, tp); unknown != nil {
			if s.unknown.IsZero() {
				s.unknown = time.Now()
			}
			if !errors.Is(unknown, log.ErrUnknownTopic) || time.Since(s.unknown) > unknownFor {
				if f.err == nil {
					f.err = fmt.Errorf("read %s: %w", tp, unknown)
				}
				f.wake()
			}
			err = unknown
			continue
		}
		s.unknown = time.Time{}
		d := details[tp.Topic]
		p := d.Partitions[tp.Partition]
		switch {
		case p.Leader < 0:
			err = fmt.Errorf("%s: %w", tp, errors.Join(p.Err, kerr.LeaderNotAvailable))
			continue
		case s.topicID != [16]byte{} && s.topicID != [16]byte(d.ID):
			if f.err == nil {
				f.err = fmt.Errorf("read %s: %w: the topic was deleted, and another with its name created", tp, log.ErrUnknownTopic)
			}
			f.wake()
		}
		s.leader, s.topicID = p.Leader, [16]byte(d.ID)
		if f.asking[p.Leader] == nil {
			f.asking[p.Leader] = func() {}
			f.running.Go(func() { f.askLeader(p.Leader) })
		}
	}
	f.changed.Broadcast()
	return err
}

// request is what one leader is asked for.
type request struct {
	ctx      context.Context
	cancel   context.CancelFunc
	want     []wanted
	sources  []*source
	versions []int
	maxWait  time.Duration
}

// askLeader asks one leader, again and again.
func (f *fetcher) askLeader(leader int32) {
	wait := backoff{logger: f.b.logger}
	for {
		r := f.next(leader)
		if r == nil {
			return
		}
		answers, err := fetch(r.ctx, f.client, leader, f.iso, min(responseBytes, len(r.want)*f.maxBytes), r.maxWait, r.want)
		anew := r.ctx.Err() != nil
		r.cancel()
		if f.ctx.Err() != nil {
			return
		}
		if err != nil && anew {
			continue
		}
		if err != nil {
			f.lose(r)
			if wait.wait(f.ctx, nil, fmt.Sprintf("broker %d", leader), err) != nil {
				return
			}
			continue
		}
		if trouble := f.put(r, answers); trouble != nil {
			if wait.wait(f.ctx, nil, fmt.Sprintf("broker %d", leader), trouble) != nil {
				return
			}
			continue
		}
		wait = backoff{logger: f.b.logger}
	}
}

// next waits until there is something to ask a leader for; nil: the fetcher is closed.
func (f *fetcher) next(leader int32) *request {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.ctx.Err() == nil {
		r := request{maxWait: longPoll}
		for _, s := range f.order {
			if s.leader != leader {
				continue
			}
			if f.paused[s.tp] || s.queued >= queueLength {
				r.maxWait = shortPoll
				continue
			}
			r.want = append(r.want, wanted{s.tp, s.topicID, s.offset, f.maxBytes})
			r.sources = append(r.sources, s)
			r.versions = append(r.versions, s.version)
		}
		if len(r.want) > 0 {
			// Who was asked for first goes to the end: what fills a response must not keep others out.
			i := slices.Index(f.order, r.sources[0])
			f.order = append(slices.Delete(f.order, i, i+1), r.sources[0])
			r.ctx, r.cancel = context.WithCancel(f.ctx)
			f.asking[leader] = r.cancel
			return &r
		}
		f.changed.Wait()
	}
	return nil
}

// lose has the leaders of what was asked for found again.
func (f *fetcher) lose(r *request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range r.sources {
		s.leader = -1
	}
	f.changed.Broadcast()
}

// put queues answers. It returns an error that will pass.
func (f *fetcher) put(r *request, answers map[log.TopicPartition]answer) (trouble error) {
	f.mu.Lock()
	news := false
	for i, s := range r.sources {
		a, ok := answers[s.tp]
		if s.version != r.versions[i] || !ok {
			continue
		}
		if a.err != nil {
			err := fmt.Errorf("read %s at offset %d: %w", s.tp, s.offset, a.err)
			if moved(a.err) {
				s.leader = -1
				trouble = err
			} else {
				if f.err == nil {
					f.err = err
				}
				news = true
			}
			continue
		}
		if s.end = a.end; f.iso == log.ReadCommitted {
			s.end = a.lastStable
		}
		if len(a.batches.Buf) == 0 {
			continue
		}
		f.queue = append(f.queue, fetchedOf{s, &cursor{tp: s.tp, Cursor: a.batches.Cursor(s.offset)}})
		s.offset = a.batches.Next
		s.queued++
		news = true
	}
	f.changed.Broadcast()
	f.mu.Unlock()
	if news {
		f.wake()
	}
	return trouble
}

// moved reports whether asking again, perhaps another broker, may help. Topics that are new, or brokers, may not be
// known yet.
func moved(err error) bool {
	return kerr.IsRetriable(err) && !errors.Is(err, kerr.CorruptMessage) || errors.Is(err, kerr.UnknownTopicOrPartition) ||
		errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID)
}

// cursor says which partition an error is of.
type cursor struct {
	log.Cursor
	tp log.TopicPartition
}

func (c *cursor) Next(dst []log.Record) (int, error) {
	n, err := c.Cursor.Next(dst)
	if err != nil {
		return n, fmt.Errorf("read %s: %w", c.tp, err)
	}
	return n, nil
}
