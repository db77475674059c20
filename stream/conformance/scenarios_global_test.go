package conformance_test

import (
	"errors"
	"strings"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

func globalTable(b *stream.Builder, name string) *stream.GlobalTable[S, S] {
	return stream.GlobalTableFrom(b, topic(name))
}

// byFirst is the first character of the value, or null if it is null or begins with n.
func byFirst(_, v S) (S, bool) {
	if v == nil || strings.HasPrefix(*v, "n") {
		return nil, false
	}
	return new((*v)[:1]), true
}

func keyItself(k, _ S) (S, bool) { return k, true }

var global = state.NewKeyValue("global", serde.String, serde.String).InMemory()

// isGlobal says that a store is a global one whose rows' timestamps are not looked at.
var isGlobal = readers{global.Name(): func(h *held) contents {
	c := contents{Type: "kv"}
	for _, g := range h.globals {
		for r, err := range g.(*state.GlobalStore[string, string]).Reader().All() {
			c.Rows, h.err = append(c.Rows, []any{r.Key, r.Value}), errors.Join(h.err, err)
		}
	}
	return c
}}

// Joins of a stream and a global table, and global stores.
var globalScenarios = map[string]scenario{
	"stream_global_inner": {out: output, stores: isText, build: func(b *stream.Builder) {
		stream.JoinGlobal(from(b, "left"), globalTable(b, "right").As(store), byFirst, pair).To(topic("output"))
	}},
	"stream_global_left": {out: output, stores: isText, build: func(b *stream.Builder) {
		stream.LeftJoinGlobal(from(b, "left"), globalTable(b, "right").As(store), byFirst, pairLeft).To(topic("output"))
	}},
	"stream_global_left_by_key": {out: output, build: func(b *stream.Builder) {
		stream.LeftJoinGlobal(from(b, "left"), globalTable(b, "right"), keyItself, pairLeft).To(topic("output"))
	}},
	"null_key_stream_global_inner": {out: output, build: func(b *stream.Builder) {
		stream.JoinGlobal(from(b, "left"), globalTable(b, "right"), keyItself, pair).To(topic("output"))
	}},
	"global_store_processor": {out: output, stores: isGlobal, build: func(b *stream.Builder) {
		stream.GlobalProcessFunc(b, topic("table"), global, func(ctx *stream.Context[stream.Nothing, stream.Nothing], r stream.Record[S, S]) error {
			rows := stream.StoreIn(ctx, global)
			switch {
			case r.Key == nil:
				return nil
			case r.Value == nil:
				return rows.Delete(*r.Key)
			}
			return rows.Put(*r.Key, *r.Value+"g")
		})
		step(input(b), func(ctx *stream.Context[S, S], r stream.Record[S, S]) error {
			var entry S
			if r.Key != nil {
				row, err := stream.StoreIn(ctx, global).Get(*r.Key)
				if err != nil {
					return err
				}
				if row.OK {
					entry = &row.V
				}
			}
			return ctx.Forward(r.WithValue(pair(r.Value, entry)))
		}, stream.Stores(global)).To(topic("output"))
	}},
}
