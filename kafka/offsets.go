package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/log"
)

// commitOffsets commits the offsets to go on from, within the transaction or as they are, under the place that the
// member has in its group. If the place is not valid any more, but the partitions are ours all the same, it is
// asked again under the new one.
func (e *epoch) commitOffsets(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset, transaction bool) error {
	m := e.m
	wait := backoff{logger: m.b.logger}
	for {
		changed := m.group.events()
		if !m.group.owns(next, e.standing) {
			return fmt.Errorf("commit offsets: partitions were lost: %w", kerr.IllegalGeneration)
		}
		ids, err := m.b.topicIDs(ctx, next)
		if err == nil {
			if transaction {
				err = e.sendTransactional(ctx, next, m.group.place(), ids)
			} else {
				err = e.sendPlain(ctx, next, m.group.place(), ids)
			}
		}
		if err == nil {
			return nil
		}
		if !again(err) || m.fatal() != nil || wait.elapsed() > m.b.txnTimeout {
			return fmt.Errorf("commit offsets: %w", mapped(err))
		}
		if errors.Is(err, kerr.UnknownTopicID) {
			for topic := range ids {
				m.b.ids.Delete(topic)
			}
		}
		if err := wait.wait(ctx, changed, "the group "+m.spec.Group, err); err != nil {
			return fmt.Errorf("commit offsets: %w", err)
		}
	}
}

// again reports whether a commit of offsets may succeed later, or from another place in the group.
func again(err error) bool {
	for _, e := range []*kerr.Error{kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.UnknownTopicID} {
		if errors.Is(err, e) {
			return true
		}
	}
	return passing(err)
}

// sendTransactional makes the offsets part of the transaction.
func (e *epoch) sendTransactional(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset, at place, ids map[string][16]byte) error {
	id, producerEpoch, err := e.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	group := e.m.spec.Group
	if !e.m.b.txnV2 {
		add := kmsg.NewPtrAddOffsetsToTxnRequest()
		add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = group, id, producerEpoch, group
		resp, err := add.RequestWith(ctx, e.client)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = group, id, producerEpoch
	req.Group, req.MemberID, req.Generation, req.InstanceID = group, at.member, at.generation, at.instance
	for _, tp := range byTopic(next) {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewTxnOffsetCommitRequestTopic()
			t.Topic, t.TopicID = tp.Topic, ids[tp.Topic]
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		metadata := next[tp].Metadata
		p.Partition, p.Offset, p.Metadata = tp.Partition, next[tp].Offset, &metadata
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	resp, err := req.RequestWith(ctx, e.client)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("%s-%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// sendPlain commits the offsets outside of any transaction.
func (e *epoch) sendPlain(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset, at place, ids map[string][16]byte) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation, req.InstanceID = e.m.spec.Group, at.member, at.generation, at.instance
	for _, tp := range byTopic(next) {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = tp.Topic, ids[tp.Topic]
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		metadata := next[tp].Metadata
		p.Partition, p.Offset, p.Metadata = tp.Partition, next[tp].Offset, &metadata
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	resp, err := req.RequestWith(ctx, e.m.b.client)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("%s-%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// topicIDs are the ids that newer brokers know the topics of offsets by.
func (b *Broker) topicIDs(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (map[string][16]byte, error) {
	ids := map[string][16]byte{}
	for tp := range next {
		if _, ok := ids[tp.Topic]; ok {
			continue
		}
		id, err := b.topicID(ctx, tp.Topic)
		if err != nil {
			return nil, err
		}
		ids[tp.Topic] = id
	}
	return ids, nil
}
