package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

var (
	lines      = stream.NewTopic("lines", serde.Bytes, serde.String)
	wordCounts = stream.NewTopic("word-counts", serde.String, serde.Int64)
	words      = state.NewKeyValue("words", serde.String, serde.Int64)
)

// topology splits lines into words and counts each.
func topology(seen *counters) (*stream.Topology, error) {
	b := stream.NewBuilder()
	split := stream.FlatMapValues(stream.From(b, lines), seen.words)
	stream.GroupBy(split, func(_ []byte, word string) string { return word }).
		Count().As(words).
		ToStream().To(wordCounts)
	return b.Build()
}

// counters is what the progress bar shows.
type counters struct {
	loaded    atomic.Int64 // lines in the log
	allLoaded atomic.Bool
	lines     atomic.Int64 // lines split, in this run
	records   atomic.Int64 // lines and words
}

// words is Words, counted.
func (c *counters) words(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		n := int64(1)
		for w := range Words(line) {
			n++
			if !yield(w) {
				break
			}
		}
		c.lines.Add(1)
		c.records.Add(n)
	}
}

func (c *counters) read() done {
	d := done{lines: c.lines.Load(), records: c.records.Load()}
	if c.allLoaded.Load() {
		// Lines that an earlier run loaded and did not count come on top.
		d.total = max(c.loaded.Load(), d.lines)
	}
	return d
}

func createTopics(ctx context.Context, broker log.Broker, partitions int, where string) error {
	if partitions < 1 || partitions > 1000 {
		return fmt.Errorf("-partitions %d: it is between 1 and 1000", partitions)
	}
	err := broker.CreateTopics(ctx, []log.TopicSpec{
		{Name: lines.Name(), Partitions: int32(partitions)},
		{Name: wordCounts.Name(), Partitions: int32(partitions)},
		{Name: positions, Partitions: 1},
	})
	if errors.Is(err, log.ErrTopicMismatch) {
		return fmt.Errorf("-partitions %d: %s made with another number: %w", partitions, where, err)
	}
	return err
}

// readCounts reads the last count of each word.
func readCounts(ctx context.Context, broker log.Broker) ([]count, error) {
	infos, err := broker.Topics(ctx, []string{wordCounts.Name()})
	if err != nil {
		return nil, err
	}
	var counts []count
	for p := range infos[0].Partitions {
		last := map[string]int64{} // a word is in one partition
		err := readAll(ctx, broker, log.TopicPartition{Topic: wordCounts.Name(), Partition: p}, func(r *log.Record) error {
			n, err := serde.Int64.Decode(r.Value)
			last[string(r.Key)] = n
			return err
		})
		if err != nil {
			return nil, err
		}
		for w, n := range last {
			counts = append(counts, count{word: w, n: n})
		}
	}
	return counts, nil
}

// readAll calls f with every committed record of a partition.
func readAll(ctx context.Context, broker log.Broker, tp log.TopicPartition, f func(r *log.Record) error) (err error) {
	ends, err := broker.Offsets(ctx, []log.TopicPartition{tp})
	if err != nil {
		return err
	}
	r, err := broker.Open(ctx, tp, log.Earliest, log.ReadCommitted)
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
		for i := range recs[:n] {
			if err := f(&recs[i]); err != nil {
				return fmt.Errorf("%s offset %d: %w", tp, recs[i].Offset, err)
			}
		}
	}
	return nil
}
