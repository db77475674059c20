// Pageviews counts the page views of a web site per minute, with views that come late.
//
//	go run ./examples/pageviews [-data DIR] [-seed N] [-speed N]
//
// Twelve minutes of a generated morning go by in a few seconds. A view counts for the minute in which it was seen,
// whenever it comes: time is that of the records. So a minute takes views for fifteen seconds after its end, its
// grace; then it closes, and its counts are sent, once. What comes later still is not counted, nor is it lost: it
// goes to a topic of its own.
//
// Without -data it works in a temporary directory; with it, in DIR, and a later run goes on where this one stopped,
// however it was stopped.
package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// view is a page that somebody looked at. The page is the record's key, the moment its timestamp.
type view struct {
	Visitor string `json:"visitor"`
}

var (
	minutes = windows.Tumbling(time.Minute).WithGrace(15 * time.Second)

	views     = stream.NewTopic("views", serde.String, serde.JSON[view]())
	perMinute = stream.NewTopic("views-per-minute", windows.TimeSerde(serde.String, minutes), serde.Int64)
	late      = stream.NewTopic("late-views", serde.String, serde.JSON[stream.Late[view]]())
)

func main() { demo.Main(120, run) }

func topology() (*stream.Topology, error) {
	b := stream.NewBuilder()
	perPage := stream.GroupByKey(stream.From(b, views)).WindowedBy(minutes).EmitOnClose()
	perPage.Count(stream.Named("page-minutes")).ToStream().To(perMinute)
	stream.OnLate(perPage).To(late)
	return b.Build()
}

func run(ctx context.Context, d *demo.Demo) error {
	// One partition, so that there is one time. With more, each has its own, which the views in it move.
	if err := d.CreateTopics(ctx, 1, views.Name(), perMinute.Name(), late.Name()); err != nil {
		return err
	}
	topology, err := topology()
	if err != nil {
		return err
	}
	app, err := stream.New(topology, stream.Config{ApplicationID: "pageviews", Broker: d.Log, Logger: d.Logger})
	if err != nil {
		return err
	}
	input := visits(d.Seed)
	s := sheet{Demo: d, counts: map[string]int64{}}
	demo.Follow(d, perMinute, s.count)
	demo.Follow(d, late, s.tooLate)
	s.begin()
	if err := d.Play(ctx, app, input); err != nil {
		return err
	}
	s.line()
	d.Line("\n%d views: %d in minutes that are closed, %d too late, %d in minutes that are still open",
		len(input), s.counted, s.late, int64(len(input))-s.counted-s.late)
	return nil
}

// sheet is what is seen: a line for each minute.
type sheet struct {
	*demo.Demo
	minute  int64 // whose counts are coming
	counts  map[string]int64
	counted int64
	late    int64
}

func (s *sheet) begin() {
	s.Line("A morning of a web site, %s.\n", s.Pace())
	head := fmt.Sprintf("%-7s %5s", "minute", "views")
	for _, page := range pages {
		head += fmt.Sprintf("  %-15s", page)
	}
	s.Line("%s", s.Paint(demo.Bold, strings.TrimSpace(head)))
}

// count takes a result. Those of a minute come one after the other: it has closed for all pages at once.
func (s *sheet) count(r stream.Record[windows.Windowed[string], int64]) {
	if r.Key.Start != s.minute {
		s.line()
		s.minute = r.Key.Start
	}
	s.counts[r.Key.Key] = r.Value
	s.counted += r.Value
	if len(s.counts) == len(pages) {
		s.line()
	}
}

func (s *sheet) line() {
	if len(s.counts) == 0 {
		return
	}
	var all int64
	bars := ""
	for _, page := range pages {
		all += s.counts[page]
		bars += fmt.Sprintf("  %4d %s", s.counts[page], s.Paint(demo.Cyan, demo.Bar(int(s.counts[page]), 200, 10)))
	}
	s.Line("%-7s %5d%s", clock(s.minute)[:5], all, strings.TrimRight(bars, " "))
	clear(s.counts)
}

func (s *sheet) tooLate(r stream.Record[string, stream.Late[view]]) {
	s.late++
	l := r.Value
	s.Line("%s", s.Paint(demo.Yellow, fmt.Sprintf("        late: %s of %s came at %s; its minute had closed at %s",
		r.Key, clock(r.Timestamp), clock(l.StreamTime), clock(l.Closed))))
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.TimeOnly) }
