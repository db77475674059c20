package stream_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

var (
	lines      = stream.NewTopic("lines", serde.Bytes, serde.String)
	wordCounts = stream.NewTopic("word-counts", serde.String, serde.Int64)
	counts     = state.NewKeyValue("counts", serde.String, serde.Int64)
	pairs      = stream.NewTopic("pairs", serde.String, serde.String)
	numbers    = stream.NewTopic("numbers", serde.String, serde.Int64)
)

// point has no built-in serde.
type point struct{ X, Y int }

// Each fault names the line of the operator it is about, and what to do.
func TestBuildErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  []string // each in the message; "HERE" is this file
	}{
		{"nothing", func(b *stream.Builder) {}, []string{"the topology is empty"}},
		{"topic name", func(b *stream.Builder) {
			stream.From(b, lines.WithName("a/b")).ForEach(func([]byte, string) {})
		}, []string{"HERE", "From", `topic name "a/b" has '/'`}},
		{"sink topic name", func(b *stream.Builder) {
			stream.From(b, lines).To(lines.WithName(""))
		}, []string{"HERE", "To: topic name is empty"}},
		{"no serde in topic", func(b *stream.Builder) {
			stream.From(b, stream.NewTopic[string, string]("x", serde.String, nil))
		}, []string{"HERE", `topic "x" has no value serde`}},
		{"two types", func(b *stream.Builder) {
			stream.From(b, lines)
			stream.From(b, stream.NewTopic("lines", serde.String, serde.Int64))
		}, []string{"HERE", `topic "lines" is declared with types string, int64`, "[]uint8, string at builder_test.go:"}},
		{"two serdes", func(b *stream.Builder) {
			stream.From(b, stream.NewTopic("x", serde.String, serde.Int64))
			stream.From(b, stream.NewTopic("x", serde.String, serde.JSON[int64]()))
		}, []string{"HERE", `topic "x" is declared with serdes`, "share the handle"}},
		{"partitions", func(b *stream.Builder) {
			stream.GroupBy(stream.From(b, lines), func(_ []byte, l string) string { return l }, stream.Partitions(0)).Count()
		}, []string{"HERE", "GroupBy: Partitions(0): a topic has at least 1 partition"}},
		{"no repartition", func(b *stream.Builder) {
			stream.GroupByKey(stream.From(b, pairs), stream.Partitions(3)).Count()
		}, []string{"HERE", "GroupByKey", "the keys did not change"}},
		{"missing key serde", func(b *stream.Builder) {
			stream.GroupBy(stream.From(b, lines), func(_ []byte, l string) point { return point{} }).Count()
		}, []string{"HERE", "no serde for key type stream_test.point", "With(keySerde, valueSerde)"}},
		{"missing value serde", func(b *stream.Builder) {
			stream.Aggregate(stream.GroupByKey(stream.From(b, pairs)), stream.Zero[point],
				func(string, string, point) point { return point{} })
		}, []string{"HERE", "Aggregate: no serde for value type stream_test.point of the store", "As(store)"}},
		{"name twice", func(b *stream.Builder) {
			s := stream.From(b, pairs)
			s.Filter(func(string, string) bool { return true }, stream.Named("f"))
			s.FilterNot(func(string, string) bool { return true }, stream.Named("f"))
		}, []string{"HERE", `FilterNot "f": the name "f" is taken by Filter at builder_test.go:`}},
		{"bad name", func(b *stream.Builder) {
			stream.From(b, pairs).Peek(func(string, string) {}, stream.Named("a b"))
		}, []string{"HERE", `Peek "a b": Named:`, "' '"}},
		{"empty name", func(b *stream.Builder) {
			stream.From(b, pairs).Peek(func(string, string) {}, stream.Named(""))
		}, []string{"HERE", "Named: the name is empty"}},
		{"store twice", func(b *stream.Builder) {
			g := stream.GroupByKey(stream.From(b, pairs))
			g.Count().As(counts)
			g.Count().As(counts)
		}, []string{"HERE", `the store name "counts" is taken by Count at builder_test.go:`}},
		{"As twice", func(b *stream.Builder) {
			stream.GroupByKey(stream.From(b, pairs)).Count().As(counts).
				As(state.NewKeyValue("other", serde.String, serde.Int64))
		}, []string{"HERE", "As(other)", `kept in store "counts" already`}},
		{"store name", func(b *stream.Builder) {
			stream.GroupByKey(stream.From(b, pairs)).Count().As(state.NewKeyValue("a/b", serde.String, serde.Int64))
		}, []string{"HERE", `store "a/b"`, "'/'"}},
		{"two builders", func(b *stream.Builder) {
			stream.From(b, pairs).Merge(stream.From(stream.NewBuilder(), pairs))
		}, []string{"HERE", "Merge: the two streams are of different builders"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := stream.NewBuilder()
			c.build(b)
			_, err := b.Build()
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if w == "HERE" {
					w = "builder_test.go:"
				}
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in:\n%v", w, err)
				}
			}
		})
	}
}

// All faults come together, and of one broken stream only the first.
func TestBuildErrorsTogether(t *testing.T) {
	b := stream.NewBuilder()
	bad := stream.From(b, lines.WithName("a b"))
	bad.Filter(func([]byte, string) bool { return true }, stream.Named("x y"))
	stream.From(b, pairs).To(pairs.WithName("c d"))
	_, err := b.Build()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatalf("got %v", err)
	}
	if n := len(joined.Unwrap()); n != 2 {
		t.Errorf("%d errors, want 2: %v", n, err)
	}
}

func TestBuildTwice(t *testing.T) {
	b := stream.NewBuilder()
	stream.From(b, pairs).ForEach(func(string, string) {})
	if _, err := b.Build(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Build(); err == nil {
		t.Error("no error")
	}
}

// A topic read twice is one source.
func TestFromTwice(t *testing.T) {
	b := stream.NewBuilder()
	stream.From(b, pairs).Filter(func(string, string) bool { return true })
	stream.From(b, pairs).FilterNot(func(string, string) bool { return true })
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(topology.Describe(), "Source:"); n != 1 {
		t.Errorf("%d sources in\n%s", n, topology.Describe())
	}
}

func TestConfigErrors(t *testing.T) {
	b := stream.NewBuilder()
	stream.From(b, pairs).ForEach(func(string, string) {})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.New(topology, stream.Config{ApplicationID: "a/b", Workers: -1, Guarantee: 7, Emit: -1})
	for _, want := range []string{"ApplicationID", "Broker is nil", "Workers is negative", "Guarantee is 7", "Emit is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := stream.New(nil, stream.Config{}); err == nil {
		t.Error("no error for a nil topology")
	}
}
