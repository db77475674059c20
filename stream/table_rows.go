package stream

import (
	"errors"
	"fmt"

	"github.com/moldau-io/moldau/serde"
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
	return tableRows[K, V]{get: s.kv.Get, told: s.told}, nil
}

// tableStore is a table's store in one task, and how its changes are sent on.
type tableStore[K, V any] struct {
	tk   *task.Task
	node int
	kv   *state.KeyValueStore[K, V]
	old  bool // send the values before
	each bool // send every change at once, not the last of each key at commit
	next edge[K, change[V]]

	toldIn int64 // the last epoch at whose end changes were sent on
}

// store opens the table's store for a task, once.
func (t *Table[K, V]) store(tk *task.Task) (*tableStore[K, V], error) {
	g := t.n.g
	if s, ok := tk.Memo[g.Store]; ok {
		return s.(*tableStore[K, V]), nil
	}
	kv, err := openKeyValue(tk, t)
	if err != nil {
		return nil, err
	}
	s := &tableStore[K, V]{tk: tk, node: g.Index, kv: kv, old: t.sendOld, each: !tk.OnCommit(), toldIn: -1}
	tk.Memo[g.Store] = s
	return s, nil
}

// openKeyValue opens a table's store for a task. A task that starts again has it open already.
func openKeyValue[K, V any](tk *task.Task, t *Table[K, V]) (*state.KeyValueStore[K, V], error) {
	g := t.n.g
	if s, ok := tk.Env.Stores[g.Store.Name].(*state.KeyValueStore[K, V]); ok {
		tk.AddStore(g, s)
		return s, nil
	}
	changelog := g.Store.Changelog(tk.Env.Application)
	key, err := serde.Bind(t.keySerde(), changelog, true)
	if err != nil {
		return nil, fmt.Errorf("key serde for store %s: %w", g.Store.Name, err)
	}
	value, err := serde.Bind(t.valueSerde(), changelog, false)
	if err != nil {
		return nil, fmt.Errorf("value serde for store %s: %w", g.Store.Name, err)
	}
	s, err := state.OpenKeyValue(tk.Env.State, g.Store.Name, key, value)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", g.Store.Name, err)
	}
	tk.Env.Stores[g.Store.Name] = s
	tk.AddStore(g, s)
	return s, nil
}

// keep opens the edge that takes the table's changes: puts what is new into its store, if it has one, and
// sends them on. What was before is the store's to say.
func (t *Table[K, V]) keep(tk *task.Task, next edge[K, change[V]]) (edge[K, change[V]], error) {
	if t.n.g.Store == nil {
		return next, nil
	}
	s, err := t.store(tk)
	if err != nil {
		return nil, err
	}
	s.sendTo(next)
	return s.put, nil
}

// sendTo says where the changes go. It may be said by several operators, if it is always the same.
func (s *tableStore[K, V]) sendTo(next edge[K, change[V]]) {
	if s.next == nil && !s.each {
		s.tk.BeforeCommit(s.sendTouched)
	}
	s.next = next
}

// put takes a change.
func (s *tableStore[K, V]) put(r Record[K, change[V]]) error {
	s.tk.Enter(s.node)
	row, err := s.kv.Entry(r.Key)
	if err != nil {
		return err
	}
	r.Value = change[V]{New: r.Value.New, HasNew: r.Value.HasNew}
	return s.putAt(row, r)
}

// putAt takes a change of the row at hand. The old value in r is for a row that is not there.
func (s *tableStore[K, V]) putAt(row state.Entry[K, V], r Record[K, change[V]]) error {
	if s.each && s.old {
		old, err := row.Get()
		if err != nil {
			return err
		}
		if old.OK {
			r.Value.Old, r.Value.HasOld = old.V, true
		}
	}
	var err error
	if r.Value.HasNew {
		err = row.Put(r.Value.New, r.Timestamp)
	} else {
		err = row.Delete(r.Timestamp)
	}
	if err != nil || !s.each {
		return err
	}
	return s.next(r)
}

// sendTouched sends what became of each key in the epoch, in the order of their first update in it.
func (s *tableStore[K, V]) sendTouched() error {
	s.tk.Enter(s.node)
	s.toldIn = s.tk.Epoch()
	return s.kv.EachTouched(func(k K, now, before state.Value[V]) error {
		if !now.OK && !before.OK {
			return nil
		}
		sent := change[V]{New: now.V, Old: before.V, HasNew: now.OK, HasOld: before.OK}
		return s.next(Record[K, change[V]]{Key: k, Value: sent, Timestamp: now.Timestamp})
	})
}

// told is the row as the changes that were sent on tell it. While they are being sent it is only asked for
// the key at hand, which is then told.
func (s *tableStore[K, V]) told(k K) (state.Value[V], error) {
	if s.each || s.toldIn == s.tk.Epoch() {
		return s.kv.Get(k)
	}
	row, err := s.kv.Entry(k)
	if err != nil {
		return state.Value[V]{}, err
	}
	return row.Before()
}
