package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
)

var (
	pages   = []string{"/", "/search", "/product", "/cart"}
	opening = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)
)

// visits is twelve minutes of views. Most come at once; those of phones that had no network come when they have one
// again, some of them after their minute has closed, and some not within these twelve minutes. For half a minute, from
// 09:07 on, the site was down.
func visits(seed uint64) []demo.Event {
	r := rand.New(rand.NewPCG(seed, 0))
	var events []demo.Event
	down, closing := opening.Add(7*time.Minute), opening.Add(12*time.Minute)
	for at := opening; at.Before(closing); at = at.Add(time.Duration(1+r.ExpFloat64()*150) * time.Millisecond) {
		if since := at.Sub(down); since >= 0 && since < 30*time.Second {
			continue
		}
		page := pages[min(int(r.ExpFloat64()*1.3), len(pages)-1)]
		e := demo.On(views, page, view{fmt.Sprintf("visitor-%03d", r.IntN(500))}, at)
		switch n := r.IntN(1000); {
		case n < 4:
			e = e.Delayed(75*time.Second + time.Duration(r.IntN(60_000))*time.Millisecond)
		case n < 100:
			e = e.Delayed(time.Duration(r.IntN(14_000)) * time.Millisecond)
		}
		if e.Arrives.Before(closing) {
			events = append(events, e)
		}
	}
	return events
}
