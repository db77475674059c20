package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// TopicReuse is an option of TableFrom. See ReuseTopic.
type TopicReuse struct{}

// ReuseTopic has the store of a table do without a changelog of its own: it is restored from the topic that the table
// is of, up to the offset that the application has committed (Kafka Streams' topology.optimization
// reuse.ktable.source.topics). That saves writing everything twice, and restores what the table's operators made of
// the topic's records: they are decoded again, and given to the rule of Topic.WithTimestamps, with the highest
// timestamp since the record where the restore begins.
//
// The topic has to keep the last record of each key for ever, or rows are lost with it: when the application starts,
// it is an error if the topic's cleanup.policy is not "compact", unless its retention.ms is -1. It cannot be had for
// a versioned table, since compaction keeps what came last, not what is newest, nor with StartAt(Latest), since the
// topic begins with records that the table has not seen. A table without a store has no use for it.
func ReuseTopic() TopicReuse { return TopicReuse{} }

func (TopicReuse) source(s *settings) { s.reuse = true }

// refuseReuse makes it a fault of a stream's source.
func refuseReuse(b *Builder, n *graph.Node, s settings) {
	if s.reuse {
		b.fail(n, "ReuseTopic is for TableFrom: a stream has no store")
	}
}

// reuse makes the topic of the table's source the changelog of its store, if it has one.
func (t *Table[K, V]) reuse(in *node[K, V], topic Topic[K, V]) {
	t.n.b.checks = append(t.n.b.checks, func() {
		if t.isVersioned() {
			t.n.b.fail(t.n.g, "ReuseTopic: a versioned table needs a changelog of its own: compaction of the topic keeps the record of a key that came last, which need not be the newest")
		}
		if in.g.Topic.FromEnd {
			t.n.b.fail(t.n.g, "ReuseTopic: the topic is read from its end, with StartAt(Latest): a restore would bring back rows that the table never had")
		}
		if t.n.g.Store != nil {
			t.n.g.Store.Input = in.g.Topic
		}
	})
	t.follow = func(tk *task.Task) (task.Change, error) {
		source, err := in.decoder(tk, topic)
		if err != nil {
			return nil, err
		}
		name := t.n.g.Store.Changelog(tk.Env.Application)
		c := &rowOfRecord[K, V]{from: source}
		if c.key, err = serde.Bind(t.keySerde(), name, true); err != nil {
			return nil, fmt.Errorf("key serde for store %s: %w", t.n.g.Store.Name, err)
		}
		if c.value, err = serde.Bind(t.valueSerde(), name, false); err != nil {
			return nil, fmt.Errorf("value serde for store %s: %w", t.n.g.Store.Name, err)
		}
		return c.change, nil
	}
}

// rowOfRecord makes a row of a store of a record of a topic, as TableFrom does.
type rowOfRecord[K, V any] struct {
	from  *sourceOp[K, V]
	key   serde.Serde[K]
	value serde.Serde[V]
	bytes []byte
}

func (c *rowOfRecord[K, V]) change(raw *log.Record, partitionTime int64) (key, value []byte, timestampMs int64, ok bool, err error) {
	timestampMs, ok, err = c.from.Decode(raw, partitionTime)
	r := &c.from.head
	if err != nil || !ok || r.null&nullKey != 0 {
		return nil, nil, timestampMs, false, err
	}
	if c.bytes, err = c.key.Append(c.bytes[:0], r.Key); err != nil {
		return nil, nil, 0, false, fmt.Errorf("encode key: %w", err)
	}
	keyLen := len(c.bytes)
	if r.null&nullValue == 0 {
		if c.bytes, err = c.value.Append(c.bytes, r.Value); err != nil {
			return nil, nil, 0, false, fmt.Errorf("encode value: %w", err)
		}
		value = c.bytes[keyLen:len(c.bytes):len(c.bytes)]
	}
	return c.bytes[:keyLen:keyLen], value, timestampMs, true, nil
}
