package streamtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// Readers see commits, stay valid over whatever happens to the driver, and find keys in several partitions.
func TestQuery(t *testing.T) {
	d := New(t, abortTopology(t), Partitions(3))
	in := Input(d, texts)
	committed := Query(d, totalsIn)
	now := committed.Uncommitted()
	check := func(r state.KeyValueReader[string, int64], want string) {
		t.Helper()
		var rows []string
		for row, err := range r.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, fmt.Sprintf("%s=%d", row.Key, row.Value))
		}
		if got := strings.Join(rows, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for pair := range strings.FieldsSeq(want) {
			key, n, _ := strings.Cut(pair, "=")
			if v, err := r.Get(t.Context(), key); err != nil || fmt.Sprint(v.V) != n {
				t.Errorf("%s: %+v, %v, want %s", key, v, err, n)
			}
		}
	}
	in.Pipe("l1", "to be or not to be", time.Second)
	check(committed, "")
	check(now, "be=2 not=1 or=1 to=2")
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	check(committed, "be=2 not=1 or=1 to=2")
	in.Pipe("l2", "not so", 2*time.Second)
	check(committed, "be=2 not=1 or=1 to=2")
	check(now, "be=2 not=2 or=1 so=1 to=2")
	d.Abort()
	check(now, "be=2 not=1 or=1 to=2")
	for _, restart := range []func(){d.Restart, d.RestartWithoutState} {
		restart()
		check(committed, "be=2 not=1 or=1 to=2")
		check(now, "be=2 not=1 or=1 to=2")
	}
}

// So it is with a store of processors; a global store knows no commits, and nothing of it is taken back.
func TestQueryProcessors(t *testing.T) {
	said := stream.NewTopic("said", serde.String, serde.String)
	names := stream.NewTopic("names", serde.String, serde.String)
	times := state.NewKeyValue("times", serde.String, serde.Int64)
	known := state.NewKeyValue("known", serde.String, serde.String)
	b := stream.NewBuilder()
	count := func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
		rows := stream.StoreIn(ctx, times)
		before, err := rows.Get(r.Value)
		if err != nil {
			return err
		}
		return rows.Put(r.Value, before.V+1)
	}
	in := stream.From(b, said)
	stream.ProcessFunc(in, count, stream.Stores(times))
	stream.ProcessFunc(in.Filter(func(_, v string) bool { return v == "twice" }), count, stream.Stores(times))
	stream.GlobalTableFrom(b, names).As(known)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := New(t, topology)
	committed, global := Query(d, times), Query(d, known)
	check := func(want, wantNow string) {
		t.Helper()
		var got []string
		for _, r := range []state.KeyValueReader[string, int64]{committed, committed.Uncommitted()} {
			var rows []string
			for row, err := range r.All(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				rows = append(rows, fmt.Sprintf("%s=%d", row.Key, row.Value))
			}
			got = append(got, strings.Join(rows, " "))
		}
		if got[0] != want || got[1] != wantNow {
			t.Errorf("got %q, want %q and %q", got, want, wantNow)
		}
		if v, err := global.Get(t.Context(), "a"); err != nil || v.V != "Ann" {
			t.Errorf("of the global store: %+v, %v", v, err)
		}
	}
	Input(d, names).Pipe("a", "Ann", 0)
	Input(d, said).Pipe("a", "twice", 0)
	check("", "twice=2")
	d.Abort()
	check("", "")
	Input(d, said).Pipe("a", "once", 0)
	check("", "once=1 twice=2")
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	check("once=1 twice=2", "once=1 twice=2")
	d.Restart()
	check("once=1 twice=2", "once=1 twice=2")
}
