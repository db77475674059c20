package conformance_test

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

var calls = state.NewKeyValue("calls", serde.String, serde.String)

// countCalls is the transformer of table_transform_values.
type countCalls struct{}

func (countCalls) Transform(ctx *stream.TableContext, r stream.Record[S, S]) (S, bool, error) {
	n, err := counted(stream.StoreIn(ctx, calls), r.Key)
	return numbered(r.Value, n), true, err
}

// withKey is the transformer of table_transform_values_unmaterialized.
type withKey struct{}

func (withKey) Transform(_ *stream.TableContext, r stream.Record[S, S]) (S, bool, error) {
	if r.Value == nil {
		return nil, false, nil
	}
	return new(*r.Key + "~" + *r.Value), true, nil
}

var transformScenarios = map[string]scenario{
	"table_transform_values": {out: output, stores: both(isText, isPlain(calls)), build: func(b *stream.Builder) {
		t := stream.TransformTable(table(b, "input").As(source), func() countCalls { return countCalls{} }, stream.Stores(calls))
		out(t.As(store), "output")
	}},
	"table_transform_values_unmaterialized": {out: output, stores: isSource, build: func(b *stream.Builder) {
		out(stream.TransformTable(table(b, "input").As(source), func() withKey { return withKey{} }), "output")
	}},
}
