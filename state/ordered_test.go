package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/serde"
)

// orderedModel is a model whose store is gone through in order too.
type orderedModel[V any] struct {
	*model[V]
}

func newOrderedModel[V any](name string, s serde.Serde[V], values *rapid.Generator[V], mutate func(V), settings ...Setting) *orderedModel[V] {
	m := &orderedModel[V]{model: newModel(name, s, values, mutate)}
	m.openStore = func(task *Task) (*KeyValueStore[string, V], error) {
		var err error
		if m.ordered, err = OpenOrdered(task, name, serde.String, s, settings...); err != nil {
			return nil, err
		}
		return m.ordered.KeyValueStore, nil
	}
	return m
}

func (m *orderedModel[V]) checkRow(t *rapid.T) {
	keys := slices.Sorted(maps.Keys(m.current))
	from, to := rapid.SampledFrom(modelKeys).Draw(t, "from"), rapid.SampledFrom(modelKeys).Draw(t, "to")
	seq, what := m.ordered.All(), "all"
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		seq, what = m.ordered.BackwardAll(), "all backward"
		slices.Reverse(keys)
	case 1:
		seq, what = m.ordered.Range(from, to), fmt.Sprintf("[%q, %q]", from, to)
		keys = slices.DeleteFunc(keys, func(k string) bool { return k < from || k > to })
	case 2:
		seq, what = m.ordered.BackwardRange(from, to), fmt.Sprintf("[%q, %q] backward", from, to)
		keys = slices.DeleteFunc(keys, func(k string) bool { return k < from || k > to })
		slices.Reverse(keys)
	case 3:
		seq, what = m.ordered.Prefix([]byte(from)), fmt.Sprintf("prefix %q", from)
		keys = slices.DeleteFunc(keys, func(k string) bool { return !bytes.HasPrefix([]byte(k), []byte(from)) })
	}
	rows := collect(t, seq)
	for i, k := range keys {
		if i >= len(rows) || rows[i].Key != k {
			t.Fatalf("store %s, %s: row %d of %+v is not %q", m.name, what, i, rows, k)
		}
		m.same(t, what, k, Value[V]{rows[i].Value, rows[i].Timestamp, true}, m.current)
		if m.mutate != nil {
			m.mutate(rows[i].Value)
		}
	}
	if len(rows) != len(keys) {
		t.Fatalf("store %s, %s: %+v, want the keys %q", m.name, what, rows, keys)
	}
	for range m.ordered.All() {
		break // an early end leaves nothing open; Close of the database would tell
	}
}

func TestOrderedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		testModel(t, func() []modelStore {
			return []modelStore{
				newOrderedModel("counts", serde.Int64, rapid.Int64(), nil),
				newOrderedModel("names", serde.String, rapid.StringN(0, 10, -1), nil),
				newOrderedModel("maps", serde.JSON[map[string]int](), rapid.MapOfN(rapid.SampledFrom(modelKeys[:6]), rapid.Int(), 0, 3),
					func(m map[string]int) { m["mutated"] = 1 }),
				newOrderedModel("memory", serde.String, rapid.StringN(0, 10, -1), nil, InMemory()),
			}
		})
	})
}

// More keys than a walk takes at a time, put in random order, with the loop changing what it goes through.
func TestOrderedWhileChanging(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s, err := OpenOrdered(task, "ordered", serde.Int64, serde.Int64)
	if err != nil {
		t.Fatal(err)
	}
	task.BeginEpoch(1)
	const n = 500
	for i := range int64(n) {
		if err := s.Put(1000+i*7%n, i, 0); err != nil {
			t.Fatal(err)
		}
	}
	next := int64(1000)
	for row, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
		if row.Key != next {
			t.Fatalf("key %d, want %d", row.Key, next)
		}
		if err := s.Delete(row.Key, 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(row.Key-1000, 1, 0); err != nil { // behind
			t.Fatal(err)
		}
		nested := 0
		for range s.BackwardRange(row.Key-1000, row.Key-1) {
			nested++
		}
		if nested == 0 {
			t.Fatal("a nested loop sees nothing")
		}
		next++
	}
	if next != 1000+n {
		t.Fatalf("the loop ends at %d, want %d", next, 1000+n)
	}
}
