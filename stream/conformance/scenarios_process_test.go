package conformance_test

import (
	"fmt"
	"strconv"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

var seen = state.NewWindow("seen", str, str).WithRetention(200 * time.Millisecond).WithSize(200 * time.Millisecond)

// counting is a store of how many records there were of a key, as text.
var counting = state.NewKeyValue("store", serde.String, serde.String)

// isPlain says that a store is a key-value store whose rows' timestamps are not looked at.
func isPlain(handle state.KeyValue[string, string]) readers {
	return readers{handle.Name(): func(h *held) contents {
		c := contents{Type: "kv"}
		for _, r := range rowsOf[*state.OrderedStore[string, string], state.Row[string, string]](h, handle) {
			c.Rows = append(c.Rows, []any{r.Key, r.Value})
		}
		return c
	}}
}

var isSeen = readers{seen.Name(): func(h *held) contents {
	return windowContents("window", rowsOf[*state.WindowStore[S, S], state.WindowRow[S, S]](h, seen), false)
}}

// counted counts a key in a store.
func counted(s *state.KeyValues[string, string], k S) (n int, err error) {
	before, err := s.Get(text(k))
	if err != nil {
		return 0, err
	}
	if before.OK {
		if n, err = strconv.Atoi(before.V); err != nil {
			return 0, err
		}
	}
	n++
	return n, s.Put(text(k), strconv.Itoa(n))
}

// step is a processor without anything but a function.
func step(in *stream.Stream[S, S], f func(*stream.Context[S, S], stream.Record[S, S]) error, opts ...stream.ProcessOption) *stream.Stream[S, S] {
	return stream.ProcessFunc(in, f, opts...)
}

func numbered(v S, n int) S { return new(fmt.Sprintf("%s#%d", text(v), n)) }

// toChildren is the processor of process_forward_to_child.
type toChildren struct {
	counts *state.KeyValues[string, string]
}

func (p *toChildren) Init(ctx *stream.Context[S, S]) error {
	p.counts = stream.StoreIn(ctx, counting)
	return nil
}

func (p *toChildren) Process(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
	n, err := counted(p.counts, r.Key)
	if err != nil {
		return err
	}
	r = r.WithValue(numbered(r.Value, n)).WithHeaders(nil)
	switch {
	case n%2 == 1:
		return ctx.ForwardTo("sink-a", r)
	case n%4 == 0:
		return ctx.ForwardTo("sink-b", r)
	}
	return ctx.Forward(r)
}

// dedup is the processor of dedup_window_store.
type dedup struct {
	seen *state.Windows[S, S]
}

func (p *dedup) Init(ctx *stream.Context[S, S]) error {
	p.seen = stream.StoreIn(ctx, seen)
	return nil
}

func (p *dedup) Process(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
	if r.Value == nil {
		return nil
	}
	known := false
	for _, err := range p.seen.FetchRange(r.Value, max(0, r.Timestamp-50), r.Timestamp+50) {
		if err != nil {
			return err
		}
		known = true
	}
	if !known {
		if err := ctx.Forward(r); err != nil {
			return err
		}
	}
	return p.seen.Put(r.Value, r.Timestamp, new(text(r.Key)))
}

var processScenarios = map[string]scenario{
	"process_forward_to_child": {out: []string{"out-a", "out-b"}, stores: isPlain(counting), build: func(b *stream.Builder) {
		s := stream.Process(input(b), func() *toChildren { return &toChildren{} }, stream.Stores(counting), stream.Children("sink-a", "sink-b"))
		s.To(topic("out-a"), stream.Named("sink-a"))
		s.To(topic("out-b"), stream.Named("sink-b"))
	}},
	"process_changes_record": {out: output, build: func(b *stream.Builder) {
		step(input(b), func(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
			changed := stream.Record[S, S]{Key: new(text(r.Value)), Value: new(text(r.Key)), Timestamp: r.Timestamp + 1000}
			if err := ctx.Forward(changed); err != nil || r.Value == nil || num(r.Value)%3 != 0 {
				return err
			}
			return ctx.Forward(r.WithValue(nil))
		}).To(topic("output"))
	}},
	"process_values_store": {out: output, stores: isPlain(counting), build: func(b *stream.Builder) {
		stream.ProcessValuesFunc(input(b), func(ctx *stream.ValueContext[S], r stream.Record[S, S]) error {
			n, err := counted(stream.StoreIn(ctx, counting), r.Key)
			if err != nil || n%5 == 0 {
				return err
			}
			return ctx.Forward(numbered(r.Value, n), r.Headers)
		}, stream.Stores(counting)).To(topic("output"))
	}},
	"processor_api": {out: []string{"out-1", "out-2"}, stores: isPlain(counting), build: func(b *stream.Builder) {
		first := step(input(b), func(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
			if err := ctx.Forward(r.WithValue(new(text(r.Value) + "a"))); err != nil || r.Value == nil || num(r.Value)%4 != 0 {
				return err
			}
			return ctx.ForwardTo("second", r.WithValue(new(text(r.Value)+"b")))
		})
		second := step(first, func(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
			n, err := counted(stream.StoreIn(ctx, counting), r.Key)
			if err != nil {
				return err
			}
			return ctx.Forward(r.WithValue(numbered(r.Value, n)))
		}, stream.Stores(counting), stream.Named("second"))
		first.To(topic("out-1"))
		second.To(topic("out-2"))
	}},
	"headers_changed": {out: output, build: func(b *stream.Builder) {
		s := step(input(b), func(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
			more := r.WithHeaders(r.Headers.With("n", strconv.AppendInt(nil, r.Timestamp, 10)))
			if err := ctx.Forward(more); err != nil || r.Timestamp%2 == 0 {
				return err
			}
			return ctx.Forward(r.WithValue(new("bare")).WithHeaders(nil))
		})
		stream.MapValues(s, suffix("!")).To(topic("output"))
	}},
	"headers_removed": {out: output, build: func(b *stream.Builder) {
		stream.ProcessValuesFunc(input(b), func(ctx *stream.ValueContext[S], r stream.Record[S, S]) error {
			return ctx.Forward(suffix("!")(r.Value), r.Headers.Without("g"))
		}).To(topic("output"))
	}},
	"dedup_window_store": {out: output, stores: isSeen, build: func(b *stream.Builder) {
		stream.Process(input(b), func() *dedup { return &dedup{} }, stream.Stores(seen)).To(topic("output"))
	}},
}
