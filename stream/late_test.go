package stream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

var lates = stream.NewTopic("lates", serde.String, serde.JSON[stream.Late[string]]())

// What a late record tells: of each closed window that it missed one, with the record's own key, timestamp and headers.
func TestOnLate(t *testing.T) {
	group := func(b *stream.Builder) *stream.Grouped[string, string] {
		return stream.GroupByKey(stream.From(b, pairs))
	}
	keep := func(_, v, a string) string { return a + v }
	join := func(_, a, b string) string { return a + b }
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder) *stream.Stream[string, stream.Late[string]]
		want  []string
	}{
		{"tumbling", func(b *stream.Builder) *stream.Stream[string, stream.Late[string]] {
			w := group(b).WindowedBy(windows.Tumbling(ms(10)).WithGrace(ms(5)))
			w.Count()
			return stream.OnLate(w)
		}, []string{"3 in 0/10, closed 15 at 40", "28 in 20/30, closed 35 at 40"}},
		{"hopping: some of its windows are open", func(b *stream.Builder) *stream.Stream[string, stream.Late[string]] {
			w := group(b).WindowedBy(windows.Hopping(ms(20), ms(10)).WithGrace(ms(5)))
			w.Reduce(func(a, b string) string { return a + b })
			return stream.OnLate(w)
		}, []string{"3 in 0/20, closed 25 at 40", "28 in 10/30, closed 35 at 40"}},
		{"sliding", func(b *stream.Builder) *stream.Stream[string, stream.Late[string]] {
			w := group(b).WindowedBy(windows.Sliding(ms(10)).WithGrace(ms(5)))
			w.Count()
			return stream.OnLate(w)
		}, []string{
			"3 in 3/13, closed 19 at 40",    // no window is open that it could be in
			"28 in 18/28, closed 34 at 40"}, // the one that ends with it
		},
		{"sessions", func(b *stream.Builder) *stream.Stream[string, stream.Late[string]] {
			w := group(b).SessionWindowedBy(windows.Sessions(ms(4)).WithGrace(ms(5)))
			w.Count()
			return stream.OnLate(w)
		}, []string{"3 in 3/3, closed 13 at 40", "28 in 28/28, closed 38 at 40"}},
		{"two aggregations of the same windows", func(b *stream.Builder) *stream.Stream[string, stream.Late[string]] {
			w := group(b).WindowedBy(windows.Tumbling(ms(10)))
			w.Count()
			late := stream.OnLate(w)
			w.Reduce(func(a, b string) string { return a + b })
			return late
		}, []string{"3 in 0/10, closed 10 at 40", "28 in 20/30, closed 30 at 40", "38 in 30/40, closed 40 at 40"}},
		{"a part of a cogroup", func(b *stream.Builder) *stream.Stream[string, stream.Late[string]] {
			g := group(b)
			part, again := stream.CoPart(g, keep), stream.CoPart(g, keep)
			stream.Cogroup(part, again).WindowedBy(windows.Tumbling(ms(10))).Aggregate(stream.Zero[string])
			stream.Cogroup(again).WindowedBy(windows.Tumbling(ms(10))).Aggregate(stream.Zero[string])
			return stream.OnLate(g)
		}, []string{"3 in 0/10, closed 10 at 40", "28 in 20/30, closed 30 at 40", "38 in 30/40, closed 40 at 40"}},
		{"a part of a cogroup of sessions", func(b *stream.Builder) *stream.Stream[string, stream.Late[string]] {
			g := group(b)
			stream.Cogroup(stream.CoPart(g, keep)).SessionWindowedBy(windows.Sessions(ms(4))).Aggregate(stream.Zero[string], join)
			return stream.OnLate(g)
		}, []string{"3 in 3/3, closed 8 at 40", "28 in 28/28, closed 33 at 40"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := streamtest.New(t, build(t, func(b *stream.Builder) { c.build(b).To(lates) }))
			in := streamtest.Input(d, pairs)
			header := stream.Header{Key: "h", Value: []byte("x")}
			for i, at := range []int64{0, 40, 3, 28, 38} {
				if err := in.PipeRecord(rec("k", fmt.Sprint("v", i), at, header)); err != nil {
					t.Fatal(err)
				}
				if i == 1 {
					d.Restart() // and what is late is known again
				}
			}
			var got []string
			for _, r := range streamtest.Output(d, lates).All() {
				l := r.Value
				got = append(got, fmt.Sprintf("%d in %d/%d, closed %d at %d", r.Timestamp, l.Start, l.End, l.Closed, l.StreamTime))
				reason := stream.WindowClosed
				if strings.Contains(c.name, "session") {
					reason = stream.SessionClosed
				}
				if r.Key != "k" || !strings.HasPrefix(l.Value, "v") || len(r.Headers) != 1 || l.Reason != reason {
					t.Errorf("%s", show(r))
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if d.Dropped().Late < int64(len(got)) {
				t.Errorf("%d records are counted as late, and %d went aside", d.Dropped().Late, len(got))
			}
		})
	}
}

func TestWindowBuildErrors(t *testing.T) {
	group := func(b *stream.Builder) *stream.Grouped[string, string] {
		return stream.GroupByKey(stream.From(b, pairs))
	}
	minute := windows.Tumbling(ms(60_000))
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  string
	}{
		{"no aggregation", func(b *stream.Builder) { stream.OnLate(group(b).WindowedBy(minute)) }, "OnLate: nothing aggregates these windows"},
		{"no windows", func(b *stream.Builder) {
			g := group(b)
			g.Count()
			stream.OnLate(g)
		}, "OnLate: nothing aggregates these windows"},
		{"twice", func(b *stream.Builder) {
			w := group(b).WindowedBy(minute)
			w.Count()
			stream.OnLate(w)
			stream.OnLate(w)
		}, "OnLate was called before, at late_test.go:"},
		{"suppressed for ever", func(b *stream.Builder) {
			group(b).WindowedBy(windows.Unlimited()).Count().Suppress(stream.UntilWindowCloses())
		}, "Suppress: UntilWindowCloses is for tables of windowed aggregations"},
		{"never on close", func(b *stream.Builder) { group(b).WindowedBy(windows.Unlimited()).EmitOnClose().Count() }, "never close"},
		{"no size", func(b *stream.Builder) { group(b).WindowedBy(windows.Tumbling(0)).Count() }, "windows.Tumbling(0s): the size of 0s is below a millisecond"},
		{"negative grace", func(b *stream.Builder) { group(b).WindowedBy(minute.WithGrace(-1)).Count() }, "the grace of -1ns is negative"},
		{"no zone", func(b *stream.Builder) { group(b).WindowedBy(windows.Day(nil)).Count() }, "windows.Day(nil): the time zone is nil"},
		{"no gap", func(b *stream.Builder) { group(b).SessionWindowedBy(windows.Sessions(-1)).Count() }, "windows.Sessions(-1ns): the gap"},
		{"suppressed without windows", func(b *stream.Builder) { group(b).Count().Suppress(stream.UntilWindowCloses()) }, "Suppress: UntilWindowCloses is for tables of windowed"},
		{"nothing said", func(b *stream.Builder) { group(b).Count().Suppress(stream.Suppression{}) }, "the zero Suppression holds nothing back"},
		{"negative limit", func(b *stream.Builder) { group(b).Count().Suppress(stream.UntilTimeLimit(-1)) }, "a time limit of -1ns is negative"},
		{"no room", func(b *stream.Builder) { group(b).Count().Suppress(stream.UntilTimeLimit(0).MaxRecords(0)) }, "MaxRecords(0): at least 1"},
		{"no bytes", func(b *stream.Builder) { group(b).Count().Suppress(stream.UntilTimeLimit(0).MaxBytes(-1)) }, "MaxBytes(-1): at least 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := stream.NewBuilder()
			c.build(b)
			_, err := b.Build()
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "late_test.go:") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
