package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Orders meet the price that held when they were placed, whenever they come.
func ExampleTable_As() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	prices := stream.NewTopic("prices", serde.String, serde.Int64)
	invoices := stream.NewTopic("invoices", serde.String, serde.Int64)

	b := stream.NewBuilder()
	priceList := stream.TableFrom(b, prices).As(state.NewVersioned("price-list", serde.String, serde.Int64, time.Hour))
	stream.JoinTable(stream.From(b, orders), priceList, func(pieces, price int64) int64 { return pieces * price }).To(invoices)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		price, order := streamtest.Input(d, prices), streamtest.Input(d, orders)
		price.Pipe("tea", 5, 1*time.Minute)
		price.Pipe("tea", 8, 10*time.Minute)
		order.Pipe("tea", 2, 12*time.Minute)
		order.Pipe("tea", 2, 9*time.Minute) // late
		for _, r := range streamtest.Output(d, invoices).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// tea 16
	// tea 10
}

// A price that comes late is still found, by orders that wait for it.
func ExampleGrace() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	prices := stream.NewTopic("prices", serde.String, serde.Int64)
	invoices := stream.NewTopic("invoices", serde.String, serde.Int64)

	b := stream.NewBuilder()
	priceList := stream.TableFrom(b, prices).As(state.NewVersioned("price-list", serde.String, serde.Int64, time.Hour))
	stream.JoinTable(stream.From(b, orders), priceList, func(pieces, price int64) int64 { return pieces * price },
		stream.Grace(5*time.Minute)).To(invoices)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		price, order := streamtest.Input(d, prices), streamtest.Input(d, orders)
		invoice := streamtest.Output(d, invoices)
		price.Pipe("tea", 5, 1*time.Minute)
		order.Pipe("tea", 2, 11*time.Minute) // waits until the orders' time is 16 minutes
		price.Pipe("tea", 8, 10*time.Minute) // just in time
		fmt.Println("invoices:", len(invoice.All()))
		order.Pipe("tea", 1, 16*time.Minute)
		for _, r := range invoice.All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// invoices: 0
	// tea 16
}
