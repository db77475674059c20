package task

import (
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// blockBytes is the size at which a block is appended before the task has nothing more to do.
const blockBytes = 256 << 10

// Output gathers a sink's records, a block for each partition.
type Output struct {
	Topic      string
	Partitions int32

	maxRecordBytes int
	t              *Task
	node           *graph.Node
	blocks         []*log.Block
	next           int32 // partition for records without a key
}

// Output makes an output to the named topic, which has so many partitions.
func (t *Task) Output(n *graph.Node, topic string, partitions int32) *Output {
	o := &Output{
		Topic: topic, Partitions: partitions, maxRecordBytes: math.MaxInt,
		t: t, node: n, blocks: make([]*log.Block, partitions), next: t.ID.Partition % partitions,
	}
	if t.Env.MaxRecordBytes != nil {
		o.maxRecordBytes = t.Env.MaxRecordBytes(topic)
	}
	t.outputs = append(t.outputs, o)
	return o
}

// AnyPartition is where records without a key go. It changes with each block, so that partitions fill
// evenly and blocks stay large (KIP-480).
func (o *Output) AnyPartition() int32 { return o.next }

// Block returns the block that gathers for a partition. Valid until Added.
func (o *Output) Block(partition int32) *log.Block {
	b := o.blocks[partition]
	if b == nil {
		b = log.NewBlock()
		o.blocks[partition] = b
	}
	return b
}

// Fits is nil for a record that the topic takes. One that it does not must not be added: it would take the whole epoch
// with it. keyLen and valueLen are in bytes, -1 for null.
func (o *Output) Fits(keyLen, valueLen int, headers []log.Header) error {
	if n := log.RecordBytes(keyLen, valueLen, headers); n > o.maxRecordBytes {
		return fmt.Errorf("%w: it is of %d bytes, and topic %s takes %d, by its max.message.bytes", log.ErrRecordTooLarge, n, o.Topic, o.maxRecordBytes)
	}
	return nil
}

// Added is called after a record was added to the partition's block.
func (o *Output) Added(partition int32) error {
	if o.blocks[partition].Bytes() < blockBytes {
		return nil
	}
	return o.flush(partition)
}

func (o *Output) flush(partition int32) error {
	b := o.blocks[partition]
	o.blocks[partition] = nil
	o.t.acted = true
	if partition == o.next {
		o.next = (o.next + 1) % o.Partitions
	}
	tp := log.TopicPartition{Topic: o.Topic, Partition: partition}
	if _, err := o.t.Env.Append(tp, b); err != nil {
		return o.t.fault(o.node, fmt.Errorf("append to %s: %w", tp, err))
	}
	return nil
}

// FlushOutputs appends all records that were gathered.
func (t *Task) FlushOutputs() error {
	for _, o := range t.outputs {
		for p, b := range o.blocks {
			if b != nil && b.Len() > 0 {
				if err := o.flush(int32(p)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Discard drops gathered records that were not appended.
func (t *Task) Discard() {
	for _, o := range t.outputs {
		for p, b := range o.blocks {
			if b != nil {
				b.Release()
				o.blocks[p] = nil
			}
		}
	}
}

// Store is a store of the task and its place in its changelog.
type Store struct {
	state.Store
	Node      *graph.Node
	Changelog log.TopicPartition
	// Change makes a change of the store of a record of its changelog, if that is an input's topic, as the
	// operators would. ok is false for a record that changes nothing. partitionTime is the highest timestamp that
	// it told before, -1 at first. nil: the changelog has the changes as they are.
	Change Change

	topicID     uuid.UUID
	leaderEpoch int32
	end         int64 // of the changelog after this epoch's changes; -1: none, or not known
}

// Change is a store's way from records to changes. What it returns is valid until it is called again.
type Change func(r *log.Record, partitionTime int64) (key, value []byte, timestampMs int64, ok bool, err error)

// AddStore makes s one of the task's stores, which have changelogs. Used while the task is opened.
func (t *Task) AddStore(n *graph.Node, s state.Store) { t.addStore(n, n.Store, s) }

func (t *Task) addStore(n *graph.Node, store *graph.Store, s state.Store) {
	t.stores = append(t.stores, &Store{
		Store:     s,
		Node:      n,
		Changelog: log.TopicPartition{Topic: store.Changelog(t.Env.Application), Partition: t.ID.Partition},
		end:       -1,
	})
}

// FollowInput says that a store's changelog is the topic of an input, and how changes are made of its records. The
// store's content then goes with the input's offset. Used while the task is opened, after AddStore.
func (t *Task) FollowInput(s state.Store, c Change) {
	for _, x := range t.stores {
		if x.Store == s {
			x.Change = c
		}
	}
}

// Stores lists the task's stores.
func (t *Task) Stores() []*Store { return t.stores }

// Place says which topic the changelog is, and its leader epoch: they go with the positions the store keeps.
func (s *Store) Place(topicID uuid.UUID, leaderEpoch int32) {
	s.topicID, s.leaderEpoch = topicID, leaderEpoch
}

func (s *Store) commit(now time.Time) {
	if s.end < 0 {
		return
	}
	s.SetPosition(state.Position{TopicID: s.topicID, LeaderEpoch: s.leaderEpoch, Offset: s.end, WallTime: now})
	s.end = -1
}

// appendChanges appends what the epoch changed in the stores to their changelogs.
func (t *Task) appendChanges() error {
	for _, s := range t.stores {
		if s.Touched() == 0 || s.Change != nil {
			continue
		}
		c := changelog{t: t, s: s, b: log.NewBlock()}
		err := s.AppendChanges(&c)
		if err == nil {
			err = c.flush()
		}
		if err != nil {
			return t.fault(s.Node, fmt.Errorf("changelog %s: %w", s.Changelog, err))
		}
	}
	return nil
}

// changelog writes a store's changes as records: the key, the value (null: deleted), and the value's
// timestamp as the record's, as Kafka Streams does for timestamped stores.
type changelog struct {
	t *Task
	s *Store
	b *log.Block
}

func (c *changelog) Append(key, value []byte, timestampMs int64) error {
	c.b.Append(timestampMs, key, value, nil)
	if c.b.Bytes() < blockBytes {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.b = log.NewBlock()
	return nil
}

func (c *changelog) flush() error {
	n := int64(c.b.Len())
	if n == 0 {
		c.b.Release()
		return nil
	}
	base, err := c.t.Env.Append(c.s.Changelog, c.b)
	if err != nil {
		return err
	}
	if base >= 0 {
		c.s.end = base + n
	}
	return nil
}
