package stream_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// reporter counts records in a store, and reports the count from time to time.
type reporter struct {
	clock  stream.PunctuationType
	opts   []stream.PunctuationOption
	counts *state.KeyValues[string, int64]
}

func (p *reporter) Init(ctx *stream.Context[string, int64]) error {
	p.counts = stream.StoreIn(ctx, tallies)
	ctx.Every(time.Minute, p.clock, func(at int64) error {
		n, err := p.counts.Get("lines")
		if err != nil {
			return err
		}
		if _, ok := ctx.Metadata(); ok {
			return errors.New("a punctuator has no record")
		}
		return ctx.Forward(stream.Record[string, int64]{Key: ctx.TaskID(), Value: n.V, Timestamp: at})
	}, p.opts...)
	return nil
}

func (p *reporter) Process(*stream.Context[string, int64], stream.Record[string, string]) error {
	n, err := p.counts.Get("lines")
	if err != nil {
		return err
	}
	return p.counts.Put("lines", n.V+1)
}

var (
	reportLines = stream.NewTopic("lines", serde.String, serde.String)
	reports     = stream.NewTopic("word-counts", serde.String, serde.Int64)
)

func reporting(t *testing.T, clock stream.PunctuationType, opts ...stream.PunctuationOption) *stream.Topology {
	t.Helper()
	return built(t, func(b *stream.Builder) {
		stream.Process(stream.From(b, reportLines), func() *reporter { return &reporter{clock: clock, opts: opts} }, stream.Stores(tallies)).
			To(reports)
	})
}

// reported lists what was reported, in the order of time.
func reported(rs []stream.Record[string, int64]) (out []string) {
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%s=%d@%v", r.Key, r.Value, time.Duration(r.Timestamp)*time.Millisecond))
	}
	return out
}

// Whatever happens between two records, a punctuator on stream time runs when it would have run without that.
func TestStreamTimePunctuatorsSurvive(t *testing.T) {
	topology := reporting(t, stream.StreamTime, stream.StartingAt(time.UnixMilli(10_000)))
	times := []time.Duration{5 * time.Second, 10 * time.Second, 11 * time.Second, 9 * time.Second, 69 * time.Second, 71 * time.Second, 300 * time.Second, 310 * time.Second}
	want := []string{"0_0=2@10s", "0_0=6@1m11s", "0_0=7@5m0s", "0_0=8@5m10s"}
	for _, disturb := range []struct {
		name string
		f    func(d *streamtest.Driver)
	}{
		{"nothing", func(*streamtest.Driver) {}},
		{"abort", func(d *streamtest.Driver) { d.Abort() }},
		{"restart", func(d *streamtest.Driver) { d.Restart() }},
		{"restart without state", func(d *streamtest.Driver) { d.RestartWithoutState() }},
	} {
		for commit := range 4 {
			d := streamtest.New(t, topology)
			in, out := streamtest.Input(d, reportLines), streamtest.Output(d, reports)
			for i, at := range times {
				in.Pipe("k", "v", at)
				if i%4 == commit {
					if err := d.Commit(); err != nil {
						t.Fatal(err)
					}
				}
				disturb.f(d)
				if err := d.Settle(); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
			if got := reported(out.Committed()); !slices.Equal(got, want) {
				t.Errorf("%s, commit %d: got %q, want %q", disturb.name, commit, got, want)
			}
		}
	}
}

// What only a punctuator did is committed, and comes again after an abort, though no record was taken.
func TestWallClockPunctuatorsEpoch(t *testing.T) {
	d := streamtest.New(t, reporting(t, stream.WallClock), streamtest.Partitions(2))
	out := streamtest.Output(d, reports)
	commit := func() {
		t.Helper()
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	commit() // when they are due
	d.Advance(59 * time.Second)
	d.Restart()
	d.Advance(2 * time.Second)
	d.Abort()
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	commit()
	d.Advance(58 * time.Second)
	d.RestartWithoutState()
	d.Advance(time.Second)
	d.Advance(10 * time.Minute)
	commit()
	want := []string{
		"0_0=0@1m1s", "0_1=0@1m1s", "0_0=0@2m0s", "0_1=0@2m0s", "0_0=0@12m0s", "0_1=0@12m0s",
	}
	got := reported(out.Committed())
	slices.SortFunc(got, func(a, b string) int { return slices.Index(want, a) - slices.Index(want, b) })
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// In an application, a Clock that is moved sets punctuators off by itself; what they write is committed, and when they
// are due next is known after a restart.
func TestWallClockPunctuatorsInAnApplication(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	topology := reporting(t, stream.WallClock)
	clock := streamtest.NewClock(time.UnixMilli(0))
	config := stream.Config{Broker: lg, Clock: clock}
	out, err := lg.Open(t.Context(), log.TopicPartition{Topic: "word-counts"}, log.Earliest, log.ReadCommitted)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	next := func() string {
		t.Helper()
		recs := make([]log.Record, 1)
		n := 0
		for n == 0 { // markers
			if n, err = out.Read(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
		}
		v, err := serde.Int64.Decode(recs[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s=%d@%d", recs[0].Key, v, recs[0].Timestamp)
	}
	if err := run(t, topology, config, func(app *stream.App) {
		waitIdle(t)(app)
		appendLines(t, lg, 1, "a", "b", "c")
		waitIdle(t)(app)
		clock.Advance(time.Minute)
		if got, want := next(), "0_0=3@60000"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		clock.Advance(59 * time.Second)
		waitIdle(t)(app)
	}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(3 * time.Second)
	if err := run(t, topology, config, waitIdle(t)); err != nil {
		t.Fatal(err)
	}
	if got, want := next(), "0_0=3@122000"; got != want {
		t.Errorf("after a restart: got %s, want %s", got, want)
	}
}

// Without an AlarmClock, the application waits on the system's clock.
func TestWallClockPunctuatorsOnTheSystemsClock(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	called := make(chan struct{}, 1)
	topology := built(t, func(b *stream.Builder) {
		stream.Process(stream.From(b, reportLines), func() *everyMillisecond { return &everyMillisecond{called} }).To(reports)
	})
	if err := run(t, topology, stream.Config{Broker: lg}, func(*stream.App) {
		for range 3 {
			<-called
		}
	}); err != nil {
		t.Fatal(err)
	}
}

type everyMillisecond struct{ called chan struct{} }

func (p *everyMillisecond) Init(ctx *stream.Context[string, int64]) error {
	ctx.Every(time.Millisecond, stream.WallClock, func(int64) error {
		select {
		case p.called <- struct{}{}:
		default:
		}
		return nil
	})
	return nil
}

func (p *everyMillisecond) Process(*stream.Context[string, int64], stream.Record[string, string]) error {
	return nil
}

// Errors of a processor's own that are not of a record.
func TestPunctuatorsAndClosesErrors(t *testing.T) {
	for name, c := range map[string]struct {
		p    *failing
		want []string
	}{
		"punctuator": {&failing{every: time.Second, punctuator: errors.New("no time")}, []string{"no time", `Process "failing"`}},
		"panic":      {&failing{every: time.Second}, []string{"panic: oh", `Process "failing"`}},
		"Close":      {&failing{every: time.Hour, closing: errors.New("no end")}, []string{"no end", `Process "failing"`}},
		"Every":      {&failing{every: time.Microsecond}, []string{"Every at process_punctuate_test.go:", "less than a millisecond", `Process "failing"`}},
	} {
		t.Run(name, func(t *testing.T) {
			lg := openLog(t, t.TempDir(), 1)
			defer lg.Close()
			clock := streamtest.NewClock(time.UnixMilli(0))
			topology := built(t, func(b *stream.Builder) {
				stream.Process(stream.From(b, reportLines), func() failing { return *c.p }, stream.Named("failing"))
			})
			err := run(t, topology, stream.Config{Broker: lg, Clock: clock}, func(app *stream.App) {
				_ = app.WaitIdle(t.Context())
				clock.Advance(time.Second)
				_ = app.WaitIdle(t.Context())
			})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
}

type failing struct {
	every               time.Duration
	punctuator, closing error
}

func (p failing) Init(ctx *stream.Context[string, int64]) error {
	ctx.Every(p.every, stream.WallClock, func(int64) error {
		if p.punctuator == nil {
			panic("oh")
		}
		return p.punctuator
	})
	return nil
}

func (p failing) Process(*stream.Context[string, int64], stream.Record[string, string]) error {
	return nil
}

func (p failing) Close() error { return p.closing }
