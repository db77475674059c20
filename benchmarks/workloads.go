//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// workload is something to measure of ours. run does it once in dir and reports.
type workload struct {
	name, what, unit string
	scratchBytes     int64
	run              func(ctx context.Context, dir string, m *meter) error
}

// job is a topology that counts an input, in ours and in Kafka Streams.
type job struct {
	name, what, unit string
	in               input
	emit             stream.Emit
	build            func(output string) (*stream.Topology, error)
	// What kstreams' Bench calls it, "" if it is not run there, and the size of Kafka Streams' record cache,
	// which is to it what emit is to us.
	peer       string
	cacheBytes int64
}

const (
	output         = "counts" // the topic, where there is but one run
	threads        = 2
	commitInterval = 100 * time.Millisecond // the default of ours and of Kafka Streams under exactly-once
)

func jobs(o options) []job {
	words := job{
		name: "words, on commit", unit: "word", in: wordLines(o.sized(1_000_000)),
		what: "word count of lines of 10 words, Zipf(1.1) of 50,000, through a repartition topic; the last count of each epoch",
		emit: stream.OnCommit, build: wordTopology, peer: "words", cacheBytes: 10 << 20,
	}
	eachWord := words
	eachWord.name, eachWord.emit, eachWord.peer = "words, each update", stream.EachUpdate, ""
	eachWord.what = "the same, with every count"
	return []job{words, eachWord, {
		name: "count, 1M keys", unit: "record", in: keyedRecords(o.sized(4_000_000), o.sized(1_000_000)),
		what: "count of records of 100-byte values by 1 million keys, each as likely; every count; on disk",
		emit: stream.EachUpdate, build: countTopology, peer: "count", cacheBytes: 0,
	}}
}

// scratchBytes is more than what a run of the job writes.
func (j job) scratchBytes() int64 { return j.in.units * 120 }

func wordTopology(output string) (*stream.Topology, error) {
	b := stream.NewBuilder()
	lines := stream.NewTopic("lines", serde.Bytes, serde.String)
	words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
	stream.GroupBy(words, func(_ []byte, w string) string { return w }).
		Count().As(state.NewKeyValue("words", serde.String, serde.Int64)).
		ToStream().To(stream.NewTopic(output, serde.String, serde.Int64))
	return b.Build()
}

func countTopology(output string) (*stream.Topology, error) {
	b := stream.NewBuilder()
	records := stream.NewTopic("records", serde.String, serde.Bytes)
	stream.GroupByKey(stream.From(b, records)).
		Count().As(state.NewKeyValue("counts", serde.String, serde.Int64)).
		ToStream().To(stream.NewTopic(output, serde.String, serde.Int64))
	return b.Build()
}

func workloads(o options) []workload {
	n := o.sized(10_000_000)
	ws := []workload{{
		name: "append", unit: "record", scratchBytes: 2 * n * 110,
		what: "in-process append of key-less records of 100-byte values, 1 MiB batches, SyncOS",
		run:  func(ctx context.Context, dir string, m *meter) error { return appendRun(ctx, dir, n, m) },
	}}
	for _, j := range jobs(o) {
		ws = append(ws, workload{
			name: j.name, unit: j.unit, scratchBytes: j.scratchBytes(),
			what: j.what + "; exactly once, 4 partitions, 2 workers, SyncOS",
			run: func(ctx context.Context, dir string, m *meter) error {
				return j.embedded(ctx, dir, log.SyncOS, m)
			},
		})
	}
	return ws
}

func open(ctx context.Context, dir string, sync log.Sync, topics ...string) (*log.Log, error) {
	lg, err := log.Open(filepath.Join(dir, "log"), log.Options{Sync: sync, Logger: discard})
	if err != nil {
		return nil, err
	}
	var specs []log.TopicSpec
	for _, t := range topics {
		specs = append(specs, log.TopicSpec{Name: t, Partitions: partitions})
	}
	return lg, lg.CreateTopics(ctx, specs)
}

func appendRun(ctx context.Context, dir string, records int64, m *meter) error {
	lg, err := open(ctx, dir, log.SyncOS, "records")
	if err != nil {
		return err
	}
	defer lg.Close()
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		return err
	}
	value := bytes.Repeat([]byte("0123456789"), 10)
	const perBatch = 9_500 // 110 bytes each in the batch: a little under 1 MiB
	if err := m.begin(); err != nil {
		return err
	}
	n := int64(0)
	for i := int32(0); n < records; i++ {
		b := log.NewBlock()
		for range perBatch {
			b.Append(n, nil, value, nil)
			n++
		}
		if _, err := p.Append(ctx, log.TopicPartition{Topic: "records", Partition: i % partitions}, b); err != nil {
			return err
		}
	}
	if err := m.end(n); err != nil {
		return err
	}
	return p.Close()
}

// embedded runs the job on a log in process.
func (j job) embedded(ctx context.Context, dir string, sync log.Sync, m *meter) error {
	lg, err := open(ctx, dir, sync, j.in.topic, output)
	if err != nil {
		return err
	}
	defer lg.Close()
	if err := load(ctx, lg, j.in); err != nil {
		return err
	}
	app, err := j.app(lg, "bench", output, dir)
	if err != nil {
		return err
	}
	if err := j.measure(ctx, app, m); err != nil {
		return err
	}
	return j.check(func(add func(key, value []byte) error) error { return readLog(ctx, lg, output, add) })
}

func (j job) app(broker stream.Broker, id, output, dir string) (*stream.App, error) {
	topology, err := j.build(output)
	if err != nil {
		return nil, err
	}
	return stream.New(topology, stream.Config{
		ApplicationID: id, Broker: broker, Emit: j.emit, Workers: threads, CommitInterval: commitInterval, StateDir: filepath.Join(dir, "state"), Logger: discard,
	})
}

// check compares what read passes on of the output with what must be there.
func (j job) check(read func(add func(key, value []byte) error) error) error {
	return check(j.emit == stream.EachUpdate, j.in.counts(), read)
}

// measure runs the application until all of the input is processed and committed, and stops it.
func (j job) measure(ctx context.Context, app *stream.App, m *meter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	if err := m.begin(); err != nil {
		return err
	}
	go func() {
		ended <- app.Run(ctx)
		cancel()
	}()
	idle := app.WaitIdle(ctx)
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	if err := m.end(j.in.units); err != nil {
		return err
	}
	return idle
}

// load appends an input to its topic.
func load(ctx context.Context, lg *log.Log, in input) error {
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		return err
	}
	var blocks [partitions]*log.Block
	flush := func(i int32) error {
		if blocks[i] == nil {
			return nil
		}
		_, err := p.Append(ctx, log.TopicPartition{Topic: in.topic, Partition: i}, blocks[i])
		blocks[i] = nil
		return err
	}
	n := int64(0)
	for r := range in.records {
		if blocks[r.partition] == nil {
			blocks[r.partition] = log.NewBlock()
		}
		blocks[r.partition].Append(n, r.key, r.value, nil)
		n++
		if blocks[r.partition].Bytes() >= 512<<10 {
			if err := flush(r.partition); err != nil {
				return err
			}
		}
	}
	for i := range int32(partitions) {
		if err := flush(i); err != nil {
			return err
		}
	}
	return p.Close()
}

// readLog passes the committed records of a topic on, partition by partition.
func readLog(ctx context.Context, lg *log.Log, topic string, add func(key, value []byte) error) error {
	for i := range int32(partitions) {
		if err := readPartition(ctx, lg, log.TopicPartition{Topic: topic, Partition: i}, add); err != nil {
			return fmt.Errorf("%s-%d: %w", topic, i, err)
		}
	}
	return nil
}

func readPartition(ctx context.Context, lg *log.Log, tp log.TopicPartition, add func(key, value []byte) error) error {
	ends, err := lg.Offsets(ctx, []log.TopicPartition{tp})
	if err != nil {
		return err
	}
	r, err := lg.Open(ctx, tp, log.Earliest, log.ReadCommitted)
	if err != nil {
		return err
	}
	defer r.Close()
	recs := make([]log.Record, 1000)
	for r.Position() < ends[tp].LastStable {
		n, err := r.Read(ctx, recs)
		if err != nil {
			return err
		}
		for _, rec := range recs[:n] {
			if err := add(rec.Key, rec.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
