package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// A table has the last value of each key; what is made of it changes with it.
func ExampleTableFrom() {
	cities := stream.NewTopic("cities", serde.String, serde.String)
	shouted := stream.NewTopic("shouted", serde.String, serde.String)

	b := stream.NewBuilder()
	inPrague := stream.TableFrom(b, cities).Filter(func(_, city string) bool { return city == "Praha" })
	stream.MapTable(inPrague, func(_, city string) string { return strings.ToUpper(city) }).
		As(state.NewKeyValue("in-prague", serde.String, serde.String)).
		ToStream().To(shouted)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, cities)
		in.Pipe("ann", "Praha", 0)
		in.Pipe("ann", "Brno", 0)
		for _, r := range streamtest.Output(d, shouted).All() {
			fmt.Printf("%s %q gone: %t\n", r.Key, r.Value, r.ValueIsNull())
		}
	})
	// Output:
	// ann "PRAHA" gone: false
	// ann "" gone: true
}

// Who moves to another city is counted there, and no longer where they were.
func ExampleGroupTable() {
	cities := stream.NewTopic("cities", serde.String, serde.String)
	inhabitants := state.NewKeyValue("inhabitants", serde.String, serde.Int64)

	b := stream.NewBuilder()
	byCity := stream.GroupTable(stream.TableFrom(b, cities), func(name, city string) (string, string) { return city, name })
	byCity.Count().As(inhabitants)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, cities)
		in.Pipe("ann", "Praha", 0)
		in.Pipe("ben", "Praha", 0)
		in.Pipe("ann", "Brno", 0)
		for _, row := range streamtest.Rows(d, inhabitants) {
			fmt.Println(row.Key, row.Value)
		}
	})
	// Output:
	// Brno 1
	// Praha 1
}

// A join of tables changes whenever one of them does.
func ExampleLeftJoinTables() {
	users := stream.NewTopic("users", serde.String, serde.String)
	visits := stream.NewTopic("visits", serde.String, serde.Int64)
	profiles := stream.NewTopic("profiles", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.LeftJoinTables(stream.TableFrom(b, users), stream.GroupByKey(stream.From(b, visits)).Count(),
		func(name string, n int64, ok bool) string {
			if !ok {
				return name + " was never here"
			}
			return fmt.Sprint(name, ": ", n)
		}).ToStream().To(profiles)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		streamtest.Input(d, users).Pipe("u1", "Ann", 0)
		streamtest.Input(d, visits).Pipe("u1", 1, 0)
		streamtest.Input(d, visits).Pipe("u2", 1, 0)
		for _, r := range streamtest.Output(d, profiles).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// u1 Ann was never here
	// u1 Ann: 1
}
