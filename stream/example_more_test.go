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

// Streams of differing types are folded into one row for each key.
func ExampleCogroup() {
	deposits := stream.NewTopic("deposits", serde.String, serde.Int64)
	notes := stream.NewTopic("notes", serde.String, serde.String)
	accounts := state.NewKeyValue("accounts", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.Cogroup(
		stream.CoPart(stream.GroupByKey(stream.From(b, deposits)), func(_ string, cents int64, a string) string {
			return fmt.Sprint(a, " +", cents)
		}),
		stream.CoPart(stream.GroupByKey(stream.From(b, notes)), func(_ string, note string, a string) string {
			return a + " (" + note + ")"
		}),
	).Aggregate(stream.Zero[string]).As(accounts)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		streamtest.Input(d, deposits).Pipe("ann", 500, 0)
		streamtest.Input(d, notes).Pipe("ann", "for the roof", time.Second)
		streamtest.Input(d, deposits).Pipe("ann", 70, 2*time.Second)
		for _, row := range streamtest.Rows(d, accounts) {
			fmt.Println(row.Key + row.Value)
		}
	})
	// Output: ann +500 (for the roof) +70
}

// An aggregate of a table follows its rows: what a row was is taken out, what it is is put in.
func ExampleAggregateTable() {
	type price struct {
		Shop  string
		Cents int64
	}
	prices := stream.NewTopic("prices", serde.String, serde.JSON[price]())
	stock := state.NewKeyValue("stock", serde.String, serde.Int64)

	b := stream.NewBuilder()
	byShop := stream.GroupTable(stream.TableFrom(b, prices), func(_ string, p price) (string, int64) { return p.Shop, p.Cents })
	stream.AggregateTable(byShop, stream.Zero[int64],
		func(_ string, cents, sum int64) int64 { return sum + cents },
		func(_ string, cents, sum int64) int64 { return sum - cents }).As(stock)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, prices)
		in.Pipe("chair", price{"north", 4000}, 0)
		in.Pipe("table", price{"north", 9000}, 0)
		in.Pipe("chair", price{"south", 3500}, 0) // is somewhere else now, and cheaper
		for _, row := range streamtest.Rows(d, stock) {
			fmt.Println(row.Key, row.Value)
		}
	})
	// Output:
	// north 9000
	// south 3500
}

// Two streams become one.
func ExampleStream_Merge() {
	web := stream.NewTopic("web-orders", serde.String, serde.String)
	phone := stream.NewTopic("phone-orders", serde.String, serde.String)
	orders := stream.NewTopic("orders", serde.String, serde.String)

	b := stream.NewBuilder()
	byPhone := stream.MapValues(stream.From(b, phone), func(order string) string { return order + ", by phone" })
	stream.From(b, web).Merge(byPhone).To(orders)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		streamtest.Input(d, web).Pipe("ann", "a chair", 0)
		streamtest.Input(d, phone).Pipe("ben", "a table", time.Second)
		for _, r := range streamtest.Output(d, orders).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// ann a chair
	// ben a table, by phone
}

// One record becomes several, or none; keys can be chosen anew.
func ExampleFlatMapValues() {
	lines := stream.NewTopic("lines", serde.String, serde.String)
	byWord := stream.NewTopic("by-word", serde.String, serde.String)

	b := stream.NewBuilder()
	words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
	long := words.FilterNot(func(_, word string) bool { return len(word) < 4 })
	stream.Map(long, func(line, word string) (string, string) { return word, line }).To(byWord)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, lines)
		in.Pipe("first", "so it goes on", 0)
		in.Pipe("second", "", time.Second)
		in.Pipe("third", "like a river", 2*time.Second)
		for _, r := range streamtest.Output(d, byWord).All() {
			fmt.Println(r.Key, "in", r.Value)
		}
	})
	// Output:
	// goes in first
	// like in third
	// river in third
}

// A name that is pinned stays when the program changes, and so do the store and the topics that are called after it.
// Here the operators' own would be orders.GroupBy and orders.GroupBy.Count.
func ExampleNamed() {
	orders := stream.NewTopic("orders", serde.String, serde.String)
	b := stream.NewBuilder()
	byCity := stream.GroupBy(stream.From(b, orders), func(_, city string) string { return city }, stream.Named("by-city"))
	byCity.Count(stream.Named("per-city"))
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
	//       --> by-city
	//     Processor: by-city (stores: [])
	//       --> by-city.repartition1
	//       <-- orders
	//     Sink: by-city.repartition1 (topic: by-city-repartition)
	//       <-- by-city
	//
	//    Sub-topology: 1
	//     Source: by-city.repartitioned (topics: [by-city-repartition])
	//       --> per-city
	//     Processor: per-city (stores: [per-city])
	//       --> none
	//       <-- by-city.repartitioned
}

// Types that are not built in need to be told how they are encoded, where they are kept or go through a topic. What is
// not told is found when the topology is built.
func ExampleStream_With() {
	type visit struct{ Page string }
	visits := stream.NewTopic("visits", serde.String, serde.String)

	topology := func(serdes bool) (*stream.Topology, error) {
		b := stream.NewBuilder()
		s := stream.MapValues(stream.From(b, visits), func(page string) visit { return visit{page} })
		if serdes {
			s.With(serde.String, serde.JSON[visit]())
		}
		stream.GroupBy(s, func(_ string, v visit) string { return v.Page }).Count()
		return b.Build()
	}
	_, err := topology(false)
	fmt.Println(err)
	_, err = topology(true)
	fmt.Println(err)
	// Output:
	// example_more_test.go:186: Repartition: no serde for value type stream_test.visit; give one with With(keySerde, valueSerde)
	// <nil>
}
