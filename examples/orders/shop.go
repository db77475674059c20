package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
)

var (
	names     = []string{"Anna", "Ben", "Chloé", "Dušan", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jana", "Karel", "Lena"}
	countries = []string{"Austria", "Czechia", "Germany", "Poland"}
	opening   = time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)
)

// shop is an hour of a shop: its customers, their orders and payments. Some orders come from customers who are in no
// list yet, some are never paid, or too late, and some payments name an order that there is not. Payments may be on
// their way for a minute.
func shop(seed uint64) []demo.Event {
	r := rand.New(rand.NewPCG(seed, 0))
	upTo := func(d time.Duration) time.Duration {
		return time.Duration(r.Int64N(d.Milliseconds())) * time.Millisecond
	}
	var events []demo.Event
	for i, name := range names[:len(names)-1] { // the last one has just come
		c := customer{name, countries[i%len(countries)]}
		events = append(events, demo.On(customers, id(name), c, opening.Add(-time.Hour)))
	}
	closing := opening.Add(time.Hour)
	for n, at := 1, opening; at.Before(closing); n, at = n+1, at.Add(2*time.Second+upTo(45*time.Second)) {
		order, o := fmt.Sprintf("order-%04d", n), order{id(names[r.IntN(len(names))]), 500 + r.Int64N(20_000)}
		events = append(events, demo.On(orders, order, o, at))
		paidAt := at.Add(15*time.Second + upTo(8*time.Minute))
		switch p := r.IntN(100); {
		case p < 8:
			continue
		case p < 12:
			paidAt = at.Add(13*time.Minute + upTo(5*time.Minute))
		case p < 14:
			order = fmt.Sprintf("order-%04d", 9000+n)
		}
		events = append(events, demo.On(payments, order, payment{o.Cents}, paidAt).Delayed(upTo(time.Minute)))
	}
	return events
}

func ordersOf(events []demo.Event) (n int) {
	for _, e := range events {
		if e.Topic == orders.Name() {
			n++
		}
	}
	return n
}

func id(name string) string { return "customer-" + name[:1] }
