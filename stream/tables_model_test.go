package stream_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// The claim: whatever tables are made of others, and whenever they are told of changes, what is aggregated
// below them in the end is what follows from the last value of each key. An aggregation takes out what its
// parent says a row was, so every old value has to be right for that.

type stringTable = *stream.Table[string, string]

type rowsOf = map[string]string

var (
	lefts   = stream.NewTopic("lefts", serde.String, serde.String)
	rights  = stream.NewTopic("rights", serde.String, serde.String)
	derived = state.NewKeyValue("derived", serde.String, serde.String)
	groups  = state.NewKeyValue("groups", serde.String, serde.JSON[map[string]int64]())
	sizes   = state.NewKeyValue("sizes", serde.String, serde.Int64)
)

func shortRow(_, v string) bool { return len(v) < 3 }

func pairText(l, r string, have stream.Sides) string {
	if !have.Left() {
		l = "-"
	}
	if !have.Right() {
		r = "-"
	}
	return l + r
}

// joinRows is a join of maps.
func joinRows(l, r rowsOf, needLeft, needRight bool) rowsOf {
	out := rowsOf{}
	for _, m := range []rowsOf{l, r} {
		for k := range m {
			lv, lok := l[k]
			rv, rok := r[k]
			if (lok || !needLeft) && (rok || !needRight) {
				if !lok {
					lv = "-"
				}
				if !rok {
					rv = "-"
				}
				out[k] = lv + rv
			}
		}
	}
	return out
}

func filterRows(m rowsOf) rowsOf {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(k, v string) bool { return !shortRow(k, v) })
	return m
}

var tableCases = []struct {
	name  string
	build func(l, r stringTable) stringTable
	model func(l, r rowsOf) rowsOf
}{
	{"source", func(l, _ stringTable) stringTable { return l }, func(l, _ rowsOf) rowsOf { return l }},
	{"filter", func(l, _ stringTable) stringTable { return l.Filter(shortRow) }, func(l, _ rowsOf) rowsOf { return filterRows(l) }},
	{"map of filter", func(l, _ stringTable) stringTable {
		return stream.MapTable(l.Filter(shortRow), func(k, v string) string { return k + v })
	}, func(l, _ rowsOf) rowsOf {
		l = filterRows(l)
		for k, v := range l {
			l[k] = k + v
		}
		return l
	}},
	{"inner", func(l, r stringTable) stringTable {
		return stream.JoinTables(l, r, func(l, r string) string { return l + r })
	}, func(l, r rowsOf) rowsOf { return joinRows(l, r, true, true) }},
	{"left", func(l, r stringTable) stringTable {
		return stream.LeftJoinTables(l, r, func(l, r string, ok bool) string {
			if !ok {
				return l + "-"
			}
			return l + r
		})
	}, func(l, r rowsOf) rowsOf { return joinRows(l, r, true, false) }},
	{"outer", func(l, r stringTable) stringTable { return stream.OuterJoinTables(l, r, pairText) },
		func(l, r rowsOf) rowsOf { return joinRows(l, r, false, false) }},
	{"inner, of what is filtered", func(l, r stringTable) stringTable {
		return stream.JoinTables(l.Filter(shortRow), r.Filter(shortRow), func(l, r string) string { return l + r })
	}, func(l, r rowsOf) rowsOf { return joinRows(filterRows(l), filterRows(r), true, true) }},
	{"outer, filtered", func(l, r stringTable) stringTable {
		return stream.OuterJoinTables(l, r, pairText).FilterNot(shortRow)
	}, func(l, r rowsOf) rowsOf {
		m := joinRows(l, r, false, false)
		maps.DeleteFunc(m, shortRow)
		return m
	}},
	{"self-join", func(l, _ stringTable) stringTable {
		return stream.OuterJoinTables(l, l.Filter(shortRow), pairText)
	}, func(l, _ rowsOf) rowsOf { return joinRows(l, filterRows(l), false, false) }},
	{"three tables, one twice", func(l, r stringTable) stringTable {
		both := stream.JoinTables(l, r, func(l, r string) string { return l + r })
		return stream.OuterJoinTables(both, l.Filter(shortRow), pairText)
	}, func(l, r rowsOf) rowsOf { return joinRows(joinRows(l, r, true, true), filterRows(l), false, false) }},
	{"nested to the right", func(l, r stringTable) stringTable {
		return stream.OuterJoinTables(l, stream.OuterJoinTables(r, stream.MapTable(r, func(k, v string) string { return k }), pairText), pairText)
	}, func(l, r rowsOf) rowsOf {
		keys := rowsOf{}
		for k := range r {
			keys[k] = k
		}
		return joinRows(l, joinRows(r, keys, false, false), false, false)
	}},
}

func groupOf(v string) string { return v[len(v)-1:] }

// A bag is changed in place.
func inBag(_, v string, bag map[string]int64) map[string]int64 {
	bag[v]++
	return bag
}

func outOfBag(_, v string, bag map[string]int64) map[string]int64 {
	if bag[v]--; bag[v] == 0 {
		delete(bag, v)
	}
	return bag
}

func TestTablesAgreeWithModel(t *testing.T) {
	for _, c := range tableCases {
		for _, keep := range []bool{false, true} {
			topology := build(t, func(b *stream.Builder) {
				l := stream.TableFrom(b, lefts)
				table := c.build(l, stream.TableFrom(b, rights))
				if keep && table != l {
					table.As(derived)
				}
				g := stream.GroupTable(table, func(k, v string) (string, string) { return groupOf(v), k + "=" + v })
				stream.AggregateTable(g, func() map[string]int64 { return map[string]int64{} }, inBag, outOfBag).As(groups)
				g.Count().As(sizes)
			})
			for _, emit := range []stream.Emit{stream.EachUpdate, stream.OnCommit} {
				for _, partitions := range []int{1, 3} {
					t.Run(fmt.Sprintf("%s, kept %t, emit %d, %d partitions", c.name, keep, emit, partitions), func(t *testing.T) {
						for seed := range uint64(3) {
							runTables(t, topology, c.model, seed, streamtest.Emit(emit), streamtest.Partitions(partitions))
						}
					})
				}
			}
		}
	}
}

// runTables runs random changes, with commits, aborts and restarts among them.
func runTables(t *testing.T, topology *stream.Topology, model func(l, r rowsOf) rowsOf, seed uint64, opts ...streamtest.Option) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 5))
	d := streamtest.New(t, topology, opts...)
	ins := []*streamtest.InputTopic[string, string]{streamtest.Input(d, lefts), streamtest.Input(d, rights)}
	last := []rowsOf{{}, {}}
	for i := range 80 {
		side := rng.IntN(2)
		k := fmt.Sprint("k", rng.IntN(5))
		v := strings.Repeat(fmt.Sprint(rng.IntN(4)), 1+rng.IntN(3))
		r := rec(k, v, int64(i))
		last[side][k] = v
		if rng.IntN(4) == 0 {
			r = r.WithNullValue()
			delete(last[side], k)
		}
		ins[side].Append(r)
		if rng.IntN(3) == 0 {
			continue // the next one is of the same epoch, and may be of the same key
		}
		if err := d.Settle(); err != nil {
			t.Fatal(err)
		}
		switch rng.IntN(16) {
		case 0, 1, 2, 3:
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
		case 4:
			d.Abort()
		case 5:
			d.Abort()
			d.FlushState()
			d.Restart()
		case 6:
			d.RestartWithoutState()
		}
	}
	if err := errors.Join(d.Settle(), d.Commit()); err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]int64{}
	for k, v := range model(last[0], last[1]) {
		if want[groupOf(v)] == nil {
			want[groupOf(v)] = map[string]int64{}
		}
		want[groupOf(v)][k+"="+v] = 1
	}
	got := map[string]map[string]int64{}
	for _, row := range streamtest.Rows(d, groups) {
		if len(row.Value) > 0 {
			got[row.Key] = row.Value
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("seed %d:\ngot  %v\nwant %v", seed, got, want)
	}
	for _, row := range streamtest.Rows(d, sizes) {
		if int(row.Value) != len(want[row.Key]) {
			t.Errorf("seed %d: group %s has %d rows, want %d", seed, row.Key, row.Value, len(want[row.Key]))
		}
	}
	if rows := streamtest.Rows(d, derived); len(rows) > 0 {
		all := rowsOf{}
		for _, row := range rows {
			all[row.Key] = row.Value
		}
		if !maps.Equal(all, model(last[0], last[1])) {
			t.Errorf("seed %d: rows %v, want %v", seed, all, model(last[0], last[1]))
		}
	}
}

// A table of a stream with new keys has each key in one task.
func TestToTableRepartitions(t *testing.T) {
	for _, emit := range []stream.Emit{stream.EachUpdate, stream.OnCommit} {
		d := streamtest.New(t, build(t, func(b *stream.Builder) {
			stream.SelectKey(stream.From(b, pairs), func(_, v string) string { return v[:1] }).ToTable(stream.Partitions(2)).As(derived)
		}), streamtest.Partitions(3), streamtest.Emit(emit))
		in := streamtest.Input(d, pairs)
		for i := range 30 {
			in.Append(rec(fmt.Sprint("k", i), fmt.Sprintf("%d%02d", i%2, i), int64(i)))
		}
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, row := range streamtest.Rows(d, derived) {
			keys = append(keys, row.Key)
		}
		slices.Sort(keys)
		if want := []string{"0", "1"}; !slices.Equal(keys, want) {
			t.Errorf("emit %d: keys %q, want %q", emit, keys, want)
		}
	}
}
