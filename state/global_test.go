package state

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/moldau-io/moldau/serde"
)

func openGlobal[V any](t testing.TB, db *DB, v serde.Serde[V], settings ...Setting) (*GlobalStore[string, V], *Task) {
	t.Helper()
	task, err := db.Task("topic/global")
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenGlobal(task, "global", serde.String, v, settings...)
	if err != nil {
		t.Fatal(err)
	}
	return s, task
}

// sequence gathers rows as "key=value@timestamp".
func sequence[V any](t testing.TB, rows func(func(Row[string, V], error) bool)) []string {
	t.Helper()
	var out []string
	for r, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s=%v@%d", r.Key, r.Value, r.Timestamp))
	}
	return out
}

// A global store against a map: what was put is the writer's until it is applied, and everybody's then; over
// restarts too, but for a store in memory.
func TestGlobalModel(t *testing.T) {
	t.Run("live", func(t *testing.T) { globalModel(t, serde.Int64, func(n int64) int64 { return n }) })
	t.Run("strings", func(t *testing.T) {
		globalModel(t, serde.String, func(n int64) string { return strings.Repeat("x", int(n%700)) })
	})
	t.Run("encoded", func(t *testing.T) {
		globalModel(t, serde.JSON[[]int64](), func(n int64) []int64 { return []int64{n, n} })
	})
	t.Run("in memory", func(t *testing.T) { globalModel(t, serde.Int64, func(n int64) int64 { return n }, InMemory()) })
	t.Run("in memory, encoded", func(t *testing.T) {
		globalModel(t, serde.JSON[[]int64](), func(n int64) []int64 { return []int64{n} }, InMemory())
	})
}

func globalModel[V any](t *testing.T, v serde.Serde[V], value func(n int64) V, settings ...Setting) {
	inMemory := len(settings) > 0
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 0))
		o := Options{FS: vfs.NewMem(), CacheBytes: 32 << 10} // places for 16 rows only
		db, err := Open("state", o)
		if err != nil {
			t.Fatal(err)
		}
		s, task := openGlobal(t, db, v, settings...)
		reader := s.Reader()
		type row struct {
			v  V
			ts int64
		}
		pending, applied := map[string]row{}, map[string]row{}
		offset := int64(0)
		show := func(m map[string]row, in func(string) bool) []string {
			var out []string
			for _, k := range slices.Sorted(maps.Keys(m)) {
				if in(k) {
					out = append(out, fmt.Sprintf("%s=%v@%d", k, m[k].v, m[k].ts))
				}
			}
			return out
		}
		same := func(what string, got, want []string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: %s:\ngot  %v\nwant %v", seed, what, got, want)
			}
		}
		for range 800 {
			k := fmt.Sprintf("k%02d", rng.IntN(60))
			switch x := rng.IntN(100); {
			case x < 35:
				r := row{value(rng.Int64N(1000)), rng.Int64N(1000)}
				if err := s.Put(k, r.v, r.ts); err != nil {
					t.Fatal(err)
				}
				pending[k] = r
			case x < 45:
				if err := s.Delete(k, 1); err != nil {
					t.Fatal(err)
				}
				delete(pending, k)
			case x < 60:
				got, err := reader.Get(k)
				if want, ok := applied[k]; err != nil || got.OK != ok || ok && fmt.Sprint(got.V, got.Timestamp) != fmt.Sprint(want.v, want.ts) {
					t.Fatalf("seed %d: read %s: %+v, %v, want %+v", seed, k, got, err, want)
				}
			case x < 75:
				got, err := s.Get(k)
				if want, ok := pending[k]; err != nil || got.OK != ok || ok && fmt.Sprint(got.V, got.Timestamp) != fmt.Sprint(want.v, want.ts) {
					t.Fatalf("seed %d: writer's %s: %+v, %v, want %+v", seed, k, got, err, want)
				}
			case x < 85:
				offset++
				if err := s.Apply(map[int32]GlobalPosition{int32(offset % 3): {Position{Offset: offset}, fmt.Sprint(offset)}}); err != nil {
					t.Fatal(err)
				}
				applied = maps.Clone(pending)
			case x < 92:
				all := func(string) bool { return true }
				some := func(x string) bool { return x >= k && x <= "k50" }
				same("all", sequence(t, reader.All()), show(applied, all))
				same("range", sequence(t, reader.Range(k, "k50")), show(applied, some))
				same("prefix", sequence(t, reader.Prefix([]byte("k3"))), show(applied, func(x string) bool { return x[1] == '3' }))
				back := show(applied, all)
				slices.Reverse(back)
				same("backward", sequence(t, reader.BackwardAll()), back)
				back = show(applied, some)
				slices.Reverse(back)
				same("range backward", sequence(t, reader.BackwardRange(k, "k50")), back)
				checkGlobalReader(t, s, v, show(applied, all), k)
				same("writer's all", sequence(t, s.All()), show(pending, all))
				same("writer's range", sequence(t, s.Range(k, "k50")), show(pending, some))
			case x < 96:
				if err := task.Close(); err != nil {
					t.Fatal(err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				if db, err = Open("state", o); err != nil {
					t.Fatal(err)
				}
				s, task = openGlobal(t, db, v, settings...)
				reader = s.Reader()
				if inMemory {
					clear(applied)
				}
				pending = maps.Clone(applied)
				at, err := s.Positions()
				if err != nil {
					t.Fatal(err)
				}
				newest := int64(0)
				for _, p := range at {
					if fmt.Sprint(p.Offset) != p.Metadata {
						t.Fatalf("seed %d: position %+v", seed, p)
					}
					newest = max(newest, p.Offset)
				}
				if inMemory && len(at) > 0 || !inMemory && newest != offset {
					t.Fatalf("seed %d: positions %v after %d", seed, at, offset)
				}
			case x == 96:
				if err := s.Discard(); err != nil {
					t.Fatal(err)
				}
				clear(pending)
				clear(applied)
				offset = 0
			}
		}
		if err := task.Close(); err != nil {
			t.Fatal(err)
		}
		s.rows.clear()
		if n := db.cacheBytes.Load(); n != 0 {
			t.Errorf("seed %d: %d bytes are still counted", seed, n)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Readers on several goroutines never see a value older than one that was there before they asked, whatever the
// cache does.
func TestGlobalReadersSeeWhatIsApplied(t *testing.T) {
	for _, settings := range [][]Setting{nil, {InMemory()}} {
		db := openDB(t, Options{CacheBytes: 32 << 10})
		s, task := openGlobal(t, db, serde.Int64, settings...)
		const keys, rounds = 40, 300
		var floor [keys]atomic.Int64
		var stop atomic.Bool
		var readers sync.WaitGroup
		for w := range 3 {
			readers.Go(func() {
				r, rng := s.Reader(), rand.New(rand.NewPCG(uint64(w), 1))
				for !stop.Load() {
					i := rng.IntN(keys)
					least := floor[i].Load()
					v, err := r.Get(fmt.Sprint(i))
					if err != nil || v.V < least {
						t.Errorf("key %d: %+v, %v, though %d was there", i, v, err, least)
						return
					}
				}
			})
		}
		for n := range int64(rounds) {
			for i := range keys {
				if err := s.Put(fmt.Sprint(i), n+1, n); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Apply(nil); err != nil {
				t.Fatal(err)
			}
			for i := range keys {
				floor[i].Store(n + 1)
			}
		}
		stop.Store(true)
		readers.Wait()
		if err := task.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A value belongs to whoever reads it.
func TestGlobalValuesAreTheReaders(t *testing.T) {
	for _, settings := range [][]Setting{nil, {InMemory()}} {
		s, task := openGlobal(t, openDB(t, Options{}), serde.Bytes, settings...)
		given := []byte("given")
		if err := s.Put("k", given, 1); err != nil {
			t.Fatal(err)
		}
		copy(given, "spoil")
		if err := s.Apply(nil); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			v, err := s.Reader().Get("k")
			if err != nil || !bytes.Equal(v.V, []byte("given")) {
				t.Fatalf("%s, %v", v.V, err)
			}
			copy(v.V, "spoil")
		}
		if err := task.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A row that is cached costs no allocation to read.
func TestGlobalReadAllocatesNothing(t *testing.T) {
	for _, settings := range [][]Setting{nil, {InMemory()}} {
		s, task := openGlobal(t, openDB(t, Options{}), serde.String, settings...)
		for i := range 100 {
			if err := s.Put(fmt.Sprint(i), "value", 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Apply(nil); err != nil {
			t.Fatal(err)
		}
		r := s.Reader()
		if n := testing.AllocsPerRun(100, func() {
			if v, err := r.Get("42"); err != nil || v.V != "value" {
				t.Fatal(v, err)
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
		if err := task.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Positions keep all they are made of.
func TestGlobalPositions(t *testing.T) {
	s, task := openGlobal(t, openDB(t, Options{}), serde.Int64)
	want := map[int32]GlobalPosition{
		0:       {Position{uuid.New(), 3, 17, time.UnixMilli(99).UTC()}, "something"},
		1 << 20: {Position{uuid.New(), 0, 1 << 40, time.UnixMilli(1).UTC()}, ""},
	}
	if err := s.Apply(want); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Positions(); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if err := task.Close(); err != nil {
		t.Error(err)
	}
}
