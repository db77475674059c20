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
)

var lastSeen = state.NewKeyValue("last-seen", serde.String, serde.Int64)

// changes is a Processor: it passes on what a sensor says if that is not what it said the last time.
type changes struct {
	last *state.KeyValues[string, string]
}

var lastSaid = state.NewKeyValue("last-said", serde.String, serde.String)

func (p *changes) Init(ctx *stream.Context[string, string]) error {
	p.last = stream.StoreIn(ctx, lastSaid)
	return nil
}

func (p *changes) Process(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
	before, err := p.last.Get(r.Key)
	if err != nil || before.OK && before.V == r.Value {
		return err
	}
	if err := p.last.Put(r.Key, r.Value); err != nil {
		return err
	}
	if strings.HasPrefix(r.Value, "alarm") {
		return ctx.ForwardTo("alarms", r)
	}
	return ctx.ForwardTo("news", r)
}

// A processor keeps what it has to know in a store, and sends each record where it belongs.
func ExampleProcess() {
	sensors := stream.NewTopic("sensors", serde.String, serde.String)
	news := stream.NewTopic("news", serde.String, serde.String)
	alarms := stream.NewTopic("alarms", serde.String, serde.String)

	b := stream.NewBuilder()
	changed := stream.Process(stream.From(b, sensors), func() *changes { return &changes{} },
		stream.Stores(lastSaid), stream.Children("news", "alarms"))
	changed.To(news, stream.Named("news"))
	changed.To(alarms, stream.Named("alarms"))
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, sensors)
		for i, said := range []string{"open", "open", "alarm: smoke", "open"} {
			in.Pipe("door", said, time.Duration(i)*time.Second)
		}
		for _, r := range streamtest.Output(d, news).All() {
			fmt.Println("news", r.Key, r.Value)
		}
		for _, r := range streamtest.Output(d, alarms).All() {
			fmt.Println("alarm", r.Key, r.Value)
		}
	})
	// Output:
	// news door open
	// news door open
	// alarm door alarm: smoke
}

// Keys stay what they are, so that nothing has to be repartitioned afterwards.
func ExampleProcessValuesFunc() {
	in := stream.NewTopic("visits", serde.String, serde.String)
	out := stream.NewTopic("numbered-visits", serde.String, serde.String)
	counts := state.NewKeyValue("visits-of", serde.String, serde.Int64)

	b := stream.NewBuilder()
	stream.ProcessValuesFunc(stream.From(b, in), func(ctx *stream.ValueContext[string], r stream.Record[string, string]) error {
		visits := stream.StoreIn(ctx, counts)
		before, err := visits.Get(r.Key)
		if err != nil {
			return err
		}
		if err := visits.Put(r.Key, before.V+1); err != nil {
			return err
		}
		return ctx.Forward(fmt.Sprintf("%s, visit %d", r.Value, before.V+1), r.Headers)
	}, stream.Stores(counts)).To(out)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		visits := streamtest.Input(d, in)
		visits.Pipe("ann", "/home", 0)
		visits.Pipe("ann", "/shop", 0)
		for _, r := range streamtest.Output(d, out).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// ann /home, visit 1
	// ann /shop, visit 2
}

// silence is a Processor that says of which sensors nothing was heard for a minute.
type silence struct {
	ctx  *stream.Context[string, string]
	last *state.KeyValues[string, int64]
}

func (p *silence) Init(ctx *stream.Context[string, string]) error {
	p.ctx, p.last = ctx, stream.StoreIn(ctx, lastSeen)
	ctx.Every(10*time.Second, stream.WallClock, p.look)
	return nil
}

func (p *silence) Process(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
	return p.last.Put(r.Key, ctx.Now().UnixMilli())
}

func (p *silence) look(atMs int64) error {
	for row, err := range p.last.All() {
		if err != nil {
			return err
		}
		if atMs-row.Value < time.Minute.Milliseconds() {
			continue
		}
		if err := p.ctx.Forward(stream.Record[string, string]{Key: row.Key, Value: "silent", Timestamp: atMs}); err != nil {
			return err
		}
		if err := p.last.Delete(row.Key); err != nil {
			return err
		}
	}
	return nil
}

// A punctuator does something from time to time, records or not.
func ExampleContext_every() {
	sensors := stream.NewTopic("sensors", serde.String, serde.String)
	silent := stream.NewTopic("silent", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.Process(stream.From(b, sensors), func() *silence { return &silence{} }, stream.Stores(lastSeen)).To(silent)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in, out := streamtest.Input(d, sensors), streamtest.Output(d, silent)
		in.Pipe("door", "open", 0)
		d.Advance(30 * time.Second)
		in.Pipe("window", "open", 0)
		d.Advance(30 * time.Second)
		for _, r := range out.All() {
			fmt.Println(r.Key, r.Value, "at", r.Time().UTC().Format(time.TimeOnly))
		}
	})
	// Output:
	// door silent at 00:01:00
}

// numberChanges is a TableTransformer: it says which change of a row a value is.
type numberChanges struct{}

func (numberChanges) Transform(ctx *stream.TableContext, r stream.Record[string, string]) (string, bool, error) {
	changes := stream.StoreIn(ctx, lastSeen)
	before, err := changes.Get(r.Key)
	if err != nil {
		return "", false, err
	}
	if r.ValueIsNull() {
		return "", false, changes.Delete(r.Key)
	}
	return fmt.Sprintf("%s, address %d", r.Value, before.V+1), true, changes.Put(r.Key, before.V+1)
}

// The rows of the new table follow from those of the old one and from what the transformer keeps.
func ExampleTransformTable() {
	cities := stream.NewTopic("cities", serde.String, serde.String)
	numbered := stream.NewTopic("numbered", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.TransformTable(stream.TableFrom(b, cities), func() numberChanges { return numberChanges{} }, stream.Stores(lastSeen)).
		As(state.NewKeyValue("addresses", serde.String, serde.String)).
		ToStream().To(numbered)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in := streamtest.Input(d, cities)
		in.Pipe("ann", "Praha", 0)
		in.Pipe("ann", "Brno", 0)
		for _, r := range streamtest.Output(d, numbered).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// ann Praha, address 1
	// ann Brno, address 2
}
