package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Orders are keyed by customer, and say which product they are for. Products are few: every instance has all of them
// in a global table, so that orders find them whatever their own key is.
func ExampleJoinGlobal() {
	type Order struct {
		Product string
		Pieces  int
	}
	orders := stream.NewTopic("orders", serde.String, serde.JSON[Order]())
	prices := stream.NewTopic("prices", serde.String, serde.Int64)
	bills := stream.NewTopic("bills", serde.String, serde.Int64)

	b := stream.NewBuilder()
	priced := stream.JoinGlobal(stream.From(b, orders), stream.GlobalTableFrom(b, prices),
		func(_ string, o Order) (string, bool) { return o.Product, true },
		func(o Order, price int64) int64 { return int64(o.Pieces) * price })
	priced.To(bills)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		order, price := streamtest.Input(d, orders), streamtest.Input(d, prices)
		price.Pipe("apple", 3, 1*time.Second)
		price.Pipe("pear", 5, 1*time.Second)
		order.Pipe("ann", Order{"pear", 2}, 2*time.Second)
		price.Pipe("pear", 4, 3*time.Second)
		order.Pipe("bob", Order{"pear", 10}, 4*time.Second)
		order.Pipe("ann", Order{"plum", 1}, 5*time.Second) // has no price
		for _, r := range streamtest.Output(d, bills).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// ann 10
	// bob 40
}
