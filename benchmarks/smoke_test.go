//go:build unix

package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
)

// TestMain plays the parts that recovery gives to processes of its own.
func TestMain(m *testing.M) {
	if part := os.Getenv(partEnv); part != "" {
		if err := runPart(context.Background(), part); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// report runs a benchmark on next to nothing and returns what it prints.
func report(t *testing.T, run func(context.Context, options) error, o options) string {
	var out strings.Builder
	o.out, o.size, o.trials, o.dir = &out, 0.0001, 1, t.TempDir()
	if err := run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if left, err := os.ReadDir(o.dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	return out.String()
}

func wantLines(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(out) {
			t.Errorf("no line is like %q:\n%s", p, out)
		}
	}
}

func TestAlone(t *testing.T) {
	wantLines(t, report(t, alone, options{}), "^append +[0-9]", "^words, on commit +[0-9]", "^words, each update +[0-9]", "^count, 1M keys +[0-9]")
	if out := report(t, alone, options{only: "count"}); strings.Contains(out, "append") {
		t.Errorf("-only count runs another:\n%s", out)
	}
	if err := alone(t.Context(), options{only: "nonsense", size: 1}); err == nil || !strings.Contains(err.Error(), "words, on commit") {
		t.Errorf("-only nonsense: %v", err)
	}
}

// How long it takes is for the report to say: this machine may have more to do.
func TestRecovery(t *testing.T) {
	wantLines(t, report(t, recovery, options{}), "clean stop +[0-9.]+ s .*below 1s", "appended to +[0-9.]+ s .*below 10s", "runs again .* s .*below 3s", "restored from the changelog +[0-9.]+ s")
}

// TestCompare needs a JDK and Maven, and is skipped without; MOLDAU_PEERS=require makes it fail instead.
func TestCompare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: two JVMs start and warm up")
	}
	if err := peers.Available(); err != nil {
		if os.Getenv("MOLDAU_PEERS") == "require" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	wantLines(t, report(t, compare, options{only: "words"}),
		"^    Kafka Streams", "^    Moldau, embedded, SyncOS .* CPU of all", "^    Moldau, embedded, SyncCommit .* CPU of all",
		"^    Moldau, on the same broker .* CPU of the application")
}

// A topology that counts wrongly is not measured: the run fails.
func TestWrongCountFails(t *testing.T) {
	for name, topology := range map[string]func(words *stream.Stream[[]byte, string]) *stream.Stream[[]byte, string]{
		"a word left out": func(words *stream.Stream[[]byte, string]) *stream.Stream[[]byte, string] {
			return words.Filter(func(_ []byte, w string) bool { return w != vocabulary()[0] })
		},
		"each word twice": func(words *stream.Stream[[]byte, string]) *stream.Stream[[]byte, string] {
			return stream.FlatMapValues(words, func(w string) iter.Seq[string] { return slices.Values([]string{w, w}) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := jobs(options{size: 0.0001})[0]
			j.build = func(output string) (*stream.Topology, error) {
				b := stream.NewBuilder()
				lines := stream.From(b, stream.NewTopic("lines", serde.Bytes, serde.String))
				words := topology(stream.FlatMapValues(lines, strings.FieldsSeq))
				stream.GroupBy(words, func(_ []byte, w string) string { return w }).Count().
					ToStream().To(stream.NewTopic(output, serde.String, serde.Int64))
				return b.Build()
			}
			var m meter
			if err := j.embedded(t.Context(), t.TempDir(), log.SyncOS, &m); err == nil || !strings.Contains(err.Error(), "the count of") {
				t.Errorf("the run ends with %v", err)
			}
		})
	}
}
