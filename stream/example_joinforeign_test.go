package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// An order points to its customer: when either changes, so does the result. Orders are keyed by their own number,
// customers by theirs, and the two topics may have any numbers of partitions.
func ExampleJoinForeign() {
	type order struct{ Customer, Item string }
	orders := stream.NewTopic("orders", serde.String, serde.JSON[order]())
	customers := stream.NewTopic("customers", serde.String, serde.String)
	labels := stream.NewTopic("labels", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.JoinForeign(stream.TableFrom(b, orders), stream.TableFrom(b, customers),
		func(_ string, o order) (customer string, ok bool) { return o.Customer, o.Customer != "" },
		func(o order, address string) string { return o.Item + " to " + address }).
		ToStream().To(labels)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology, streamtest.PartitionsOf(customers.Name(), 3))
		placed, customer := streamtest.Input(d, orders), streamtest.Input(d, customers)
		customer.Pipe("ann", "Brno", 1*time.Second)
		placed.Pipe("#1", order{"ann", "a harp"}, 2*time.Second)
		placed.Pipe("#2", order{"ann", "a score"}, 3*time.Second)
		placed.Pipe("#3", order{"bob", "a baton"}, 4*time.Second) // there is no bob
		customer.Pipe("ann", "Prague", 5*time.Second)             // changes two rows
		placed.Pipe("#2", order{"bob", "a score"}, 6*time.Second)
		for _, r := range streamtest.Output(d, labels).All() {
			fmt.Printf("%s %q gone: %t\n", r.Key, r.Value, r.ValueIsNull())
		}
	})
	// Output:
	// #1 "a harp to Brno" gone: false
	// #2 "a score to Brno" gone: false
	// #1 "a harp to Prague" gone: false
	// #2 "a score to Prague" gone: false
	// #2 "" gone: true
}
