package conformance_test

import (
	"strconv"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// pairOuter is PAIR, for outer joins.
func pairOuter(l, r S, _ stream.Sides) S { return pair(l, r) }

type texts = *stream.Table[S, S]

func innerTables(l, r texts) texts { return stream.JoinTables(l, r, pair) }
func leftTables(l, r texts) texts  { return stream.LeftJoinTables(l, r, pairLeft) }
func outerTables(l, r texts) texts { return stream.OuterJoinTables(l, r, pairOuter) }

// ofTables joins tables left and right.
func ofTables(join func(l, r texts) texts) func(b *stream.Builder) texts {
	return func(b *stream.Builder) texts {
		l := table(b, "left")
		return join(l, table(b, "right"))
	}
}

func unkept(t func(b *stream.Builder) texts) scenario {
	return scenario{out: output, build: func(b *stream.Builder) { out(t(b), "output") }}
}

func kept(t func(b *stream.Builder) texts) scenario {
	return scenario{out: output, stores: isText, build: func(b *stream.Builder) { out(t(b).As(store), "output") }}
}

var (
	leftCounts  = state.NewKeyValue("lc", str, serde.Int64)
	rightTexts  = state.NewKeyValue("ra", str, str)
	threeTables = func(b *stream.Builder) (l, r, third texts) {
		l = table(b, "left")
		r = table(b, "right")
		return l, r, table(b, "third")
	}
)

type countTable = *stream.Table[windows.Windowed[S], int64]

// windowCountJoin joins two windowed counts.
func windowCountJoin(join func(l, r countTable) *stream.Table[windows.Windowed[S], S]) scenario {
	lefts, rights := state.NewWindow("lw", str, serde.Int64), state.NewWindow("rw", str, serde.Int64)
	return scenario{out: output, stores: both(keepsWindows(lefts), keepsWindows(rights)), build: func(b *stream.Builder) {
		count := func(name string, h state.Window[S, int64]) countTable {
			return stream.GroupByKey(from(b, name)).WindowedBy(windows.Tumbling(50 * ms).WithGrace(30 * ms)).Count().As(h)
		}
		l := count("left", lefts)
		wout(join(l, count("right", rights)))
	}}
}

var tableJoinScenarios = map[string]scenario{
	"table_inner":              unkept(ofTables(innerTables)),
	"table_inner_materialized": kept(ofTables(innerTables)),
	"table_left":               unkept(ofTables(leftTables)),
	"table_left_materialized":  kept(ofTables(leftTables)),
	"table_outer":              unkept(ofTables(outerTables)),
	"table_outer_materialized": kept(ofTables(outerTables)),
	"null_key_table_outer":     unkept(ofTables(outerTables)),
	"headers_table_join":       unkept(ofTables(outerTables)),
	"table_self_join": {out: output, stores: isSource, build: func(b *stream.Builder) {
		in := table(b, "input").As(source)
		evens := in.Filter(even)
		// The joiner has one value from both sides.
		gentle := func(l, r S, _ stream.Sides) S { return pairText(l, r) }
		out(stream.OuterJoinTables(in, evens, gentle), "output")
	}},
	"table_three_way_inner": unkept(func(b *stream.Builder) texts {
		l, r, third := threeTables(b)
		return innerTables(innerTables(l, r), third)
	}),
	"table_three_way_mixed": kept(func(b *stream.Builder) texts {
		l, r, third := threeTables(b)
		return leftTables(outerTables(l, r), third)
	}),
	"table_three_way_right_nested": unkept(func(b *stream.Builder) texts {
		l, r, third := threeTables(b)
		return leftTables(l, outerTables(r, third))
	}),
	"table_filtered_join": {out: output, stores: isText, build: func(b *stream.Builder) {
		l := table(b, "left").Filter(even)
		r := stream.MapTable(table(b, "right"), toSuffix("m"))
		out(leftTables(l, r).As(store).Filter(func(_, v S) bool { return len(*v) <= 4 }), "output")
	}},
	"table_join_group_by": {out: output, stores: isText, build: func(b *stream.Builder) {
		g := stream.GroupTable(ofTables(innerTables)(b), func(k, v S) (S, S) { return new((*v)[:2]), k }).With(str, str)
		out(aggregated(g).As(store), "output")
	}},
	"windowed_table_inner": windowCountJoin(func(l, r countTable) *stream.Table[windows.Windowed[S], S] {
		return stream.JoinTables(l, r, func(l, r int64) S { return pair(count(l, true), count(r, true)) })
	}),
	"windowed_table_outer": windowCountJoin(func(l, r countTable) *stream.Table[windows.Windowed[S], S] {
		return stream.OuterJoinTables(l, r, func(l, r int64, have stream.Sides) S {
			return pair(count(l, have.Left()), count(r, have.Right()))
		})
	}),
	"join_of_aggregates": {out: output, stores: both(keeps(leftCounts), keeps(rightTexts), isText), build: func(b *stream.Builder) {
		lc := stream.GroupByKey(stream.From(b, topic("left"))).Count().As(leftCounts)
		ra := stream.Aggregate(stream.GroupByKey(stream.From(b, topic("right"))), zero, add).As(rightTexts)
		out(stream.OuterJoinTables(lc, ra, func(l int64, r S, have stream.Sides) S {
			if !have.Left() {
				return pair(nil, r)
			}
			return pair(new(strconv.FormatInt(l, 10)), r)
		}).As(store), "output")
	}},
}
