package streamtest_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

var (
	given  = stream.NewTopic("given", serde.String, serde.String)
	passed = stream.NewTopic("passed", serde.String, serde.String)
)

// passOn has everything go from one topic to the other.
func passOn(t testing.TB) *streamtest.Driver {
	b := stream.NewBuilder()
	stream.From(b, given).To(passed)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return streamtest.New(t, topology)
}

type pair = streamtest.KeyValue[string, string]

func TestLists(t *testing.T) {
	d := passOn(t)
	in, out := streamtest.Input(d, given), streamtest.Output(d, passed)

	in.PipeAll(time.Second, 2*time.Second, pair{"a", "1"}, pair{"b", "2"}, pair{"a", "3"})
	if n := out.Len(); n != 3 {
		t.Errorf("%d records to read", n)
	}
	r, _ := out.Next()
	if r.Key != "a" || r.Timestamp != 1000 || out.Len() != 2 {
		t.Errorf("the first record is %v, and %d follow", r, out.Len())
	}
	r, _ = out.Next()
	if r.Key != "b" || r.Timestamp != 3000 {
		t.Errorf("the second record is %v", r)
	}
	if got := out.KeyValues(); !slices.Equal(got, []pair{{"a", "3"}}) || out.Len() != 0 {
		t.Errorf("got %v, and %d follow", got, out.Len())
	}

	in.PipeValues(0, time.Second, "x", "y")
	records := out.All()
	if len(records) != 2 || !records[1].KeyIsNull() || records[1].Value != "y" || records[1].Timestamp != 1000 {
		t.Errorf("got %v", records)
	}
	in.PipeValues(0, time.Second, "x", "y")
	if got := out.Values(); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("got %q", got)
	}

	in.PipeAll(0, 0, pair{"a", "1"}, pair{"b", "2"}, pair{"a", "3"})
	if err := in.PipeRecord(stream.Record[string, string]{Key: "b"}.WithNullValue()); err != nil {
		t.Fatal(err)
	}
	in.PipeValues(0, 0, "z")
	if got := streamtest.Map(out); !maps.Equal(got, map[string]string{"a": "3"}) {
		t.Errorf("got %v", got)
	}
}

// A table of what was sent last, from records a minute apart.
func ExampleMap() {
	t := &exampleTB{} // in a test: its own t
	defer t.end()
	d := passOn(t)
	streamtest.Input(d, given).PipeAll(0, time.Minute, pair{"ann", "Prague"}, pair{"bob", "Brno"}, pair{"ann", "Tábor"})
	fmt.Println(streamtest.Map(streamtest.Output(d, passed)))
	// Output: map[ann:Tábor bob:Brno]
}
