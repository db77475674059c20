package conformance_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

type versions = state.Versioned[S, S]

func versioned(name string, history time.Duration) versions {
	return state.NewVersioned(name, str, str, history)
}

var (
	pastSource = versioned("source", 100*ms)
	pastStore  = versioned("store", 100*ms)
	pastLeft   = versioned("ls", 100*ms)
	pastRight  = versioned("rs", 100*ms)
)

// versionsIn are a versioned store's answers, as vectors have them: for each key of the inputs, the latest and those
// as of each of the inputs' timestamps.
func versionsIn(h *held, handle versions) contents {
	keys, times := map[string]bool{}, map[int64]bool{math.MaxInt64: true}
	for _, e := range h.v.Events {
		if e.In == "" {
			continue
		}
		times[e.TS] = true
		if e.Key != nil {
			keys[*e.Key] = true
		}
	}
	c := contents{Type: "versioned"}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		last := int64(-1)
		for _, at := range slices.Sorted(maps.Keys(times)) {
			if v := asOf(h, handle, k, at); v.OK && v.Timestamp != last {
				c.Rows = append(c.Rows, []any{k, v.V, json.Number(fmt.Sprint(v.Timestamp))})
				last = v.Timestamp
			}
		}
	}
	return c
}

// asOf is what a versioned store had for a key at a time.
func asOf(h *held, handle versions, k string, at int64) state.Value[S] {
	for _, s := range h.stores {
		store, ok := s.(*state.VersionedStore[S, S])
		if !ok || s.Name() != handle.Name() {
			continue
		}
		v, err := store.GetAsOf(&k, at)
		if err != nil {
			h.err = fmt.Errorf("read store %s: %w", handle.Name(), err)
		}
		return v
	}
	return state.Value[S]{}
}

// ofPast is the input, kept as versions.
func ofPast(b *stream.Builder) texts { return table(b, "input").As(pastSource) }

// ofPasts joins tables left and right, both kept as versions.
func ofPasts(join func(l, r texts) texts) func(b *stream.Builder) texts {
	return func(b *stream.Builder) texts {
		l := table(b, "left").As(pastLeft)
		return join(l, table(b, "right").As(pastRight))
	}
}

// joinOfPasts is a join of versioned tables in an ordinary store.
func joinOfPasts(join func(l, r texts) texts) scenario {
	return scenario{out: output, stores: isText, versioned: []versions{pastLeft, pastRight}, build: func(b *stream.Builder) {
		out(ofPasts(join)(b).As(store), "output")
	}}
}

var versionedScenarios = map[string]scenario{
	"versioned_source": {out: output, versioned: []versions{pastSource}, build: func(b *stream.Builder) {
		out(ofPast(b), "output")
	}},
	"versioned_filter": {out: output, versioned: []versions{pastSource}, build: func(b *stream.Builder) {
		out(ofPast(b).Filter(even), "output")
	}},
	"versioned_filter_materialized": {out: output, versioned: []versions{pastSource, pastStore}, build: func(b *stream.Builder) {
		out(ofPast(b).Filter(even).As(pastStore), "output")
	}},
	"versioned_filter_to_unversioned": {out: output, stores: isText, versioned: []versions{pastSource}, build: func(b *stream.Builder) {
		out(ofPast(b).Filter(even).As(store), "output")
	}},
	"versioned_map_values": func() scenario {
		half := versioned("store", 50*ms)
		return scenario{out: output, versioned: []versions{pastSource, half}, build: func(b *stream.Builder) {
			out(stream.MapTable(ofPast(b), toSuffix("m")).As(half), "output")
		}}
	}(),
	"versioned_group_by_aggregate": {out: output, stores: isText, versioned: []versions{pastSource}, build: func(b *stream.Builder) {
		out(aggregated(byBucket(ofPast(b))).As(store), "output")
	}},
	"versioned_filter_group_by": {out: output, stores: isText, versioned: []versions{pastSource}, build: func(b *stream.Builder) {
		out(aggregated(byBucket(ofPast(b).Filter(above(3)))).As(store), "output")
	}},
	"versioned_aggregate_store": func() scenario {
		kept := versioned("store", 60*ms)
		return scenario{out: output, versioned: []versions{kept}, build: func(b *stream.Builder) {
			out(stream.Aggregate(stream.GroupByKey(input(b)), zero, add).As(kept), "output")
		}}
	}(),

	"table_inner_versioned": joinOfPasts(innerTables),
	"table_left_versioned":  joinOfPasts(leftTables),
	"table_outer_versioned": joinOfPasts(outerTables),
	"table_inner_one_versioned": func() scenario {
		rights := state.NewKeyValue("rs", str, str)
		return scenario{out: output, stores: both(keeps(rights), isText), versioned: []versions{pastLeft}, build: func(b *stream.Builder) {
			l := table(b, "left").As(pastLeft)
			out(innerTables(l, table(b, "right").As(rights)).As(store), "output")
		}}
	}(),
	"table_join_to_versioned": {out: output, versioned: []versions{pastLeft, pastRight, pastStore}, build: func(b *stream.Builder) {
		out(ofPasts(leftTables)(b).As(pastStore), "output")
	}},

	"stream_versioned_table_inner": {out: output, versioned: []versions{pastStore}, build: func(b *stream.Builder) {
		stream.JoinTable(from(b, "left"), table(b, "right").As(pastStore), pair).To(topic("output"))
	}},
	"stream_versioned_table_inner_grace": {out: output, versioned: []versions{pastStore}, build: func(b *stream.Builder) {
		stream.JoinTable(from(b, "left"), table(b, "right").As(pastStore), pair, stream.Grace(30*ms)).To(topic("output"))
	}},
	"stream_versioned_table_left_grace": {out: output, versioned: []versions{pastStore}, build: func(b *stream.Builder) {
		stream.LeftJoinTable(from(b, "left"), table(b, "right").As(pastStore), pairLeft, stream.Grace(30*ms)).To(topic("output"))
	}},
	"stream_versioned_table_left_grace_zero": {out: output, versioned: []versions{pastStore}, build: func(b *stream.Builder) {
		stream.LeftJoinTable(from(b, "left"), table(b, "right").As(pastStore), pairLeft, stream.Grace(0)).To(topic("output"))
	}},
	"stream_versioned_table_left": {out: output, versioned: []versions{pastStore}, build: func(b *stream.Builder) {
		stream.LeftJoinTable(from(b, "left"), table(b, "right").As(pastStore), pairLeft).To(topic("output"))
	}},
}
