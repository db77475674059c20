package conformance_test

import (
	"time"

	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

type texts2 = *stream.Stream[S, S]

// within is "window before B ms, after A ms, grace G ms".
func within(before, after, grace int64) windows.Join {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return windows.Within(0).Before(ms(before)).After(ms(after)).WithGrace(ms(grace))
}

func innerStreams(l, r texts2, w windows.Join, opts ...stream.JoinOption) texts2 {
	return stream.JoinStreams(l, r, w, pair, opts...)
}

func leftStreams(l, r texts2, w windows.Join, opts ...stream.JoinOption) texts2 {
	return stream.LeftJoinStreams(l, r, w, pairLeft, opts...)
}

func outerStreams(l, r texts2, w windows.Join, opts ...stream.JoinOption) texts2 {
	return stream.OuterJoinStreams(l, r, w, pairOuter, opts...)
}

// ofStreams joins streams left and right.
func ofStreams(join func(l, r texts2, w windows.Join, opts ...stream.JoinOption) texts2, before, after, grace int64, opts ...stream.JoinOption) scenario {
	return scenario{out: output, build: func(b *stream.Builder) {
		l := from(b, "left")
		join(l, from(b, "right"), within(before, after, grace), opts...).To(topic("output"))
	}}
}

func leftOf(before, after, grace int64, opts ...stream.JoinOption) scenario {
	sc := ofStreams(leftStreams, before, after, grace, opts...)
	sc.unmatched = joinModel{before: before, after: after, grace: grace, alone: [2]bool{onLeft: true}}.ofTopics
	return sc
}

func outerOf(before, after, grace int64, opts ...stream.JoinOption) scenario {
	sc := ofStreams(outerStreams, before, after, grace, opts...)
	sc.unmatched = joinModel{before: before, after: after, grace: grace, alone: [2]bool{true, true}}.ofTopics
	return sc
}

func (m joinModel) ofTopics(events []event) []joined { return m.run(m.arrivals(events)) }

// Joins of streams.
var streamJoinScenarios = map[string]scenario{
	"stream_inner_no_grace":    ofStreams(innerStreams, 20, 20, 0),
	"stream_inner_grace":       ofStreams(innerStreams, 20, 20, 40),
	"stream_inner_before":      ofStreams(innerStreams, 25, 0, 30),
	"stream_inner_after":       ofStreams(innerStreams, 0, 25, 30),
	"stream_inner_zero_window": ofStreams(innerStreams, 0, 0, 10),
	"stream_inner_in_memory":   ofStreams(innerStreams, 20, 20, 10, stream.InMemory()),
	"null_key_stream_inner":    ofStreams(innerStreams, 20, 20, 10),

	"stream_left_no_grace":  leftOf(20, 20, 0),
	"stream_left_grace":     leftOf(20, 20, 40),
	"stream_left_before":    leftOf(25, 0, 30),
	"stream_left_after":     leftOf(0, 25, 30),
	"stream_left_past_only": leftOf(40, -10, 20),
	"null_key_stream_left":  leftOf(20, 20, 10),

	"stream_outer_no_grace":   outerOf(20, 20, 0),
	"stream_outer_grace":      outerOf(20, 20, 40),
	"stream_outer_before":     outerOf(25, 0, 30),
	"stream_outer_after":      outerOf(0, 25, 30),
	"stream_outer_asymmetric": outerOf(10, 35, 15),
	"stream_outer_in_memory":  outerOf(20, 20, 10, stream.InMemory()),
	"null_key_stream_outer":   outerOf(20, 20, 10),
	"headers_stream_join":     outerOf(20, 20, 10),

	"stream_inner_self": {out: output, build: func(b *stream.Builder) {
		innerStreams(input(b), input(b), within(15, 15, 30)).To(topic("output"))
	}},
	"stream_inner_with_key": {out: output, build: func(b *stream.Builder) {
		pairs := stream.JoinStreams(from(b, "left"), from(b, "right"), within(20, 20, 0), stream.MakePair[S, S])
		stream.MapValuesWithKey(pairs, func(k S, p stream.Pair[S, S]) S {
			return new(*k + ":" + *p.Left + "," + *p.Right)
		}).To(topic("output"))
	}},
	"stream_left_after_key_change": {
		out: output,
		build: func(b *stream.Builder) {
			l := stream.SelectKey(from(b, "left"), bucket).With(str, str)
			r := stream.SelectKey(from(b, "right"), bucket).With(str, str)
			leftStreams(l, r, within(20, 20, 10)).To(topic("output"))
		},
		unmatched: func(events []event) []joined {
			m := joinModel{before: 20, after: 20, grace: 10, alone: [2]bool{onLeft: true}}
			as := m.arrivals(events)
			for i := range as {
				as[i].key = bucket(nil, as[i].value)
			}
			return m.run(as)
		},
	},
	"null_key_stream_left_after_map": {
		out: output,
		build: func(b *stream.Builder) {
			l := stream.Map(from(b, "left"), same).With(str, str)
			r := stream.Map(from(b, "right"), same).With(str, str)
			leftStreams(l, r, within(20, 20, 10)).To(topic("output"))
		},
		unmatched: joinModel{before: 20, after: 20, grace: 10, alone: [2]bool{onLeft: true}}.ofTopics,
	},
	"stream_three_way": {
		out: output,
		build: func(b *stream.Builder) {
			l := from(b, "left")
			both := innerStreams(l, from(b, "right"), within(20, 20, 20))
			leftStreams(both.With(str, str), from(b, "third"), within(30, 30, 20)).To(topic("output"))
		},
		unmatched: func(events []event) []joined {
			first := joinModel{before: 20, after: 20, grace: 20}
			second := joinModel{before: 30, after: 30, grace: 20, alone: [2]bool{onLeft: true}}
			pairs := first.ofTopics(events)
			var as []arrival
			for i, e := range events {
				for len(pairs) > 0 && pairs[0].step == i {
					p := pairs[0]
					as, pairs = append(as, arrival{step: i, side: onLeft, key: p.Key, value: p.Value, ts: p.TS, headers: p.Headers}), pairs[1:]
				}
				if e.In == "third" {
					as = append(as, e.arrival(i, onRight))
				}
			}
			return second.run(as)
		},
	},
}
