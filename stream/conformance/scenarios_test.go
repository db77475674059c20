package conformance_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// scenario is a topology of which there are vectors.
type scenario struct {
	build func(b *stream.Builder)
	// out has the topics that are observed, in the order in which a vector lists what a step gave.
	out []string
	// stores has, by name, how to read what vectors tell of a store.
	stores readers
	// versioned has the versioned stores, of which vectors tell what they answer.
	versioned []versions
	// feedback: the topology reads a topic that it writes. Under exactly-once it sees there what is committed.
	feedback bool
	// config has the handlers of errors.
	config stream.Config
	// unmatched is the model of a join whose results without a partner come earlier than Kafka Streams', as is
	// wanted: see alone_test.go.
	unmatched func([]event) []joined
}

// S is a string that may be null.
type S = *string

var (
	str     = serde.Nullable(serde.String)
	store   = state.NewKeyValue("store", str, str)
	counts  = state.NewKeyValue("store", str, serde.Int64)
	output  = []string{"output"}
	isCount = keeps(counts)
	isText  = keeps(store)
)

func topic(name string) stream.Topic[S, S] { return stream.NewTopic(name, str, str) }

func input(b *stream.Builder) *stream.Stream[S, S] { return stream.From(b, topic("input")) }

// The functions that descriptions name.

func text(s S) string {
	if s == nil {
		return "null"
	}
	return *s
}

func num(s S) int {
	n, err := strconv.Atoi(*s)
	if err != nil {
		panic(err) // reported with operator and record
	}
	return n
}

func even(_, v S) bool { return v != nil && num(v)%2 == 0 }

func bucket(_, v S) S {
	if v == nil {
		return nil
	}
	return new(fmt.Sprint("g", num(v)%3))
}

func zero() S { return new("0") } // INIT

func add(_, v, agg S) S { return grown(agg, "+", v) }

func concat(old, v S) S {
	defer spoil(v)
	return grown(old, "+", v)
}

func suffix(x string) func(S) S {
	return func(v S) S {
		defer spoil(v)
		return new(text(v) + x)
	}
}

// grown changes agg in place, as an aggregator may.
func grown(agg S, sign string, v S) S {
	if agg == nil {
		agg = new("null")
	}
	*agg += sign + text(v)
	return agg
}

// spoil changes values that a function has used, and that are its own: so each vector shows, in each way to run it,
// that nobody else uses them after it. Not its own is a record's value where others see it too: other operators below
// the same stream, and the same aggregator for the record's other windows.
func spoil(vs ...S) {
	for _, v := range vs {
		if v != nil {
			*v = "spoilt"
		}
	}
}

// spoiling is an aggregator whose values are its own.
func spoiling(f func(k, v, agg S) S) func(k, v, agg S) S {
	return func(k, v, agg S) S {
		agg = f(k, v, agg)
		spoil(v)
		return agg
	}
}

func words(v S) iter.Seq[S] {
	return func(yield func(S) bool) {
		if v == nil || *v == "" {
			return
		}
		for w := range strings.SplitSeq(*v, " ") {
			if !yield(&w) {
				return
			}
		}
	}
}

func same(k, v S) (S, S) { return k, v }

// out is OUT: a table's changes, as text.
func out[V any](t *stream.Table[S, V], name string) {
	stream.MapValues(t.ToStream(), func(v V) S {
		if s, ok := any(v).(S); ok {
			return s
		}
		return new(fmt.Sprint(v))
	}).To(topic(name))
}

// keeps says that a store is a key-value store whose rows have a timestamp.
func keeps[V any](handle state.KeyValue[S, V]) readers {
	return readers{handle.Name(): func(h *held) contents {
		c := contents{Type: "kv+ts"}
		rows := rowsOf[*state.KeyValueStore[S, V], state.Row[S, V]](h, handle)
		for _, g := range h.globals {
			if s, ok := g.(*state.GlobalStore[S, V]); ok && s.Name() == handle.Name() {
				for r, err := range s.Reader().All() {
					rows, h.err = append(rows, r), errors.Join(h.err, err)
				}
			}
		}
		for _, r := range rows {
			var value S
			if s, ok := any(r.Value).(S); ok {
				value = s
			} else {
				value = new(fmt.Sprint(r.Value))
			}
			c.Rows = append(c.Rows, []any{r.Key, value, json.Number(fmt.Sprint(r.Timestamp))})
		}
		return c
	}}
}

// scenarios has all that have a topology.
var scenarios = merged(
	streamScenarios,
	branchScenarios,
	errorScenarios,
	tableScenarios,
	timedScenarios,
	suppressScenarios,
	streamTableScenarios,
	globalScenarios,
	streamJoinScenarios,
	tableJoinScenarios,
	versionedScenarios,
	processScenarios,
	foreignScenarios,
	punctuateScenarios,
	transformScenarios,
)

func merged(parts ...map[string]scenario) map[string]scenario {
	all := map[string]scenario{}
	for _, p := range parts {
		maps.Copy(all, p)
	}
	return all
}

var streamScenarios = map[string]scenario{
	// Stateless operators.
	"filter": {out: output, build: func(b *stream.Builder) {
		input(b).Filter(even).To(topic("output"))
	}},
	"filter_not": {out: output, build: func(b *stream.Builder) {
		input(b).FilterNot(func(k, v S) bool { return v == nil || even(k, v) }).To(topic("output"))
	}},
	"map": {out: output, build: func(b *stream.Builder) {
		stream.Map(input(b), func(k, v S) (S, S) { return bucket(k, v), new(text(k) + ":" + text(v)) }).To(topic("output"))
	}},
	"map_values": {out: output, build: func(b *stream.Builder) {
		stream.MapValues(input(b), suffix("!")).To(topic("output"))
	}},
	"map_values_with_key": {out: output, build: func(b *stream.Builder) {
		stream.MapValuesWithKey(input(b), func(k, v S) S {
			if v != nil && strings.HasSuffix(*v, "5") {
				return nil
			}
			return new(text(k) + "/" + text(v))
		}).To(topic("output"))
	}},
	"flat_map": {out: output, build: func(b *stream.Builder) {
		stream.FlatMap(input(b), func(k, v S) iter.Seq2[S, S] {
			return func(yield func(k, v S) bool) {
				i := 0
				for w := range words(v) {
					if !yield(w, new(fmt.Sprintf("%s#%d", text(k), i))) {
						return
					}
					i++
				}
			}
		}).To(topic("output"))
	}},
	"flat_map_values": {out: output, build: func(b *stream.Builder) {
		stream.FlatMapValues(input(b), words).To(topic("output"))
	}},
	"flat_map_values_with_key": {out: output, build: func(b *stream.Builder) {
		stream.FlatMapValuesWithKey(input(b), func(k, v S) iter.Seq[S] {
			return func(yield func(S) bool) {
				for w := range words(v) {
					if !yield(new(text(k) + "/" + *w)) {
						return
					}
				}
			}
		}).To(topic("output"))
	}},
	"select_key": {out: output, build: func(b *stream.Builder) {
		stream.SelectKey(input(b), bucket).To(topic("output"))
	}},
	"merge": {out: output, build: func(b *stream.Builder) {
		left := stream.MapValues(stream.From(b, topic("left")), func(v S) S { return new("L" + text(v)) })
		right := stream.From(b, topic("right")).Filter(func(_, v S) bool { return v != nil })
		left.Merge(right).To(topic("output"))
	}},
	"peek": {out: output, build: func(b *stream.Builder) {
		s := input(b).Peek(func(_, _ S) {})
		s.To(topic("output"))
		s.ForEach(func(_, _ S) {})
	}},
	"many_topics": {out: output, build: func(b *stream.Builder) {
		stream.FromAll(b, []stream.Topic[S, S]{topic("t1"), topic("t2"), topic("t3")}).To(topic("output"))
	}},
	"through_topic": {out: []string{"mid", "output"}, feedback: true, build: func(b *stream.Builder) {
		stream.MapValues(input(b), suffix("x")).To(topic("mid"))
		stream.SelectKey(stream.From(b, topic("mid")), func(_, v S) S { return new(text(v)) }).To(topic("output"))
	}},
	"extract_timestamp": {out: output, build: func(b *stream.Builder) {
		in := topic("input").WithTimestamps(func(r stream.Record[S, S], _ int64) int64 {
			switch {
			case r.Value == nil:
				return r.Timestamp
			case num(r.Value) < 1000:
				return int64(num(r.Value))
			}
			return -1
		})
		stream.From(b, in).To(topic("output"))
	}},

	// Aggregations.
	"group_by_key_count": {out: output, stores: isCount, build: func(b *stream.Builder) {
		out(stream.GroupByKey(input(b)).Count().As(counts), "output")
	}},
	"group_by_key_reduce": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.GroupByKey(input(b)).Reduce(concat).As(store), "output")
	}},
	"group_by_key_aggregate": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupByKey(input(b)), zero, add).As(store), "output")
	}},
	"aggregate_returns_null": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupByKey(input(b)), zero, func(k, v, agg S) S {
			if strings.HasSuffix(*v, "3") {
				return nil
			}
			return add(k, v, agg)
		}).As(store), "output")
	}},
	"reduce_returns_null": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.GroupByKey(input(b)).Reduce(func(old, v S) S {
			if strings.HasSuffix(*v, "3") {
				return nil
			}
			return concat(old, v)
		}).As(store), "output")
	}},
	"aggregate_unmaterialized": {out: output, build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupByKey(input(b)), zero, add).With(str, str), "output")
	}},
	"group_by_count": {out: output, stores: isCount, build: func(b *stream.Builder) {
		out(stream.GroupBy(input(b), bucket).With(str, str).Count().As(counts), "output")
	}},
	"group_by_reduce": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.GroupBy(input(b), bucket).With(str, str).Reduce(concat).As(store), "output")
	}},
	"group_by_aggregate": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupBy(input(b), func(k, v S) S {
			if v == nil {
				return new("K")
			}
			return bucket(k, v)
		}).With(str, str), zero, add).As(store), "output")
	}},
	"select_key_group_by_key": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupByKey(stream.SelectKey(input(b), bucket)).With(str, str), zero, add).As(store), "output")
	}},
	"null_key_group_by": {out: output, build: func(b *stream.Builder) {
		out(stream.GroupByKey(stream.Map(input(b), same)).With(str, str).Count(), "output")
	}},
	"headers_aggregate": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupByKey(input(b)), zero, add).As(store), "output")
	}},
	"headers_group_by": {out: output, stores: isText, build: func(b *stream.Builder) {
		out(stream.GroupBy(input(b), bucket).With(str, str).Reduce(concat).As(store), "output")
	}},

	// Composites.
	"word_count": {out: output, stores: isCount, build: func(b *stream.Builder) {
		g := stream.GroupBy(stream.FlatMapValues(input(b), words), func(_, w S) S { return w }).With(str, str)
		out(g.Count().As(counts), "output")
	}},
	"fan_out": {out: []string{"even", "counts", "copy"}, stores: isCount, build: func(b *stream.Builder) {
		in := input(b)
		in.Filter(even).To(topic("even"))
		out(stream.GroupByKey(in).Count().As(counts), "counts")
		stream.MapValues(in, suffix("c")).To(topic("copy"))
	}},
}

// topology builds a scenario's.
func (sc scenario) topology(t testing.TB) *stream.Topology {
	t.Helper()
	b := stream.NewBuilder()
	sc.build(b)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}
