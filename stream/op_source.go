package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// source returns the node that reads t. A topic has one.
func source[K, V any](b *Builder, t Topic[K, V], s settings) *node[K, V] {
	if n, ok := b.sources[t.name].(*node[K, V]); ok {
		if err := declare(b, t, caller()); err != nil {
			b.fail(n.g, "%v", err)
		}
		if s.named && s.name != n.g.Pinned {
			b.fail(n.g, "the topic is read again at %s with the name %q; a topic has one source, with one name", caller(), s.name)
		}
		n.startAt(s)
		return n
	}
	n := &node[K, V]{b: b, g: b.graph.Add(&graph.Node{
		Kind:  graph.Source,
		Op:    "From",
		At:    caller(),
		Topic: &graph.Topic{Name: t.name},
	})}
	s.apply(b, n.g)
	n.startAt(s)
	n.setKey, n.setValue = t.key, t.value
	if err := declare(b, t, n.g.At); err != nil {
		b.fail(n.g, "%v", err)
	}
	if b.sources[t.name] == nil {
		b.sources[t.name] = n
	}
	n.opens(t)
	return n
}

// startAt says where a source begins. Several readers of one topic have to agree.
func (n *node[K, V]) startAt(s settings) {
	if !s.start.given {
		return
	}
	if n.start.given && n.start != s.start {
		n.b.fail(n.g, "the topic is read again at %s with another StartAt; a topic has one source, which begins in one place", caller())
	}
	n.start = s.start
	n.g.Topic.FromEnd = s.start.at == Latest
}

// opens makes n a source of the topology.
func (n *node[K, V]) opens(t Topic[K, V]) {
	n.b.open[n.g] = func(tk *task.Task) (task.Source, error) {
		next, err := n.edge(tk)
		if err != nil {
			return nil, err
		}
		s, err := n.decoder(tk, t)
		if err != nil {
			return nil, err
		}
		s.next = next
		return s, nil
	}
}

// decoder makes what decodes the records of the source's topic for a task.
func (n *node[K, V]) decoder(tk *task.Task, t Topic[K, V]) (*sourceOp[K, V], error) {
	topic := n.g.Topic.FullName(tk.Env.Application)
	// What With says of the stream is for what lies below it; how the topic is written is its handle's to say.
	keySerde, valueSerde := t.key, t.value
	if n.g.Topic.Repartition {
		keySerde, valueSerde = n.keySerde(), n.valueSerde()
	}
	key, err := serde.Bind(keySerde, topic, true)
	if err != nil {
		return nil, fmt.Errorf("key serde for topic %s: %w", topic, err)
	}
	value, err := serde.Bind(valueSerde, topic, false)
	if err != nil {
		return nil, fmt.Errorf("value serde for topic %s: %w", topic, err)
	}
	return &sourceOp[K, V]{key: key, value: value, timestamps: t.timestamps}, nil
}

// sourceOp decodes records and sends them on.
type sourceOp[K, V any] struct {
	key        serde.Serde[K]
	value      serde.Serde[V]
	timestamps func(Record[K, V], int64) int64
	next       edge[K, V]
	head       Record[K, V]
}

func (s *sourceOp[K, V]) Decode(raw *log.Record, partitionTime int64) (int64, bool, error) {
	var r Record[K, V]
	var err error
	r.Timestamp = raw.Timestamp
	if raw.Key == nil {
		r.null |= nullKey
	} else if r.Key, err = s.key.Decode(raw.Key); err != nil {
		return 0, false, fmt.Errorf("decode key: %w", err)
	}
	if raw.Value == nil {
		r.null |= nullValue
	} else if r.Value, err = s.value.Decode(raw.Value); err != nil {
		return 0, false, fmt.Errorf("decode value: %w", err)
	}
	if raw.HasHeaders() {
		r.Headers = raw.Headers()
	}
	if s.timestamps != nil {
		r.Timestamp = s.timestamps(r, partitionTime)
		if r.Timestamp < 0 {
			return 0, false, nil
		}
	} else if r.Timestamp < 0 {
		return 0, false, fmt.Errorf("the record's timestamp is %d; give the topic a rule with WithTimestamps", r.Timestamp)
	}
	s.head = r
	return r.Timestamp, true, nil
}

func (s *sourceOp[K, V]) Push() error { return s.next(s.head) }
