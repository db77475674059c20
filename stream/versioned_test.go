package stream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

var past = state.NewVersioned("past", serde.String, serde.String, time.Minute)

// What cannot be done with versions is said when the topology is built, with its line.
func TestVersionedBuildErrors(t *testing.T) {
	join := func(b *stream.Builder, t stringTable, opts ...stream.JoinOption) {
		stream.JoinTable(stream.From(b, left), t, dashed, opts...).To(out)
	}
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  []string
	}{
		{"no history", func(b *stream.Builder) {
			stream.TableFrom(b, right).As(state.NewVersioned("past", serde.String, serde.String, time.Microsecond))
		}, []string{"TableFrom: As at", `store "past" has a history retention of 1µs`}},
		{"the wrong kind of store", func(b *stream.Builder) {
			n := stream.GroupByKey(stream.From(b, left)).WindowedBy(windows.Tumbling(time.Second)).Count()
			stream.MapTable(n, func(_ windows.Windowed[string], n int64) int64 { return n }).
				As(state.NewWindow("w", serde.String, serde.Int64))
		}, []string{"MapTable: As at", `"w" is a window store; this table is kept in a key-value store or a versioned store`}},
		{"a versioned store of windows", func(b *stream.Builder) {
			stream.GroupByKey(stream.From(b, left)).WindowedBy(windows.Tumbling(time.Second)).Count().
				As(state.NewVersioned[windows.Windowed[string], int64]("w", nil, serde.Int64, time.Second))
		}, []string{"Count: As at", `"w" is a versioned store`}},
		{"grace without versions", func(b *stream.Builder) { join(b, stream.TableFrom(b, right), stream.Grace(time.Second)) },
			[]string{"JoinTable: Grace(1s): the table is not versioned"}},
		{"grace without versions any more", func(b *stream.Builder) {
			join(b, stream.TableFrom(b, right).As(past).Filter(shortRow).As(derived), stream.Grace(0))
		}, []string{"JoinTable: Grace(0s): the table is not versioned"}},
		{"grace with a join of versions", func(b *stream.Builder) {
			join(b, stream.JoinTables(stream.TableFrom(b, right).As(past), stream.TableFrom(b, right), dashed), stream.Grace(time.Second))
		}, []string{"JoinTable: Grace(1s): the table is not versioned"}},
		{"negative grace", func(b *stream.Builder) { join(b, stream.TableFrom(b, right).As(past), stream.Grace(-time.Second)) },
			[]string{"JoinTable: Grace(-1s) is negative"}},
		{"half a millisecond", func(b *stream.Builder) {
			join(b, stream.TableFrom(b, right).As(past), stream.Grace(time.Millisecond/2))
		}, []string{"JoinTable: Grace(500µs) is not a whole number of milliseconds"}},
		{"grace longer than history", func(b *stream.Builder) {
			join(b, stream.TableFrom(b, right).As(past).Filter(shortRow), stream.Grace(time.Hour))
		}, []string{"JoinTable: Grace(1h0m0s) is longer than the table's history retention of 1m0s"}},
		{"grace of a join of streams", func(b *stream.Builder) {
			stream.JoinStreams(stream.From(b, left), stream.From(b, right), windows.Within(time.Second), dashed, stream.Grace(time.Second))
		}, []string{"JoinStreams: Grace is for joins with versioned tables"}},
		{"nothing to keep in memory", func(b *stream.Builder) { join(b, stream.TableFrom(b, right), stream.InMemory()) },
			[]string{"JoinTable: InMemory is for what waits in a join with Grace"}},
		{"no serde for what waits", func(b *stream.Builder) {
			points := stream.MapValues(stream.From(b, left), func(string) point { return point{} })
			stream.JoinTable(points, stream.TableFrom(b, right).As(past), func(point, string) string { return "" }, stream.Grace(time.Second))
		}, []string{"JoinTable: no serde for value type stream_test.point, which wait in a store"}},
		{"suppressed versions", func(b *stream.Builder) {
			stream.TableFrom(b, right).As(past).Filter(shortRow).Suppress(stream.UntilTimeLimit(time.Second))
		}, []string{"Suppress: the table is versioned, or made of one that is"}},
	} {
		b := stream.NewBuilder()
		c.build(b)
		_, err := b.Build()
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range append(c.want, "versioned_test.go:") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in\n%v", c.name, want, err)
			}
		}
	}
}

// A versioned table sends each of its updates on, also where others send only the last of an epoch: below it each may
// be a version to keep. What is too old is dropped and counted; joins and groups go by the newest.
func TestVersionedSendsEachUpdate(t *testing.T) {
	shortPast := state.NewVersioned("short-past", serde.String, serde.String, 10*time.Millisecond)
	for _, emit := range []stream.Emit{stream.EachUpdate, stream.OnCommit} {
		d := streamtest.New(t, build(t, func(b *stream.Builder) {
			table := stream.TableFrom(b, pairs).As(shortPast)
			stream.MapTable(table, func(_, v string) string { return v + v }).As(past).ToStream().To(out)
			stream.GroupTable(table, func(k, v string) (string, string) { return v, k }).Count().As(counts)
			stream.JoinTables(table, stream.TableFrom(b, pairs), dashed).As(derived)
		}), streamtest.Emit(emit))
		in := streamtest.Input(d, pairs)
		for _, r := range []stream.Record[string, string]{rec("k", "a", 20), rec("k", "b", 30), rec("k", "c", 25), rec("k", "d", 19), rec("k", "null", 22)} {
			in.Append(r)
		}
		if err := errors.Join(d.Settle(), d.Commit(), d.Commit()); err != nil {
			t.Fatal(err)
		}
		expect(t, streamtest.Output(d, out).All(), "k=aa@20", "k=bb@30", "k=cc@25", "k=null@22")
		for at, want := range map[int64]string{19: "", 20: "aa", 21: "aa", 22: "", 24: "", 25: "cc", 29: "cc", 30: "bb"} {
			if got := streamtest.GetAsOf(d, past, "k", at); got.V != want {
				t.Errorf("emit %d: as of %d: %+v, want %q", emit, at, got, want)
			}
		}
		expectRows(t, streamtest.Rows(d, counts), "a=0", "b=1")
		// The other table goes by what came last: nothing. It told of that before it sent the deletion.
		expectRows(t, streamtest.Rows(d, derived))
		// One is too old for the store; the join passed over two, which Kafka Streams counts too.
		if got := d.Dropped().Late; got != 3 {
			t.Errorf("emit %d: %d dropped as late, want 3", emit, got)
		}
	}
}

// expectRows compares rows written as "key=value".
func expectRows[K, V any](t *testing.T, rows []state.Row[K, V], want ...string) {
	t.Helper()
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%v=%v", r.Key, r.Value))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rows %q, want %q", got, want)
	}
}

// A record that waits keeps its headers and its timestamp; one without a key has nothing to wait for.
func TestGraceKeepsHeadersAndNulls(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		stream.LeftJoinTable(stream.From(b, left), stream.TableFrom(b, right).As(past), dashedLeft, stream.Grace(10*time.Millisecond)).To(out)
	}))
	l, r, o := streamtest.Input(d, left), streamtest.Input(d, right), streamtest.Output(d, out)
	pipe := func(in *streamtest.InputTopic[string, string], r stream.Record[string, string]) []stream.Record[string, string] {
		t.Helper()
		if err := in.PipeRecord(r); err != nil {
			t.Fatal(err)
		}
		return o.All()
	}
	expect(t, pipe(l, rec("k", "L1", 100, stream.Header{Key: "h", Value: []byte("1")}, stream.Header{Key: "null"})))
	expect(t, pipe(l, rec("null", "L2", 500)), "null=L2-null@500") // and it moves no time
	expect(t, pipe(l, rec("k", "null", 500)))
	expect(t, pipe(r, rec("k", "R", 90)))
	expect(t, pipe(l, rec("k", "L3", 109)))
	got := pipe(l, rec("k", "L4", 110))
	expect(t, got, "k=L1-R@100 h:1 null:")
	if got[0].Headers[1].Value != nil {
		t.Error("a null header is not null any more")
	}
	expect(t, pipe(l, rec("k", "L5", 100)), "k=L5-R@100") // its time is over
	if got := d.Dropped(); got.NullValue != 1 || got.NullKey != 0 {
		t.Errorf("dropped %+v, want one null value", got)
	}
}

// Far more may wait than the cache holds, with restarts in between, in several tasks; and a joiner may change what it
// is given.
func TestGraceWaitsOnDisk(t *testing.T) {
	type cart struct{ Items []string }
	carts := stream.NewTopic("carts", serde.String, serde.JSON[*cart]())
	const records, keys = 4000, 40
	for _, memory := range []bool{false, true} {
		opts := []stream.JoinOption{stream.Grace(records * time.Millisecond), stream.Named("wait")}
		if memory {
			opts = append(opts, stream.InMemory())
		}
		d := streamtest.New(t, build(t, func(b *stream.Builder) {
			prices := stream.TableFrom(b, right).As(state.NewVersioned("prices", serde.String, serde.String, time.Hour))
			stream.JoinTable(stream.From(b, carts), prices, func(c *cart, price string) string {
				c.Items[0] += "!" // another time, and it would be there twice
				return c.Items[0] + price
			}, opts...).To(out)
		}), streamtest.Partitions(3), streamtest.CacheBytes(64<<10))
		in, o := streamtest.Input(d, carts), streamtest.Output(d, out)
		pad := strings.Repeat("x", 100)
		at := func(i int) int64 { return int64(i*7919%records) + 1 } // all of 1 to records, out of order
		for i := range records {
			r := stream.Record[string, *cart]{Key: fmt.Sprint("k", i%keys), Timestamp: at(i)}
			in.Append(r.WithValue(&cart{[]string{fmt.Sprint(at(i)), pad}}))
			if i%1000 == 999 {
				if err := errors.Join(d.Settle(), d.Commit()); err != nil {
					t.Fatal(err)
				}
				d.FlushState()
				d.Restart()
			}
		}
		for k := range keys { // late: they are of time 0
			streamtest.Input(d, right).Append(rec(fmt.Sprint("k", k), "p", 0))
		}
		if err := errors.Join(d.Settle(), d.Commit()); err != nil {
			t.Fatal(err)
		}
		if got := o.All(); len(got) != 0 {
			t.Fatalf("%d results before anything is due", len(got))
		}
		for k := range keys {
			in.Append(stream.Record[string, *cart]{Key: fmt.Sprint("k", k), Timestamp: 3 * records}.WithValue(&cart{[]string{"end"}}))
		}
		if err := errors.Join(d.Settle(), d.Commit()); err != nil {
			t.Fatal(err)
		}
		seen := map[int64]bool{}
		last := map[string]int64{}
		for _, r := range o.All() {
			if r.Value != fmt.Sprint(r.Timestamp, "!p") || seen[r.Timestamp] || r.Timestamp <= last[r.Key] {
				t.Fatalf("memory %t: %s=%s@%d after %d", memory, r.Key, r.Value, r.Timestamp, last[r.Key])
			}
			seen[r.Timestamp], last[r.Key] = true, r.Timestamp
		}
		if len(seen) != records {
			t.Errorf("memory %t: %d results, want %d", memory, len(seen), records)
		}
	}
}
