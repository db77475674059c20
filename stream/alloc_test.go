package stream_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// bench is a task with nothing around it: what it reads is in memory, what it appends is counted and
// dropped.
type bench struct {
	task     *task.Task
	state    *state.Task
	epoch    uint64
	fetched  []log.Record
	appended int
	offset   int64
}

func newBench(t testing.TB, topology *stream.Topology, sub int, fetched []log.Record) *bench {
	t.Helper()
	return newBenchWith(t, topology, sub, fetched, stream.Config{})
}

// newBenchWith is newBench with the handlers of a configuration.
func newBenchWith(t testing.TB, topology *stream.Topology, sub int, fetched []log.Record, handlers stream.Config) *bench {
	t.Helper()
	b := &bench{fetched: fetched}
	db, err := state.Open("state", state.Options{FS: vfs.NewMem(), FlushBytes: 1 << 40, FlushInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if b.state, err = db.Task("task"); err != nil {
		t.Fatal(err)
	}
	b.task, err = task.Open(task.ID{Sub: sub}, bridge.Plan(topology, true), task.Env{
		Application: "bench",
		State:       b.state,
		Stores:      map[string]state.Store{},
		Partitions:  func(string) int32 { return 1 },
		Lookup:      func(string) (int32, error) { return 1, nil },
		Handlers:    bridge.Handlers(handlers),
		Append: func(_ log.TopicPartition, block *log.Block) (int64, error) {
			b.appended += block.Len()
			block.Release()
			return 0, nil
		},
		CaughtUp: func(log.TopicPartition, int64) bool { return true },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.begin()
	return b
}

func (b *bench) begin() { b.epoch++; b.state.BeginEpoch(b.epoch) }

// cursor gives records that are in memory.
type cursor struct {
	rest []log.Record
	end  int64
}

func (c *cursor) Next(dst []log.Record) (int, error) {
	n := copy(dst, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
func (c *cursor) End() int64 { return c.end }
func (c *cursor) Bytes() int { return 0 }

var neverStop atomic.Bool

// process runs all fetched records through the task, as one epoch.
func (b *bench) process(t testing.TB) {
	b.offset += int64(len(b.fetched))
	b.task.Deliver(log.Fetched{Partition: b.task.Inputs()[0], Records: &cursor{b.fetched, b.offset}})
	for {
		n, _, err := b.task.Run(1<<20, &neverStop)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if err := b.task.Finish(); err != nil {
		t.Fatal(err)
	}
	b.task.Committed(time.Time{})
	b.begin()
}

// countChain is filter, mapValues, groupByKey, count.
func countChain(t testing.TB) *stream.Topology {
	return build(t, func(b *stream.Builder) {
		s := stream.From(b, pairs).Filter(func(_, v string) bool { return v != "" })
		m := stream.MapValues(s, func(v string) string { return v[1:] })
		stream.GroupByKey(m).Count().As(counts)
	})
}

// repartitionChain ends in the repartition topic; the count follows in another task.
func repartitionChain(t testing.TB) *stream.Topology {
	return build(t, func(b *stream.Builder) {
		s := stream.From(b, pairs).Filter(func(_, v string) bool { return v != "" })
		m := stream.MapValues(s, func(v string) string { return v[1:] })
		stream.GroupBy(m, func(k, _ string) string { return k }).Count().As(counts)
	})
}

// benchRecords has n records of 1000 keys.
func benchRecords(n int) []log.Record {
	recs := make([]log.Record, n)
	for i := range recs {
		recs[i] = log.Record{Offset: int64(i), Timestamp: int64(i), Key: []byte(fmt.Sprintf("key-%04d", i*7%1000)), Value: []byte("a value of some length")}
	}
	return recs
}

const perEpoch = 10_000

// The claim: no allocation per record from decode to changelog append, where keys are known. What is
// allocated is per epoch and per batch.
func TestNoAllocationPerRecord(t *testing.T) {
	for _, c := range []struct {
		name     string
		topology *stream.Topology
	}{{"count", countChain(t)}, {"repartition", repartitionChain(t)}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.topology, 0, benchRecords(perEpoch))
			b.process(t) // the keys become known
			before := b.appended
			perRun := testing.AllocsPerRun(20, func() { b.process(t) })
			if perRun > perEpoch/100 {
				t.Errorf("%v allocations for %d records", perRun, perEpoch)
			}
			if b.appended == before {
				t.Error("nothing was appended")
			}
		})
	}
}

func TestAllocationOracle(t *testing.T) {
	leaky := build(t, func(b *stream.Builder) {
		m := stream.MapValues(stream.From(b, pairs), strings.Clone)
		stream.GroupByKey(m).Count().As(counts)
	})
	b := newBench(t, leaky, 0, benchRecords(perEpoch))
	if perRun := testing.AllocsPerRun(5, func() { b.process(t) }); perRun < perEpoch {
		t.Errorf("a clone for each of %d records shows as %v allocations", perEpoch, perRun)
	}
}

func benchmarkChain(b *testing.B, topology *stream.Topology) {
	x := newBench(b, topology, 0, benchRecords(perEpoch))
	x.process(b)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += perEpoch {
		x.process(b)
	}
}

// One operation is one record, from decode to changelog append.
func BenchmarkCount(b *testing.B) { benchmarkChain(b, countChain(b)) }

// One operation is one record, from decode to the repartition topic's block.
func BenchmarkRepartition(b *testing.B) { benchmarkChain(b, repartitionChain(b)) }
