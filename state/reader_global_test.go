package state

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/moldau-io/moldau/serde"
)

// checkGlobalReader compares what a reader from outside sees with the rows that were applied, "key=value@timestamp" in
// the order of keys. from is a key.
func checkGlobalReader[V any](t *testing.T, s *GlobalStore[string, V], v serde.Serde[V], applied []string, from string) {
	t.Helper()
	same := func(what string, got, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Fatalf("%s, read from outside:\ngot  %v\nwant %v", what, got, want)
		}
	}
	in := func(keep func(k string) bool, backward bool) []string {
		var rows []string
		for _, r := range applied {
			if k, _, _ := strings.Cut(r, "="); keep(k) {
				rows = append(rows, r)
			}
		}
		if backward {
			slices.Reverse(rows)
		}
		return rows
	}
	const to = "k50"
	all := func(string) bool { return true }
	some := func(k string) bool { return k >= from && k <= to }
	committed := NewKeyValue("global", serde.String, v).Reader(parts{s})
	for _, r := range []KeyValueReader[string, V]{committed, committed.Uncommitted()} {
		same("all", sequence(t, r.All(t.Context())), in(all, false))
		same("all backward", sequence(t, r.BackwardAll(t.Context())), in(all, true))
		same("range", sequence(t, r.Range(t.Context(), from, to)), in(some, false))
		same("range backward", sequence(t, r.BackwardRange(t.Context(), from, to)), in(some, true))
		same("prefix", sequence(t, r.Prefix(t.Context(), []byte("k3"))), in(func(k string) bool { return k[1] == '3' }, false))
		if n, err := r.ApproximateCount(t.Context()); err != nil || n != int64(len(applied)) {
			t.Fatalf("%d rows, %v, want %d", n, err, len(applied))
		}
		var row []string
		got, err := r.Get(t.Context(), from)
		if got.OK {
			row = []string{fmt.Sprintf("%s=%v@%d", from, got.V, got.Timestamp)}
		}
		same("get", row, in(func(k string) bool { return k == from }, false))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever reads while the store changes sees what one Apply made, and what was seen once does not go back.
func TestGlobalScansSeeOneApply(t *testing.T) {
	const keys, rounds = 300, 200 // several chunks
	for _, settings := range [][]Setting{nil, {InMemory()}} {
		db := openDB(t, Options{CacheBytes: 32 << 10})
		s, task := openGlobal(t, db, serde.Int64, settings...)
		var ended atomic.Bool
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				r, seen := NewKeyValue("global", serde.String, serde.Int64).Reader(parts{s}), int64(0)
				for !ended.Load() {
					rows, sum := int64(0), int64(0)
					for row, err := range r.All(t.Context()) {
						if err != nil {
							t.Error(err)
							return
						}
						rows, sum = rows+1, sum+row.Value
					}
					v, err := r.Get(t.Context(), "000")
					if rows != 0 && rows != keys || sum%keys != 0 || sum < seen*keys || err != nil || v.V*keys < sum {
						t.Errorf("%d rows sum up to %d after %d each, and then one is %+v, %v", rows, sum, seen, v, err)
						return
					}
					seen = v.V
				}
			})
		}
		for n := range int64(rounds) {
			for i := range keys {
				if err := s.Put(fmt.Sprintf("%03d", i), n+1, n); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Apply(nil); err != nil {
				t.Fatal(err)
			}
		}
		ended.Store(true)
		readers.Wait()
		if err := task.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A scan that somebody forgets does not keep the database from closing, and says what happened.
func TestGlobalScanEndsWithTheDatabase(t *testing.T) {
	db := openDB(t, Options{})
	s, task := openGlobal(t, db, serde.Int64)
	for i := range 1000 {
		if err := s.Put(fmt.Sprint(i), 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Apply(nil); err != nil {
		t.Fatal(err)
	}
	r := NewKeyValue("global", serde.String, serde.Int64).Reader(parts{s})
	next, stop := iter.Pull2(r.All(t.Context()))
	defer stop()
	if _, err, ok := next(); err != nil || !ok {
		t.Fatal(err, ok)
	}
	if err := errors.Join(task.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err, ok := next(); ok; _, err, ok = next() {
		last = err
	}
	_, get := r.Get(t.Context(), "nobody's")
	for _, err := range []error{last, get} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}
