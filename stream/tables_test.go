package stream_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Records without a key are no rows, and a row of which nil is made is none either.
func TestTablesAndNulls(t *testing.T) {
	bags := stream.NewTopic("bags", serde.String, serde.JSON[[]string]())
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		fields := stream.MapTable(stream.TableFrom(b, pairs), func(_, v string) []string {
			if v == "" {
				return nil
			}
			return strings.Fields(v)
		})
		fields.With(serde.String, serde.JSON[[]string]()).ToStream().To(bags)
		stream.GroupTable(fields, func(k string, v []string) (string, []string) { return k, v }).
			With(serde.String, serde.JSON[[]string]()).Count().As(counts)
	}))
	in, o := streamtest.Input(d, pairs), streamtest.Output(d, bags)
	for _, r := range []stream.Record[string, string]{rec("null", "x", 1), rec("a", "x y", 2), rec("a", "", 3), rec("a", "null", 4)} {
		if err := in.PipeRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, o.All(), "a=[x y]@2", "a=null@3", "a=null@4")
	if got := d.Dropped(); got.NullKey != 1 {
		t.Errorf("dropped %+v, want one record without a key", got)
	}
	if rows := streamtest.Rows(d, counts); len(rows) != 1 || rows[0].Value != 0 {
		t.Errorf("rows %v, want a count of 0", rows)
	}
}

// A row that goes from one group to another leaves the first before it is in the second.
func TestGroupTableTakesOutFirst(t *testing.T) {
	for _, emit := range []stream.Emit{stream.EachUpdate, stream.OnCommit} {
		d := streamtest.New(t, build(t, func(b *stream.Builder) {
			g := stream.GroupTable(stream.TableFrom(b, pairs), func(k, v string) (string, string) { return v[:1], v })
			g.Reduce(func(old, v string) string { return old + "+" + v }, func(old, v string) string { return old + "-" + v }).
				ToStream().To(out)
		}), streamtest.Emit(emit))
		in := streamtest.Input(d, pairs)
		for _, v := range []string{"a1", "a2", "b1"} {
			in.Pipe("k", v, 0)
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := d.Commit(); err != nil { // what was sent through the repartition topic
				t.Fatal(err)
			}
		}
		// Within a group both at once: there is no result between them.
		expect(t, streamtest.Output(d, out).All(), "a=a1@0", "a=a1-a1+a2@0", "a=a1-a1+a2-a2@0", "b=b1@0")
	}
}

// What is said of a table in the wrong place, or not at all, is found when the topology is built.
func TestTableBuildErrors(t *testing.T) {
	points := func(b *stream.Builder) *stream.Table[string, point] {
		return stream.MapTable(stream.TableFrom(b, pairs), func(string, string) point { return point{} })
	}
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  []string
	}{
		{"no repartition", func(b *stream.Builder) { stream.From(b, pairs).ToTable(stream.Partitions(2)) },
			[]string{"ToTable", "the keys did not change"}},
		{"partitions", func(b *stream.Builder) {
			stream.GroupTable(stream.TableFrom(b, pairs), func(k, v string) (string, string) { return v, k }, stream.Partitions(-1)).Count()
		}, []string{"GroupTable: Partitions(-1)"}},
		{"serde of a repartition topic", func(b *stream.Builder) {
			stream.GroupTable(points(b), func(k string, p point) (string, point) { return k, p }).Count()
		}, []string{"no serde for value type stream_test.point", "With(keySerde, valueSerde)"}},
		{"serde of a store", func(b *stream.Builder) {
			points(b).As(state.NewKeyValue[string, point]("points", nil, nil))
		}, []string{"MapTable", "no serde for value type stream_test.point of the store"}},
		{"serde of a store that a self-join has to have", func(b *stream.Builder) {
			p := points(b)
			j := stream.JoinTables(p, p, func(l, _ point) point { return l })
			stream.GroupTable(j, func(k string, p point) (string, string) { return k, "" }).Count()
		}, []string{"JoinTables", "no serde for value type stream_test.point of the store"}},
		{"two builders", func(b *stream.Builder) {
			stream.JoinTables(stream.TableFrom(b, pairs), stream.TableFrom(stream.NewBuilder(), pairs), func(l, r string) string { return l })
		}, []string{"JoinTables: the two tables are of different builders"}},
		{"two stores", func(b *stream.Builder) {
			stream.TableFrom(b, pairs).As(derived).As(derived)
		}, []string{"TableFrom", `the table is kept in store "derived" already`}},
		{"one store, two tables", func(b *stream.Builder) {
			stream.TableFrom(b, pairs).As(derived)
			stream.TableFrom(b, pairs).As(derived)
		}, []string{`the store name "derived" is taken by TableFrom`}},
	} {
		b := stream.NewBuilder()
		c.build(b)
		_, err := b.Build()
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range append(c.want, "tables_test.go:") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in\n%v", c.name, want, err)
			}
		}
	}
}

// A table has a store only where there is need of one.
func TestTablesHaveStoresOnlyWhereNeeded(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(l, r stringTable)
		want  []string
	}{
		{"nobody looks", func(l, r stringTable) { l.Filter(shortRow).ToStream().To(out) }, nil},
		{"a grouped table", func(l, r stringTable) {
			stream.GroupTable(l.Filter(shortRow), func(k, v string) (string, string) { return v, k }).Count()
		}, []string{"lefts.tableFrom1", "lefts.tableFrom1.filter1.groupTable1.repartitioned.count1"}},
		{"a join", func(l, r stringTable) {
			stream.OuterJoinTables(l.Filter(shortRow), r, pairText).ToStream().To(out)
		}, []string{"lefts.tableFrom1", "rights.tableFrom1"}},
		{"a join of what has a store", func(l, r stringTable) {
			stream.OuterJoinTables(l.Filter(shortRow).As(derived), r, pairText).ToStream().To(out)
		}, []string{"derived", "rights.tableFrom1"}},
	} {
		topology := build(t, func(b *stream.Builder) {
			c.build(stream.TableFrom(b, lefts), stream.TableFrom(b, rights))
		})
		var got []string
		for _, m := range storeNames.FindAllStringSubmatch(topology.Describe(), -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: stores %q, want %q", c.name, got, c.want)
		}
	}
}

var storeNames = regexp.MustCompile(`stores: \[(.+)\]`)
