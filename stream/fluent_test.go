//go:build go1.27

package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// From Go 1.27 on a topology is one chain.
func Example_fluent() {
	lines := stream.NewTopic("lines", serde.String, serde.String)
	counts := stream.NewTopic("counts", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.From(b, lines).
		FlatMapValues(strings.FieldsSeq).
		MapValues(strings.ToLower).
		GroupBy(func(_, word string) string { return word }).
		Aggregate(stream.Zero[int64], func(_, _ string, n int64) int64 { return n + 1 }).
		ToStream().
		MapValues(func(n int64) string { return fmt.Sprint(n) }).
		To(counts)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		streamtest.Input(d, lines).Pipe("", "The Moldau, the river", 0)
		for _, r := range streamtest.Output(d, counts).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// the 1
	// moldau, 1
	// the 2
	// river 1
}
