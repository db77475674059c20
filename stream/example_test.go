package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Stateless operators look at one record at a time.
func Example_stateless() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	large := stream.NewTopic("large-orders", serde.String, serde.String)

	b := stream.NewBuilder()
	s := stream.From(b, orders).
		Filter(func(customer string, cents int64) bool { return cents >= 10_000 })
	stream.MapValues(s, func(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }).
		To(large)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, orders)
		in.Pipe("ann", 12_050, 0)
		in.Pipe("ben", 99, time.Second)
		for _, r := range streamtest.Output(d, large).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output: ann 120.50
}

// Aggregations keep one row for each key.
func ExampleAggregate() {
	type stats struct{ N, Sum int64 }
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	totals := stream.NewTopic("totals", serde.String, serde.JSON[stats]())
	store := state.NewKeyValue("totals-store", serde.String, serde.JSON[stats]())

	b := stream.NewBuilder()
	stream.Aggregate(stream.GroupByKey(stream.From(b, orders)), stream.Zero[stats],
		func(customer string, cents int64, s stats) stats { return stats{s.N + 1, s.Sum + cents} }).
		As(store).
		ToStream().To(totals)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, orders)
		in.Pipe("ann", 500, 0)
		in.Pipe("ben", 100, time.Second)
		in.Pipe("ann", 250, 2*time.Second)
		for _, row := range streamtest.Rows(d, store) {
			fmt.Println(row.Key, row.Value.N, row.Value.Sum)
		}
	})
	// Output:
	// ann 2 750
	// ben 1 100
}

// A new key sends the stream through a repartition topic, so that equal keys come together.
func ExampleGroupBy() {
	lines := stream.NewTopic("lines", serde.Bytes, serde.String)
	counts := state.NewKeyValue("counts", serde.String, serde.Int64)

	b := stream.NewBuilder()
	words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
	stream.GroupBy(words, func(_ []byte, w string) string { return w }).Count().As(counts)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology, streamtest.Partitions(4))
		streamtest.Input(d, lines).Pipe(nil, "so it goes and goes", 0)
		total := int64(0)
		for _, row := range streamtest.Rows(d, counts) {
			total += row.Value
			if row.Key == "goes" {
				fmt.Println(row.Key, row.Value)
			}
		}
		fmt.Println("words", total)
	})
	// Output:
	// goes 2
	// words 5
}

// Describe shows what a topology became: sub-topologies, internal topics, stores.
func ExampleTopology_Describe() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	b := stream.NewBuilder()
	stream.GroupByKey(stream.From(b, orders)).Count(stream.Named("per-customer"))
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(topology.Describe())
	// Output:
	// Topologies:
	//    Sub-topology: 0
	//     Source: orders (topics: [orders])
	//       --> per-customer
	//     Processor: per-customer (stores: [per-customer])
	//       --> none
	//       <-- orders
}
