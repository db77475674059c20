package conformance_test

import (
	"fmt"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// ticking counts keys in a store, and empties it from time to time: punctuate_stream_time and punctuate_wall_clock.
type ticking struct {
	clock  stream.PunctuationType
	every  time.Duration
	ctx    *stream.Context[S, S]
	counts *state.KeyValues[string, string]
}

func (p *ticking) Init(ctx *stream.Context[S, S]) error {
	p.ctx, p.counts = ctx, stream.StoreIn(ctx, counting)
	ctx.Every(p.every, p.clock, p.tick)
	return nil
}

func (p *ticking) Process(_ *stream.Context[S, S], r stream.Record[S, S]) error {
	_, err := counted(p.counts, r.Key)
	return err
}

func (p *ticking) tick(at int64) error {
	if err := p.ctx.Forward(tick("tick", at)); err != nil {
		return err
	}
	var keys []string
	for row, err := range p.counts.All() {
		if err != nil {
			return err
		}
		keys = append(keys, row.Key)
		if err := p.ctx.Forward(stream.Record[S, S]{Key: &row.Key, Value: &row.Value, Timestamp: at}); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if err := p.counts.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func tick(key string, at int64) stream.Record[S, S] {
	return stream.Record[S, S]{Key: &key, Value: new(fmt.Sprint(at)), Timestamp: at}
}

// ticks says how often the punctuator of twoClocks was called.
var ticks = state.NewKeyValue("ticks", serde.String, serde.Int64)

// twoClocks is the processor of punctuate_both_and_cancel. What it has to know after a restart lies in a store: how
// often its punctuator was called, and so whether it was cancelled.
type twoClocks struct{}

func (twoClocks) Init(ctx *stream.Context[S, S]) error {
	calls := stream.StoreIn(ctx, ticks)
	done, err := calls.Get("stream")
	if err != nil {
		return err
	}
	if done.V < 5 {
		var cancel func()
		cancel = ctx.Every(40*time.Millisecond, stream.StreamTime, func(at int64) error {
			n, err := calls.Get("stream")
			if err != nil {
				return err
			}
			if n.V == 4 {
				cancel()
			}
			if err := calls.Put("stream", n.V+1); err != nil {
				return err
			}
			return ctx.Forward(tick("stream", at))
		})
	}
	ctx.Every(70*time.Millisecond, stream.WallClock, func(at int64) error { return ctx.Forward(tick("wall", at)) })
	return nil
}

func (twoClocks) Process(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
	return ctx.Forward(r)
}

// anchored is the processor of punctuate_anchored.
type anchored struct{ twoClocks }

func (anchored) Init(ctx *stream.Context[S, S]) error {
	ctx.Every(100*time.Millisecond, stream.WallClock, func(at int64) error { return ctx.Forward(tick("wall", at)) },
		stream.StartingAt(time.UnixMilli(35)))
	ctx.Every(50*time.Millisecond, stream.StreamTime, func(at int64) error { return ctx.Forward(tick("stream", at)) },
		stream.StartingAt(time.UnixMilli(20)))
	return nil
}

var punctuateScenarios = map[string]scenario{
	"punctuate_stream_time": {out: output, stores: isPlain(counting), build: func(b *stream.Builder) {
		stream.Process(input(b), func() *ticking { return &ticking{clock: stream.StreamTime, every: 50 * time.Millisecond} },
			stream.Stores(counting)).To(topic("output"))
	}},
	"punctuate_wall_clock": {out: output, stores: isPlain(counting), build: func(b *stream.Builder) {
		stream.Process(input(b), func() *ticking { return &ticking{clock: stream.WallClock, every: 100 * time.Millisecond} },
			stream.Stores(counting)).To(topic("output"))
	}},
	"punctuate_both_and_cancel": {out: output, build: func(b *stream.Builder) {
		stream.Process(input(b), func() twoClocks { return twoClocks{} }, stream.Stores(ticks)).To(topic("output"))
	}},
	"punctuate_anchored": {out: output, build: func(b *stream.Builder) {
		stream.Process(input(b), func() anchored { return anchored{} }).To(topic("output"))
	}},
}
