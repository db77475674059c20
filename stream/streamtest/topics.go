package streamtest

import (
	"context"
	"errors"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
)

// InputTopic is a topic that the test writes.
type InputTopic[K, V any] struct {
	d     *Driver
	topic stream.Topic[K, V]
	key   serde.Serde[K]
	value serde.Serde[V]
	next  int32
}

// Input writes to a topic that the topology reads.
func Input[K, V any](d *Driver, topic stream.Topic[K, V]) *InputTopic[K, V] {
	d.t.Helper()
	in := &InputTopic[K, V]{d: d, topic: topic}
	in.key, in.value = bind(d, topic)
	return in
}

func bind[K, V any](d *Driver, topic stream.Topic[K, V]) (serde.Serde[K], serde.Serde[V]) {
	d.t.Helper()
	key, value := topic.Serdes()
	k, err := serde.Bind(key, topic.Name(), true)
	if err != nil {
		d.t.Fatalf("streamtest: topic %s: %v", topic.Name(), err)
	}
	v, err := serde.Bind(value, topic.Name(), false)
	if err != nil {
		d.t.Fatalf("streamtest: topic %s: %v", topic.Name(), err)
	}
	return k, v
}

// Pipe appends a record, at a time counted from the start of 1970, and processes all that follows from it.
// An error of the topology fails the test.
func (in *InputTopic[K, V]) Pipe(key K, value V, at time.Duration) {
	in.d.t.Helper()
	var r stream.Record[K, V]
	r.Timestamp = at.Milliseconds()
	if err := in.PipeRecord(r.WithKey(key).WithValue(value)); err != nil {
		in.d.t.Fatal(err)
	}
}

// PipeRecord appends a record and processes all that follows from it.
func (in *InputTopic[K, V]) PipeRecord(r stream.Record[K, V]) error {
	in.d.t.Helper()
	in.Append(r)
	return in.d.Settle()
}

// Append appends a record without processing it. Records go to the partition of their key; those without
// one go round.
func (in *InputTopic[K, V]) Append(r stream.Record[K, V]) {
	in.d.t.Helper()
	var key, value []byte
	var err error
	if !r.KeyIsNull() {
		if key, err = in.key.Append([]byte{}, r.Key); err != nil {
			in.d.t.Fatalf("streamtest: encode key: %v", err)
		}
	}
	if !r.ValueIsNull() {
		if value, err = in.value.Append([]byte{}, r.Value); err != nil {
			in.d.t.Fatalf("streamtest: encode value: %v", err)
		}
	}
	partitions := in.d.options.partitionsOf(in.topic.Name())
	partition := in.next % partitions
	if key != nil {
		partition = bridge.KeyPartition(key, partitions)
	} else {
		in.next++
	}
	in.d.appendBytes(in.topic.Name(), partition, key, value, r.Timestamp, r.Headers)
}

// AppendBytes appends a record of any bytes to a topic, such as ones that its serde cannot decode. A nil
// key or value is null.
func (d *Driver) AppendBytes(topic string, partition int32, key, value []byte, at time.Duration) {
	d.t.Helper()
	d.appendBytes(topic, partition, key, value, at.Milliseconds(), nil)
}

func (d *Driver) appendBytes(topic string, partition int32, key, value []byte, timestampMs int64, headers []log.Header) {
	d.t.Helper()
	b := log.NewBlock()
	b.Append(timestampMs, key, value, headers)
	tp := log.TopicPartition{Topic: topic, Partition: partition}
	if _, err := d.input.Append(context.Background(), tp, b); err != nil {
		d.t.Fatalf("streamtest: append to %s: %v", tp, err)
	}
}

// OutputTopic is a topic that the test reads.
type OutputTopic[K, V any] struct {
	d      *Driver
	topic  stream.Topic[K, V]
	key    serde.Serde[K]
	value  serde.Serde[V]
	at     []int64 // next offset, by partition
	unread []read[K, V]
	safe   int // how many of unread are committed

	given  []int64 // where what was given ends, by partition
	safeAt []int64 // and what is committed for sure
}

// read is a record that was read.
type read[K, V any] struct {
	stream.Record[K, V]
	partition int
	offset    int64
}

// Output reads a topic that the topology writes, from its start. Records of several partitions come
// partition by partition, as far as they are there.
func Output[K, V any](d *Driver, topic stream.Topic[K, V]) *OutputTopic[K, V] {
	d.t.Helper()
	n := d.options.partitionsOf(topic.Name())
	o := &OutputTopic[K, V]{d: d, topic: topic, at: make([]int64, n), given: make([]int64, n), safeAt: make([]int64, n)}
	o.key, o.value = bind(d, topic)
	d.outputs = append(d.outputs, o)
	return o
}

// Next returns the next record, committed or not; ok is false if there is none for now. After an abort, or
// a restart, records that were not committed come again when they are made again.
func (o *OutputTopic[K, V]) Next() (r stream.Record[K, V], ok bool) {
	o.d.t.Helper()
	if len(o.unread) == 0 {
		o.read(log.ReadUncommitted)
	}
	if len(o.unread) == 0 {
		return r, false
	}
	r = o.give(o.unread[0])
	o.unread = o.unread[1:]
	o.safe = max(o.safe-1, 0)
	return r, true
}

// All returns all records that Next would.
func (o *OutputTopic[K, V]) All() []stream.Record[K, V] {
	o.d.t.Helper()
	o.read(log.ReadUncommitted)
	var all []stream.Record[K, V]
	for _, r := range o.unread {
		all = append(all, o.give(r))
	}
	o.unread, o.safe = nil, 0
	return all
}

func (o *OutputTopic[K, V]) give(r read[K, V]) stream.Record[K, V] {
	o.given[r.partition] = r.offset + 1
	return r.Record
}

// Committed returns all committed records of the topic from its start, whatever was read before.
func (o *OutputTopic[K, V]) Committed() []stream.Record[K, V] {
	o.d.t.Helper()
	from := &OutputTopic[K, V]{d: o.d, topic: o.topic, key: o.key, value: o.value, at: make([]int64, len(o.at))}
	from.read(log.ReadCommitted)
	var all []stream.Record[K, V]
	for _, r := range from.unread {
		all = append(all, r.Record)
	}
	return all
}

func (o *OutputTopic[K, V]) read(iso log.Isolation) {
	o.d.t.Helper()
	recs := make([]log.Record, 256)
	for p := range o.at {
		tp := log.TopicPartition{Topic: o.topic.Name(), Partition: int32(p)}
		r, err := o.d.log.Open(context.Background(), tp, o.at[p], iso)
		if err != nil {
			o.d.t.Fatalf("streamtest: read %s: %v", tp, err)
		}
		for {
			n, err := r.Read(done, recs)
			if errors.Is(err, context.Canceled) {
				break
			}
			if err != nil {
				o.d.t.Fatalf("streamtest: read %s: %v", tp, err)
			}
			for i := range recs[:n] {
				o.unread = append(o.unread, read[K, V]{o.decode(&recs[i]), p, recs[i].Offset})
			}
		}
		o.at[p] = r.Position()
		if err := r.Close(); err != nil {
			o.d.t.Fatalf("streamtest: %v", err)
		}
	}
}

func (o *OutputTopic[K, V]) decode(raw *log.Record) (r stream.Record[K, V]) {
	o.d.t.Helper()
	r.Timestamp, r.Headers = raw.Timestamp, raw.Headers()
	if raw.Key == nil {
		r = r.WithNullKey()
	} else if k, err := o.key.Decode(raw.Key); err != nil {
		o.d.t.Fatalf("streamtest: topic %s, offset %d: decode key: %v", o.topic.Name(), raw.Offset, err)
	} else {
		r = r.WithKey(k)
	}
	if raw.Value == nil {
		r = r.WithNullValue()
	} else if v, err := o.value.Decode(raw.Value); err != nil {
		o.d.t.Fatalf("streamtest: topic %s, offset %d: decode value: %v", o.topic.Name(), raw.Offset, err)
	} else {
		r = r.WithValue(v)
	}
	return r
}

func (o *OutputTopic[K, V]) committed() {
	o.read(log.ReadUncommitted)
	o.safe = len(o.unread)
	copy(o.safeAt, o.at)
}

func (o *OutputTopic[K, V]) aborted() {
	o.read(log.ReadUncommitted) // past what was aborted
	o.unread = o.unread[:o.safe]
}

// crashed is aborted where the last epoch may turn out to be committed, and, if it is not, offsets that were given for
// its records may be given again.
func (o *OutputTopic[K, V]) crashed() {
	unread := o.unread[:o.safe]
	o.unread = nil
	copy(o.at, o.safeAt)
	o.read(log.ReadCommitted)
	for _, r := range o.unread {
		if r.offset >= o.given[r.partition] {
			unread = append(unread, r)
		}
	}
	o.unread, o.safe = unread, len(unread)
	o.read(log.ReadUncommitted) // past what was aborted
	o.unread = o.unread[:o.safe]
	for p, end := range o.at {
		o.given[p], o.safeAt[p] = min(o.given[p], end), end
	}
}
