// Orders settles the orders of a shop: it joins them with their payments, and with the customers who made them.
//
//	go run ./examples/orders [-data DIR] [-seed N] [-speed N]
//
// An hour of a generated shop goes by in a few seconds. Orders and payments are two streams. A payment within ten
// minutes settles its order; two minutes more, the grace, are for payments that are on their way. When they are over,
// an order without a payment is unpaid, and a payment without an order in its time is owed back. Customers are a
// table: who is in it when an order is settled gives the order a country.
//
// Without -data it works in a temporary directory; with it, in DIR, and a later run goes on where this one stopped,
// however it was stopped.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

var (
	orders    = stream.NewTopic("orders", serde.String, serde.JSON[order]())           // by order
	payments  = stream.NewTopic("payments", serde.String, serde.JSON[payment]())       // by order
	customers = stream.NewTopic("customers", serde.String, serde.JSON[customer]())     // by customer
	outcomes  = stream.NewTopic("settled-orders", serde.String, serde.JSON[settled]()) // by customer
	revenue   = stream.NewTopic("revenue", serde.String, serde.Int64)                  // paid cents by country

	known = state.NewKeyValue("known-customers", serde.String, serde.JSON[customer]())
)

// paidIn says which payments belong to an order: those of the ten minutes after it.
var paidIn = windows.Within(10 * time.Minute).Before(0).WithGrace(2 * time.Minute)

func main() { demo.Main(600, run) }

func topology() (*stream.Topology, error) {
	b := stream.NewBuilder()
	outcome := stream.OuterJoinStreams(stream.From(b, orders), stream.From(b, payments), paidIn,
		func(o order, p payment, have stream.Sides) settled {
			switch {
			case !have.Right():
				return settled{State: "unpaid", Customer: o.Customer, Cents: o.Cents}
			case !have.Left():
				return settled{State: "owed back", Cents: p.Cents}
			}
			return settled{State: "paid", Customer: o.Customer, Cents: p.Cents}
		}, stream.Named("settle"))
	named := stream.MapValuesWithKey(outcome, func(id string, s settled) settled {
		s.Order = id
		return s
	})
	// The join above is by order, that with the table by customer: a topic in between brings equal keys together.
	byCustomer := stream.SelectKey(named, func(_ string, s settled) string { return s.Customer }).
		With(serde.String, serde.JSON[settled]())
	full := stream.LeftJoinTable(byCustomer, stream.TableFrom(b, customers).As(known),
		func(s settled, c customer, ok bool) settled {
			s.Country = "unknown"
			if ok {
				s.Name, s.Country = c.Name, c.Country
			}
			return s
		}, stream.Named("enrich"))
	full.To(outcomes)

	paid := full.Filter(func(_ string, s settled) bool { return s.State == "paid" })
	perCountry := stream.GroupBy(paid, func(_ string, s settled) string { return s.Country }, stream.Named("by-country"))
	stream.Aggregate(perCountry.With(serde.String, serde.JSON[settled]()), stream.Zero[int64],
		func(_ string, s settled, sum int64) int64 { return sum + s.Cents }, stream.Named("revenue")).
		ToStream().To(revenue)
	return b.Build()
}

func run(ctx context.Context, d *demo.Demo) error {
	if err := d.CreateTopics(ctx, 3, orders.Name(), payments.Name(), customers.Name(), outcomes.Name(), revenue.Name()); err != nil {
		return err
	}
	topology, err := topology()
	if err != nil {
		return err
	}
	app, err := stream.New(topology, stream.Config{ApplicationID: "shop", Broker: d.Log, Logger: d.Logger})
	if err != nil {
		return err
	}
	n, totals := map[string]int{}, map[string]int64{}
	demo.Follow(d, outcomes, func(r stream.Record[string, settled]) {
		s := r.Value
		n[s.State]++
		d.Line("%s  %s  %s %10s  %s", r.Time().UTC().Format(time.TimeOnly), s.Order, d.Paint(colours[s.State], fmt.Sprintf("%-9s", s.State)),
			money(s.Cents), s.who())
	})
	demo.Follow(d, revenue, func(r stream.Record[string, int64]) { totals[r.Key] = r.Value })

	input := shop(d.Seed)
	d.Line("An hour of a shop, %s.\n", d.Pace())
	if err := d.Play(ctx, app, input); err != nil {
		return err
	}
	d.Line("\n%d orders: %d paid, %d unpaid, %d still open. %d payments without an order are owed back. Paid by country:",
		ordersOf(input), n["paid"], n["unpaid"], ordersOf(input)-n["paid"]-n["unpaid"], n["owed back"])
	most := slices.Max(slices.Collect(maps.Values(totals)))
	for _, country := range slices.Sorted(maps.Keys(totals)) {
		d.Line("  %-9s %11s  %s", country, money(totals[country]), d.Paint(demo.Green, demo.Bar(int(totals[country]), int(most), 40)))
	}
	return nil
}
