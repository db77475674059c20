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

// perWindow builds a topology that writes a windowed table of clicks, runs clicks of ann's through it, and prints what
// comes out: start and end of each window, as times of day, and its count.
func perWindow(table func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64], at ...string) {
	clicks := stream.NewTopic("clicks", serde.String, serde.String)
	counts := stream.NewTopic("counts", windows.BoundsSerde(serde.String), serde.Int64)
	b := stream.NewBuilder()
	table(stream.From(b, clicks)).ToStream().To(counts)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		for _, s := range at {
			streamtest.Input(d, clicks).Pipe("ann", "/", timeOfDay(s))
		}
		for _, r := range streamtest.Output(d, counts).All() {
			if r.ValueIsNull() {
				fmt.Println(clock(r.Key.Start), clock(r.Key.End), "is gone")
			} else {
				fmt.Println(clock(r.Key.Start), clock(r.Key.End), r.Value)
			}
		}
	})
}

// timeOfDay is a time of the first of January 1970.
func timeOfDay(s string) time.Duration {
	at, err := time.Parse(time.TimeOnly, s)
	if err != nil {
		panic(err)
	}
	return time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.TimeOnly) }

// Each window has a row. One that is not closed takes records that come late: the last click is too late for the
// first minute, whose grace ended at 09:01:10.
func ExampleGrouped_WindowedBy() {
	perWindow(func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64] {
		minutes := windows.Tumbling(time.Minute).WithGrace(10 * time.Second)
		return stream.GroupByKey(clicks).WindowedBy(minutes).Count()
	}, "09:00:10", "09:01:05", "09:00:50", "09:02:00", "09:00:51")
	// Output:
	// 09:00:00 09:01:00 1
	// 09:01:00 09:02:00 1
	// 09:00:00 09:01:00 2
	// 09:02:00 09:03:00 1
}

// Hopping windows overlap: each click is in two of them.
func ExampleGrouped_WindowedBy_hopping() {
	perWindow(func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64] {
		return stream.GroupByKey(clicks).WindowedBy(windows.Hopping(time.Minute, 30*time.Second)).Count()
	}, "09:00:40", "09:01:10")
	// Output:
	// 09:00:00 09:01:00 1
	// 09:00:30 09:01:30 1
	// 09:00:30 09:01:30 2
	// 09:01:00 09:02:00 1
}

// Sliding windows end with a record, or begin after one: there is one for each set of clicks that can be seen through
// a window of 30 seconds.
func ExampleGrouped_WindowedBy_sliding() {
	perWindow(func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64] {
		return stream.GroupByKey(clicks).WindowedBy(windows.Sliding(30 * time.Second)).Count()
	}, "09:00:40", "09:01:00")
	// Output:
	// 09:00:10 09:00:40 1
	// 09:00:40 09:01:10 1
	// 09:00:30 09:01:00 2
}

// Days are those of a time zone: in Prague the first click is on the second of January already.
func ExampleGrouped_WindowedBy_calendar() {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		fmt.Println(err)
		return
	}
	perWindow(func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64] {
		return stream.GroupByKey(clicks).WindowedBy(windows.Day(prague)).Count()
	}, "22:30:00", "23:30:00", "23:45:00")
	// Output:
	// 00:00:00 23:00:00 1
	// 23:00:00 23:00:00 1
	// 23:00:00 23:00:00 2
}

// A session grows with each click. One that is part of a longer one now is gone.
func ExampleGrouped_SessionWindowedBy() {
	perWindow(func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64] {
		visits := windows.Sessions(5 * time.Minute).WithGrace(time.Minute)
		return stream.GroupByKey(clicks).SessionWindowedBy(visits).Count()
	}, "09:00:00", "09:08:00", "09:04:00") // the last is what the others are one by
	// Output:
	// 09:00:00 09:00:00 1
	// 09:08:00 09:08:00 1
	// 09:00:00 09:00:00 is gone
	// 09:08:00 09:08:00 is gone
	// 09:00:00 09:08:00 3
}

// With EmitOnClose a window gives one result, when it is closed. Time is that of the records: the last window stays
// open until one comes that is late enough.
func ExampleWindowed_EmitOnClose() {
	perWindow(func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64] {
		return stream.GroupByKey(clicks).WindowedBy(windows.Tumbling(time.Minute)).EmitOnClose().Count()
	}, "09:00:10", "09:00:20", "09:01:05", "09:02:30")
	// Output:
	// 09:00:00 09:01:00 2
	// 09:01:00 09:02:00 1
}

// Suppress holds changes back: until the session is over here, of which nothing but the whole is sent.
func ExampleTable_Suppress() {
	perWindow(func(clicks *stream.Stream[string, string]) *stream.Table[windows.Windowed[string], int64] {
		return stream.GroupByKey(clicks).SessionWindowedBy(windows.Sessions(5 * time.Minute)).Count().
			Suppress(stream.UntilWindowCloses())
	}, "09:00:00", "09:04:00", "09:20:00")
	// Output:
	// 09:00:00 09:04:00 2
}

// What comes too late for its window is not lost.
func ExampleOnLate() {
	clicks := stream.NewTopic("clicks", serde.String, serde.String)
	missed := stream.NewTopic("missed", serde.String, serde.JSON[stream.Late[string]]())

	b := stream.NewBuilder()
	minutes := stream.GroupByKey(stream.From(b, clicks)).WindowedBy(windows.Tumbling(time.Minute).WithGrace(10 * time.Second))
	minutes.Count()
	stream.OnLate(minutes).To(missed)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, clicks)
		in.Pipe("ann", "/", timeOfDay("09:00:10"))
		in.Pipe("ann", "/cart", timeOfDay("09:01:20"))
		in.Pipe("ann", "/thanks", timeOfDay("09:00:50"))
		for _, r := range streamtest.Output(d, missed).All() {
			l := r.Value
			fmt.Printf("%s at %s: %s, %s - %s, at %s; it was %s\n",
				l.Value, clock(r.Timestamp), l.Reason, clock(l.Start), clock(l.End), clock(l.Closed), clock(l.StreamTime))
		}
	})
	// Output:
	// /thanks at 09:00:50: window closed, 09:00:00 - 09:01:00, at 09:01:10; it was 09:01:20
}
