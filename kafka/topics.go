package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/moldau-io/moldau/log"
)

// Topics describes topics as log.Broker says. Config has all settings of a topic, defaults among them; it is
// empty if we may not ask for them.
func (b *Broker) Topics(ctx context.Context, names []string) ([]log.TopicInfo, error) {
	if len(names) == 0 {
		return nil, nil
	}
	details, err := b.describe(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("kafka: describe topics: %w", mapped(err))
	}
	infos := make([]log.TopicInfo, len(names))
	var known []string
	for i, name := range names {
		infos[i].Name = name
		d, ok := details[name]
		switch {
		case !ok:
			infos[i].Err = fmt.Errorf("%w: %s", log.ErrUnknownTopic, name)
		case d.Err != nil:
			infos[i].Err = fmt.Errorf("topic %s: %w", name, mapped(d.Err))
		default:
			infos[i].ID, infos[i].Partitions = uuid.UUID(d.ID), int32(len(d.Partitions))
			known = append(known, name)
		}
	}
	configs, err := b.settings(ctx, known)
	if err != nil {
		return nil, fmt.Errorf("kafka: describe topics: %w", err)
	}
	for i := range infos {
		infos[i].Config = configs[infos[i].Name]
		if n, ok := b.batches.Load(infos[i].Name); ok {
			infos[i].MaxRecordBytes = int(n.(int32)) - kgoBatchOverhead
		}
	}
	return infos, nil
}

// describe asks for the topics' metadata, and remembers their ids. Names that no topic can have are not asked
// for.
func (b *Broker) describe(ctx context.Context, names []string) (kadm.TopicDetails, error) {
	return b.describeBy(ctx, b.admin, names)
}

// describeBy is describe, asked by a client that learns from the answer where the brokers are.
func (b *Broker) describeBy(ctx context.Context, admin *kadm.Client, names []string) (kadm.TopicDetails, error) {
	var valid []string
	for _, name := range names {
		if log.ValidateTopic(name) == nil && !slices.Contains(valid, name) {
			valid = append(valid, name)
		}
	}
	details := kadm.TopicDetails{}
	if len(valid) > 0 {
		if err := b.retry(ctx, "metadata", func() error {
			meta, err := admin.Metadata(ctx, valid...)
			details = meta.Topics
			return err
		}); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if err := log.ValidateTopic(name); err != nil {
			details[name] = kadm.TopicDetail{Topic: name, Err: fmt.Errorf("%w: %w", log.ErrInvalidTopic, err)}
		} else if d, ok := details[name]; ok && d.Err == nil {
			b.ids.Store(name, [16]byte(d.ID))
		}
	}
	return details, nil
}

// topicID is the id of a topic, which offsets are committed under; zero if the cluster has none.
func (b *Broker) topicID(ctx context.Context, name string) ([16]byte, error) {
	if id, ok := b.ids.Load(name); ok {
		return id.([16]byte), nil
	}
	details, err := b.describe(ctx, []string{name})
	if err != nil {
		return [16]byte{}, err
	}
	d, ok := details[name]
	if !ok {
		return [16]byte{}, fmt.Errorf("%w: %s", log.ErrUnknownTopic, name)
	}
	return [16]byte(d.ID), mapped(d.Err)
}

// settings are the topics' settings, by name and key.
func (b *Broker) settings(ctx context.Context, names []string) (map[string]map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var configs kadm.ResourceConfigs
	if err := b.retry(ctx, "settings of topics", func() (err error) {
		configs, err = b.admin.DescribeTopicConfigs(ctx, names...)
		return err
	}); err != nil && !authorization(err) {
		return nil, fmt.Errorf("ask for settings: %w", mapped(err))
	}
	out := map[string]map[string]string{}
	for _, c := range configs {
		out[c.Name] = map[string]string{}
		for _, entry := range c.Configs {
			if entry.Value == nil {
				continue
			}
			out[c.Name][entry.Key] = *entry.Value
			if n, err := strconv.ParseInt(*entry.Value, 10, 64); err == nil && entry.Key == "max.message.bytes" {
				b.batches.Store(c.Name, int32(max(smallestBatch, min(n, largestBatch))))
			}
		}
	}
	return out, nil
}

// CreateTopics creates what does not exist, with the cluster's default replication, and checks what does. It
// returns when the new topics can be written.
func (b *Broker) CreateTopics(ctx context.Context, specs []log.TopicSpec) error {
	var errs []error
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
		if err := log.ValidateTopic(s.Name); err != nil {
			errs = append(errs, fmt.Errorf("create topic %q: %w: %w", s.Name, log.ErrInvalidTopic, err))
		} else if s.Partitions < 1 {
			errs = append(errs, fmt.Errorf("create topic %s: %w: %d", s.Name, log.ErrInvalidPartitions, s.Partitions))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	infos, err := b.Topics(ctx, names)
	if err != nil {
		return err
	}
	var created []string
	for i, s := range specs {
		info := infos[i]
		if errors.Is(info.Err, log.ErrUnknownTopic) {
			made, err := b.create(ctx, s)
			if err != nil {
				errs = append(errs, fmt.Errorf("create topic %s: %w", s.Name, err))
				continue
			}
			if made {
				created = append(created, s.Name)
				continue
			}
			// Somebody else was faster.
			again, err := b.Topics(ctx, names[i:i+1])
			if err != nil {
				return err
			}
			info = again[0]
		}
		if err := matches(s, info); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return b.awaitLeaders(ctx, created)
}

// create makes a topic; made is false if it exists by now.
func (b *Broker) create(ctx context.Context, s log.TopicSpec) (made bool, err error) {
	configs := map[string]*string{}
	for k, v := range s.Config {
		configs[k] = &v
	}
	var r kadm.CreateTopicResponse
	err = b.retry(ctx, "the creation of topic "+s.Name, func() error {
		resp, err := b.admin.CreateTopics(ctx, s.Partitions, -1, configs, s.Name)
		if err != nil {
			return err
		}
		r, err = resp.On(s.Name, nil)
		return cmp.Or(err, r.Err)
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, kerr.TopicAlreadyExists): // made by this request, if its answer was lost, or by somebody else
		return false, nil
	case r.ErrMessage != "":
		return false, fmt.Errorf("%w: %s", mapped(err), r.ErrMessage)
	}
	return false, mapped(err)
}

// matches checks that a topic is as it was asked for, as far as it was.
func matches(s log.TopicSpec, info log.TopicInfo) error {
	if info.Err != nil {
		return info.Err
	}
	if info.Partitions != s.Partitions {
		return fmt.Errorf("%w: %s has %d partitions, want %d", log.ErrTopicMismatch, s.Name, info.Partitions, s.Partitions)
	}
	for k, want := range s.Config {
		if got, ok := info.Config[k]; ok && !sameSetting(got, want) {
			return fmt.Errorf("%w: %s has %s=%s, want %s", log.ErrTopicMismatch, s.Name, k, got, want)
		}
	}
	return nil
}

// sameSetting compares settings; lists, such as those of cleanup.policy, have no order.
func sameSetting(a, b string) bool {
	if a == b {
		return true
	}
	as, bs := strings.Split(a, ","), strings.Split(b, ",")
	slices.Sort(as)
	slices.Sort(bs)
	return slices.Equal(as, bs)
}

// awaitLeaders waits until all partitions of new topics have a leader: until then nothing can be written.
func (b *Broker) awaitLeaders(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return b.retry(ctx, "leaders of new topics", func() error {
		details, err := b.describe(ctx, names)
		if err != nil {
			return err
		}
		return leaderless(details, names)
	})
}

func leaderless(details kadm.TopicDetails, names []string) error {
	for _, name := range names {
		d, ok := details[name]
		if !ok || d.Err != nil {
			return fmt.Errorf("topic %s: not known yet: %w", name, kerr.LeaderNotAvailable)
		}
		for _, p := range d.Partitions {
			if p.Leader < 0 || p.Err != nil {
				return fmt.Errorf("topic %s: partition %d has no leader: %w", name, p.Partition, kerr.LeaderNotAvailable)
			}
		}
	}
	return nil
}

// Offsets tells where partitions start and end, as log.Broker says. Member.End of all members of this Broker is
// at least what it tells.
func (b *Broker) Offsets(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.PartitionOffsets, error) {
	out := make(map[log.TopicPartition]log.PartitionOffsets, len(tps))
	names := topicsOf(tps)
	if len(names) == 0 {
		return out, nil
	}
	details, err := b.describe(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("kafka: describe topics: %w", err)
	}
	for _, tp := range tps {
		if err := partitionKnown(details, tp); err != nil {
			return nil, fmt.Errorf("offsets: %w", err)
		}
	}
	// In this order: what grows in between keeps start <= last stable <= high watermark.
	lists := []struct {
		what string
		ask  func(context.Context, ...string) (kadm.ListedOffsets, error)
		set  func(o *log.PartitionOffsets, l kadm.ListedOffset)
	}{
		{"starts", b.admin.ListStartOffsets, func(o *log.PartitionOffsets, l kadm.ListedOffset) { o.Start = l.Offset }},
		{"last stable offsets", b.admin.ListCommittedOffsets, func(o *log.PartitionOffsets, l kadm.ListedOffset) { o.LastStable = l.Offset }},
		{"ends", b.admin.ListEndOffsets, func(o *log.PartitionOffsets, l kadm.ListedOffset) {
			o.HighWatermark, o.LeaderEpoch = l.Offset, l.LeaderEpoch
		}},
	}
	for _, list := range lists {
		if err := b.retry(ctx, list.what+" of partitions", func() error {
			listed, err := list.ask(ctx, names...)
			if err != nil {
				return err
			}
			for _, tp := range tps {
				l, ok := listed.Lookup(tp.Topic, tp.Partition)
				if !ok {
					l.Err = kerr.LeaderNotAvailable
				}
				if l.Err != nil {
					return fmt.Errorf("%s: %w", tp, l.Err)
				}
				o := out[tp]
				list.set(&o, l)
				out[tp] = o
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("kafka: list %s: %w", list.what, mapped(err))
		}
	}
	for tp, o := range out {
		b.seen(tp, o.LastStable)
	}
	return out, nil
}

// topicsOf lists the topics of partitions, each once.
func topicsOf(tps []log.TopicPartition) []string {
	var names []string
	for _, tp := range tps {
		if !slices.Contains(names, tp.Topic) {
			names = append(names, tp.Topic)
		}
	}
	return names
}

func partitionKnown(details kadm.TopicDetails, tp log.TopicPartition) error {
	d, ok := details[tp.Topic]
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", log.ErrUnknownTopic, tp)
	case d.Err != nil:
		return fmt.Errorf("topic %s: %w", tp.Topic, mapped(d.Err))
	}
	if _, ok := d.Partitions[tp.Partition]; !ok {
		return fmt.Errorf("%w: %s: the topic has %d partitions", log.ErrUnknownTopic, tp, len(d.Partitions))
	}
	return nil
}
