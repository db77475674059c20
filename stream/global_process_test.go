package stream_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// timesNamed counts how often each country was named: a record that is counted twice shows.
var timesNamed = state.NewKeyValue("times-named", serde.String, serde.Int64)

type noContext = stream.Context[stream.Nothing, stream.Nothing]

// countNames is the processor of a global store.
func countNames(ctx *noContext, r stream.Record[string, string]) error {
	if r.Value == "fail" {
		return errors.New("as asked")
	}
	rows := stream.StoreIn(ctx, timesNamed)
	before, err := rows.Get(r.Key)
	if err != nil {
		return err
	}
	return rows.Put(r.Key, before.V+1)
}

// readNames forwards what the global store has for a visit's country.
func readNames(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
	row, err := stream.StoreIn(ctx, timesNamed).Get(r.Value)
	if err != nil {
		return err
	}
	return ctx.Forward(r.WithValue(fmt.Sprint(row.V)))
}

func globalCounts(b *stream.Builder) {
	stream.ProcessFunc(stream.From(b, visits), readNames, stream.Stores(timesNamed)).To(named)
	stream.GlobalProcessFunc(b, countries, timesNamed, countNames)
}

// What the processor makes of a record counts once, over aborts and restarts, and is read by all tasks.
func TestGlobalProcessCountsOnce(t *testing.T) {
	topology := build(t, globalCounts)
	d := streamtest.New(t, topology, streamtest.Partitions(3))
	country, visit := streamtest.Input(d, countries), streamtest.Input(d, visits)
	for i := range 30 {
		country.Pipe(fmt.Sprint("c", i%4), "x", 0)
		switch {
		case i%7 == 3:
			d.Abort()
		case i == 20:
			d.RestartWithoutState()
		case i%10 == 5:
			d.Restart()
		}
	}
	for i := range 4 {
		visit.Pipe(fmt.Sprint("user", i), fmt.Sprint("c", i), 0)
	}
	got := values(streamtest.Output(d, named).All())
	slices.Sort(got)
	if want := []string{"7", "7", "8", "8"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// In an application, too: over a clean stop, records that were counted are not counted again.
func TestGlobalProcessOverRestarts(t *testing.T) {
	g := newGlobalTest(t, countryNames)
	g.topology = build(t, globalCounts)
	for i := range 3 {
		for p := range int32(3) {
			g.append("countries", p, "cz=x", "at=x")
		}
		g.append("visits", 0, fmt.Sprintf("ann%d=cz", i))
		g.settle()
	}
	g.want("ann0=3", "ann1=6", "ann2=9")
}

// An error of the processor stops the application, and says where; the record is the first one that the next run gets.
func TestGlobalProcessErrors(t *testing.T) {
	topology := build(t, globalCounts)
	d := streamtest.New(t, topology)
	country := streamtest.Input(d, countries)
	country.Pipe("cz", "x", 0)
	var r stream.Record[string, string]
	err := country.PipeRecord(r.WithKey("cz").WithValue("fail"))
	fault, ok := errors.AsType[*stream.ProcessingError](err)
	if !ok || fault.Operator != "GlobalProcessFunc" || fault.Topic != "countries" || fault.Offset != 1 ||
		!strings.HasPrefix(fault.At, "global_process_test.go:") || !strings.Contains(err.Error(), "as asked") {
		t.Errorf("got %v", err)
	}
}

// timedNames asks to be called by a clock.
type timedNames struct{ clock stream.PunctuationType }

func (p *timedNames) Init(ctx *noContext) error {
	ctx.Every(time.Second, p.clock, func(int64) error { return nil })
	return nil
}

func (*timedNames) Process(ctx *noContext, r stream.Record[string, string]) error {
	return countNames(ctx, r)
}

// What would never be called is refused.
func TestGlobalProcessHasNoWallClock(t *testing.T) {
	for clock, want := range map[stream.PunctuationType]string{stream.StreamTime: "", stream.WallClock: "there is StreamTime"} {
		d := streamtest.New(t, build(t, func(b *stream.Builder) {
			stream.GlobalProcess(b, countries, timesNamed, func() *timedNames { return &timedNames{clock} })
		}))
		var r stream.Record[string, string]
		err := streamtest.Input(d, countries).PipeRecord(r.WithKey("cz").WithValue("x"))
		switch {
		case want == "":
			if err != nil {
				t.Error(err)
			}
		case err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Every at global_process_test.go:"):
			t.Errorf("got %v", err)
		}
	}
}

// A global store is read only for all processors but the one that maintains it.
func TestGlobalStoreIsReadOnly(t *testing.T) {
	for name, change := range map[string]func(*state.KeyValues[string, int64]) error{
		"put":           func(s *state.KeyValues[string, int64]) error { return s.Put("cz", 1) },
		"delete":        func(s *state.KeyValues[string, int64]) error { return s.Delete("cz") },
		"put if absent": func(s *state.KeyValues[string, int64]) error { _, err := s.PutIfAbsent("cz", 1); return err },
	} {
		topology := build(t, func(b *stream.Builder) {
			stream.GlobalProcessFunc(b, countries, timesNamed, countNames)
			stream.ProcessFunc(stream.From(b, visits), func(ctx *stream.Context[string, string], _ stream.Record[string, string]) error {
				return change(stream.StoreIn(ctx, timesNamed))
			}, stream.Stores(timesNamed)).To(named)
		})
		d := streamtest.New(t, topology)
		var r stream.Record[string, string]
		err := streamtest.Input(d, visits).PipeRecord(r.WithKey("ann").WithValue("cz"))
		if !errors.Is(err, state.ErrReadOnly) || !strings.Contains(err.Error(), "times-named") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A processor reads a global table by the handle of its store, and does not become one sub-topology with other readers.
func TestProcessorsReadAGlobalTable(t *testing.T) {
	read := func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
		rows := stream.StoreIn(ctx, countryNames)
		n, err := rows.Count()
		if err != nil {
			return err
		}
		row, err := rows.Get(r.Value)
		if err != nil {
			return err
		}
		return ctx.Forward(r.WithValue(fmt.Sprint(row.V, " of ", n)))
	}
	other := stream.NewTopic("other-visits", serde.String, serde.String)
	topology := build(t, func(b *stream.Builder) {
		stream.GlobalTableFrom(b, countries).As(countryNames)
		stream.ProcessFunc(stream.From(b, visits), read, stream.Stores(countryNames)).To(named)
		stream.ProcessFunc(stream.From(b, other), read, stream.Stores(countryNames)).To(named)
	})
	if n := strings.Count(topology.Describe(), "Sub-topology"); n != 3 {
		t.Errorf("%d sub-topologies:\n%s", n, topology.Describe())
	}
	d := streamtest.New(t, topology)
	country := streamtest.Input(d, countries)
	country.Pipe("cz", "Czechia", 0)
	country.Pipe("at", "Austria", 0)
	streamtest.Input(d, visits).Pipe("ann", "cz", 0)
	streamtest.Input(d, other).Pipe("bob", "at", 0)
	if got, want := values(streamtest.Output(d, named).All()), []string{"Czechia of 2", "Austria of 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestGlobalProcessBuildErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  string
	}{
		{"no function", func(b *stream.Builder) {
			stream.GlobalProcessFunc(b, countries, timesNamed, nil)
		}, "GlobalProcessFunc: the function is nil"},
		{"no serdes", func(b *stream.Builder) {
			stream.GlobalProcessFunc(b, countries, state.NewKeyValue[string, int64]("bare", nil, nil), countNames)
		}, `store "bare": the store's handle was declared without serdes`},
		{"the topic's end", func(b *stream.Builder) {
			stream.GlobalProcessFunc(b, countries, timesNamed, countNames, stream.StartAt(stream.Latest))
		}, "StartAt(Latest): the topic of a global store is read from its start"},
		{"one store for two", func(b *stream.Builder) {
			stream.GlobalProcessFunc(b, countries, timesNamed, countNames)
			stream.GlobalProcessFunc(b, visits, timesNamed, countNames)
		}, `the store name "times-named" is taken by GlobalProcessFunc at global_process_test.go:`},
		{"one topic for two", func(b *stream.Builder) {
			stream.GlobalTableFrom(b, countries)
			stream.GlobalProcessFunc(b, countries, timesNamed, countNames)
		}, `topic "countries" is read by GlobalTableFrom at global_process_test.go:`},
		{"another handle", func(b *stream.Builder) {
			stream.GlobalProcessFunc(b, countries, timesNamed, countNames)
			stream.ProcessFunc(stream.From(b, visits), readNames, stream.Stores(timesNamed.InMemory())).To(named)
		}, `ProcessFunc: Stores: the store "times-named" is maintained by GlobalProcessFunc at global_process_test.go:`},
	} {
		b := stream.NewBuilder()
		c.build(b)
		_, err := b.Build()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "global_process_test.go:") {
			t.Errorf("%s: %q is not in: %v", c.name, c.want, err)
		}
	}
}

// A global store has the highest rate of each currency; a processor of another topic reads it.
func ExampleGlobalProcessFunc() {
	rates := stream.NewTopic("rates", serde.String, serde.Int64)
	highest := state.NewKeyValue("highest", serde.String, serde.Int64)
	asked := stream.NewTopic("asked", serde.String, serde.String)
	told := stream.NewTopic("told", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.GlobalProcessFunc(b, rates, highest, func(ctx *stream.Context[stream.Nothing, stream.Nothing], r stream.Record[string, int64]) error {
		rows := stream.StoreIn(ctx, highest)
		row, err := rows.Get(r.Key)
		if err != nil || row.V >= r.Value {
			return err
		}
		return rows.Put(r.Key, r.Value)
	})
	answers := stream.ProcessFunc(stream.From(b, asked), func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
		row, err := stream.StoreIn(ctx, highest).Get(r.Value)
		if err != nil {
			return err
		}
		return ctx.Forward(r.WithValue(fmt.Sprintf("%s was %d at most", r.Value, row.V)))
	}, stream.Stores(highest))
	answers.To(told)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		rate := streamtest.Input(d, rates)
		rate.Pipe("koruna", 24, 0)
		rate.Pipe("koruna", 27, 0)
		rate.Pipe("koruna", 25, 0)
		streamtest.Input(d, asked).Pipe("ann", "koruna", 0)
		for _, r := range streamtest.Output(d, told).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// ann koruna was 27 at most
}
