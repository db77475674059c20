package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// A stream's records find the rows that a table has when they come.
func ExampleLeftJoinTable() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	cities := stream.NewTopic("cities", serde.String, serde.String)
	shipped := stream.NewTopic("shipped", serde.String, serde.String)

	b := stream.NewBuilder()
	ship := stream.LeftJoinTable(stream.From(b, orders), stream.TableFrom(b, cities),
		func(pieces int64, city string, ok bool) string {
			if !ok {
				city = "nowhere yet"
			}
			return fmt.Sprintf("%d to %s", pieces, city)
		})
	ship.To(shipped)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		order, city := streamtest.Input(d, orders), streamtest.Input(d, cities)
		city.Pipe("ann", "Brno", 1*time.Second)
		order.Pipe("ann", 3, 2*time.Second)
		order.Pipe("bob", 5, 3*time.Second)
		city.Pipe("bob", "Prague", 4*time.Second)
		order.Pipe("bob", 7, 5*time.Second)
		for _, r := range streamtest.Output(d, shipped).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// ann 3 to Brno
	// bob 5 to nowhere yet
	// bob 7 to Prague
}
