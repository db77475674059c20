package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
)

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

// openLog opens a log in dir, with the topics of the word count.
func openLog(t testing.TB, dir string, partitions int32) *log.Log {
	t.Helper()
	lg, err := log.Open(dir, log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{
		{Name: "lines", Partitions: partitions}, {Name: "word-counts", Partitions: partitions},
	}); err != nil {
		t.Fatal(err)
	}
	return lg
}

// appendLines appends lines without keys, to one partition after another.
func appendLines(t testing.TB, lg *log.Log, partitions int32, texts ...string) {
	t.Helper()
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		b := log.NewBlock()
		b.Append(int64(i), nil, []byte(text), nil)
		tp := log.TopicPartition{Topic: "lines", Partition: int32(i) % partitions}
		if _, err := p.Append(t.Context(), tp, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// committedCounts reads the last committed count of each word, and how many records there are.
func committedCounts(t testing.TB, lg *log.Log, partitions int32) (last map[string]int64, records int) {
	t.Helper()
	last = map[string]int64{}
	for p := range partitions {
		tp := log.TopicPartition{Topic: "word-counts", Partition: p}
		ends, err := lg.Offsets(t.Context(), []log.TopicPartition{tp})
		if err != nil {
			t.Fatal(err)
		}
		r, err := lg.Open(t.Context(), tp, log.Earliest, log.ReadCommitted)
		if err != nil {
			t.Fatal(err)
		}
		recs := make([]log.Record, 100)
		for r.Position() < ends[tp].LastStable {
			n, err := r.Read(t.Context(), recs)
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range recs[:n] {
				v, err := serde.Int64.Decode(rec.Value)
				if err != nil {
					t.Fatal(err)
				}
				last[string(rec.Key)] = v
				records++
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return last, records
}

func wantCounts(t *testing.T, lg *log.Log, partitions int32, texts []string) {
	t.Helper()
	want := map[string]int64{}
	for _, text := range texts {
		for w := range strings.FieldsSeq(text) {
			want[w]++
		}
	}
	if got, _ := committedCounts(t, lg, partitions); !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// run runs the topology until f returns, and returns Run's error.
func run(t *testing.T, topology *stream.Topology, c stream.Config, f func(app *stream.App)) error {
	t.Helper()
	c.ApplicationID = "app"
	c.Logger = discard
	app, err := stream.New(topology, c)
	if err != nil {
		t.Fatal(err)
	}
	stream.SetHeldBytes(app, 1) // fetching is paused and resumed all the time
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	f(app)
	cancel()
	return <-ended
}

func waitIdle(t *testing.T) func(app *stream.App) {
	return func(app *stream.App) {
		t.Helper()
		if err := app.WaitIdle(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func zipfLines(seed uint64, n int) []string {
	rng := rand.New(rand.NewPCG(seed, 0))
	z := rand.NewZipf(rng, 1.2, 1, 500)
	texts := make([]string, n)
	for i := range texts {
		for range 1 + rng.IntN(9) {
			texts[i] += fmt.Sprintf("w%d ", z.Uint64())
		}
	}
	return texts
}

// The whole runtime counts right, over several runs, with every setting.
func TestRunWordCount(t *testing.T) {
	for _, c := range []struct {
		name       string
		partitions int32
		config     stream.Config
	}{
		{"1 partition", 1, stream.Config{}},
		{"4 partitions", 4, stream.Config{Workers: 4}},
		{"on commit", 4, stream.Config{Emit: stream.OnCommit, Workers: 3}},
		{"at least once", 4, stream.Config{Guarantee: stream.AtLeastOnce}},
		{"tiny epochs", 4, stream.Config{MaxEpochBytes: 1, CommitInterval: time.Millisecond, CacheBytes: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := wordCountTopology(t)
			lg := openLog(t, filepath.Join(t.TempDir(), "log"), c.partitions)
			c.config.Broker = lg
			var all []string
			for i := range uint64(3) {
				texts := zipfLines(i, 400)
				all = append(all, texts...)
				if i%2 == 0 {
					appendLines(t, lg, c.partitions, texts...)
				}
				if err := run(t, topology, c.config, func(app *stream.App) {
					if i%2 == 1 { // while it runs
						appendLines(t, lg, c.partitions, texts...)
					}
					waitIdle(t)(app)
				}); err != nil {
					t.Fatal(err)
				}
				wantCounts(t, lg, c.partitions, all)
			}
			if err := lg.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// EachUpdate sends one record for each word, in one chain of counts per word.
func TestEachUpdateSendsAll(t *testing.T) {
	lg := openLog(t, t.TempDir(), 4)
	defer lg.Close()
	texts := zipfLines(9, 500)
	appendLines(t, lg, 4, texts...)
	if err := run(t, wordCountTopology(t), stream.Config{Broker: lg}, waitIdle(t)); err != nil {
		t.Fatal(err)
	}
	words := len(strings.Fields(strings.Join(texts, " ")))
	if _, n := committedCounts(t, lg, 4); n != words {
		t.Errorf("%d records for %d words", n, words)
	}
}

// A function that panics stops the run with an error that says where, and nothing of the epoch is visible.
// Once it behaves, the next run goes on where the last commit was.
func TestPanicNamesOperatorAndRecord(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	texts := zipfLines(5, 50)
	texts[30] = "poison"
	appendLines(t, lg, 1, texts...)
	var cured atomic.Bool
	topology := build(t, func(b *stream.Builder) {
		s := stream.MapValues(stream.From(b, lines), func(l string) string {
			if l == "poison" && !cured.Load() {
				panic(errors.New("it hurts"))
			}
			return l
		}, stream.Named("touchy"))
		words := stream.FlatMapValues(s, strings.FieldsSeq)
		stream.GroupBy(words, func(_ []byte, w string) string { return w }).Count().As(counts).ToStream().To(wordCounts)
	})
	// One epoch for all: the poison takes everything back.
	c := stream.Config{Broker: lg, CommitInterval: time.Hour}
	err := run(t, topology, c, func(app *stream.App) {
		if err := app.WaitIdle(t.Context()); err == nil {
			t.Error("idle in spite of the poison")
		}
	})
	fault, ok := errors.AsType[*stream.ProcessingError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	if fault.Operator != "MapValues" || fault.Name != "touchy" || fault.Topic != "lines" || fault.Partition != 0 || fault.Offset != 30 {
		t.Errorf("got %+v", fault)
	}
	if !strings.HasPrefix(fault.At, "app_test.go:") {
		t.Errorf("at %s", fault.At)
	}
	if p, ok := errors.AsType[*stream.PanicError](err); !ok || !strings.Contains(string(p.Stack), "app_test.go") {
		t.Errorf("no stack of the panic in %v", err)
	}
	if !strings.Contains(err.Error(), "it hurts") {
		t.Errorf("no cause in %v", err)
	}
	if got, n := committedCounts(t, lg, 1); n != 0 {
		t.Errorf("visible after the abort: %v", got)
	}
	cured.Store(true)
	if err := run(t, topology, c, waitIdle(t)); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, lg, 1, texts)
}

// Bytes that a serde refuses stop the run with the record's place.
func TestUndecodableRecord(t *testing.T) {
	lg, err := log.Open(t.TempDir(), log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer lg.Close()
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "numbers", Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	b := log.NewBlock()
	b.Append(0, []byte("k"), []byte("12345678"), nil)
	b.Append(0, []byte("k"), []byte("short"), nil)
	if _, err := p.Append(t.Context(), log.TopicPartition{Topic: "numbers"}, b); err != nil {
		t.Fatal(err)
	}
	topology := build(t, func(b *stream.Builder) { stream.From(b, numbers).ForEach(func(string, int64) {}) })
	err = run(t, topology, stream.Config{Broker: lg}, func(app *stream.App) { _ = app.WaitIdle(t.Context()) })
	fault, ok := errors.AsType[*stream.ProcessingError](err)
	if !ok || fault.Operator != "From" || fault.Offset != 1 || !strings.Contains(err.Error(), "decode value") {
		t.Errorf("got %v", err)
	}
}

// A stop waits for the function that runs, commits, and loses nothing.
func TestStopCommits(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	texts := zipfLines(6, 200)
	appendLines(t, lg, 1, texts...)
	reached, goOn := make(chan struct{}), make(chan struct{})
	var seen atomic.Int64
	topology := build(t, func(b *stream.Builder) {
		s := stream.From(b, lines).Peek(func([]byte, string) {
			if seen.Add(1) == 100 {
				close(reached)
				<-goOn
			}
		})
		words := stream.FlatMapValues(s, strings.FieldsSeq)
		stream.GroupBy(words, func(_ []byte, w string) string { return w }).Count().As(counts).ToStream().To(wordCounts)
	})
	app, err := stream.New(topology, stream.Config{ApplicationID: "app", Broker: lg, Logger: discard, CommitInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	<-reached
	cancel()
	close(goOn)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	done, err := offsets(t, lg)
	if err != nil || done < 100 {
		t.Errorf("committed up to %d, %v; 100 were processed", done, err)
	}
	if err := run(t, topology, stream.Config{Broker: lg}, waitIdle(t)); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, lg, 1, texts)
	if n := seen.Load(); n != int64(len(texts)) {
		t.Errorf("%d records were processed for %d", n, len(texts))
	}
}

// offsets is the committed offset of lines-0.
func offsets(t *testing.T, lg *log.Log) (int64, error) {
	m, err := lg.Join(t.Context(), log.MemberSpec{Group: "app", Topics: []string{"lines"}})
	if err != nil {
		return 0, err
	}
	tp := log.TopicPartition{Topic: "lines"}
	c, err := m.Committed(t.Context(), []log.TopicPartition{tp})
	return c[tp].Offset, errors.Join(err, m.Close())
}

// A function that never returns does not hang the stop without a word.
func TestStopTimeoutNamesOperator(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	appendLines(t, lg, 1, "a")
	reached, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	topology := build(t, func(b *stream.Builder) {
		stream.From(b, lines).ForEach(func([]byte, string) { close(reached); <-never }, stream.Named("stuck"))
	})
	err := run(t, topology, stream.Config{Broker: lg, StopTimeout: 20 * time.Millisecond}, func(*stream.App) { <-reached })
	if err == nil || !strings.Contains(err.Error(), `ForEach "stuck"`) || !strings.Contains(err.Error(), "app_test.go:") {
		t.Errorf("got %v", err)
	}
}

func TestMissingTopics(t *testing.T) {
	lg, err := log.Open(t.TempDir(), log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer lg.Close()
	err = run(t, wordCountTopology(t), stream.Config{Broker: lg}, func(app *stream.App) { _ = app.WaitIdle(t.Context()) })
	for _, want := range []string{`From: topic "lines" does not exist`, `To: topic "word-counts" does not exist`, "operators_test.go:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestRunOnce(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	app, err := stream.New(wordCountTopology(t), stream.Config{ApplicationID: "app", Broker: lg, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = app.Run(ctx)
	if err := app.Run(ctx); err == nil || !strings.Contains(err.Error(), "was run before") {
		t.Errorf("got %v", err)
	}
	if err := app.WaitIdle(t.Context()); err == nil {
		t.Error("idle after the end")
	}
}

// A second instance of an application takes over, and the first says so.
func TestSecondInstanceFencesTheFirst(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	texts := zipfLines(7, 100)
	appendLines(t, lg, 1, texts...)
	c := stream.Config{Broker: lg, StateDir: t.TempDir()}
	err := run(t, wordCountTopology(t), c, func(first *stream.App) {
		waitIdle(t)(first)
		c.StateDir = t.TempDir()
		if err := run(t, wordCountTopology(t), c, waitIdle(t)); err != nil {
			t.Error(err)
		}
		if err := first.WaitIdle(t.Context()); err == nil {
			t.Error("the first goes on")
		}
	})
	if !errors.Is(err, stream.ErrFenced) {
		t.Errorf("got %v", err)
	}
	wantCounts(t, lg, 1, texts)
}

// A task that reads the log again while another writes it: streams through two repartition topics.
func TestTwoHops(t *testing.T) {
	lg := openLog(t, t.TempDir(), 3)
	defer lg.Close()
	texts := zipfLines(8, 300)
	appendLines(t, lg, 3, texts...)
	topology := build(t, func(b *stream.Builder) {
		words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
		byLength := stream.GroupBy(words, func(_ []byte, w string) int64 { return int64(len(w)) }).
			Reduce(func(_, w string) string { return w }).ToStream()
		stream.GroupBy(byLength, func(n int64, _ string) string { return fmt.Sprint(n) }).Count().ToStream().To(wordCounts)
	})
	if err := run(t, topology, stream.Config{Broker: lg}, waitIdle(t)); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	for _, w := range strings.Fields(strings.Join(texts, " ")) {
		want[fmt.Sprint(len(w))]++
	}
	got, _ := committedCounts(t, lg, 3)
	if !maps.Equal(got, want) {
		t.Errorf("got %v want %v", got, slices.Sorted(maps.Keys(want)))
	}
}
