package streamtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// ring is a store of the test's own: the last values of each key, in rows that are written over in turn.
type ring struct {
	rows  *state.KeyValues[string, string]
	puts  map[string]int64 // in memory, of each key; found again from the rows
	users []string         // processors that have asked for it
}

const ringSize = 3

var slots = state.NewKeyValue("last-values", serde.String, serde.String)

var lastValues = state.NewCustom(slots, func(rows *state.KeyValues[string, string]) *ring {
	return &ring{rows: rows, puts: map[string]int64{}}
})

// Add gives a key another value, in place of its oldest if there are enough.
func (r *ring) Add(key, value string) error {
	n, err := r.count(key)
	if err != nil {
		return err
	}
	r.puts[key] = n + 1
	return r.rows.Put(fmt.Sprintf("%s/%d", key, n%ringSize), fmt.Sprintf("%d %s", n, value))
}

// count is how many values the key was given.
func (r *ring) count(key string) (n int64, err error) {
	if n, ok := r.puts[key]; ok {
		return n, nil
	}
	for row, err := range r.rows.Prefix([]byte(key + "/")) {
		if err != nil {
			return 0, err
		}
		var at int64
		if _, err := fmt.Sscan(row.Value, &at); err != nil {
			return 0, err
		}
		n = max(n, at+1)
	}
	return n, nil
}

// Last is what a key has, the newest first.
func (r *ring) Last(key string) (values []string, err error) {
	n, err := r.count(key)
	for i := n - 1; i >= 0 && i >= n-ringSize && err == nil; i-- {
		var row state.Value[string]
		if row, err = r.rows.Get(fmt.Sprintf("%s/%d", key, i%ringSize)); err == nil {
			_, value, _ := strings.Cut(row.V, " ")
			values = append(values, value)
		}
	}
	return values, err
}

// A store of one's own, shared by two processors, against a slice: whatever is aborted and restarted, also what it
// keeps in memory follows from what is committed.
func TestCustomStore(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		stream.ProcessFunc(stream.From(b, texts), func(ctx *sends, r record) error {
			return stream.StoreIn(ctx, lastValues).Add(r.Key, r.Value)
		}, stream.Stores(lastValues))
		stream.ProcessFunc(stream.From(b, orders), func(ctx *sends, r record) error {
			last, err := stream.StoreIn(ctx, lastValues).Last(r.Key)
			if err != nil {
				return err
			}
			return ctx.Forward(r.WithValue(strings.Join(last, " ")))
		}, stream.Stores(lastValues)).To(answers)
	})
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 0))
		d := New(t, topology)
		text, order, answered := Input(d, texts), Input(d, orders), Output(d, answers)
		model := map[string][]string{}
		var want []string
		for i := range 150 {
			k, at := fmt.Sprint("k", rng.IntN(3)), time.Duration(i)*time.Second
			if rng.IntN(3) > 0 {
				v := fmt.Sprint("v", i)
				text.Pipe(k, v, at)
				model[k] = append([]string{v}, model[k][:min(len(model[k]), ringSize-1)]...)
			} else {
				order.Pipe(k, "tell", at)
				want = append(want, k+" "+strings.Join(model[k], " "))
			}
			switch rng.IntN(10) {
			case 0, 1:
				must(t, d.Commit())
			case 2, 3:
				d.Abort()
				must(t, d.Settle())
			case 4:
				must(t, d.Commit())
				d.FlushState()
				d.Restart()
			case 5:
				d.RestartWithoutState()
				must(t, d.Settle())
			}
		}
		must(t, d.Commit())
		var got []string
		for _, r := range answered.Committed() {
			got = append(got, r.Key+" "+r.Value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d:\ngot  %q\nwant %q", seed, got, want)
		}
		rows := 0
		for _, err := range Query(d, slots).All(t.Context()) {
			must(t, err)
			rows++
		}
		if rows != 3*ringSize {
			t.Errorf("seed %d: a query of the store within finds %d rows", seed, rows)
		}
	}
}

// Processors of a task have one and the same store; one that is given the store within, or another view of it, has the
// same rows, and each view is made once.
func TestCustomStoreIsShared(t *testing.T) {
	made := 0
	another := state.NewCustom(slots, func(rows *state.KeyValues[string, string]) *ring {
		made++
		return &ring{rows: rows, puts: map[string]int64{}}
	})
	ask := func(h state.Custom[*ring], name string) func(*sends, record) error {
		return func(ctx *sends, r record) error {
			x := stream.StoreIn(ctx, h)
			x.users = append(x.users, name)
			last, err := x.Last(r.Key)
			if err != nil {
				return err
			}
			return ctx.Forward(r.WithValue(fmt.Sprint(x.users, last)))
		}
	}
	d := New(t, build(t, func(b *stream.Builder) {
		in := stream.From(b, texts)
		stream.ProcessFunc(in, func(ctx *sends, r record) error {
			return stream.StoreIn(ctx, slots).Put(r.Key+"/0", "0 "+r.Value)
		}, stream.Stores(slots))
		stream.ProcessFunc(in, ask(lastValues, "a"), stream.Stores(lastValues)).To(answers)
		stream.ProcessFunc(in, ask(another, "b"), stream.Stores(another, slots)).To(answers)
		stream.ProcessFunc(in, ask(lastValues, "c"), stream.Stores(lastValues)).To(answers)
	}))
	Input(d, texts).Pipe("k", "v", 0)
	Input(d, texts).Pipe("k", "w", 0)
	var got []string
	for _, r := range Output(d, answers).All() {
		got = append(got, r.Value)
	}
	if want := []string{"[a] [v]", "[b] [v]", "[a c] [v]", "[a c a] [w]", "[b b] [w]", "[a c a c] [w]"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if made != 1 {
		t.Errorf("a view was made %d times", made)
	}
}

// A view of a table's store, and of a global one, which it cannot change.
func TestCustomStoreOfTables(t *testing.T) {
	type pages struct {
		*state.KeyValues[string, int64]
	}
	names := state.NewKeyValue("names", serde.String, serde.String)
	perPage := state.NewCustom(visited, func(s *state.KeyValues[string, int64]) pages { return pages{s} })
	known := state.NewCustom(names, func(rows *state.KeyValues[string, string]) *ring { return &ring{rows: rows, puts: map[string]int64{}} })
	d := New(t, build(t, func(b *stream.Builder) {
		stream.GroupByKey(stream.From(b, calls)).Count().As(visited)
		stream.GlobalTableFrom(b, texts).As(names)
		stream.ProcessFunc(stream.From(b, orders), func(ctx *sends, r record) error {
			n, err := stream.StoreIn(ctx, perPage).Get(r.Key)
			must(t, err)
			name, err := stream.StoreIn(ctx, known).rows.Get(r.Key)
			must(t, err)
			err = stream.StoreIn(ctx, known).Add(r.Key, "another")
			return ctx.Forward(r.WithValue(fmt.Sprint(name.V, " ", n.V, " ", errors.Is(err, state.ErrReadOnly))))
		}, stream.Stores(perPage, known)).To(answers)
	}))
	Input(d, texts).Pipe("k", "Kolín", 0)
	Input(d, calls).Pipe("k", "v", 0)
	Input(d, orders).Pipe("k", "tell", 0)
	if r, _ := Output(d, answers).Next(); r.Value != "Kolín 1 true" {
		t.Errorf("got %q", r.Value)
	}
}

func TestCustomStoreBuildErrors(t *testing.T) {
	var none func(*state.KeyValues[string, string]) *ring
	other := state.NewCustom(slots.InMemory(), func(*state.KeyValues[string, string]) int { return 0 })
	for _, c := range []struct {
		handles []state.AnyHandle
		want    string
	}{
		{[]state.AnyHandle{state.NewCustom(slots, none)}, "Stores: the function of a custom store is nil"},
		{[]state.AnyHandle{state.Custom[*ring]{}}, "Stores: a custom store is of no store"},
		{[]state.AnyHandle{lastValues, other}, `Stores: the store "last-values" was given to ProcessFunc`},
		{[]state.AnyHandle{state.NewCustom(state.NewKeyValue[string, string]("x", nil, nil), func(*state.KeyValues[string, string]) int { return 0 })}, "without serdes"},
	} {
		b := stream.NewBuilder()
		stream.ProcessFunc(stream.From(b, orders), func(*sends, record) error { return nil }, stream.Stores(c.handles...))
		_, err := b.Build()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "custom_test.go:") {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
