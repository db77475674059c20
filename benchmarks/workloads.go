//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moldau-io/moldau/internal/zipf"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

func workloads() []workload {
	ws := []workload{{
		name: "append", unit: "record", scratchBytes: 2 * appendRecords * 110,
		what: "in-process append of key-less records of 100-byte values, 1 MiB batches, SyncOS",
		run:  appendRun,
	}}
	for _, emit := range []stream.Emit{stream.OnCommit, stream.EachUpdate} {
		name := "wordcount, on commit"
		if emit == stream.EachUpdate {
			name = "wordcount, each update"
		}
		ws = append(ws, workload{
			name: name, unit: "word", scratchBytes: 8 * textBytes,
			what: "exactly-once word count of Zipf text, repartition included, 4 partitions, 2 workers, SyncOS",
			run: func(ctx context.Context, dir string, m *meter) error {
				return wordCountRun(ctx, dir, m, emit)
			},
		})
	}
	return append(ws, workload{
		name: "count, 1M keys", unit: "record", scratchBytes: 8 * countRecords * 110,
		what: "exactly-once count of records of 100-byte values by 1 million keys, each update, 4 partitions, 2 workers, SyncOS",
		run:  countRun,
	})
}

const (
	appendRecords = 10_000_000
	textBytes     = 64 << 20
	countRecords  = 4_000_000
	partitions    = 4
)

func open(ctx context.Context, dir string, topics ...string) (*log.Log, error) {
	lg, err := log.Open(filepath.Join(dir, "log"), log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		return nil, err
	}
	var specs []log.TopicSpec
	for _, t := range topics {
		specs = append(specs, log.TopicSpec{Name: t, Partitions: partitions})
	}
	return lg, lg.CreateTopics(ctx, specs)
}

func appendRun(ctx context.Context, dir string, m *meter) error {
	lg, err := open(ctx, dir, "records")
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
	m.begin()
	n := int64(0)
	for i := int32(0); n < appendRecords; i++ {
		b := log.NewBlock()
		for range perBatch {
			b.Append(n, nil, value, nil)
			n++
		}
		if _, err := p.Append(ctx, log.TopicPartition{Topic: "records", Partition: i % partitions}, b); err != nil {
			return err
		}
	}
	m.end(n)
	return p.Close()
}

var (
	lines      = stream.NewTopic("lines", serde.Bytes, serde.String)
	wordCounts = stream.NewTopic("word-counts", serde.String, serde.Int64)
	wordStore  = state.NewKeyValue("words", serde.String, serde.Int64)
)

func wordCountRun(ctx context.Context, dir string, m *meter, emit stream.Emit) error {
	text := zipf.Text(1, textBytes)
	lg, err := open(ctx, dir, "lines", "word-counts")
	if err != nil {
		return err
	}
	defer lg.Close()
	if err := load(ctx, lg, "lines", func(yield func(key, value []byte) bool) {
		for line := range bytes.Lines(text) {
			if !yield(nil, bytes.TrimSuffix(line, []byte("\n"))) {
				return
			}
		}
	}); err != nil {
		return err
	}
	b := stream.NewBuilder()
	words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
	stream.GroupBy(words, func(_ []byte, w string) string { return w }).
		Count().As(wordStore).
		ToStream().To(wordCounts)
	return measure(ctx, lg, dir, b, emit, m, int64(len(bytes.Fields(text))), "word-counts")
}

func countRun(ctx context.Context, dir string, m *meter) error {
	lg, err := open(ctx, dir, "records", "counts")
	if err != nil {
		return err
	}
	defer lg.Close()
	value := bytes.Repeat([]byte("0123456789"), 10)
	if err := load(ctx, lg, "records", func(yield func(key, value []byte) bool) {
		x := uint64(1)
		for range countRecords {
			x = x*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator
			if !yield(fmt.Appendf(nil, "%08d", (x>>33)%1_000_000), value) {
				return
			}
		}
	}); err != nil {
		return err
	}
	b := stream.NewBuilder()
	records := stream.NewTopic("records", serde.String, serde.Bytes)
	stream.GroupByKey(stream.From(b, records)).Count().
		ToStream().To(stream.NewTopic("counts", serde.String, serde.Int64))
	return measure(ctx, lg, dir, b, stream.EachUpdate, m, countRecords, "counts")
}

// load appends records, those with a key by its hash and the others to one partition after another.
func load(ctx context.Context, lg *log.Log, topic string, records func(yield func(key, value []byte) bool)) error {
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		return err
	}
	var blocks [partitions]*log.Block
	flush := func(i int) error {
		if blocks[i] == nil {
			return nil
		}
		_, err := p.Append(ctx, log.TopicPartition{Topic: topic, Partition: int32(i)}, blocks[i])
		blocks[i] = nil
		return err
	}
	n := 0
	for key, value := range records {
		i := n % partitions
		if key != nil {
			i = int(key[len(key)-1]) % partitions
		}
		if blocks[i] == nil {
			blocks[i] = log.NewBlock()
		}
		blocks[i].Append(int64(n), key, value, nil)
		n++
		if blocks[i].Bytes() >= 512<<10 {
			if err := flush(i); err != nil {
				return err
			}
		}
	}
	for i := range blocks {
		if err := flush(i); err != nil {
			return err
		}
	}
	return p.Close()
}

// measure runs the topology until it is idle, and checks that its outputs add up to want.
func measure(ctx context.Context, lg *log.Log, dir string, b *stream.Builder, emit stream.Emit, m *meter, want int64, output string) error {
	topology, err := b.Build()
	if err != nil {
		return err
	}
	app, err := stream.New(topology, stream.Config{
		ApplicationID: "bench", Broker: lg, Emit: emit, Workers: 2, StateDir: filepath.Join(dir, "state"), Logger: discard,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	m.begin()
	go func() { ended <- app.Run(ctx) }()
	idle := app.WaitIdle(ctx)
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	m.end(want)
	if idle != nil {
		return idle
	}
	got, err := total(context.Background(), lg, output)
	if err == nil && got != want {
		err = fmt.Errorf("the counts in %s add up to %d, want %d", output, got, want)
	}
	return err
}

// total adds up the last committed count of each key.
func total(ctx context.Context, lg *log.Log, topic string) (int64, error) {
	sum := int64(0)
	for i := range int32(partitions) {
		tp := log.TopicPartition{Topic: topic, Partition: i}
		ends, err := lg.Offsets(ctx, []log.TopicPartition{tp})
		if err != nil {
			return 0, err
		}
		r, err := lg.Open(ctx, tp, log.Earliest, log.ReadCommitted)
		if err != nil {
			return 0, err
		}
		last := map[string]int64{}
		recs := make([]log.Record, 1000)
		for r.Position() < ends[tp].LastStable {
			n, err := r.Read(ctx, recs)
			if err != nil {
				return 0, err
			}
			for _, rec := range recs[:n] {
				v, err := serde.Int64.Decode(rec.Value)
				if err != nil {
					return 0, err
				}
				last[string(rec.Key)] = v
			}
		}
		for _, v := range last {
			sum += v
		}
		if err := r.Close(); err != nil {
			return 0, err
		}
	}
	return sum, nil
}
