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

func TestBuildEmpty(t *testing.T) {
	if _, err := stream.NewBuilder().Build(); err == nil || !strings.Contains(err.Error(), "the topology is empty") {
		t.Errorf("got %v", err)
	}
}

// Of one broken stream only the first fault is said.
func TestBuildErrorsOfABrokenStream(t *testing.T) {
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
