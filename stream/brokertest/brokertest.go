// Package brokertest is the contract of log.Broker as tests: each rule in its comments is a case here. Every
// implementation runs the same suite, so that a topology means the same on all of them.
//
// A case uses nothing but the Broker it is given, names that nobody else has, and a deadline; it may run
// beside others on one broker, and leaves its topics behind.
package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log"
)

// Case is one rule.
type Case struct {
	Name string
	// Rule is what an implementation that fails the case breaks.
	Rule string

	check func(e *env) error
}

// needs is returned by a case that does not hold for the broker.
type needs string

func (n needs) Error() string { return "it needs " + string(n) }

// Check holds a broker against the rule, unless the rule is not for it. Everything that waits ends with ctx.
func (c Case) Check(ctx context.Context, b log.Broker) error {
	err := c.run(ctx, b)
	if errors.As(err, new(needs)) {
		return nil
	}
	return err
}

func (c Case) run(ctx context.Context, b log.Broker) error {
	e := &env{ctx: ctx, b: b, name: "brokertest-" + uuid.NewString()}
	err := c.check(e)
	if errors.As(err, new(needs)) {
		return err
	}
	for _, m := range slices.Backward(e.members) {
		if cerr := m.Close(); cerr != nil && err == nil && !e.fenced {
			err = fmt.Errorf("close a member: %w", cerr)
		}
	}
	if err != nil {
		return fmt.Errorf("%w\n\tthe rule: %s", err, c.Rule)
	}
	return nil
}

// Cases are all of them.
func Cases() []Case { return slices.Concat(brokerCases, memberCases, epochCases) }

// Option changes how Run runs the suite.
type Option func(*options)

type options struct{ timeout time.Duration }

// Timeout is how long one case may take; 20 s if it is not given. A cluster far away needs more.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// Run runs the suite. open is called once for each case; what it opens it should close in t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) log.Broker, opts ...Option) {
	o := options{timeout: 20 * time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			b := open(t)
			ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
			defer cancel()
			err := c.run(ctx, b)
			if lacks := needs(""); errors.As(err, &lacks) {
				t.Skip(lacks.Error())
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// env is what a case works with.
type env struct {
	ctx     context.Context
	b       log.Broker
	name    string // nobody else's
	topics  int
	members []log.Member
	fenced  bool // members were fenced on purpose, and may fail to close
}

// topic creates a topic.
func (e *env) topic(partitions int32) (string, error) {
	e.topics++
	name := fmt.Sprintf("%s-%d", e.name, e.topics)
	if err := e.b.CreateTopics(e.ctx, []log.TopicSpec{{Name: name, Partitions: partitions}}); err != nil {
		return "", fmt.Errorf("create a topic: %w", err)
	}
	return name, nil
}

// join joins the case's own group, under ExactlyOnce.
func (e *env) join(topics ...string) (log.Member, error) {
	return e.joinAs(log.MemberSpec{Group: e.name, Topics: topics})
}

func (e *env) joinAs(spec log.MemberSpec) (log.Member, error) {
	m, err := e.b.Join(e.ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	e.members = append(e.members, m)
	return m, nil
}

// leave closes a member before the case ends.
func (e *env) leave(m log.Member) error {
	e.members = slices.DeleteFunc(e.members, func(o log.Member) bool { return o == m })
	if err := m.Close(); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// block makes a block of records without keys.
func block(values ...string) *log.Block {
	b := log.NewBlock()
	for i, v := range values {
		b.Append(int64(1000+i), nil, []byte(v), nil)
	}
	return b
}

// write commits one epoch with the values, through a member of a group of its own.
func (e *env) write(topic string, partition int32, values ...string) error {
	return e.writeBlock(log.TopicPartition{Topic: topic, Partition: partition}, block(values...))
}

func (e *env) writeBlock(tp log.TopicPartition, b *log.Block) error {
	m, err := e.b.Join(e.ctx, log.MemberSpec{Group: e.name + "-writer"})
	if err != nil {
		return fmt.Errorf("join without topics: %w", err)
	}
	defer m.Close()
	ep, err := m.Begin()
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if _, err := ep.Append(tp, b); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	return e.commit(ep, nil)
}

// commit commits and insists.
func (e *env) commit(ep log.Epoch, next map[log.TopicPartition]log.CommittedOffset) error {
	o, err := ep.Commit(e.ctx, next)
	if err != nil || o != log.OutcomeCommitted {
		return fmt.Errorf("commit: outcome %d, %w", o, orNil(err))
	}
	return nil
}

// orNil is for messages that say an error that is missing, too.
func orNil(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

// values reads a partition from its start to the end that a reader under iso sees now.
func (e *env) values(tp log.TopicPartition, iso log.Isolation) ([]string, error) {
	records, err := e.records(tp, log.Earliest, iso)
	if err != nil {
		return nil, err
	}
	return valuesOf(records), nil
}

func valuesOf(records []log.Record) []string {
	values := []string{}
	for _, r := range records {
		values = append(values, string(r.Value))
	}
	return values
}

func (e *env) records(tp log.TopicPartition, offset int64, iso log.Isolation) ([]log.Record, error) {
	bounds, err := e.offsets(tp)
	if err != nil {
		return nil, err
	}
	end := bounds.HighWatermark
	if iso == log.ReadCommitted {
		end = bounds.LastStable
	}
	r, err := e.b.Open(e.ctx, tp, offset, iso)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tp, err)
	}
	defer r.Close()
	var all []log.Record
	buf := make([]log.Record, 3) // so that it takes many reads
	for r.Position() < end {
		n, err := r.Read(e.ctx, buf)
		if err != nil {
			return nil, fmt.Errorf("read %s at %d of %d: %w", tp, r.Position(), end, err)
		}
		all = append(all, buf[:n]...)
	}
	return all, nil
}

func (e *env) offsets(tp log.TopicPartition) (log.PartitionOffsets, error) {
	all, err := e.b.Offsets(e.ctx, []log.TopicPartition{tp})
	if err != nil {
		return log.PartitionOffsets{}, fmt.Errorf("offsets of %s: %w", tp, err)
	}
	o, ok := all[tp]
	if !ok {
		return o, fmt.Errorf("offsets of %s are missing", tp)
	}
	return o, nil
}

// want holds a partition's visible values against those it should have.
func (e *env) want(tp log.TopicPartition, iso log.Isolation, want ...string) error {
	got, err := e.values(tp, iso)
	if err != nil {
		return err
	}
	if !slices.Equal(got, append([]string{}, want...)) {
		return fmt.Errorf("%s has %q, want %q", tp, clip(got), clip(want))
	}
	return nil
}

// clip keeps messages short.
func clip(values []string) []string {
	out := []string{}
	for i, v := range values {
		if i == 20 {
			return append(out, fmt.Sprintf("... %d more", len(values)-i))
		}
		if len(v) > 40 {
			v = fmt.Sprintf("%s... %d bytes", v[:20], len(v))
		}
		out = append(out, v)
	}
	return out
}

// wantCommitted holds the group's offset against the one it should have; -1 for none.
func (e *env) wantCommitted(m log.Member, tp log.TopicPartition, want int64) error {
	all, err := m.Committed(e.ctx, []log.TopicPartition{tp})
	if err != nil {
		return fmt.Errorf("committed: %w", err)
	}
	o, ok := all[tp]
	if ok != (want >= 0) || ok && o.Offset != want {
		return fmt.Errorf("committed offset of %s is %v, want %d", tp, all, want)
	}
	return nil
}

// take gathers records that Next brings, until there are at least n, and where to go on from.
func (e *env) take(m log.Member, n int) (taken map[log.TopicPartition][]log.Record, next map[log.TopicPartition]log.CommittedOffset, err error) {
	taken = make(map[log.TopicPartition][]log.Record)
	next = make(map[log.TopicPartition]log.CommittedOffset)
	for got := 0; got < n; {
		f, err := e.fetched(e.ctx, m)
		if err != nil {
			return nil, nil, fmt.Errorf("after %d of %d records: %w", got, n, err)
		}
		records, err := drain(f.Records)
		if err != nil {
			return nil, nil, err
		}
		got += len(records)
		taken[f.Partition] = append(taken[f.Partition], records...)
		next[f.Partition] = log.CommittedOffset{Offset: f.Records.End()}
	}
	return taken, next, nil
}

// fetched is the next Fetched; assignments pass.
func (e *env) fetched(ctx context.Context, m log.Member) (log.Fetched, error) {
	for {
		event, err := m.Next(ctx)
		if err != nil {
			return log.Fetched{}, fmt.Errorf("next: %w", err)
		}
		switch ev := event.(type) {
		case log.Fetched:
			return ev, nil
		case log.Assigned:
		case log.Revoking:
			m.Done(ev)
		default:
			return log.Fetched{}, fmt.Errorf("next is %T", ev)
		}
	}
}

func drain(c log.Cursor) ([]log.Record, error) {
	var all []log.Record
	buf := make([]log.Record, 5)
	for {
		n, err := c.Next(buf)
		if err != nil {
			return nil, fmt.Errorf("cursor: %w", err)
		}
		if n == 0 {
			return all, nil
		}
		all = append(all, buf[:n]...)
	}
}

// nothing insists that Next has nothing but empty Fetched to give. It does not wait: that nothing comes later
// is another case's business.
func (e *env) nothing(m log.Member) error {
	done, cancel := context.WithCancel(e.ctx)
	cancel()
	for {
		f, err := e.fetched(done, m)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		records, err := drain(f.Records)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			return fmt.Errorf("got %q of %s, want nothing", clip(valuesOf(records)), f.Partition)
		}
	}
}
