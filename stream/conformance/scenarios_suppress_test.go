package conformance_test

import (
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// two gives the streams of a cogroup of topics one and two.
func two(b *stream.Builder) (one, two stream.Part[S, S]) {
	return stream.CoPart(stream.GroupByKey(stream.From(b, topic("one"))), with("+")),
		stream.CoPart(stream.GroupByKey(stream.From(b, topic("two"))), with("*"))
}

// with is ADD with another sign.
func with(sign string) func(_, v, agg S) S {
	return func(_, v, agg S) S { return grown(agg, sign, v) }
}

var suppressScenarios = map[string]scenario{
	"suppress_tumbling": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(tumbling.WithGrace(20 * ms))).As(windowed).Suppress(stream.UntilWindowCloses()))
	}},
	"suppress_tumbling_count_no_grace": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling).Count().As(windowCounts).Suppress(stream.UntilWindowCloses()))
	}},
	"suppress_hopping": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(hopping.WithGrace(20 * ms))).As(windowed).Suppress(stream.UntilWindowCloses()))
	}},
	"suppress_session": {out: output, stores: isSessions, build: func(b *stream.Builder) {
		wout(sessionSums(byKey(b).SessionWindowedBy(session.WithGrace(20 * ms))).As(sessions).Suppress(stream.UntilWindowCloses()))
	}},
	"suppress_sliding": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(sliding.WithGrace(20 * ms)).Count().As(windowCounts).Suppress(stream.UntilWindowCloses()))
	}},
	"suppress_time_limit": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(byKey(b), zero, add).As(store).Suppress(stream.UntilTimeLimit(40*ms)), "output")
	}},
	"suppress_time_limit_zero": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(byKey(b), zero, add).As(store).Suppress(stream.UntilTimeLimit(0)), "output")
	}},
	"suppress_time_limit_max_records": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(byKey(b), zero, add).As(store).Suppress(stream.UntilTimeLimit(100*ms).MaxRecords(3)), "output")
	}},
	"suppress_table_tombstones": {out: output, build: func(b *stream.Builder) {
		out(table(b, "input").Suppress(stream.UntilTimeLimit(50*ms)), "output")
	}},
	"suppress_windowed_time_limit_max_records": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling.WithGrace(20 * ms)).Count().As(windowCounts).Suppress(stream.UntilTimeLimit(30 * ms).MaxRecords(4)))
	}},
	"headers_suppress": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling.WithGrace(20 * ms)).Count().As(windowCounts).Suppress(stream.UntilWindowCloses()))
	}},
	"cogroup_two": {out: output, stores: isText, build: func(b *stream.Builder) {
		one, two := two(b)
		out(stream.Cogroup(one, two).Aggregate(zero).As(store), "output")
	}},
	"cogroup_three": {out: output, stores: isText, build: func(b *stream.Builder) {
		one, two := two(b)
		three := stream.GroupBy(stream.From(b, topic("three")), func(_, v S) S { return v }).With(str, str)
		out(stream.Cogroup(one, two, stream.CoPart(three, with("/"))).Aggregate(zero).As(store), "output")
	}},
	"cogroup_tumbling": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		one, two := two(b)
		wout(stream.Cogroup(one, two).WindowedBy(tumbling.WithGrace(30 * ms)).Aggregate(zero).As(windowed))
	}},
	"cogroup_hopping": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		one, two := two(b)
		wout(stream.Cogroup(one, two).WindowedBy(windows.Hopping(50*ms, 25*ms).WithGrace(30 * ms)).Aggregate(zero).As(windowed))
	}},
	"cogroup_sliding": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		one, two := two(b)
		wout(stream.Cogroup(one, two).WindowedBy(sliding.WithGrace(40 * ms)).Aggregate(zero).As(windowed))
	}},
	"cogroup_session": {out: output, stores: isSessions, build: func(b *stream.Builder) {
		one, two := two(b)
		wout(stream.Cogroup(one, two).SessionWindowedBy(session.WithGrace(40*ms)).Aggregate(zero, mergeSessions).As(sessions))
	}},
}
