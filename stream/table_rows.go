package stream

import (
	"errors"
	"time"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// This file owns how operators get at what a table knows: the value that a row had before a change (wantOld),
// and its rows (needRows, rows). Both are asked for while the topology is put together, and decided when it
// is built, in the order of the calls: only then is it known which tables As gave a store. A table without
// one has both from its parents, if it has any; else it is given a store.

// tableRows reads a table's rows in a task.
type tableRows[K, V any] struct {
	// get is the row as it is now.
	get func(K) (state.Value[V], error)
	// told is the row as the changes sent so far tell it. It differs from get in an epoch at whose end the
	// table sends its changes on: who joins changes with rows has to join with what it was told, or a
	// row's new value would be seen before the change that brings it, with the old value gone.
	told func(K) (state.Value[V], error)
	// asOf is the row at a time, in milliseconds since the epoch; nil if the table is not versioned.
	asOf func(k K, timestampMs int64) (state.Value[V], error)
}

// mapRows gives the rows that f makes of others, nulls excepted.
func mapRows[K, V, W any](from tableRows[K, V], f func(K, state.Value[V]) state.Value[W]) tableRows[K, W] {
	reader := func(read func(K) (state.Value[V], error)) func(K) (state.Value[W], error) {
		return func(k K) (state.Value[W], error) {
			v, err := read(k)
			if err != nil || !v.OK {
				return state.Value[W]{}, err
			}
			return f(k, v), nil
		}
	}
	rows := tableRows[K, W]{get: reader(from.get), told: reader(from.told)}
	if from.asOf != nil {
		rows.asOf = func(k K, timestampMs int64) (state.Value[W], error) {
			v, err := from.asOf(k, timestampMs)
			if err != nil || !v.OK {
				return state.Value[W]{}, err
			}
			return f(k, v), nil
		}
	}
	return rows
}

// tableParent is a table of any type, as one below it sees it.
type tableParent interface {
	askOld(force bool) bool
	keepRows()
	history() (retention time.Duration, versioned bool)
}

// wantOld asks for changes that carry the value before. Used while the topology is put together.
func (t *Table[K, V]) wantOld() { t.n.b.demand(func() { t.askOld(true) }) }

// needRows asks that rows can be read. Used while the topology is put together.
func (t *Table[K, V]) needRows() { t.n.b.demand(t.keepRows) }

// computed says how to get at the table's rows without a store: from those of its parents.
func (t *Table[K, V]) computed(rows func(*task.Task) (tableRows[K, V], error), parents ...tableParent) {
	t.compute, t.parents = rows, parents
}

// askOld makes the table's changes carry the value before, and reports whether they do. Without force no
// table is given a store for it, but for what a join above needs.
func (t *Table[K, V]) askOld(force bool) bool {
	switch {
	case t.sendOld:
	case t.n.g.Store != nil:
		t.sendOld = true
	case len(t.parents) == 0:
		if force {
			t.materialize()
		}
		t.sendOld = force
	case t.oneOrigin:
		t.materialize()
		t.sendOld = true
	default:
		t.sendOld = true
		for _, p := range t.parents {
			t.sendOld = p.askOld(force || len(t.parents) > 1) && t.sendOld
		}
	}
	return t.sendOld
}

// keepRows gives the table a store, or its parents, unless they have what it takes.
func (t *Table[K, V]) keepRows() {
	switch {
	case t.n.g.Store != nil:
	case len(t.parents) == 0:
		t.materialize()
	default:
		for _, p := range t.parents {
			p.keepRows()
		}
	}
}

// history says how far back the table's rows are kept, if they are: in a versioned store, or if they follow from
// those of one table that is versioned. A join of two is not (KIP-914). Used when the topology is whole.
func (t *Table[K, V]) history() (retention time.Duration, versioned bool) {
	if t.n.g.Store != nil {
		if h, ok := t.handle.(versionedHandle[K, V]); ok {
			return h.Settings().HistoryRetention, true
		}
		return 0, false
	}
	if len(t.parents) != 1 {
		return 0, false
	}
	return t.parents[0].history()
}

func (t *Table[K, V]) isVersioned() bool {
	_, versioned := t.history()
	return versioned
}

// rows opens the table's rows for a task.
func (t *Table[K, V]) rows(tk *task.Task) (tableRows[K, V], error) {
	if t.n.g.Store == nil {
		if t.compute == nil {
			return tableRows[K, V]{}, errors.New("the rows of a table without a store were not asked for")
		}
		return t.compute(tk)
	}
	if t.openRows != nil {
		return t.openRows(tk)
	}
	s, err := t.store(tk)
	if err != nil {
		return tableRows[K, V]{}, err
	}
	rows := tableRows[K, V]{get: s.get, told: s.told}
	if s.versioned != nil {
		rows.asOf = s.versioned.GetAsOf
	}
	return rows, nil
}
