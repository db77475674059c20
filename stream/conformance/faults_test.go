package conformance_test

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// A runner that sees no difference proves nothing. Here it is given wrong topologies, wrong vectors and
// wrong directories, and must say so.

func vectorOf(t *testing.T, name string) *vector {
	t.Helper()
	v, err := readVector(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// oracle is a way to run a vector, which must see what is planted.
type oracle struct {
	name      string
	disturbed bool // it takes things back, and compares the whole
	run       func(t *testing.T, topology *stream.Topology, v *vector, sc scenario) error
}

// oracles are all ways to run a vector.
func oracles() []oracle {
	all := []oracle{{name: "end to end", run: func(t *testing.T, topology *stream.Topology, v *vector, sc scenario) error {
		return runLive(t.Context(), topology, v, sc, embedded(t), "app")
	}}}
	for _, w := range ways {
		all = append(all, oracle{w.name, w.disturb != nil, func(t *testing.T, topology *stream.Topology, v *vector, sc scenario) error {
			return runOnce(t, topology, v, sc, w)
		}})
	}
	return all
}

// wrong has topologies that are not those of the named vectors, and where that is to be seen.
var wrong = []struct {
	fault, vector string
	// atStore: the outputs are right, the store is not.
	atStore  bool
	feedback bool
	build    func(b *stream.Builder)
}{
	{fault: "a filter the other way round", vector: "filter-1", build: func(b *stream.Builder) {
		input(b).FilterNot(even).To(topic("output"))
	}},
	{fault: "no filter", vector: "filter_not-1", build: func(b *stream.Builder) {
		input(b).To(topic("output"))
	}},
	{fault: "nothing at all", vector: "filter-2", build: func(b *stream.Builder) {
		input(b).ForEach(func(_, _ S) {})
		input(b).Filter(func(_, _ S) bool { return false }).To(topic("output"))
	}},
	{fault: "nulls are passed by", vector: "map_values-1", build: func(b *stream.Builder) {
		stream.MapValues(input(b).Filter(func(_, v S) bool { return v != nil }), suffix("!")).To(topic("output"))
	}},
	{fault: `"null" for null`, vector: "peek-1", build: func(b *stream.Builder) {
		stream.MapValues(input(b), suffix("")).To(topic("output"))
	}},
	{fault: "the key is lost", vector: "flat_map_values-1", build: func(b *stream.Builder) {
		stream.SelectKey(stream.FlatMapValues(input(b), words), func(_, _ S) S { return nil }).To(topic("output"))
	}},
	{fault: "results in another order", vector: "flat_map_values-2", build: func(b *stream.Builder) {
		stream.FlatMapValues(input(b), func(v S) iter.Seq[S] {
			return func(yield func(S) bool) {
				for _, w := range slices.Backward(slices.Collect(words(v))) {
					if !yield(w) {
						return
					}
				}
			}
		}).To(topic("output"))
	}},
	{fault: "one side of a merge", vector: "merge-1", build: func(b *stream.Builder) {
		stream.From(b, topic("right")).ForEach(func(_, _ S) {})
		stream.MapValues(stream.From(b, topic("left")), func(v S) S { return new("L" + text(v)) }).To(topic("output"))
	}},
	{fault: "every record twice", vector: "many_topics-1", build: func(b *stream.Builder) {
		s := stream.FromAll(b, []stream.Topic[S, S]{topic("t1"), topic("t2"), topic("t3")})
		s.To(topic("output"))
		s.To(topic("output"))
	}},
	{fault: "a step late", vector: "map-1", build: func(b *stream.Builder) {
		var held []S // key and value of the record before
		s := stream.Map(input(b), func(k, v S) (S, S) { return bucket(k, v), new(text(k) + ":" + text(v)) })
		stream.FlatMap(s, func(k, v S) iter.Seq2[S, S] {
			return func(yield func(k, v S) bool) {
				last := held
				held = []S{k, v}
				if last != nil {
					yield(last[0], last[1])
				}
			}
		}).To(topic("output"))
	}},
	{fault: "a timestamp off by one", vector: "select_key-1", build: func(b *stream.Builder) {
		in := topic("input").WithTimestamps(func(r stream.Record[S, S], _ int64) int64 { return r.Timestamp + 1 })
		stream.SelectKey(stream.From(b, in), bucket).To(topic("output"))
	}},
	{fault: "a record that must be dropped", vector: "extract_timestamp-1", build: func(b *stream.Builder) {
		in := topic("input").WithTimestamps(func(r stream.Record[S, S], _ int64) int64 {
			if r.Value == nil {
				return r.Timestamp
			}
			return int64(num(r.Value))
		})
		stream.From(b, in).To(topic("output"))
	}},
	{fault: "a reducer with its arguments swapped", vector: "group_by_key_reduce-1", build: func(b *stream.Builder) {
		out(stream.GroupByKey(input(b)).Reduce(func(old, v S) S { return concat(v, old) }).As(store), "output")
	}},
	{fault: "a group of the records without a key", vector: "null_key_group_by-1", build: func(b *stream.Builder) {
		keyed := stream.SelectKey(input(b), func(k, _ S) S { return new(text(k)) })
		out(stream.GroupByKey(keyed).With(str, str).Count(), "output")
	}},
	{fault: "another initializer", vector: "group_by_key_aggregate-1", build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupByKey(input(b)), func() S { return new("") }, add).As(store), "output")
	}},
	{fault: "an aggregate that never becomes null", vector: "aggregate_returns_null-1", build: func(b *stream.Builder) {
		out(stream.Aggregate(stream.GroupByKey(input(b)), zero, add).As(store), "output")
	}},
	{fault: "a wrong row", vector: "group_by_key_reduce-2", atStore: true, build: func(b *stream.Builder) {
		g := stream.GroupByKey(input(b))
		out(g.Reduce(concat).As(state.NewKeyValue("right", str, str)), "output")
		g.Reduce(func(_, v S) S { return v }).As(store)
	}},
	{fault: "a row with a wrong timestamp", vector: "group_by_key_count-1", atStore: true, feedback: true, build: func(b *stream.Builder) {
		in := input(b)
		out(stream.GroupByKey(in).Count().As(state.NewKeyValue("right", str, serde.Int64)), "output")
		// Counts the same records, as of time 0: they go through a topic whose timestamps are not looked at.
		in.To(topic("again"))
		again := topic("again").WithTimestamps(func(stream.Record[S, S], int64) int64 { return 0 })
		stream.GroupByKey(stream.From(b, again)).Count().As(counts)
	}},
	{fault: "a store of another name", vector: "word_count-1", atStore: true, build: func(b *stream.Builder) {
		g := stream.GroupBy(stream.FlatMapValues(input(b), words), func(_, w S) S { return w }).With(str, str)
		out(g.Count().As(state.NewKeyValue("other", str, serde.Int64)), "output")
	}},
}

func TestWrongTopologiesAreSeen(t *testing.T) {
	for _, w := range wrong {
		t.Run(w.fault, func(t *testing.T) {
			v := vectorOf(t, w.vector)
			sc := scenarios[v.Scenario]
			sc.build, sc.feedback = w.build, w.feedback
			topology := sc.topology(t)
			for _, o := range oracles() {
				if o.disturbed {
					continue // it needs more than a wrong answer: see below
				}
				err := o.run(t, topology, v, sc)
				var m *mismatch
				if !errors.As(err, &m) {
					t.Fatalf("run %s: not seen: %v", o.name, err)
				}
				if (m.step == 0) != w.atStore {
					t.Errorf("seen in the wrong place: %v", err)
				}
				for _, s := range []string{"scenario " + v.Scenario, v.file, "run " + o.name} {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("the message does not have %q: %v", s, err)
					}
				}
			}
		})
	}
}

// A topology that remembers outside its stores is right as long as nothing happens. Each way that takes
// something back must see it.
func TestMemoryOutsideStoresIsSeen(t *testing.T) {
	v := vectorOf(t, "group_by_key_count-2")
	for _, o := range oracles() {
		t.Run(o.name, func(t *testing.T) {
			sc := scenarios[v.Scenario]
			sc.build = func(b *stream.Builder) {
				seen := map[string]int64{}
				table := stream.Aggregate(stream.GroupByKey(input(b)), stream.Zero[int64], func(k, _ S, _ int64) int64 {
					seen[*k]++
					return seen[*k]
				})
				out(table.As(counts), "output")
			}
			err := o.run(t, sc.topology(t), v, sc)
			var m *mismatch
			if seen := errors.As(err, &m); seen != o.disturbed {
				t.Errorf("seen: %v; %v", seen, err)
			}
		})
	}
}

// A function that panics is an error that names the step, in every way.
func TestPanicsAreSeen(t *testing.T) {
	v := vectorOf(t, "filter-1")
	at := slices.IndexFunc(v.Events, func(e event) bool { return e.Value != nil && *e.Value == "41" })
	for _, o := range oracles() {
		t.Run(o.name, func(t *testing.T) {
			sc := scenarios[v.Scenario]
			sc.build = func(b *stream.Builder) {
				input(b).Filter(func(k, v S) bool {
					if v != nil && *v == "41" {
						panic("forty-one")
					}
					return even(k, v)
				}).To(topic("output"))
			}
			err := o.run(t, sc.topology(t), v, sc)
			if err == nil || !strings.Contains(err.Error(), "forty-one") || !strings.Contains(err.Error(), fmt.Sprintf("step %d of", at+1)) {
				t.Errorf("want a panic in step %d, got %v", at+1, err)
			}
		})
	}
}

// What a vector says is compared, all of it: each fault is put into a copy of a vector, in the step that the
// runner must name (0: the stores).
func TestEveryPartOfAVectorIsCompared(t *testing.T) {
	const step = 8 // of headers_group_by-1: a record with two headers goes in, and another comes out
	const later = "a record later"
	read := func(t *testing.T) (*vector, *event) {
		v := vectorOf(t, "headers_group_by-1")
		e := &v.Events[step-1]
		if len(e.Out) != 1 || len(e.Out[0].Headers) != 2 {
			t.Fatalf("step %d has no record with two headers: %v", step, e.Out)
		}
		return v, e
	}
	rows := func(v *vector) [][]any { return v.Stores["store"].Rows }
	withRows := func(v *vector, rows [][]any) { v.Stores["store"] = contents{"kv+ts", rows} }
	other := new("other")
	for fault, plant := range map[string]func(v *vector, e *event) (step int){
		"key":              func(_ *vector, e *event) int { e.Out[0].Key = other; return step },
		"null key":         func(_ *vector, e *event) int { e.Out[0].Key = nil; return step },
		"value":            func(_ *vector, e *event) int { e.Out[0].Value = other; return step },
		"null value":       func(_ *vector, e *event) int { e.Out[0].Value = nil; return step },
		"timestamp":        func(_ *vector, e *event) int { e.Out[0].TS--; return step },
		"topic":            func(_ *vector, e *event) int { e.Out[0].Topic = "other"; return step },
		"no headers":       func(_ *vector, e *event) int { e.Out[0].Headers = nil; return step },
		"a header less":    func(_ *vector, e *event) int { e.Out[0].Headers = e.Out[0].Headers[:1]; return step },
		"header name":      func(_ *vector, e *event) int { e.Out[0].Headers[0][0] = other; return step },
		"header value":     func(_ *vector, e *event) int { e.Out[0].Headers[1][1] = other; return step },
		"null header":      func(_ *vector, e *event) int { e.Out[0].Headers[1][1] = nil; return step },
		"order of headers": func(_ *vector, e *event) int { slices.Reverse(e.Out[0].Headers); return step },
		"a record more":    func(_ *vector, e *event) int { e.Out = append(e.Out, e.Out[0]); return step },
		"a record less":    func(_ *vector, e *event) int { e.Out = nil; return step },
		later: func(v *vector, e *event) int {
			v.Events[step].Out = slices.Concat(e.Out, v.Events[step].Out)
			e.Out = nil
			return step
		},
		// As if the topology dropped headers: it is what one would make of an input without them.
		"input without headers": func(_ *vector, e *event) int { e.Headers = nil; return step },
		"a record more in the end": func(v *vector, e *event) int {
			last := &v.Events[len(v.Events)-1]
			last.Out = append(last.Out, e.Out[0])
			return len(v.Events)
		},

		"row key":       func(v *vector, _ *event) int { rows(v)[0][0] = "other"; return 0 },
		"row value":     func(v *vector, _ *event) int { rows(v)[1][1] = "other"; return 0 },
		"row timestamp": func(v *vector, _ *event) int { rows(v)[2][2] = 1; return 0 },
		"a row less":    func(v *vector, _ *event) int { withRows(v, rows(v)[1:]); return 0 },
		"a row more":    func(v *vector, _ *event) int { withRows(v, append(rows(v), rows(v)[0])); return 0 },
		"order of rows": func(v *vector, _ *event) int { slices.Reverse(rows(v)); return 0 },
		"type of store": func(v *vector, _ *event) int { v.Stores["store"] = contents{"kv", rows(v)}; return 0 },
		"a store less":  func(v *vector, _ *event) int { v.Stores = nil; return 0 },
		"a store more":  func(v *vector, _ *event) int { v.Stores["other"] = contents{Type: "kv+ts"}; return 0 },
	} {
		t.Run(fault, func(t *testing.T) {
			for _, o := range oracles() {
				v, e := read(t)
				want := plant(v, e)
				sc := scenarios[v.Scenario]
				err := o.run(t, sc.topology(t), v, sc)
				if fault == later && o.disturbed {
					if err != nil { // the whole is the same
						t.Errorf("run %s: %v", o.name, err)
					}
					continue
				}
				var m *mismatch
				if !errors.As(err, &m) {
					t.Errorf("run %s: not seen: %v", o.name, err)
				} else if m.step != want && !(o.disturbed && m.step == want+1) {
					// Where a topic is compared as a whole, a record that is missing shows at the next.
					t.Errorf("run %s: seen in step %d, want %d: %v", o.name, m.step, want, err)
				}
			}
		})
	}
}

// The files themselves.
func TestDirectoriesAndFiles(t *testing.T) {
	good, err := os.ReadFile("testdata/filter-1.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if _, err := vectorFiles(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there: no error")
	}
	write("README.md", "x")
	write("topologies.json", "[]")
	if files, err := vectorFiles(dir); err == nil {
		t.Errorf("a directory without vectors: no error, files %v", files)
	}
	write("filter-1.json", string(good))
	if files, err := vectorFiles(dir); err != nil || len(files) != 1 || filepath.Base(files[0]) != "filter-1.json" {
		t.Errorf("a directory with one vector: %v, %v", files, err)
	}

	rename := func(to string) string { return strings.Replace(string(good), `"filter"`, `"`+to+`"`, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"filter-9.json":                        {string(good), "it says that it is filter-1.json"},
		"no_such_scenario-1.json":              {rename("no_such_scenario"), "scenario no_such_scenario is unknown"},
		"emit_final_tumbling_throttled-1.json": {rename("emit_final_tumbling_throttled"), "scenario emit_final_tumbling_throttled is not wanted"},
		"filter-2.json":                        {"{", "unexpected EOF"},
		"filter-3.json":                        {`{"scenario":"filter","seed":3,"events":[],"stores":{}}`, "no steps"},
		"filter-4.json":                        {`{"scenario":"filter","seed":4,"events":[{"in":"input","out":[]}],"stores":{}} {}`, "more after the vector"},
		"filter-5.json":                        {`{"scenario":"filter","seed":5,"events":[{"restart":true,"out":[]}],"stores":{}}`, `unknown field "restart"`},
		"filter-6.json":                        {`{"scenario":"filter","seed":6,"events":[{"out":[]}],"stores":{}}`, "step 1 is neither"},
		"filter-7.json":                        {`{"scenario":"filter","seed":7,"events":[{"in":"input"}],"stores":{}}`, "step 1 is neither"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := find(write(name, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}

// The clock is moved by steps that say so. No scenario that has a topology depends on it yet.
func TestAdvanceOfTheWallClock(t *testing.T) {
	v, err := parseVector([]byte(`{"scenario":"filter","seed":1,"description":"","events":[
		{"in":"input","k":"a","v":"2","ts":5,"out":[{"out":"output","k":"a","v":"2","ts":5}]},
		{"advanceWallClock":70,"out":[]},
		{"in":"input","k":"a","v":"4","ts":6,"out":[{"out":"output","k":"a","v":"4","ts":6}]}],"stores":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	sc := scenarios["filter"]
	for _, o := range oracles() {
		if err := o.run(t, sc.topology(t), v, sc); err != nil {
			t.Error(err)
		}
	}
	if got, want := v.Events[1].String(), "the wall clock by 70 ms"; got != want {
		t.Errorf("the step is written as %q, want %q", got, want)
	}
}
