// Sessions finds the visits in the clicks of a web site: what one user does without a pause of five minutes.
//
//	go run ./examples/sessions [-data DIR] [-seed N] [-speed N]
//
// An hour and a half of generated clicks goes by in a few seconds. A session grows with each click, and a click that
// comes late can make one of two. The table of sessions tells all of that as it happens: what is going on now is shown
// below, on a terminal. Suppress holds the changes back until a session is over, a minute after the pause at the
// soonest, so that each gives one line.
//
// Without -data it works in a temporary directory; with it, in DIR, and a later run goes on where this one stopped,
// however it was stopped.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

type session = windows.Windowed[string]

var (
	pause = windows.Sessions(5 * time.Minute).WithGrace(time.Minute)

	sessionKey = windows.SessionSerde(serde.String)
	visitValue = serde.JSON[visit]()

	clicks  = stream.NewTopic("clicks", serde.String, serde.JSON[click]())
	ongoing = stream.NewTopic("ongoing-sessions", sessionKey, visitValue)
	over    = stream.NewTopic("sessions", sessionKey, visitValue)
	late    = stream.NewTopic("late-clicks", serde.String, serde.JSON[stream.Late[click]]())
)

func main() { demo.Main(900, run) }

func topology() (*stream.Topology, error) {
	b := stream.NewBuilder()
	perUser := stream.GroupByKey(stream.From(b, clicks)).SessionWindowedBy(pause)
	visits := stream.AggregateSessions(perUser, newVisit,
		func(_ string, c click, v visit) visit { return v.add(c.Page, 1) },
		merge, stream.Named("visits")).With(sessionKey, visitValue)
	visits.ToStream().To(ongoing)
	visits.Suppress(stream.UntilWindowCloses(), stream.Named("visits-to-come")).ToStream().To(over)
	stream.OnLate(perUser).To(late)
	return b.Build()
}

func run(ctx context.Context, d *demo.Demo) error {
	if err := d.CreateTopics(ctx, 2, clicks.Name(), ongoing.Name(), over.Name(), late.Name()); err != nil {
		return err
	}
	topology, err := topology()
	if err != nil {
		return err
	}
	app, err := stream.New(topology, stream.Config{ApplicationID: "sessions", Broker: d.Log, Logger: d.Logger})
	if err != nil {
		return err
	}
	w := &watch{Demo: d, open: map[session]visit{}, over: map[session]bool{}}
	demo.Follow(d, ongoing, w.change)
	demo.Follow(d, over, w.end)
	demo.Follow(d, late, func(stream.Record[string, stream.Late[click]]) { w.late++ })
	input := browse(d.Seed)
	d.Line("A morning of a web site, %s.\n", d.Pace())
	d.Line("%s", d.Paint(demo.Bold, fmt.Sprintf("%-19s  %-8s %8s %7s", "session", "user", "lasted", "clicks")))
	if err := d.Play(ctx, app, input); err != nil {
		return err
	}
	going := 0
	for _, v := range w.open {
		going += v.Clicks
	}
	d.Line("\n%d clicks: %d in %d sessions that are over, %d in %d that are going on, %d too late. %d sessions bought something.",
		len(input), w.clicks, len(w.over), going, len(w.open), w.late, w.bought)
	return nil
}

// watch is what is seen.
type watch struct {
	*demo.Demo
	open   map[session]visit
	over   map[session]bool
	clicks int // of sessions that are over
	bought int // sessions
	late   int // clicks
}

// change takes a change of a session. One that is part of a longer one now is gone.
func (w *watch) change(r stream.Record[session, visit]) {
	if r.ValueIsNull() {
		delete(w.open, r.Key)
	} else if !w.over[r.Key] {
		w.open[r.Key] = r.Value
	}
	var lines []string
	for _, s := range slices.SortedFunc(maps.Keys(w.open), func(a, b session) int { return strings.Compare(a.Key, b.Key) }) {
		lines = append(lines, w.Paint(demo.Dim, describe(s, w.open[s]))+w.bar(w.open[s]))
	}
	w.Status(lines...)
}

// end takes a session that is over.
func (w *watch) end(r stream.Record[session, visit]) {
	w.over[r.Key] = true
	delete(w.open, r.Key)
	w.clicks += r.Value.Clicks
	bought := ""
	if r.Value.Bought {
		w.bought++
		bought = w.Paint(demo.Green, " bought")
	}
	w.Line("%s%s%s", describe(r.Key, r.Value), w.bar(r.Value), bought)
}

func (w *watch) bar(v visit) string { return w.Paint(demo.Cyan, demo.Bar(v.Clicks, 25, 25)) }

func describe(s session, v visit) string {
	lasted := (time.Duration(s.End-s.Start) * time.Millisecond).Round(time.Second)
	return fmt.Sprintf("%s - %s  %-8s %8s %7d  ", clock(s.Start), clock(s.End), s.Key, lasted, v.Clicks)
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.TimeOnly) }
