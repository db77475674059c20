package conformance_test

import (
	"maps"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

var (
	source   = state.NewKeyValue("source", str, str)
	isSource = keeps(source)
)

// table is the topic as a table.
func table(b *stream.Builder, name string) *stream.Table[S, S] {
	return stream.TableFrom(b, topic(name))
}

// both says that a scenario has the stores of several.
func both(stores ...map[string]func(*streamtest.Driver) contents) map[string]func(*streamtest.Driver) contents {
	all := map[string]func(*streamtest.Driver) contents{}
	for _, s := range stores {
		maps.Copy(all, s)
	}
	return all
}

// above passes numbers greater than n.
func above(n int) func(_, v S) bool { return func(_, v S) bool { return num(v) > n } }

// toSuffix is mapValues(value + x) of a table.
func toSuffix(x string) func(_, v S) S { return func(_, v S) S { return suffix(x)(v) } }

var tableScenarios = map[string]scenario{
	"table_source": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(table(b, "input").As(store), "output")
	}},
	"table_source_unmaterialized": {out: output, build: func(b *stream.Builder) {
		out(table(b, "input"), "output")
	}},
	"table_filter": {out: output, build: func(b *stream.Builder) {
		out(table(b, "input").Filter(even), "output")
	}},
	"table_filter_keeps_after_filter": {out: output, stores: both(isSource, isText), build: func(b *stream.Builder) {
		out(table(b, "input").As(source).Filter(above(2)).Filter(even).As(store), "output")
	}},
	"table_filter_materialized": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(table(b, "input").Filter(even).As(store), "output")
	}},
	"table_filter_not": {out: output, stores: both(isSource, isText), build: func(b *stream.Builder) {
		out(table(b, "input").As(source).FilterNot(even).As(store), "output")
	}},
	"table_map_values": {out: output, build: func(b *stream.Builder) {
		out(stream.MapTable(table(b, "input"), toSuffix("m")), "output")
	}},
	"table_map_values_materialized": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.MapTable(table(b, "input"), func(k, v S) S {
			if *v == "5" {
				return nil
			}
			return new(text(k) + "/" + text(v))
		}).As(store), "output")
	}},
	"table_to_stream_key_mapper": {out: output, build: func(b *stream.Builder) {
		stream.SelectKey(table(b, "input").ToStream(), func(k, v S) S { return new(text(k) + ":" + text(v)) }).To(topic("output"))
	}},
	"null_key_table": {out: output, build: func(b *stream.Builder) {
		out(stream.MapTable(table(b, "input"), toSuffix("m")), "output")
	}},
}
