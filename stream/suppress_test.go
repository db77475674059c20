package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

// suppressed is a topology that holds back what f says of a table that keeps the last value of each key.
func suppressed(t *testing.T, s stream.Suppression) *stream.Topology {
	return build(t, func(b *stream.Builder) {
		stream.TableFrom(b, pairs).Suppress(s, stream.Named("held")).ToStream().To(out)
	})
}

// A full buffer sends what is due first, one after the other, until there is room. How much it holds is known again
// after a restart.
func TestSuppressBounds(t *testing.T) {
	hour := ms(3_600_000)
	// A row that is held back counts with its key, the time when it is due, and its change.
	const rowBytes = 8 + len("a") + 1 + 8 + 1 + 1 + len("1")
	for name, s := range map[string]stream.Suppression{
		"records": stream.UntilTimeLimit(hour).MaxRecords(2),
		"bytes":   stream.UntilTimeLimit(hour).MaxBytes(2*int64(rowBytes) + 1),
		"both":    stream.UntilTimeLimit(hour).MaxRecords(2).MaxBytes(1000),
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarts %t", name, restarts), func(t *testing.T) {
				d := streamtest.New(t, suppressed(t, s))
				in, o := streamtest.Input(d, pairs), streamtest.Output(d, out)
				for i, c := range []struct{ key, value, out string }{
					{"a", "1", ""}, {"b", "2", ""}, {"a", "3", ""}, // a keeps its place
					{"c", "4", "a=3@2"}, {"d", "5", "b=2@1"}, {"d", "6", ""}, {"a", "7", "c=4@3"},
				} {
					in.Pipe(c.key, c.value, ms(int64(i)))
					if restarts {
						if err := d.Commit(); err != nil {
							t.Fatal(err)
						}
						d.RestartWithoutState()
					}
					if got := strings.Join(showAll(o.All()), " "); got != c.out {
						t.Errorf("%s=%s: %q comes out, want %q", c.key, c.value, got, c.out)
					}
				}
			})
		}
	}
	t.Run("a change that alone is too large", func(t *testing.T) {
		d := streamtest.New(t, suppressed(t, stream.UntilTimeLimit(hour).MaxBytes(30)))
		in, o := streamtest.Input(d, pairs), streamtest.Output(d, out)
		in.Pipe("a", "1", 0)
		in.Pipe("b", strings.Repeat("x", 40), 1)
		if got := len(o.All()); got != 2 {
			t.Errorf("%d results, want both: there is no room for the second, and none but the first goes before it", got)
		}
	})
}

// A buffer that may not send early ends the application when it is full, and says where.
func TestSuppressFull(t *testing.T) {
	for name, topology := range map[string]*stream.Topology{
		"time limit": suppressed(t, stream.UntilTimeLimit(ms(3_600_000)).MaxRecords(2).FailWhenFull()),
		"window": build(t, func(b *stream.Builder) {
			stream.GroupByKey(stream.From(b, pairs)).WindowedBy(windows.Tumbling(ms(100))).Count().
				Suppress(stream.UntilWindowCloses().MaxRecords(2), stream.Named("held")).
				ToStream().To(stream.NewTopic("out", windows.TimeSerde(serde.String, windows.Tumbling(ms(100))), serde.Int64))
		}),
	} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, topology)
			in := streamtest.Input(d, pairs)
			in.Pipe("a", "1", 0)
			in.Pipe("b", "2", 1)
			err := in.PipeRecord(rec("c", "3", 2))
			for _, want := range []string{"held", "the buffer is full: it holds 3 rows", "pairs", "offset 2"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// Tables that are joined have the windows of both, and close with the one that closes later.
func TestSuppressJoinOfWindows(t *testing.T) {
	w := windows.Tumbling(ms(10))
	windowed := stream.NewTopic("out", windows.TimeSerde(serde.String, w), serde.String)
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		g := stream.GroupByKey(stream.From(b, pairs))
		kept := state.NewWindow("short", serde.String, serde.Int64).WithRetention(time.Minute) // to be found by late ones
		short := g.WindowedBy(w).Count().As(kept)
		long := g.WindowedBy(w.WithGrace(ms(20))).Count()
		stream.JoinTables(short, long, func(s, l int64) string { return fmt.Sprint(s, "/", l) }).
			Suppress(stream.UntilWindowCloses()).ToStream().To(windowed)
	}))
	in, o := streamtest.Input(d, pairs), streamtest.Output(d, windowed)
	for _, c := range []struct {
		at   int64
		want string
	}{{1, ""}, {2, ""}, {12, ""}, {3, ""}, {29, ""}, {30, "a@0/10=2/3@3"}} {
		in.Pipe("a", "v", ms(c.at))
		if got := strings.Join(showAll(o.All()), " "); got != c.want {
			t.Errorf("at %d: %q comes out, want %q", c.at, got, c.want)
		}
	}
}

// Results on close are what a join finds, whether or not there was a commit.
func TestJoinWithResultsOnClose(t *testing.T) {
	w := windows.Tumbling(ms(10))
	windowed := stream.NewTopic("out", windows.TimeSerde(serde.String, w), serde.String)
	topology := build(t, func(b *stream.Builder) {
		g := stream.GroupByKey(stream.From(b, pairs))
		onClose := g.WindowedBy(w).EmitOnClose().Count(stream.Named("on-close"))
		each := g.WindowedBy(w).Count(stream.Named("each"))
		stream.JoinTables(each, onClose, func(e, c int64) string { return fmt.Sprint(e, "/", c) }).ToStream().To(windowed)
	})
	var runs [2][]string
	for i := range runs {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, pairs)
		for _, at := range []int64{1, 2, 3, 12, 13} {
			in.Pipe("a", "v", ms(at))
			if i > 0 {
				if err := d.Commit(); err != nil {
					t.Fatal(err)
				}
			}
		}
		runs[i] = showAll(streamtest.Output(d, windowed).All())
	}
	want := "a@0/10=1/1@1 a@0/10=2/2@2 a@0/10=3/3@3 a@0/10=3/3@3 a@10/20=1/1@12 a@10/20=2/2@13"
	for i, got := range runs {
		if g := strings.Join(got, " "); g != want {
			t.Errorf("with commits %t:\ngot  %s\nwant %s", i > 0, g, want)
		}
	}
}
