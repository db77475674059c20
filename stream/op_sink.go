package stream

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// sink writes p's records to t.
func sink[K, V any](p *node[K, V], t Topic[K, V], opts []Option) {
	g := p.b.graph.Add(&graph.Node{
		Kind:    graph.Sink,
		Op:      "To",
		At:      caller(),
		Parents: []*graph.Node{p.g},
		Topic:   p.b.sinkTopic(t.name),
	})
	operatorSettings(opts).apply(p.b, g)
	if err := declare(p.b, t, g.At); err != nil {
		p.b.fail(g, "%v", err)
	}
	p.lead(g, func(tk *task.Task) (edge[K, V], error) {
		op, err := openSink(tk, g, t.key, t.value)
		if err != nil {
			return nil, err
		}
		op.partitioner = t.partitioner
		return guarded(tk, g, op.process), nil
	})
}

// sinkTopic is the topic as the graph knows it: the source's, if the topology reads it too.
func (b *Builder) sinkTopic(name string) *graph.Topic {
	for _, n := range b.graph.Nodes {
		if n.Topic != nil && !n.Topic.Repartition && n.Topic.Name == name {
			return n.Topic
		}
	}
	return &graph.Topic{Name: name}
}

// sinkOp encodes records, chooses their partition and adds them to its block.
type sinkOp[K, V any] struct {
	t           *task.Task
	node        int
	key         serde.Serde[K]
	value       serde.Serde[V]
	partitioner func(Record[K, V], int32) int32
	dropNullKey bool
	out         *task.Output
	scratch     []byte // the encoded key

	// How far the record at hand has come, if its failure may be answered.
	unwritable  bool   // what fails now is a serde, or the record's size
	partitionOf int32  // -1: not known yet
	encoded     []byte // the value of a record that is too large
}

// openSink makes the sink of g for a task.
func openSink[K, V any](t *task.Task, g *graph.Node, key serde.Serde[K], value serde.Serde[V]) (*sinkOp[K, V], error) {
	topic := g.Topic.FullName(t.Env.Application)
	return newSinkOp(t, g, topic, t.Env.Partitions(topic), key, value)
}

func newSinkOp[K, V any](t *task.Task, g *graph.Node, topic string, partitions int32, key serde.Serde[K], value serde.Serde[V]) (*sinkOp[K, V], error) {
	var err error
	op := &sinkOp[K, V]{t: t, node: g.Index, out: t.Output(g, topic, partitions)}
	if op.key, err = serde.Bind(key, topic, true); err != nil {
		return nil, fmt.Errorf("key serde for topic %s: %w", topic, err)
	}
	if op.value, err = serde.Bind(value, topic, false); err != nil {
		return nil, fmt.Errorf("value serde for topic %s: %w", topic, err)
	}
	return op, nil
}

func (s *sinkOp[K, V]) process(r Record[K, V]) error {
	s.t.Enter(s.node)
	if s.t.Handles(task.Production) || s.t.Handles(task.Processing) { // which is not to be asked about serdes
		return s.tryWrite(r)
	}
	return s.write(r)
}

// tryWrite is write, but a record that cannot be written is for the production handler to answer, if there is one.
func (s *sinkOp[K, V]) tryWrite(r Record[K, V]) (err error) {
	s.partitionOf, s.unwritable, s.encoded = -1, false, nil
	defer func() {
		if p := recover(); p != nil {
			err = &task.PanicError{Value: p, Stack: debug.Stack()}
		}
		if err == nil || !s.unwritable {
			return
		}
		o := &task.Unwritten{Topic: s.out.Topic, Partition: s.partitionOf, Timestamp: r.Timestamp, Headers: r.Headers, Value: slices.Clone(s.encoded)}
		if s.partitionOf >= 0 && r.null&nullKey == 0 { // the key is not what failed
			o.Key = slices.Clone(s.scratch)
		}
		err = s.t.Unwritable(s.node, err, o)
	}()
	return s.write(r)
}

func (s *sinkOp[K, V]) write(r Record[K, V]) error {
	keyLen := -1
	if r.null&nullKey == 0 {
		var err error
		s.unwritable = true
		if s.scratch, err = s.key.Append(s.scratch[:0], r.Key); err != nil {
			return fmt.Errorf("encode key: %w", err)
		}
		s.unwritable = false
		keyLen = len(s.scratch)
	} else if s.dropNullKey {
		countDropped(s.t, s.node, nullKey)
		return nil
	}
	partition, err := s.partition(r, keyLen)
	if err != nil {
		return err
	}
	s.partitionOf = partition
	b := s.out.Block(partition)
	arena := b.Arena()
	if keyLen > 0 {
		arena = append(arena, s.scratch...)
	}
	before, valueLen := len(arena), -1
	if r.null&nullValue == 0 {
		s.unwritable = true
		if arena, err = s.value.Append(arena, r.Value); err != nil {
			return fmt.Errorf("encode value: %w", err)
		}
		s.unwritable = false
		valueLen = len(arena) - before
	}
	if err := s.out.Fits(keyLen, valueLen, r.Headers); err != nil {
		s.unwritable = true
		if valueLen >= 0 {
			s.encoded = arena[before:]
		}
		return err
	}
	b.Add(arena, keyLen, valueLen, r.Timestamp, r.Headers)
	return s.out.Added(partition)
}

func (s *sinkOp[K, V]) partition(r Record[K, V], keyLen int) (int32, error) {
	switch {
	case s.partitioner != nil:
		p := s.partitioner(r, s.out.Partitions)
		if p < 0 || p >= s.out.Partitions {
			return 0, fmt.Errorf("the topic's partitioner chose partition %d of %d", p, s.out.Partitions)
		}
		return p, nil
	case keyLen < 0:
		return s.out.AnyPartition(), nil
	case s.out.Partitions == 1:
		return 0, nil
	}
	return keyPartition(s.scratch, s.out.Partitions), nil
}

// repartition sends p's records through a topic of the application's own, so that equal keys come
// together, and returns the node that reads it. owner, whose name the topic gets, is p's own node or, if
// nil, the writing one.
func repartition[K, V any](p *node[K, V], op string, s settings, owner *graph.Node, key func() serde.Serde[K], value func() serde.Serde[V]) *node[K, V] {
	out, in := through(p, op, s, owner, key, value)
	needSerdes(p.b, out.g, out.keySerde, out.valueSerde, "", "With(keySerde, valueSerde)")
	p.b.checks = append(p.b.checks, func() { p.b.faults[in.g] = p.b.faults[out.g] }) // what reads it lacks them, too
	out.g.Topic.KeySerde = func() any { return out.keySerde() }
	return in
}

// through makes the node that writes a repartition topic, and the one that reads it.
func through[K, V any](p *node[K, V], op string, s settings, owner *graph.Node, key func() serde.Serde[K], value func() serde.Serde[V]) (out, in *node[K, V]) {
	b := p.b
	topic := &graph.Topic{Repartition: true, Partitions: s.partitions, Owner: owner}
	out = &node[K, V]{b: b, inheritKey: key, inheritValue: value, g: b.graph.Add(&graph.Node{
		Kind:    graph.Sink,
		Op:      op,
		At:      caller(),
		Parents: []*graph.Node{p.g},
		Topic:   topic,
	})}
	if owner == nil {
		topic.Owner = out.g
		s.apply(b, out.g)
	}
	p.lead(out.g, func(t *task.Task) (edge[K, V], error) {
		op, err := openSink(t, out.g, out.keySerde(), out.valueSerde())
		if err != nil {
			return nil, err
		}
		op.dropNullKey = !s.keepNulls
		return guarded(t, out.g, op.process), nil
	})
	in = &node[K, V]{b: b, inheritKey: out.keySerde, inheritValue: out.valueSerde, g: b.graph.Add(&graph.Node{
		Kind:  graph.Source,
		Op:    "From",
		At:    caller(),
		Topic: topic,
	})}
	in.opens(Topic[K, V]{})
	return out, in
}

// sinkInto makes out, which is a sink of the graph, write its topic. Without a partitioner records go by their key.
func sinkInto[K, V any](out *node[K, V], partitioner func(Record[K, V], int32) int32) {
	out.lead(out.g, func(t *task.Task) (edge[K, V], error) {
		op, err := openSink(t, out.g, out.keySerde(), out.valueSerde())
		if err != nil {
			return nil, err
		}
		op.partitioner = partitioner
		return op.process, nil
	})
}

// keyPartition is the partition of an encoded key, as Kafka's Java producer and franz-go choose it, so that
// topics can be joined with those others write: murmur2 with its sign bit cleared, modulo.
func keyPartition(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is Austin Appleby's MurmurHash2 with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
	)
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
