package stream_test

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// The claim: however the tasks of a foreign-key join get ahead of each other, and whatever is aborted, the table
// it makes is in the end the one that follows from the last value of each row on both sides.

// doc is a left row: what it points to, and a value. Functions change it in place.
type doc map[string]string

type (
	docTable = *stream.Table[string, doc]
	docRows  = map[string]doc
)

var (
	docs    = stream.NewTopic("docs", serde.String, serde.JSON[doc]())
	targets = stream.NewTopic("targets", serde.String, serde.String)
	thirds  = stream.NewTopic("thirds", serde.String, serde.String)
	results = stream.NewTopic("results", serde.String, serde.String)
	joined  = state.NewKeyValue("joined", serde.String, serde.String)
	bags    = state.NewKeyValue("bags", serde.String, serde.JSON[map[string]int64]())
)

func spoil(d doc) { clear(d) }

// docTarget is what a row points to. It spoils what it was given.
func docTarget(_ string, d doc) (string, bool) {
	to := d["to"]
	spoil(d)
	return to, to != ""
}

func docWith(d doc, target string) string {
	s := d["to"] + d["v"] + "," + target
	spoil(d)
	return s
}

func docWithLeft(d doc, target string, ok bool) string {
	if !ok {
		target = "-"
	}
	return docWith(d, target)
}

// joinDocs is a foreign-key join of maps.
func joinDocs(l docRows, r rowsOf, left bool) rowsOf {
	o := rowsOf{}
	for k, d := range l {
		target, ok := r[d["to"]]
		switch {
		case ok:
			o[k] = d["to"] + d["v"] + "," + target
		case left:
			o[k] = d["to"] + d["v"] + ",-"
		}
	}
	return o
}

// foreignCase is a topology and its model.
type foreignCase struct {
	name  string
	kept  bool // the result has a store, joined
	build func(l docTable, r, third stringTable) stringTable
	model func(l docRows, r, third rowsOf) rowsOf
}

func innerDocs(l docTable, r stringTable) stringTable {
	return stream.JoinForeign(l, r, docTarget, docWith)
}

var foreignCases = []foreignCase{
	{name: "inner", kept: true, build: func(l docTable, r, _ stringTable) stringTable { return innerDocs(l, r).As(joined) },
		model: func(l docRows, r, _ rowsOf) rowsOf { return joinDocs(l, r, false) }},
	{name: "inner, without a store", build: func(l docTable, r, _ stringTable) stringTable { return innerDocs(l, r) },
		model: func(l docRows, r, _ rowsOf) rowsOf { return joinDocs(l, r, false) }},
	{name: "left", kept: true, build: func(l docTable, r, _ stringTable) stringTable {
		return stream.LeftJoinForeign(l, r, docTarget, docWithLeft).As(joined)
	}, model: func(l docRows, r, _ rowsOf) rowsOf { return joinDocs(l, r, true) }},
	{name: "left, without a store", build: func(l docTable, r, _ stringTable) stringTable {
		return stream.LeftJoinForeign(l, r, docTarget, docWithLeft)
	}, model: func(l docRows, r, _ rowsOf) rowsOf { return joinDocs(l, r, true) }},
	{name: "of tables made of others", build: func(l docTable, r, _ stringTable) stringTable {
		odd := l.Filter(func(_ string, d doc) bool { return d["v"] != "0" })
		return innerDocs(odd, stream.MapTable(r.Filter(shortRow), func(k, v string) string { return k + v }))
	}, model: func(l docRows, r, _ rowsOf) rowsOf {
		l, r = maps.Clone(l), filterRows(r)
		maps.DeleteFunc(l, func(_ string, d doc) bool { return d["v"] == "0" })
		for k, v := range r {
			r[k] = k + v
		}
		return joinDocs(l, r, false)
	}},
	{name: "chained", kept: true, build: func(l docTable, r, third stringTable) stringTable {
		last := func(_, v string) (string, bool) { return v[len(v)-1:], true }
		return stream.LeftJoinForeign(innerDocs(l, r), third, last, func(l, r string, ok bool) string { return pairText(l, r, sides(true, ok)) }).As(joined)
	}, model: func(l docRows, r, third rowsOf) rowsOf {
		o := joinDocs(l, r, false)
		for k, v := range o {
			t, ok := third[v[len(v)-1:]]
			o[k] = pairText(v, t, sides(true, ok))
		}
		return o
	}},
	{name: "with itself", build: func(_ docTable, r, _ stringTable) stringTable {
		return stream.JoinForeign(r, r, pointsTo, func(l, r string) string { return l + "," + r })
	}, model: func(_ docRows, r, _ rowsOf) rowsOf { return joinSelf(r, r) }},
	{name: "with what is made of itself", build: func(_ docTable, r, _ stringTable) stringTable {
		return stream.JoinForeign(r, r.Filter(shortRow), pointsTo, func(l, r string) string { return l + "," + r })
	}, model: func(_ docRows, r, _ rowsOf) rowsOf { return joinSelf(r, filterRows(r)) }},
	{name: "joined again by key", kept: true, build: func(l docTable, r, _ stringTable) stringTable {
		values := stream.MapTable(l, func(_ string, d doc) string { return d["v"] })
		return stream.OuterJoinTables(innerDocs(l, r), values, pairText).As(joined)
	}, model: func(l docRows, r, _ rowsOf) rowsOf {
		values := rowsOf{}
		for k, d := range l {
			values[k] = d["v"]
		}
		return joinRows(joinDocs(l, r, false), values, false, false)
	}},
}

func sides(left, right bool) (s stream.Sides) {
	if left {
		s |= 1
	}
	if right {
		s |= 2
	}
	return s
}

// pointsTo has rows of targets point to each other.
func pointsTo(_, v string) (string, bool) { return "t" + v[:1], v[0] != '0' }

func joinSelf(l, r rowsOf) rowsOf {
	o := rowsOf{}
	for k, v := range l {
		if to, ok := pointsTo(k, v); ok {
			if target, ok := r[to]; ok {
				o[k] = v + "," + target
			}
		}
	}
	return o
}

func (c foreignCase) topology(t testing.TB) *stream.Topology {
	return build(t, func(b *stream.Builder) {
		l, r, third := stream.TableFrom(b, docs), stream.TableFrom(b, targets), stream.TableFrom(b, thirds)
		table := c.build(l, r, third)
		table.ToStream().To(results)
		if c.kept {
			g := stream.GroupTable(table, func(k, v string) (string, string) { return groupOf(v), k + "=" + v })
			stream.AggregateTable(g, func() map[string]int64 { return map[string]int64{} }, inBag, outOfBag).As(bags)
		}
	})
}

func TestForeignJoinsAgreeWithModel(t *testing.T) {
	topologies := map[string]*stream.Topology{}
	for _, c := range foreignCases {
		topologies[c.name] = c.topology(t)
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := rapid.SampledFrom(foreignCases).Draw(rt, "case")
		c.check(t, rt, topologies[c.name])
	})
}

func (c foreignCase) check(outer *testing.T, t *rapid.T, topology *stream.Topology) {
	counts := rapid.IntRange(1, 3)
	guarantee := rapid.SampledFrom([]stream.Guarantee{stream.ExactlyOnce, stream.AtLeastOnce}).Draw(t, "guarantee")
	d := drawDriver(outer, t, topology, streamtest.Guarantee(guarantee),
		streamtest.PartitionsOf(docs.Name(), counts.Draw(t, "left partitions")),
		streamtest.PartitionsOf(targets.Name(), counts.Draw(t, "right partitions")),
		streamtest.PartitionsOf(thirds.Name(), counts.Draw(t, "third partitions")),
		streamtest.PartitionsOf(results.Name(), 2))
	left, right, third := streamtest.Input(d, docs), streamtest.Input(d, targets), streamtest.Input(d, thirds)
	l, r, th := docRows{}, rowsOf{}, rowsOf{}
	digit, gone := rapid.IntRange(0, 2), rapid.IntRange(0, 3)
	for i := range rapid.IntRange(1, 40).Draw(t, "records") {
		key, v, deleted := digit.Draw(t, "key"), fmt.Sprint(digit.Draw(t, "value")), gone.Draw(t, "gone") == 0
		switch rapid.IntRange(0, 4).Draw(t, "side") {
		case 0, 1:
			k, value := fmt.Sprint("k", key), doc{"v": v}
			if to := digit.Draw(t, "to"); to > 0 {
				value["to"] = fmt.Sprint("t", to)
			}
			rec := stream.Record[string, doc]{Key: k, Timestamp: int64(i)}
			if l[k] = value; deleted {
				delete(l, k)
				left.Append(rec.WithNullValue())
			} else {
				left.Append(rec.WithValue(value))
			}
		case 2, 3:
			tell(right, r, fmt.Sprint("t", key), v+v[:key%2], deleted, i)
		default:
			tell(third, th, fmt.Sprint(key), v, deleted, i)
		}
		disturb(t, d)
	}
	settleAll(t, d)
	want := c.model(l, r, th)
	if got := lastOf(streamtest.Output(d, results).Committed()); !maps.Equal(got, want) {
		t.Fatalf("the last of each key are %v, want %v", got, want)
	}
	if !c.kept {
		return
	}
	got := rowsOf{}
	for _, row := range streamtest.Rows(d, joined) {
		got[row.Key] = row.Value
	}
	if !maps.Equal(got, want) {
		t.Fatalf("the store has %v, want %v", got, want)
	}
	if guarantee == stream.AtLeastOnce {
		return // what is aggregated may count twice
	}
	inBags := map[string]int64{}
	for _, row := range streamtest.Rows(d, bags) {
		maps.Copy(inBags, row.Value)
	}
	wantBags := map[string]int64{}
	for k, v := range want {
		wantBags[k+"="+v] = 1
	}
	if !maps.Equal(inBags, wantBags) {
		t.Fatalf("grouped are %v, want %v", inBags, wantBags)
	}
}

// tell appends a row of strings, and makes it the model's.
func tell(in *streamtest.InputTopic[string, string], rows rowsOf, k, v string, deleted bool, at int) {
	r := rec(k, v, int64(at))
	if rows[k] = v; deleted {
		delete(rows, k)
		r = r.WithNullValue()
	}
	in.Append(r)
}

// lastOf is the table that a topic's records make.
func lastOf(rs []stream.Record[string, string]) rowsOf {
	rows := rowsOf{}
	for _, r := range rs {
		if rows[r.Key] = r.Value; r.ValueIsNull() {
			delete(rows, r.Key)
		}
	}
	return rows
}
