package conformance_test

import (
	"strconv"

	"github.com/moldau-io/moldau/stream"
)

func from(b *stream.Builder, name string) *stream.Stream[S, S] { return stream.From(b, topic(name)) }

// pair is PAIR, for inner and left joins.
func pair(l, r S) S     { s := pairText(l, r); spoil(l, r); return s }
func pairText(l, r S) S { return new(text(l) + "," + text(r)) }

func pairLeft(l, r S, _ bool) S { return pair(l, r) }

// Joins of a stream and a table.
var streamTableScenarios = map[string]scenario{
	"stream_table_inner": {out: output, stores: isText, build: func(b *stream.Builder) {
		stream.JoinTable(from(b, "left"), table(b, "right").As(store), pair).To(topic("output"))
	}},
	"stream_table_left": {out: output, stores: isText, build: func(b *stream.Builder) {
		stream.LeftJoinTable(from(b, "left"), table(b, "right").As(store), pairLeft).To(topic("output"))
	}},
	"stream_table_left_with_key": {out: output, build: func(b *stream.Builder) {
		pairs := stream.LeftJoinTable(from(b, "left"), table(b, "right"), pairLeft)
		stream.MapValuesWithKey(pairs, func(k, v S) S { return new(text(k) + ":" + *v) }).To(topic("output"))
	}},
	"stream_table_inner_after_key_change": {out: output, stores: isText, build: func(b *stream.Builder) {
		left := stream.SelectKey(from(b, "left"), bucket).With(str, str)
		stream.JoinTable(left, table(b, "right").As(store), pair).To(topic("output"))
	}},
	"stream_filtered_table_left": {out: output, stores: isSource, build: func(b *stream.Builder) {
		even := table(b, "right").As(source).Filter(even)
		stream.LeftJoinTable(from(b, "left"), stream.MapTable(even, toSuffix("m")), pairLeft).To(topic("output"))
	}},
	"stream_aggregate_left": {out: output, stores: isCount, build: func(b *stream.Builder) {
		left := from(b, "left")
		n := stream.GroupByKey(from(b, "right")).Count().As(counts)
		stream.LeftJoinTable(left, n, func(l S, n int64, ok bool) S { return pair(l, count(n, ok)) }).To(topic("output"))
	}},
	"headers_stream_table_join": {out: output, build: func(b *stream.Builder) {
		stream.LeftJoinTable(from(b, "left"), table(b, "right"), pairLeft).To(topic("output"))
	}},
	"null_key_stream_table_inner": {out: output, build: func(b *stream.Builder) {
		stream.JoinTable(from(b, "left"), table(b, "right"), pair).To(topic("output"))
	}},
	"null_key_stream_table_left": {out: output, build: func(b *stream.Builder) {
		stream.LeftJoinTable(from(b, "left"), table(b, "right"), pairLeft).To(topic("output"))
	}},
	"null_key_stream_table_left_after_map": {out: output, build: func(b *stream.Builder) {
		left := stream.Map(from(b, "left"), same).With(str, str)
		stream.LeftJoinTable(left, table(b, "right"), pairLeft).To(topic("output"))
	}},
}

// count is a count's text, null if there is none.
func count(n int64, ok bool) S {
	if !ok {
		return nil
	}
	return new(strconv.FormatInt(n, 10))
}
