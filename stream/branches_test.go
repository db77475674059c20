package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Each record goes down one branch: the first that takes it. What cannot be asked about goes to the rest.
func TestSplit(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		sp := stream.From(b, pairs).Split()
		sp.Rest().To(out.WithName("rest")) // made first, and last all the same
		sp.Branch(func(_, v string) bool { return strings.HasPrefix(v, "a") }).To(out.WithName("a"))
		sp.Branch(func(k, _ string) bool { return k == "k" }).To(out.WithName("k"))
	}))
	in := streamtest.Input(d, pairs)
	for _, r := range []stream.Record[string, string]{
		rec("k", "ax", 1), rec("k", "b", 2), rec("z", "c", 3), rec("null", "a", 4), rec("k", "null", 5),
	} {
		if err := in.PipeRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, streamtest.Output(d, out.WithName("a")).All(), "k=ax@1")
	expect(t, streamtest.Output(d, out.WithName("k")).All(), "k=b@2")
	expect(t, streamtest.Output(d, out.WithName("rest")).All(), "z=c@3", "null=a@4", "k=null@5")
}

// Serdes and partitioner come along with the topic that is chosen; one that is not there is an error with the place.
func TestToFunc(t *testing.T) {
	byLength := out.WithPartitioner(func(r stream.Record[string, string], n int32) int32 { return int32(len(r.Value)) % n })
	topology := build(t, func(b *stream.Builder) {
		stream.From(b, pairs).ToFunc(func(r stream.Record[string, string]) stream.Topic[string, string] {
			if r.ValueIsNull() {
				return stream.Topic[string, string]{}
			}
			return byLength.WithName("to-" + r.Key)
		})
	})
	d := streamtest.New(t, topology, streamtest.Topics("to-a", "to-b"), streamtest.Partitions(3))
	in := streamtest.Input(d, pairs)
	for i, v := range []string{"xxx", "xx", "x", "xxxx", ""} {
		in.Pipe("a", v, time.Duration(i)*time.Millisecond)
	}
	in.Pipe("b", "x", 0)
	expect(t, streamtest.Output(d, out.WithName("to-a")).All(), "a=xxx@0", "a=@4", "a=x@2", "a=xxxx@3", "a=xx@1")
	expect(t, streamtest.Output(d, out.WithName("to-b")).All(), "b=x@0")

	for want, r := range map[string]stream.Record[string, string]{
		`topic "to-c": log: unknown topic`: rec("c", "x", 0),
		"a topic without a name":           rec("a", "null", 0),
	} {
		d := streamtest.New(t, topology)
		err := streamtest.Input(d, pairs).PipeRecord(r)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "branches_test.go:") {
			t.Errorf("got %v, want %q and the place", err, want)
		}
	}
}

func TestToFuncDoesNotAllocate(t *testing.T) {
	all := []stream.Topic[string, string]{out.WithName("one"), out.WithName("two")}
	topology := build(t, func(b *stream.Builder) {
		stream.From(b, pairs).ToFunc(func(r stream.Record[string, string]) stream.Topic[string, string] {
			return all[len(r.Key)%2]
		})
	})
	b := newBench(t, topology, 0, benchRecords(perEpoch))
	b.process(t)
	if perRun := testing.AllocsPerRun(20, func() { b.process(t) }); perRun > perEpoch/100 {
		t.Errorf("%v allocations for %d records", perRun, perEpoch)
	}
}

// A partition that the topic does not have is an error, with the place.
func TestPartitionerOutOfRange(t *testing.T) {
	for _, p := range []int32{-1, 2} {
		wrong := out.WithPartitioner(func(stream.Record[string, string], int32) int32 { return p })
		d := streamtest.New(t, build(t, func(b *stream.Builder) { stream.From(b, pairs).To(wrong) }), streamtest.Partitions(2))
		err := streamtest.Input(d, pairs).PipeRecord(rec("a", "b", 1))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("chose partition %d of 2", p)) {
			t.Errorf("partition %d: got %v", p, err)
		}
	}
}

// Equal keys come together, on as many partitions as asked for, in the encoding that With gives for the topic.
func TestRepartition(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		s := stream.Map(stream.From(b, pairs), func(k, v string) (point, string) { return point{X: len(k)}, v })
		again := s.Repartition(stream.Named("again"), stream.Partitions(4)).With(serde.JSON[point](), serde.String)
		stream.MapValuesWithKey(stream.GroupByKey(again).Count().ToStream(), func(p point, n int64) string { return fmt.Sprint(p.X, n) }).
			To(stream.NewTopic("points", serde.JSON[point](), serde.String))
	})
	if describe := topology.Describe(); !strings.Contains(describe, "again-repartition") || strings.Count(describe, "Sub-topology") != 2 {
		t.Errorf("topology:\n%s", describe)
	}
	d := streamtest.New(t, topology, streamtest.Partitions(2))
	in := streamtest.Input(d, pairs)
	for _, k := range []string{"a", "b", "aa", "c", "null"} {
		if err := in.PipeRecord(rec(k, "v", 1)); err != nil {
			t.Fatal(err)
		}
	}
	last := map[point]string{}
	for _, r := range streamtest.Output(d, stream.NewTopic("points", serde.JSON[point](), serde.String)).All() {
		last[r.Key] = r.Value
	}
	if len(last) != 2 || last[point{X: 1}] != "1 3" || last[point{X: 2}] != "2 1" {
		t.Errorf("counts %v", last)
	}
}

// What With says of a source is for what lies below it, not for the topic.
func TestWithAfterFrom(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		s := stream.From(b, numbers).With(serde.String, serde.JSON[int64]())
		stream.MapValues(s, func(n int64) string { return fmt.Sprint(n) }).To(out)
	}))
	streamtest.Input(d, numbers).Pipe("a", 7, 0)
	expect(t, streamtest.Output(d, out).All(), "a=7@0")
}

func TestPrint(t *testing.T) {
	var w bytes.Buffer
	keyed := stream.NewTopic("keyed", serde.Nullable(serde.Int64), serde.JSON[point]())
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		stream.From(b, pairs).Print(&w)
		stream.From(b, lines).Print(&w, stream.Named("shown"))
		stream.From(b, keyed).Print(&w, stream.Label("a label"))
	}))
	in := streamtest.Input(d, pairs)
	for _, r := range []stream.Record[string, string]{rec("a", "b c", 1), rec("null", "x", 2), rec("a", "null", 3)} {
		if err := in.PipeRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	streamtest.Input(d, lines).Pipe([]byte("text"), "1", 0)
	streamtest.Input(d, lines).Pipe([]byte{0, 255}, "2", 0)
	streamtest.Input(d, keyed).Pipe(new(int64(5)), point{1, 2}, 0)
	streamtest.Input(d, keyed).Pipe(nil, point{}, 0)
	want := "[pairs.print1]: a, b c\n[pairs.print1]: null, x\n[pairs.print1]: a, null\n" +
		"[shown]: text, 1\n[shown]: [0 255], 2\n[a label]: 5, {X:1 Y:2}\n[a label]: null, {X:0 Y:0}\n"
	if w.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", w.String(), want)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no paper") }

func TestPrintFails(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *stream.Builder) { stream.From(b, pairs).Print(brokenWriter{}) }))
	err := streamtest.Input(d, pairs).PipeRecord(rec("a", "b", 1))
	if err == nil || !strings.Contains(err.Error(), "branches_test.go:") || !strings.Contains(err.Error(), "no paper") {
		t.Errorf("got %v", err)
	}
}

// A topic that is to be read from its end is read from where that is when the application first starts, and from
// there on nothing is left out: neither after an abort nor after a stop.
func TestStartAtTheEnd(t *testing.T) {
	t.Run("aborted before the first commit", func(t *testing.T) {
		d := streamtest.New(t, build(t, func(b *stream.Builder) { stream.From(b, pairs, stream.StartAt(stream.Latest)).To(out) }), streamtest.Partitions(2))
		in := streamtest.Input(d, pairs)
		in.Pipe("a", "1", 0)
		d.Abort()
		in.Pipe("a", "2", 0)
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		expect(t, streamtest.Output(d, out).Committed(), "a=1@0", "a=2@0")
	})
	t.Run("stopped", func(t *testing.T) {
		lg := openLog(t, t.TempDir(), 1)
		defer lg.Close()
		topology := build(t, func(b *stream.Builder) {
			words := stream.FlatMapValues(stream.From(b, lines, stream.StartAt(stream.Latest)), strings.FieldsSeq)
			stream.Map(words, func(_ []byte, w string) (string, int64) { return w, 1 }).To(wordCounts)
		})
		run := func(meanwhile func()) {
			app, err := stream.New(topology, stream.Config{ApplicationID: "late-riser", Broker: lg, StateDir: t.TempDir(), Logger: discard})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- app.Run(ctx) }()
			for _, then := range []func(){meanwhile, func() {}} {
				if err := app.WaitIdle(t.Context()); err != nil {
					t.Fatal(err)
				}
				then()
			}
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		appendLines(t, lg, 1, "before the start")
		run(func() {})
		appendLines(t, lg, 1, "while", "away")
		run(func() { appendLines(t, lg, 1, "running") })
		got, _ := committedCounts(t, lg, 1)
		if len(got) != 3 || got["while"] != 1 || got["away"] != 1 || got["running"] != 1 {
			t.Errorf("got %v, want what came after the first start", got)
		}
	})
}

// Faults of these operators have the place.
func TestBuildErrorsOfBranches(t *testing.T) {
	for name, c := range map[string]struct {
		build func(b *stream.Builder)
		want  string
	}{
		"rest twice": {func(b *stream.Builder) {
			sp := stream.From(b, pairs).Split()
			sp.Rest()
			sp.Rest()
		}, "Rest was called before, at branches_test.go:"},
		"start differs": {func(b *stream.Builder) {
			stream.From(b, pairs, stream.StartAt(stream.Latest))
			stream.From(b, pairs, stream.StartAt(stream.Earliest))
		}, "is read again at branches_test.go:"},
		"start unknown": {func(b *stream.Builder) {
			stream.From(b, pairs, stream.StartAt(7))
		}, "StartAt(7): it is Earliest or Latest"},
		"no serde": {func(b *stream.Builder) {
			stream.Map(stream.From(b, pairs), func(k, v string) (point, string) { return point{}, v }).Repartition()
		}, "no serde for key type stream_test.point"},
	} {
		t.Run(name, func(t *testing.T) {
			b := stream.NewBuilder()
			c.build(b)
			_, err := b.Build()
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "branches_test.go:") {
				t.Errorf("got %v, want %q and the place", err, c.want)
			}
		})
	}
}
