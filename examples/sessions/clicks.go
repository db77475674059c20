package main

import (
	"math/rand/v2"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
)

var opening = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)

var users = []string{"anna", "ben", "chloe", "dusan", "elif", "farid", "greta", "hana", "ivo", "jana"}

// browse is an hour and a half of clicks. Users come, click on for some minutes, and come back after a while, some of
// them so soon that it is one session. Clicks may be on their way for a while, so that one that is missing is what
// two sessions are made one by; and some come when their session is over.
func browse(seed uint64) []demo.Event {
	r := rand.New(rand.NewPCG(seed, 0))
	closing := opening.Add(90 * time.Minute)
	var events []demo.Event
	for _, user := range users {
		at := opening.Add(ms(r, 20*time.Minute))
		for at.Before(closing) {
			page := "/"
			for n := 1 + r.IntN(25); n > 0; n-- {
				e := demo.On(clicks, user, click{page}, at)
				switch p := r.IntN(100); {
				case p < 2:
					e = e.Delayed(15*time.Minute + ms(r, 5*time.Minute))
				case p < 15:
					e = e.Delayed(ms(r, 4*time.Minute))
				}
				if e.Arrives.Before(closing) {
					events = append(events, e)
				}
				page = after[page][r.IntN(len(after[page]))]
				at = at.Add(2*time.Second + ms(r, 80*time.Second))
			}
			at = at.Add(3*time.Minute + ms(r, 25*time.Minute))
		}
	}
	return events
}

// after says where one can go from a page.
var after = map[string][]string{
	"/":        {"/search", "/search", "/product"},
	"/search":  {"/product", "/product", "/search", "/"},
	"/product": {"/search", "/product", "/cart"},
	"/cart":    {"/thanks", "/product", "/"},
	"/thanks":  {"/"},
}

// ms is a time below d, in whole milliseconds.
func ms(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Int64N(d.Milliseconds())) * time.Millisecond
}
