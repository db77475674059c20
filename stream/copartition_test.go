package stream_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

var (
	twos   = stream.NewTopic("twos", serde.String, serde.String)
	threes = stream.NewTopic("threes", serde.String, serde.String)
	fitted = stream.NewTopic("fitted", serde.String, serde.String)
)

func concat(l, r string) string { return l + r }

func byValue(s *stream.Stream[string, string]) *stream.Stream[string, string] {
	return stream.SelectKey(s, func(_, v string) string { return v })
}

// unequal joins topics of 2 and 3 partitions in every way, and counts what is processed.
func unequal(b *stream.Builder, processed *int) {
	l, r := stream.From(b, twos), stream.From(b, threes)
	count := func(string, string) { *processed++ }
	l, r = l.Peek(count), r.Peek(count)
	within := windows.Within(time.Minute)
	stream.JoinStreams(l, r, within, concat)
	stream.JoinStreams(l.Merge(r), l.Merge(r), within, concat)
	stream.JoinTable(l, r.ToTable(), concat)
	stream.JoinTables(l.ToTable(), r.ToTable(), concat)
	add := func(_, v string, n int) int { return n + len(v) }
	stream.Cogroup(stream.CoPart(stream.GroupByKey(l), add), stream.CoPart(stream.GroupByKey(r), add)).Aggregate(stream.Zero[int]).With(serde.String, serde.JSON[int]())
	stream.JoinForeign(l.ToTable(), l.Merge(r).ToTable(), func(_, v string) (string, bool) { return v, true }, concat)
	stream.JoinStreams(byValue(l), r, within, concat, stream.Partitions(5))

	stream.JoinStreams(byValue(l), r, within, concat)
	stream.JoinForeign(l.ToTable(), r.ToTable(), func(_, v string) (string, bool) { return v, true }, concat)
	l.Merge(r).ToTable()
}

// wantUnequal is what is wrong with it, but for the numbers of lines.
var wantUnequal = func() string {
	const (
		two     = `topic "twos" has 2 partitions`
		three   = `topic "threes" has 3 partitions`
		need    = ": for equal keys to meet they need equally many; "
		through = "send all but one of these topics through Repartition first, which then has as many"
	)
	var lines []string
	for _, op := range []string{"JoinStreams", "JoinStreams", "JoinTable", "JoinTables", "CogroupAggregate", "JoinForeign"} {
		lines = append(lines, "copartition_test.go:N: "+op+": "+two+", "+three+need+through)
	}
	return strings.Join(append(lines, `copartition_test.go:N: JoinStreams: repartition topic "app-twos.peek1.selectKey1.repartitionLeft1-repartition" `+
		`has 5 partitions by Partitions at copartition_test.go:N, `+three+need+"leave Partitions out or have it agree"), "\n")
}()

var lineNumber = regexp.MustCompile(`_test\.go:\d+`)

func withoutLines(s string) string { return lineNumber.ReplaceAllString(s, "_test.go:N") }

// copartitionLog opens a log with a topic of 2 partitions and one of 3, with records in both.
func copartitionLog(t *testing.T, dir string) *log.Log {
	t.Helper()
	lg, err := log.Open(dir, log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lg.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "twos", Partitions: 2}, {Name: "threes", Partitions: 3}, {Name: "fitted", Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		for topic, partitions := range map[string]int32{"twos": 2, "threes": 3} {
			k, v := fmt.Sprint("k", i), fmt.Sprint("v", i)
			if topic == "threes" {
				k, v = v, "."
			}
			b := log.NewBlock()
			b.Append(int64(i), []byte(k), []byte(v), nil)
			if _, err := p.Append(t.Context(), log.TopicPartition{Topic: topic, Partition: bridge.KeyPartition([]byte(k), partitions)}, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return lg
}

// Topics that cannot be joined are all told of, before anything is made or processed.
func TestRunRefusesUnequalPartitions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	lg := copartitionLog(t, dir)
	before := partitionsIn(t, dir)
	processed := 0
	topology := build(t, func(b *stream.Builder) { unequal(b, &processed) })
	err := run(t, topology, stream.Config{Broker: lg}, func(app *stream.App) {
		if err := app.WaitIdle(t.Context()); err == nil {
			t.Error("the application runs")
		}
	})
	if err == nil {
		t.Fatal("no error")
	}
	if got := withoutLines(err.Error()); !strings.HasSuffix(got, wantUnequal) {
		t.Errorf("got\n%s\nwant\n%s", got, wantUnequal)
	}
	lines := slices.Compact(lineNumber.FindAllString(err.Error(), -1))
	if len(lines) != strings.Count(wantUnequal, "\n")+1 || !slices.IsSorted(lines) {
		t.Errorf("the operators are said to be at %v", lines)
	}
	if processed != 0 {
		t.Errorf("%d records were processed", processed)
	}
	if after := partitionsIn(t, dir); after != before {
		t.Errorf("there were %d partitions of topics, and there are %d", before, after)
	}
}

// partitionsIn counts the partitions of all topics of a log.
func partitionsIn(t *testing.T, dir string) int {
	t.Helper()
	partitions, err := os.ReadDir(filepath.Join(dir, "topics"))
	if err != nil {
		t.Fatal(err)
	}
	return len(partitions)
}

// The driver refuses them, too.
func TestDriverRefusesUnequalPartitions(t *testing.T) {
	refused := make(chan string)
	go func() {
		defer close(refused)
		topology := build(t, func(b *stream.Builder) {
			stream.JoinStreams(stream.From(b, twos), stream.From(b, threes), windows.Within(time.Minute), concat)
		})
		streamtest.New(refusal{t, refused}, topology, streamtest.Partitions(2), streamtest.PartitionsOf("threes", 3))
	}()
	want, _, _ := strings.Cut(wantUnequal, "\n")
	if got := withoutLines(<-refused); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// refusal is a test that reports how it fails.
type refusal struct {
	testing.TB
	failed chan<- string
}

func (r refusal) Fatalf(format string, a ...any) {
	r.failed <- fmt.Sprintf(format, a...)
	runtime.Goexit()
}

// A side that goes through a repartition topic gets as many partitions there as the other side has, more or fewer than it
// had before: all keys meet.
func TestRepartitionFitsTheOtherSide(t *testing.T) {
	for _, c := range []struct {
		name       string
		topology   func(b *stream.Builder) *stream.Stream[string, string]
		topic      string
		partitions int32
	}{
		{"more", func(b *stream.Builder) *stream.Stream[string, string] {
			return stream.JoinTable(byValue(stream.From(b, twos)), stream.TableFrom(b, threes), concat, stream.Named("fit"))
		}, "app-fit-left-repartition", 3},
		{"fewer", func(b *stream.Builder) *stream.Stream[string, string] {
			dots := stream.Map(stream.From(b, threes), func(k, _ string) (string, string) { return "k" + k[1:], "." })
			return stream.JoinStreams(stream.From(b, twos), dots, windows.Within(time.Minute), concat, stream.Named("fit"))
		}, "app-fit-right-repartition", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			lg := copartitionLog(t, filepath.Join(t.TempDir(), "log"))
			topology := build(t, func(b *stream.Builder) { c.topology(b).To(fitted) })
			if err := run(t, topology, stream.Config{Broker: lg}, waitIdle(t)); err != nil {
				t.Fatal(err)
			}
			got, want := map[string]bool{}, map[string]bool{}
			for r := range committed(t, lg, "fitted", 1) {
				got[r.Value] = true
			}
			for i := range 40 {
				want[fmt.Sprintf("v%d.", i)] = true
			}
			if !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			infos, err := lg.Topics(t.Context(), []string{c.topic})
			if err != nil || infos[0].Err != nil || infos[0].Partitions != c.partitions {
				t.Errorf("%s: %d partitions, want %d; errors %v, %v", c.topic, infos[0].Partitions, c.partitions, infos[0].Err, err)
			}
		})
	}
}
