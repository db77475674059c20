package streamtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// These test processors that are given the store of a table.

var (
	calls   = stream.NewTopic("calls", serde.String, serde.String)
	orders  = stream.NewTopic("orders", serde.String, serde.String) // to the processor
	changes = stream.NewTopic("changes", serde.String, serde.Int64)
	answers = stream.NewTopic("answers", serde.String, serde.String)

	visited = state.NewKeyValue("visited", serde.String, serde.Int64)
)

func build(t testing.TB, f func(b *stream.Builder)) *stream.Topology {
	t.Helper()
	b := stream.NewBuilder()
	f(b)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

type sends = stream.Context[string, string]
type record = stream.Record[string, string]

// obey answers with a key's count, and does with it what it is told to.
func obey(ctx *sends, r record) error {
	rows := stream.StoreIn(ctx, visited)
	row, err := rows.Get(r.Key)
	if err != nil {
		return err
	}
	switch r.Value {
	case "delete":
		err = rows.Delete(r.Key)
	case "hundred":
		err = rows.Put(r.Key, 100)
	}
	all, countErr := rows.Count()
	if err := errors.Join(err, countErr); err != nil {
		return err
	}
	return ctx.Forward(r.WithValue(fmt.Sprint(row.V, " of ", all)))
}

// countAndObey counts calls in a table, and has a processor of another topic use its store.
func countAndObey(h state.KeyValue[string, int64]) func(*stream.Builder) {
	return func(b *stream.Builder) {
		stream.ProcessFunc(stream.From(b, orders), obey, stream.Stores(h)).To(answers)
		stream.GroupByKey(stream.From(b, calls)).Count().As(h).ToStream().To(changes)
	}
}

// A processor reads and changes the rows of a table, which goes on from what is there, and sends its own changes only:
// against a map, whatever is aborted or restarted, and whenever changes are sent.
func TestShareTable(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle state.KeyValue[string, int64]
		emit   stream.Emit
	}{
		{"each update", visited, stream.EachUpdate},
		{"on commit", visited, stream.OnCommit},
		{"in memory", visited.InMemory(), stream.EachUpdate},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := build(t, countAndObey(c.handle))
			if n := strings.Count(topology.Describe(), "Sub-topology"); n != 1 {
				t.Fatalf("%d sub-topologies:\n%s", n, topology.Describe())
			}
			for seed := range uint64(3) {
				testShareTable(t, topology, c.handle, seed, Emit(c.emit))
			}
		})
	}
}

func testShareTable(t *testing.T, topology *stream.Topology, h state.KeyValue[string, int64], seed uint64, opts ...Option) {
	rng := rand.New(rand.NewPCG(seed, 0))
	d := New(t, topology, opts...)
	visit, order := Input(d, calls), Input(d, orders)
	changed, answered := Output(d, changes), Output(d, answers)
	rows := map[string]int64{}
	var wantChanges, wantAnswers []string
	for i := range 150 {
		k, at := fmt.Sprint("k", rng.IntN(4)), time.Duration(i)*time.Second
		if what := []string{"", "", "", "read", "delete", "hundred"}[rng.IntN(6)]; what == "" {
			visit.Pipe(k, "v", at)
			rows[k]++
			wantChanges = append(wantChanges, fmt.Sprint(k, " ", rows[k]))
		} else {
			order.Pipe(k, what, at)
			n := rows[k]
			switch what {
			case "delete":
				delete(rows, k)
			case "hundred":
				rows[k] = 100
			}
			wantAnswers = append(wantAnswers, fmt.Sprintf("%s %d of %d", k, n, len(rows)))
		}
		switch rng.IntN(12) {
		case 0, 1:
			must(t, d.Commit())
		case 2:
			d.Abort()
			must(t, d.Settle())
		case 3:
			must(t, d.Commit())
			d.FlushState()
			d.Restart()
		case 4:
			d.RestartWithoutState()
			must(t, d.Settle())
		}
	}
	must(t, d.Commit())
	var gotChanges, gotAnswers []string
	for _, r := range changed.Committed() {
		gotChanges = append(gotChanges, fmt.Sprint(r.Key, " ", r.Value))
	}
	for _, r := range answered.Committed() {
		gotAnswers = append(gotAnswers, r.Key+" "+r.Value)
	}
	got := map[string]int64{}
	for _, r := range Rows(d, h) {
		got[r.Key] = r.Value
	}
	if !slices.Equal(gotChanges, wantChanges) {
		t.Errorf("seed %d: changes\ngot  %q\nwant %q", seed, gotChanges, wantChanges)
	}
	if !slices.Equal(gotAnswers, wantAnswers) {
		t.Errorf("seed %d: answers\ngot  %q\nwant %q", seed, gotAnswers, wantAnswers)
	}
	if !maps.Equal(got, rows) {
		t.Errorf("seed %d: rows %v, want %v", seed, got, rows)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is below the table is told as the value before what the processor put.
func TestShareTableValueBefore(t *testing.T) {
	d := New(t, build(t, func(b *stream.Builder) {
		counts := stream.GroupByKey(stream.From(b, calls)).Count().As(visited)
		sum := stream.GroupTable(counts, func(_ string, n int64) (string, int64) { return "all", n }).
			Reduce(func(a, b int64) int64 { return a + b }, func(a, b int64) int64 { return a - b })
		sum.ToStream().To(changes)
		stream.ProcessFunc(stream.From(b, orders), obey, stream.Stores(visited))
	}))
	Input(d, calls).Pipe("k", "v", 0)
	Input(d, orders).Pipe("k", "hundred", 1)
	Input(d, calls).Pipe("k", "v", 2)
	var got []int64
	for _, r := range Output(d, changes).All() {
		got = append(got, r.Value)
	}
	if want := []int64{1, 1 - 100 + 101}; !slices.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
}

// A processor can have the store of a table that is made of what it sends on, through a repartition topic: the
// sub-topology then reads what it writes.
func TestShareTableInACircle(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		known := stream.ProcessFunc(stream.From(b, calls), func(ctx *sends, r record) error {
			row, err := stream.StoreIn(ctx, visited).Get(r.Key)
			if err != nil {
				return err
			}
			return ctx.Forward(r.WithValue(fmt.Sprint(row.V)))
		}, stream.Stores(visited))
		known.To(answers)
		stream.GroupBy(known, func(k, _ string) string { return k }).Count().As(visited)
		stream.GroupBy(known, func(k, _ string) string { return k }, stream.Named("twice")).Count()
	})
	if n := strings.Count(topology.Describe(), "Sub-topology"); n != 2 {
		t.Fatalf("%d sub-topologies:\n%s", n, topology.Describe())
	}
	d := New(t, topology, Partitions(3))
	for i := range 12 {
		Input(d, calls).Pipe(fmt.Sprint("k", i%4), "v", time.Duration(i)*time.Second)
		if i%5 == 2 {
			d.Abort()
			must(t, d.Settle())
		}
	}
	must(t, d.Commit())
	got := map[string]string{}
	for _, r := range Output(d, answers).Committed() {
		got[r.Key] += r.Value
	}
	if want := map[string]string{"k0": "012", "k1": "012", "k2": "012", "k3": "012"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Window, session and versioned stores of tables, and one without serdes of its own. Processors see what the open
// epoch has put, also with Emit OnCommit, and nothing of what they put is sent on.
func TestShareTableKinds(t *testing.T) {
	perSecond := state.NewWindow("per-second", serde.String, serde.Int64)
	stays := state.NewSession("stays", serde.String, serde.Int64)
	past := state.NewVersioned("past", serde.String, serde.String, time.Hour)
	plain := state.NewKeyValue[string, string]("plain", nil, nil)
	told := stream.NewTopic("told", windows.BoundsSerde(serde.String), serde.Int64)
	d := New(t, build(t, func(b *stream.Builder) {
		in := stream.From(b, calls)
		stream.GroupByKey(in).WindowedBy(windows.Tumbling(time.Second).WithGrace(time.Minute)).Count().As(perSecond).
			ToStream().To(told)
		stream.GroupByKey(in).SessionWindowedBy(windows.Sessions(time.Second)).Count().As(stays)
		in.ToTable().As(past)
		stream.MapTable(stream.TableFrom(b, texts), func(_, v string) string { return v + "!" }).As(plain)
		stream.ProcessFunc(stream.From(b, orders), func(ctx *sends, r record) error {
			var found []string
			for row, err := range stream.StoreIn(ctx, perSecond).FetchRange(r.Key, 0, 5000) {
				must(t, err)
				found = append(found, fmt.Sprintf("[%d,%d)=%d", row.Start, row.End, row.Value))
			}
			for row, err := range stream.StoreIn(ctx, stays).Of(r.Key) {
				must(t, err)
				found = append(found, fmt.Sprintf("[%d,%d]=%d", row.Start, row.End, row.Value))
			}
			before, err := stream.StoreIn(ctx, past).GetAsOf(r.Key, 50)
			must(t, err)
			text, err := stream.StoreIn(ctx, plain).Get(r.Key)
			must(t, errors.Join(err, stream.StoreIn(ctx, perSecond).Put(r.Key, 2000, 9)))
			return ctx.Forward(r.WithValue(strings.Join(append(found, before.V, text.V), " ")))
		}, stream.Stores(perSecond, stays, past, plain)).To(answers)
	}), Emit(stream.OnCommit))
	Input(d, texts).Pipe("k", "text", 0)
	visit := Input(d, calls)
	visit.Pipe("k", "one", 0)
	visit.Pipe("k", "two", 100*time.Millisecond)
	visit.Pipe("k", "three", 1100*time.Millisecond)
	Input(d, orders).Pipe("k", "look", 1200*time.Millisecond)
	r, _ := Output(d, answers).Next()
	if want := "[0,1000)=2 [1000,2000)=1 [0,1100]=3 one text!"; r.Value != want {
		t.Errorf("got %q, want %q", r.Value, want)
	}
	must(t, d.Commit())
	var sent []int64
	for _, r := range Output(d, told).Committed() {
		sent = append(sent, r.Value)
	}
	if !slices.Equal(sent, []int64{1, 2, 1}) {
		t.Errorf("changes of windows: %d", sent)
	}
}

// A store that is restored from the topic of its table can be read, and not be changed.
func TestShareTableThatReusesItsTopic(t *testing.T) {
	names := state.NewKeyValue("names", serde.String, serde.String)
	echoes := stream.NewTopic("echoes", serde.String, serde.String)
	use := func(change bool) *stream.Topology {
		return build(t, func(b *stream.Builder) {
			stream.TableFrom(b, texts, stream.ReuseTopic()).As(names).ToStream().To(echoes)
			stream.ProcessFunc(stream.From(b, orders), func(ctx *sends, r record) error {
				rows := stream.StoreIn(ctx, names)
				if change {
					return rows.Put(r.Key, r.Value)
				}
				row, err := rows.Get(r.Key)
				if err != nil {
					return err
				}
				return ctx.Forward(r.WithValue(row.V))
			}, stream.Stores(names)).To(answers)
		})
	}
	d := New(t, use(false))
	Input(d, texts).Pipe("k", "old", 0)
	Input(d, texts).Pipe("k", "new", 1)
	must(t, d.Commit())
	d.RestartWithoutState()
	Input(d, orders).Pipe("k", "read", 2)
	if r, _ := Output(d, answers).Next(); r.Value != "new" {
		t.Errorf("got %q", r.Value)
	}
	must(t, d.Commit())
	if n := len(Output(d, echoes).Committed()); n != 2 { // more, if the store's changes went to the topic
		t.Errorf("%d changes of the table", n)
	}
	err := Input(New(t, use(true)), orders).PipeRecord(record{}.WithKey("k").WithValue("v"))
	if !errors.Is(err, state.ErrReadOnly) || !strings.Contains(err.Error(), "names") || !strings.Contains(err.Error(), "ReuseTopic") {
		t.Errorf("got %v", err)
	}
}

// A TableTransformer can look at the rows that it has made.
func TestShareTableWithItsTransformer(t *testing.T) {
	numbered := state.NewKeyValue("numbered", serde.String, serde.Int64)
	d := New(t, build(t, func(b *stream.Builder) {
		stream.TransformTable(stream.TableFrom(b, texts), func() transformer { return transformer{numbered} }, stream.Stores(numbered)).
			As(numbered).ToStream().To(changes)
	}))
	for _, v := range []string{"a", "b", "c"} {
		Input(d, texts).Pipe("k", v, 0)
	}
	var got []int64
	for _, r := range Output(d, changes).All() {
		got = append(got, r.Value)
	}
	if !slices.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("got %d", got)
	}
}

type transformer struct{ rows state.KeyValue[string, int64] }

func (x transformer) Transform(ctx *stream.TableContext, r record) (int64, bool, error) {
	row, err := stream.StoreIn(ctx, x.rows).Get(r.Key)
	return row.V + 1, true, err
}

// Where a key is that a processor put, the table cannot tell: all partitions are asked.
func TestQueryOfASharedTable(t *testing.T) {
	const partitions = 4
	d := New(t, build(t, func(b *stream.Builder) {
		stream.GroupBy(stream.From(b, calls), func(_, v string) string { return v }).Count().As(visited)
		stream.ProcessFunc(stream.From(b, orders), func(ctx *sends, r record) error {
			return stream.StoreIn(ctx, visited).Put(r.Value, 7)
		}, stream.Stores(visited))
	}), Partitions(partitions))
	r := Query(d, visited)
	for i := range 10 {
		Input(d, calls).Pipe("k", fmt.Sprint("counted", i), 0)
		Input(d, orders).Pipe("k", fmt.Sprint("put", i), 0)
	}
	must(t, d.Commit())
	for i := range 10 {
		counted, err1 := r.Get(t.Context(), fmt.Sprint("counted", i))
		put, err2 := r.Get(t.Context(), fmt.Sprint("put", i))
		if counted.V != 1 || put.V != 7 || err1 != nil || err2 != nil {
			t.Errorf("got %+v, %v and %+v, %v", counted, err1, put, err2)
		}
	}
}

func TestShareTableBuildErrors(t *testing.T) {
	use := func(b *stream.Builder, h state.AnyHandle) {
		stream.ProcessFunc(stream.From(b, orders), func(*sends, record) error { return nil }, stream.Stores(h))
	}
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  string
	}{
		{"another type", func(b *stream.Builder) {
			use(b, state.NewKeyValue("visited", serde.String, serde.String))
			stream.GroupByKey(stream.From(b, calls)).Count().As(visited)
		}, `ProcessFunc: Stores: the store "visited" is that of Count at share_test.go:`},
		{"another setting", func(b *stream.Builder) {
			stream.GroupByKey(stream.From(b, calls)).Count().As(visited)
			use(b, visited.InMemory())
		}, `kept by As with a different handle: their settings differ`},
		{"two tables", func(b *stream.Builder) {
			use(b, visited)
			stream.GroupByKey(stream.From(b, calls)).Count().As(visited)
			stream.GroupByKey(stream.From(b, calls)).Count().As(visited)
		}, `Count: the store name "visited" is taken by Count at share_test.go:`},
	} {
		b := stream.NewBuilder()
		c.build(b)
		_, err := b.Build()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "share_test.go:") {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}
