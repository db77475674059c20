package conformance_test

import (
	"fmt"
	"strings"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// divisible says that a value is there, and a multiple of n.
func divisible(n int) func(_, v S) bool {
	return func(_, v S) bool { return v != nil && num(v)%n == 0 }
}

// keyAndCount makes (the inner key, WKEY=count) of a windowed count.
func keyAndCount(w windows.Windowed[S], n int64) (S, S) {
	return w.Key, new(fmt.Sprintf("%s=%d", *wkey(w, n), n))
}

// region is the part of a value after the comma.
func region(_, v S) S {
	_, after, _ := strings.Cut(*v, ",")
	return &after
}

// Streams that go several ways, or through a topic of the application's own, and composites.
var branchScenarios = map[string]scenario{
	"split_default": {out: []string{"even", "big", "rest"}, build: func(b *stream.Builder) {
		sp := input(b).Split()
		sp.Branch(even).To(topic("even"))
		sp.Branch(func(_, v S) bool { return v != nil && num(v) > 40 }).To(topic("big"))
		sp.Rest().To(topic("rest"))
	}},
	"split_no_default": {out: []string{"three", "two"}, build: func(b *stream.Builder) {
		sp := input(b).Split()
		sp.Branch(divisible(3)).To(topic("three"))
		sp.Branch(divisible(2)).To(topic("two"))
	}},
	"dynamic_topic": {out: []string{"output-odd", "output-even"}, build: func(b *stream.Builder) {
		odd, even := topic("output-odd"), topic("output-even")
		input(b).ToFunc(func(r stream.Record[S, S]) stream.Topic[S, S] {
			if r.Value != nil && num(r.Value)%2 == 1 {
				return odd
			}
			return even
		})
	}},
	"headers_stateless": {out: output, build: func(b *stream.Builder) {
		mapped := stream.Map(input(b), func(k, v S) (S, S) { return k, new(text(v) + "m") })
		kept := mapped.Filter(func(_, v S) bool { return !strings.HasSuffix(*v, "3m") })
		stream.SelectKey(kept, func(_, v S) S { return v }).Repartition(stream.Named("rp")).With(str, str).To(topic("output"))
	}},
	"null_key_repartition": {out: output, build: func(b *stream.Builder) {
		stream.Map(input(b), same).With(str, str).Repartition(stream.Named("rp")).To(topic("output"))
	}},
	"repartition": {out: output, build: func(b *stream.Builder) {
		again := stream.SelectKey(input(b), bucket).Repartition(stream.Named("rp")).With(str, str)
		stream.MapValues(again, suffix("r")).To(topic("output"))
	}},
	"two_subtopologies": {out: output, stores: both(keeps(first), keepsWindows(second)), build: func(b *stream.Builder) {
		counted := stream.GroupByKey(input(b)).Count().As(first).ToStream()
		thirds := stream.Map(counted, func(k S, n int64) (S, S) {
			return new(fmt.Sprint(n % 3)), new(fmt.Sprintf("%s%d", *k, n))
		})
		w := windows.Tumbling(100 * ms).WithGrace(50 * ms)
		g := stream.GroupByKey(thirds.Repartition(stream.Named("rp")).With(str, str)).WindowedBy(w)
		wout(stream.AggregateWindows(g, zero, add).As(second))
	}},
	"enrich_then_window": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		enriched := stream.LeftJoinTable(from(b, "left"), table(b, "right"), pairLeft)
		g := stream.GroupByKey(stream.SelectKey(enriched, region)).With(str, str)
		wout(g.WindowedBy(windows.Hopping(60*ms, 30*ms).WithGrace(20 * ms)).Count().As(windowCounts))
	}},
	"session_suppress_join": {out: output, stores: keepsSessions(sessionsNamed), build: func(b *stream.Builder) {
		g := stream.GroupByKey(from(b, "left")).SessionWindowedBy(windows.Sessions(15 * ms).WithGrace(10 * ms))
		closed := g.Count().As(sessionsNamed).Suppress(stream.UntilWindowCloses())
		left := stream.Map(closed.ToStream(), keyAndCount).With(str, str)
		stream.LeftJoinTable(left, table(b, "right"), pairLeft).To(topic("output"))
	}},
	"windowed_count_join_table": {out: output, stores: both(keepsWindows(countsNamed), isText), build: func(b *stream.Builder) {
		g := stream.GroupByKey(from(b, "left")).WindowedBy(windows.Tumbling(50 * ms).WithGrace(20 * ms))
		left := stream.Map(g.Count().As(countsNamed).ToStream(), keyAndCount).With(str, str)
		stream.LeftJoinTable(left, table(b, "right").As(store), pairLeft).To(topic("output"))
	}},
}

var (
	first         = state.NewKeyValue("first", str, serde.Int64)
	second        = state.NewWindow("second", str, str)
	sessionsNamed = state.NewSession("sessions", str, serde.Int64)
	countsNamed   = state.NewWindow("counts", str, serde.Int64)
)
