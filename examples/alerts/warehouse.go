package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
)

var midnight = time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)

// warehouse is half an hour of ten freezers, each of which is heard every ten seconds or so. Some readings come late,
// and some never. Doors are opened for a moment, and now and then forgotten. A freezer that is cut off sends what it
// has measured when it is back, or, if its battery was empty, has measured nothing.
func warehouse(seed uint64) []demo.Event {
	r := rand.New(rand.NewPCG(seed, 0))
	morning := midnight.Add(30 * time.Minute)
	var events []demo.Event
	for n := range 10 {
		name := fmt.Sprintf("freezer-%02d", n+1)
		usual := -22 + 3*r.Float64()
		celsius := usual
		var open, cutOff time.Time // until when
		dead := false
		for at := midnight.Add(ms(r, 10*time.Second)); at.Before(morning); at = at.Add(9*time.Second + ms(r, 2*time.Second)) {
			if at.Before(open) {
				celsius += 1.5 * r.Float64()
			} else {
				celsius += (usual - celsius) / 4
			}
			said := reading{float64(int(10*(celsius+r.Float64()))) / 10}
			e := demo.On(readings, name, said, at)
			switch p := r.IntN(1000); {
			case at.Before(cutOff) && dead:
				continue
			case at.Before(cutOff):
				e = e.Delayed(cutOff.Sub(at))
			case p < 6:
				cutOff, dead = at.Add(40*time.Second+ms(r, 5*time.Minute)), r.IntN(2) == 0
			case p < 14:
				open = at.Add(time.Minute + ms(r, 2*time.Minute))
			case p < 34:
				e = demo.On(readings, name, reading{said.Celsius + 8}, at)
			case p < 54:
				continue
			case p < 120:
				e = e.Delayed(5*time.Second + ms(r, 30*time.Second))
			}
			if e.Arrives.Before(morning) {
				events = append(events, e)
			}
		}
	}
	return events
}

// ms is a time below d, in whole milliseconds.
func ms(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Int64N(d.Milliseconds())) * time.Millisecond
}
