package conformance_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

const ms = time.Millisecond

var (
	windowed      = state.NewWindow("store", str, str)
	windowCounts  = state.NewWindow("store", str, serde.Int64)
	sessions      = state.NewSession("store", str, str)
	sessionCounts = state.NewSession("store", str, serde.Int64)

	isWindows       = keepsWindows(windowed)
	isWindowCounts  = keepsWindows(windowCounts)
	isSessions      = keepsSessions(sessions)
	isSessionCounts = keepsSessions(sessionCounts)
)

// keepsWindows says that a store is a window store whose rows have a timestamp.
func keepsWindows[V any](handle state.Window[S, V]) readers {
	return readers{handle.Name(): func(h *held) contents {
		return windowContents("window+ts", rowsOf[*state.WindowStore[S, V], state.WindowRow[S, V]](h, handle), true)
	}}
}

// keepsSessions says that a store is a session store.
func keepsSessions[V any](handle state.Session[S, V]) readers {
	return readers{handle.Name(): func(h *held) contents {
		return windowContents("session", rowsOf[*state.SessionStore[S, V], state.WindowRow[S, V]](h, handle), false)
	}}
}

// windowContents are rows by key, start and end, as vectors have them.
func windowContents[V any](kind string, rows []state.WindowRow[S, V], timestamps bool) contents {
	slices.SortFunc(rows, func(a, b state.WindowRow[S, V]) int {
		return cmp.Or(strings.Compare(*a.Key, *b.Key), cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
	})
	c := contents{Type: kind}
	for _, r := range rows {
		var value S
		if s, ok := any(r.Value).(S); ok {
			value = s
		} else {
			value = new(fmt.Sprint(r.Value))
		}
		row := []any{r.Key, json.Number(fmt.Sprint(r.Start)), json.Number(fmt.Sprint(r.End)), value}
		if timestamps {
			row = append(row, json.Number(fmt.Sprint(r.Timestamp)))
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}

// wkey is WKEY: a windowed key as text.
func wkey[V any](w windows.Windowed[S], _ V) S {
	return new(fmt.Sprintf("%s@%d/%d", text(w.Key), w.Start, w.End))
}

// wout is WOUT: a windowed table's changes, as text.
func wout[V any](t *stream.Table[windows.Windowed[S], V]) {
	values := stream.MapValues(t.ToStream(), func(v V) S {
		if s, ok := any(v).(S); ok {
			return s
		}
		return new(fmt.Sprint(v))
	})
	stream.SelectKey(values, wkey[S]).To(topic("output"))
}

// byKey groups the input by its keys.
func byKey(b *stream.Builder) *stream.Grouped[S, S] { return stream.GroupByKey(input(b)) }

// concatAny is CONCAT where null values come too.
func concatAny(old, v S) S { return grown(old, "+", v) }

// mergeSessions is MERGE.
func mergeSessions(_, a, b S) S {
	defer spoil(a, b)
	return new("(" + text(a) + "|" + text(b) + ")")
}

// sums aggregates windows by INIT and ADD.
func sums(w *stream.Windowed[S, S]) *stream.Table[windows.Windowed[S], S] {
	return stream.AggregateWindows(w, zero, add)
}

// sessionSums aggregates sessions by INIT, ADD and MERGE.
func sessionSums(w *stream.SessionWindowed[S, S]) *stream.Table[windows.Windowed[S], S] {
	return stream.AggregateSessions(w, zero, add, mergeSessions)
}

// Windows of several scenarios.
var (
	tumbling = windows.Tumbling(50 * ms)
	hopping  = windows.Hopping(50*ms, 20*ms)
	sliding  = windows.Sliding(30 * ms)
	session  = windows.Sessions(15 * ms)
)

var timedScenarios = map[string]scenario{
	"tumbling_no_grace_count": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling).Count().As(windowCounts))
	}},
	"tumbling_no_grace_reduce": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling).Reduce(concatAny).As(windowed))
	}},
	"tumbling_grace_count": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling.WithGrace(30 * ms)).Count().As(windowCounts))
	}},
	"tumbling_grace_reduce": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling.WithGrace(30 * ms)).Reduce(concatAny).As(windowed))
	}},
	"tumbling_grace_aggregate": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(tumbling.WithGrace(30 * ms))).As(windowed))
	}},
	"hopping_no_grace_count": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(hopping).Count().As(windowCounts))
	}},
	"hopping_grace_reduce": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(hopping.WithGrace(40 * ms)).Reduce(concatAny).As(windowed))
	}},
	"hopping_grace_aggregate": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(hopping.WithGrace(40 * ms))).As(windowed))
	}},
	"tumbling_after_group_by": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(stream.GroupBy(input(b), bucket).With(str, str).WindowedBy(tumbling.WithGrace(30 * ms))).As(windowed))
	}},
	"tumbling_aggregate_returns_null": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(stream.AggregateWindows(byKey(b).WindowedBy(tumbling.WithGrace(30*ms)), zero, func(k, v, agg S) S {
			if v != nil && (strings.HasSuffix(*v, "3") || strings.HasSuffix(*v, "6")) {
				return nil
			}
			return add(k, v, agg)
		}).As(windowed))
	}},
	"tumbling_long_retention": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(tumbling)).As(windowed.WithRetention(500 * ms)))
	}},
	"sliding_no_grace_count": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(sliding).Count().As(windowCounts))
	}},
	"sliding_no_grace_aggregate": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(sliding)).As(windowed))
	}},
	"sliding_grace_count": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(sliding.WithGrace(40 * ms)).Count().As(windowCounts))
	}},
	"sliding_grace_reduce": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(sliding.WithGrace(40 * ms)).Reduce(concatAny).As(windowed))
	}},
	"sliding_grace_aggregate": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(sliding.WithGrace(40 * ms))).As(windowed))
	}},
	"session_no_grace_count": {out: output, stores: isSessionCounts, build: func(b *stream.Builder) {
		wout(byKey(b).SessionWindowedBy(session).Count().As(sessionCounts))
	}},
	"session_no_grace_aggregate": {out: output, stores: isSessions, build: func(b *stream.Builder) {
		wout(sessionSums(byKey(b).SessionWindowedBy(session)).As(sessions))
	}},
	"session_grace_count": {out: output, stores: isSessionCounts, build: func(b *stream.Builder) {
		wout(byKey(b).SessionWindowedBy(session.WithGrace(40 * ms)).Count().As(sessionCounts))
	}},
	"session_grace_reduce": {out: output, stores: isSessions, build: func(b *stream.Builder) {
		wout(byKey(b).SessionWindowedBy(session.WithGrace(40 * ms)).Reduce(concatAny).As(sessions))
	}},
	"session_grace_aggregate": {out: output, stores: isSessions, build: func(b *stream.Builder) {
		wout(sessionSums(byKey(b).SessionWindowedBy(session.WithGrace(40 * ms))).As(sessions))
	}},
	"unlimited_count": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(windows.Unlimited()).Count().As(windowCounts))
	}},
	"unlimited_start_on": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(windows.Unlimited().StartingAt(time.UnixMilli(100)))).As(windowed))
	}},
	"emit_final_tumbling": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(tumbling.WithGrace(20 * ms)).EmitOnClose()).As(windowed.WithRetention(time.Minute)))
	}},
	"emit_final_tumbling_count_no_grace": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling).EmitOnClose().Count().As(windowCounts.WithRetention(time.Minute)))
	}},
	"emit_final_hopping": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(hopping.WithGrace(20 * ms)).EmitOnClose()).As(windowed.WithRetention(time.Minute)))
	}},
	"emit_final_sliding": {out: output, stores: isWindows, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(sliding.WithGrace(20 * ms)).EmitOnClose()).As(windowed.WithRetention(time.Minute)))
	}},
	"emit_final_session": {out: output, stores: isSessions, build: func(b *stream.Builder) {
		wout(sessionSums(byKey(b).SessionWindowedBy(session.WithGrace(20 * ms)).EmitOnClose()).As(sessions.WithRetention(time.Minute)))
	}},
	"headers_emit_final": {out: output, stores: isWindowCounts, build: func(b *stream.Builder) {
		wout(byKey(b).WindowedBy(tumbling.WithGrace(20 * ms)).EmitOnClose().Count().As(windowCounts.WithRetention(time.Minute)))
	}},
	"null_key_tumbling": {out: output, build: func(b *stream.Builder) {
		wout(sums(byKey(b).WindowedBy(tumbling)).With(windows.TimeSerde(str, tumbling), str))
	}},
	"null_key_session": {out: output, build: func(b *stream.Builder) {
		wout(sessionSums(byKey(b).SessionWindowedBy(session)).With(windows.SessionSerde(str), str))
	}},
	"null_key_sliding": {out: output, build: func(b *stream.Builder) {
		w := windows.Sliding(20 * ms)
		wout(sums(byKey(b).WindowedBy(w)).With(windows.TimeSerde(str, w), str))
	}},
}
