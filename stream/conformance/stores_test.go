package conformance_test

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/moldau-io/moldau/state"
)

// held is what a run of a vector left in its stores.
type held struct {
	v       *vector
	stores  []state.Store
	globals []state.Global
	err     error // of the first store that could not be read
}

// readers say, by name, how to read what vectors tell of a store.
type readers map[string]func(*held) contents

// rowsOf reads all rows of a store, whatever the number of tasks that have it.
func rowsOf[T interface {
	state.Store
	All() iter.Seq2[R, error]
}, R any](h *held, handle state.AnyHandle) []R {
	var rows []R
	for _, s := range h.stores {
		store, ok := s.(T)
		if !ok || s.Name() != handle.Name() {
			continue
		}
		for row, err := range store.All() {
			if err != nil {
				h.err = fmt.Errorf("read store %s: %w", handle.Name(), err)
				return nil
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// compareStores compares the named stores.
func (v *vector) compareStores(sc scenario, way string, stores []state.Store, globals []state.Global) error {
	if v.stepsOnly {
		return nil
	}
	readers := both(sc.stores)
	for _, handle := range sc.versioned {
		readers[handle.Name()] = func(h *held) contents { return versionsIn(h, handle) }
	}
	names := slices.Sorted(maps.Keys(v.Stores))
	if have := slices.Sorted(maps.Keys(readers)); !slices.Equal(have, names) {
		return &mismatch{v, way, 0, "names of stores", have, names}
	}
	h := &held{v: v, stores: stores, globals: globals}
	for _, name := range names {
		got, want := readers[name](h).lines(), v.Stores[name].lines()
		if h.err != nil {
			return fmt.Errorf("scenario %s, %s, run %s: %w", v.Scenario, v.file, way, h.err)
		}
		if !slices.Equal(got, want) {
			return &mismatch{v, way, 0, "store " + name, got, want}
		}
	}
	return nil
}
