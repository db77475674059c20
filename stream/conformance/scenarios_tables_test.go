package conformance_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
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
func both(stores ...readers) readers {
	all := readers{}
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
	"table_in_memory_store": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(table(b, "input").As(store.InMemory()).Filter(even), "output")
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

	// Tables of streams.
	"to_table": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(input(b).ToTable().As(store), "output")
	}},
	"to_table_after_select_key": {out: output, stores: isText, build: func(b *stream.Builder) {
		s := stream.MapValues(stream.SelectKey(input(b), bucket), func(v S) S {
			if v != nil && strings.HasSuffix(*v, "4") {
				return nil
			}
			return v
		})
		out(s.ToTable().As(store), "output")
	}},
	"table_to_stream_to_table": {out: output, stores: isText, build: func(b *stream.Builder) {
		s := table(b, "input").ToStream().Filter(func(_, v S) bool { return v == nil || num(v)%3 != 0 })
		out(s.ToTable().As(store), "output")
	}},

	// Grouped tables.
	"table_group_by_count": {out: output, stores: isCount, build: func(b *stream.Builder) {
		out(grouped(table(b, "input"), bucket).Count().As(counts), "output")
	}},
	"table_group_by_reduce": {out: output, stores: isText, build: func(b *stream.Builder) {
		minus := func(old, v S) S {
			defer spoil(v)
			return grown(old, "-", v)
		}
		out(grouped(table(b, "input"), bucket).Reduce(concat, minus).As(store), "output")
	}},
	"table_group_by_aggregate": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(aggregated(byBucket(table(b, "input"))).As(store), "output")
	}},
	"table_group_by_aggregate_null": {out: output, stores: isText, build: func(b *stream.Builder) {
		g := grouped(table(b, "input"), bucket)
		out(stream.AggregateTable(g, zero, nilIf("0", add), nilIf("1", sub)).As(store), "output")
	}},
	"table_group_by_null_key": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(aggregated(grouped(table(b, "input"), func(k, v S) S {
			if num(v)%5 == 0 {
				return nil
			}
			return bucket(k, v)
		})).As(store), "output")
	}},
	"table_group_by_same_key_aggregate": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(aggregated(grouped(table(b, "input"), func(k, _ S) S { return k })).As(store), "output")
	}},
	"table_chain_group_by": {out: output, stores: isText, build: func(b *stream.Builder) {
		twice := stream.MapTable(table(b, "input").Filter(above(3)), func(_, v S) S { return new(strconv.Itoa(2 * num(v))) })
		out(aggregated(grouped(twice, bucket)).As(store), "output")
	}},
	"aggregate_then_table_group_by": {out: output, stores: both(keeps(countsToo), isText), build: func(b *stream.Builder) {
		n := stream.GroupByKey(input(b)).Count().As(countsToo)
		texts := stream.MapTable(n, func(_ S, n int64) S { return new(strconv.FormatInt(n, 10)) })
		out(aggregated(stream.GroupTable(texts, func(k, n S) (S, S) { return new(strconv.Itoa(num(n) % 2)), k }).With(str, str)).As(store), "output")
	}},
	"largest_per_group": {out: output, stores: isText, build: func(b *stream.Builder) {
		g := stream.GroupTable(table(b, "input"), func(k, v S) (S, S) { return bucket(k, v), new(*k + "=" + *v) }).With(str, str)
		entries := func(list S) []string { return strings.FieldsFunc(*list, func(r rune) bool { return r == ';' }) }
		join := func(entries []string) S { return new(strings.Join(entries, ";")) }
		t := stream.AggregateTable(g, func() S { return new("") },
			func(_, v, list S) S {
				e := append(entries(list), *v)
				slices.Sort(e)
				return join(e)
			},
			func(_, v, list S) S {
				e := entries(list)
				if i := slices.Index(e, *v); i >= 0 {
					e = slices.Delete(e, i, i+1)
				}
				return join(e)
			}).As(store)
		stream.MapValues(t.ToStream(), func(list S) S {
			e := entries(list)
			if len(e) == 0 {
				return new("")
			}
			return &e[len(e)-1]
		}).To(topic("output"))
	}},
	"headers_table": {out: []string{"output", "grouped"}, stores: isText, build: func(b *stream.Builder) {
		t := table(b, "input")
		out(t.Filter(even), "output")
		out(aggregated(grouped(t, bucket)).As(store), "grouped")
	}},
}

var countsToo = state.NewKeyValue("counts", str, serde.Int64)

func sub(_, v, agg S) S { return grown(agg, "-", v) } // SUB

// nilIf is f, but null for values that end in digit.
func nilIf(digit string, f func(k, v, agg S) S) func(k, v, agg S) S {
	return func(k, v, agg S) S {
		if strings.HasSuffix(*v, digit) {
			return nil
		}
		return f(k, v, agg)
	}
}

// grouped groups a table by key, with values as they are.
func grouped(t *stream.Table[S, S], key func(k, v S) S) *stream.GroupedTable[S, S] {
	return stream.GroupTable(t, func(k, v S) (S, S) { return key(k, v), v }).With(str, str)
}

// byBucket is groupBy to (BUCKET(value), key + value).
func byBucket(t *stream.Table[S, S]) *stream.GroupedTable[S, S] {
	return stream.GroupTable(t, func(k, v S) (S, S) { return bucket(k, v), new(*k + *v) }).With(str, str)
}

func aggregated(g *stream.GroupedTable[S, S]) *stream.Table[S, S] {
	return stream.AggregateTable(g, zero, spoiling(add), spoiling(sub))
}
