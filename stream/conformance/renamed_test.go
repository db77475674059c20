package conformance_test

import (
	"context"
	"slices"
	"strings"

	"github.com/moldau-io/moldau/log"
)

// renamed is a Broker for one of many who would use the same names: topics and groups have a prefix on the broker
// below it, of which whoever uses it sees nothing.
type renamed struct {
	log.Broker
	prefix string
}

func (b renamed) down(tp log.TopicPartition) log.TopicPartition {
	tp.Topic = b.prefix + tp.Topic
	return tp
}

func (b renamed) up(tp log.TopicPartition) log.TopicPartition {
	tp.Topic = strings.TrimPrefix(tp.Topic, b.prefix)
	return tp
}

func each[T any](in []T, f func(T) T) []T {
	out := slices.Clone(in)
	for i := range out {
		out[i] = f(out[i])
	}
	return out
}

func keyed[V any](in map[log.TopicPartition]V, f func(log.TopicPartition) log.TopicPartition) map[log.TopicPartition]V {
	out := make(map[log.TopicPartition]V, len(in))
	for tp, v := range in {
		out[f(tp)] = v
	}
	return out
}

func (b renamed) name(topic string) string { return b.prefix + topic }

func (b renamed) Topics(ctx context.Context, names []string) ([]log.TopicInfo, error) {
	infos, err := b.Broker.Topics(ctx, each(names, b.name))
	return each(infos, func(i log.TopicInfo) log.TopicInfo {
		i.Name = strings.TrimPrefix(i.Name, b.prefix)
		return i
	}), err
}

func (b renamed) CreateTopics(ctx context.Context, specs []log.TopicSpec) error {
	return b.Broker.CreateTopics(ctx, each(specs, func(s log.TopicSpec) log.TopicSpec {
		s.Name = b.name(s.Name)
		return s
	}))
}

func (b renamed) Offsets(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.PartitionOffsets, error) {
	offsets, err := b.Broker.Offsets(ctx, each(tps, b.down))
	return keyed(offsets, b.up), err
}

func (b renamed) Open(ctx context.Context, tp log.TopicPartition, offset int64, iso log.Isolation) (log.Reader, error) {
	return b.Broker.Open(ctx, b.down(tp), offset, iso)
}

func (b renamed) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	spec.Group = b.name(spec.Group)
	spec.Topics, spec.SameEpoch = each(spec.Topics, b.name), each(spec.SameEpoch, b.name)
	m, err := b.Broker.Join(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &renamedMember{m, b}, nil
}

type renamedMember struct {
	log.Member
	b renamed
}

func (m *renamedMember) Next(ctx context.Context) (log.Event, error) {
	ev, err := m.Member.Next(ctx)
	switch v := ev.(type) {
	case log.Assigned:
		ev = log.Assigned{Partitions: each(v.Partitions, m.b.up)}
	case log.Revoking:
		ev = log.Revoking{Partitions: each(v.Partitions, m.b.up)}
	case log.Lost:
		ev = log.Lost{Partitions: each(v.Partitions, m.b.up)}
	case log.Fetched:
		v.Partition = m.b.up(v.Partition)
		ev = v
	}
	return ev, err
}

func (m *renamedMember) Done(r log.Revoking) {
	m.Member.Done(log.Revoking{Partitions: each(r.Partitions, m.b.down)})
}

func (m *renamedMember) Pause(tps []log.TopicPartition)  { m.Member.Pause(each(tps, m.b.down)) }
func (m *renamedMember) Resume(tps []log.TopicPartition) { m.Member.Resume(each(tps, m.b.down)) }
func (m *renamedMember) Seek(at map[log.TopicPartition]int64) {
	m.Member.Seek(keyed(at, m.b.down))
}
func (m *renamedMember) End(tp log.TopicPartition) (int64, bool) { return m.Member.End(m.b.down(tp)) }

func (m *renamedMember) Committed(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.CommittedOffset, error) {
	committed, err := m.Member.Committed(ctx, each(tps, m.b.down))
	return keyed(committed, m.b.up), err
}

func (m *renamedMember) Begin() (log.Epoch, error) {
	e, err := m.Member.Begin()
	if err != nil {
		return nil, err
	}
	return renamedEpoch{e, m.b}, nil
}

type renamedEpoch struct {
	log.Epoch
	b renamed
}

func (e renamedEpoch) Append(tp log.TopicPartition, b *log.Block) (int64, error) {
	return e.Epoch.Append(e.b.down(tp), b)
}

func (e renamedEpoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	return e.Epoch.Commit(ctx, keyed(next, e.b.down))
}
