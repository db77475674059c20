package log

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file owns the offsets that groups commit. They are records of the topic __consumer_offsets, in Kafka's
// format (OffsetCommitKey version 1, OffsetCommitValue version 3), so that a transaction commits them with its
// data; what is served is a map of the last ones, which the checkpoint has too.

// offsetsTopic is Kafka's name. It has one partition, the log's first.
const (
	offsetsTopic     = "__consumer_offsets"
	offsetsPartition = 0
)

// errOffsetsTopic is for records of others: what is in that topic is read as commits when the log is opened.
var errOffsetsTopic = fmt.Errorf("%w: %s takes only offset commits", ErrInvalidTopic, offsetsTopic)

// maxOffsetMetadata is Kafka's offset.metadata.max.bytes.
const maxOffsetMetadata = 4096

// groupOffsets are the last committed offsets of all groups.
type groupOffsets struct {
	mu     sync.RWMutex // writers hold the lock of the offsets partition too
	groups map[string]map[TopicPartition]CommittedOffset
}

func (g *groupOffsets) set(group string, tp TopicPartition, o CommittedOffset) {
	if g.groups == nil {
		g.groups = make(map[string]map[TopicPartition]CommittedOffset)
	}
	offsets := g.groups[group]
	if offsets == nil {
		offsets = make(map[TopicPartition]CommittedOffset)
		g.groups[group] = offsets
	}
	offsets[tp] = o
}

func (g *groupOffsets) setAll(group string, offsets map[TopicPartition]CommittedOffset) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for tp, o := range offsets {
		g.set(group, tp, o)
	}
}

func (g *groupOffsets) get(group string, tps []TopicPartition) map[TopicPartition]CommittedOffset {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := make(map[TopicPartition]CommittedOffset, len(tps))
	for _, tp := range tps {
		if o, ok := g.groups[group][tp]; ok {
			out[tp] = o
		}
	}
	return out
}

// replay takes the offsets out of a batch of the offsets partition.
func (g *groupOffsets) replay(batch []byte) error {
	c := newCursor(batch, 0, 0, nil)
	records := make([]Record, 64)
	for {
		n, err := c.Next(records)
		if n == 0 || err != nil {
			return err
		}
		for i := range records[:n] {
			if err := g.replayRecord(&records[i]); err != nil {
				return fmt.Errorf("offset commit at offset %d: %w", records[i].Offset, err)
			}
		}
	}
}

func (g *groupOffsets) replayRecord(r *Record) error {
	var key kmsg.OffsetCommitKey
	if err := key.ReadFrom(r.Key); err != nil {
		return err
	}
	tp := TopicPartition{key.Topic, key.Partition}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Value == nil {
		delete(g.groups[key.Group], tp)
		return nil
	}
	var value kmsg.OffsetCommitValue
	if err := value.ReadFrom(r.Value); err != nil {
		return err
	}
	g.set(key.Group, tp, CommittedOffset{Offset: value.Offset, Metadata: value.Metadata})
	return nil
}

// offsetsBlock is the records that commit the offsets, in the order of their partitions.
func offsetsBlock(group string, offsets map[TopicPartition]CommittedOffset, now time.Time) *Block {
	tps := slices.SortedFunc(maps.Keys(offsets), compareTopicPartitions)
	b := NewBlock()
	for _, tp := range tps {
		o := offsets[tp]
		key := kmsg.OffsetCommitKey{Version: 1, Group: group, Topic: tp.Topic, Partition: tp.Partition}
		value := kmsg.OffsetCommitValue{Version: 3, Offset: o.Offset, LeaderEpoch: -1, Metadata: o.Metadata, CommitTimestamp: now.UnixMilli()}
		arena := key.AppendTo(b.Arena())
		keyLen := len(arena) - len(b.Arena())
		arena = value.AppendTo(arena)
		b.Add(arena, keyLen, len(arena)-len(b.Arena())-keyLen, now.UnixMilli(), nil)
	}
	return b
}

func compareTopicPartitions(a, b TopicPartition) int {
	if a.Topic != b.Topic {
		if a.Topic < b.Topic {
			return -1
		}
		return 1
	}
	return int(a.Partition) - int(b.Partition)
}

// checkOffsets reports what is wrong with offsets that are to be committed.
func (l *Log) checkOffsets(group string, offsets map[TopicPartition]CommittedOffset) error {
	if group == "" {
		return fmt.Errorf("log: commit offsets: the group's name is empty")
	}
	for tp, o := range offsets {
		if _, err := l.partition(tp); err != nil {
			return fmt.Errorf("commit offsets of group %s: %w", group, err)
		}
		if o.Offset < 0 {
			return fmt.Errorf("commit offsets of group %s: %w: %d for %s", group, ErrOffsetOutOfRange, o.Offset, tp)
		}
		if len(o.Metadata) > maxOffsetMetadata {
			return fmt.Errorf("log: commit offsets of group %s: metadata of %d bytes for %s, at most %d are allowed", group, len(o.Metadata), tp, maxOffsetMetadata)
		}
	}
	return nil
}

// commitOffsets commits offsets outside of any transaction, and returns the frame's sequence.
func (l *Log) commitOffsets(group string, offsets map[TopicPartition]CommittedOffset) (uint64, error) {
	if err := l.checkOffsets(group, offsets); err != nil {
		return 0, err
	}
	if len(offsets) == 0 {
		return 0, nil
	}
	p := l.offsetsPart
	b := offsetsBlock(group, offsets, l.clock.Now())
	defer b.Release()
	fr := newFrame()
	defer fr.release()
	fr.split(b, p.settings.maxMessageBytes)
	fr.reset(len(fr.splits))
	if err := fr.addBlock(b, CompressionNone, noProducer, p.settings.maxMessageBytes); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fault.Load(); f != nil {
		return 0, f.err
	}
	return l.write(fr, []part{{p: p, from: 0, to: len(fr.sections)}}, func() { l.offsets.setAll(group, offsets) })
}

// CommitOffsets makes the offsets those that the group goes on from. It returns when they are as durable as an
// append is.
func (l *Log) CommitOffsets(group string, offsets map[TopicPartition]CommittedOffset) error {
	if err := l.life.enter(); err != nil {
		return err
	}
	defer l.life.leave()
	sequence, err := l.commitOffsets(group, offsets)
	if err != nil {
		return err
	}
	return l.ack(sequence)
}

// CommittedOffsets returns the offsets that the group has committed; partitions without one are absent.
func (l *Log) CommittedOffsets(group string, tps []TopicPartition) map[TopicPartition]CommittedOffset {
	return l.offsets.get(group, tps)
}
