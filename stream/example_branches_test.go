package stream_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Each order goes down the first branch that takes it.
func ExampleStream_Split() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	large := orders.WithName("large-orders")
	small := orders.WithName("small-orders")

	b := stream.NewBuilder()
	sp := stream.From(b, orders).Split()
	sp.Branch(func(_ string, cents int64) bool { return cents >= 10_000 }).To(large)
	sp.Rest().To(small)
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
			fmt.Println("large:", r.Key, r.Value)
		}
		for _, r := range streamtest.Output(d, small).All() {
			fmt.Println("small:", r.Key, r.Value)
		}
	})
	// Output:
	// large: ann 12050
	// small: ben 99
}

// Each order goes to the topic of its customer's country, which is the first part of the key.
func ExampleStream_ToFunc() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)

	b := stream.NewBuilder()
	stream.From(b, orders).ToFunc(func(r stream.Record[string, int64]) stream.Topic[string, int64] {
		country, _, _ := strings.Cut(r.Key, "/")
		return orders.WithName("orders-" + country)
	})
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology, streamtest.Topics("orders-cz", "orders-de"))
		in := streamtest.Input(d, orders)
		in.Pipe("cz/ann", 12_050, 0)
		in.Pipe("de/ben", 99, time.Second)
		for _, r := range streamtest.Output(d, orders.WithName("orders-cz")).All() {
			fmt.Println("cz:", r.Key, r.Value)
		}
		for _, r := range streamtest.Output(d, orders.WithName("orders-de")).All() {
			fmt.Println("de:", r.Key, r.Value)
		}
	})
	// Output:
	// cz: cz/ann 12050
	// de: de/ben 99
}

// Print shows what passes by.
func ExampleStream_Print() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)

	b := stream.NewBuilder()
	s := stream.From(b, orders)
	s.Print(os.Stdout, stream.Label("order"))
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		streamtest.Input(d, orders).Pipe("ann", 12_050, 0)
	})
	// Output: [order]: ann, 12050
}
