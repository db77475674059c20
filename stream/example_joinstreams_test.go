package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

// Orders and their payments come as two streams. An order that is not paid within a minute gives a result too,
// as soon as that is certain.
func ExampleLeftJoinStreams() {
	orders := stream.NewTopic("orders", serde.String, serde.Int64)
	payments := stream.NewTopic("payments", serde.String, serde.Int64)
	settled := stream.NewTopic("settled", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.LeftJoinStreams(stream.From(b, orders), stream.From(b, payments),
		windows.Within(time.Minute).Before(0).WithGrace(10*time.Second),
		func(due, paid int64, ok bool) string {
			if !ok {
				return "not paid"
			}
			return fmt.Sprintf("paid %d of %d", paid, due)
		}).To(settled)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		order, payment := streamtest.Input(d, orders), streamtest.Input(d, payments)
		order.Pipe("A", 100, 0)
		order.Pipe("B", 200, 5*time.Second)
		payment.Pipe("B", 150, 40*time.Second)
		order.Pipe("C", 300, 70*time.Second)
		order.Pipe("D", 400, 71*time.Second) // order A's window ended at 60 s, and its grace at 70 s
		for _, r := range streamtest.Output(d, settled).All() {
			fmt.Println(r.Key, r.Value, "at", time.Duration(r.Timestamp)*time.Millisecond)
		}
	})
	// Output:
	// B paid 150 of 200 at 40s
	// A not paid at 0s
}
