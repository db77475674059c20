package stream

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// tableStore is a table's store in one task, and how its changes are sent on. The store is a key-value store, or
// a versioned one. Of that every update is sent on as it is made, whatever the application's Emit: each is a
// version, which those below may have to keep too.
type tableStore[K, V any] struct {
	tk        *task.Task
	node      int
	kv        *state.KeyValueStore[K, V] // nil: versioned
	ordered   state.OrderedRows[K, V]    // what kv is of, if processors have it too
	versioned state.VersionedRows[K, V]
	old       bool // send the values before
	each      bool // send every change at once, not the last of each key at commit
	next      edge[K, change[V]]

	toldIn int64 // the last epoch at whose end changes were sent on
}

// Handles of tables' stores, by what tables ask of them. That no type of handle or store is named where it is not used
// matters to the compiler: it makes all methods of each type that it meets, for all keys and values there are.
type (
	// keyValueHandle is a state.KeyValue.
	keyValueHandle[K, V any] interface {
		Settings() []state.Setting
		OpenRows(t *state.Task, name string, k serde.Serde[K], v serde.Serde[V]) (state.OrderedRows[K, V], error)
	}

	// versionedHandle is a state.Versioned.
	versionedHandle[K, V any] interface {
		Settings() state.VersionedSettings
		OpenRows(t *state.Task, name string, k serde.Serde[K], v serde.Serde[V]) (state.VersionedRows[K, V], error)
	}
)

// store opens the table's store for a task, once.
func (t *Table[K, V]) store(tk *task.Task) (*tableStore[K, V], error) {
	if s, ok := tk.Memo[t]; ok {
		return s.(*tableStore[K, V]), nil
	}
	s := &tableStore[K, V]{tk: tk, node: t.n.g.Index, old: t.sendOld, each: t.shared || !tk.OnCommit(), toldIn: -1}
	var err error
	if h, ok := t.handle.(versionedHandle[K, V]); ok {
		s.each = true
		s.versioned, err = openStore(tk, t.n.g, t.keySerde(), t.valueSerde(), h.OpenRows)
	} else if h, ok := t.handle.(keyValueHandle[K, V]); ok && t.shared {
		if s.ordered, err = openStore(tk, t.n.g, t.keySerde(), t.valueSerde(), h.OpenRows); err == nil {
			s.kv = s.ordered.KeyValueRows()
		}
	} else {
		var settings []state.Setting
		if h, ok := t.handle.(keyValueHandle[K, V]); ok {
			settings = h.Settings()
		}
		s.kv, err = openStore(tk, t.n.g, t.keySerde(), t.valueSerde(), func(st *state.Task, name string, k serde.Serde[K], v serde.Serde[V]) (*state.KeyValueStore[K, V], error) {
			return state.OpenKeyValue(st, name, k, v, settings...)
		})
	}
	if err != nil {
		return nil, err
	}
	tk.Memo[t] = s
	if t.follow == nil {
		return s, nil
	}
	change, err := t.follow(tk)
	if err != nil {
		return nil, err
	}
	if s.ordered != nil {
		tk.FollowInput(s.ordered, change)
	} else {
		tk.FollowInput(s.kv, change)
	}
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

// tableRow is a key's place in a table's store, found once for a read and a write. It is valid until the next call
// on the store.
type tableRow[K, V any] struct {
	entry state.Entry[K, V] // of a key-value store
	key   K
}

// row finds a key.
func (s *tableStore[K, V]) row(k K) (tableRow[K, V], error) {
	if s.versioned != nil {
		return tableRow[K, V]{key: k}, nil
	}
	e, err := s.kv.Entry(k)
	return tableRow[K, V]{e, k}, err
}

// getAt is the row as it is now.
func (s *tableStore[K, V]) getAt(row tableRow[K, V]) (state.Value[V], error) {
	if s.versioned != nil {
		return s.versioned.Get(row.key)
	}
	return row.entry.Get()
}

// get is the key's row as it is now.
func (s *tableStore[K, V]) get(k K) (state.Value[V], error) {
	if s.versioned != nil {
		return s.versioned.Get(k)
	}
	return s.kv.Get(k)
}

// put takes a change.
func (s *tableStore[K, V]) put(r Record[K, change[V]]) error {
	s.tk.Enter(s.node)
	row, err := s.row(r.Key)
	if err != nil {
		return err
	}
	r.Value = change[V]{New: r.Value.New, HasNew: r.Value.HasNew}
	return s.putAt(row, r)
}

// putAt takes a change of the row at hand. The old value in r is for a row that is not there.
func (s *tableStore[K, V]) putAt(row tableRow[K, V], r Record[K, change[V]]) error {
	if s.each && s.old {
		old, err := s.getAt(row)
		if err != nil {
			return err
		}
		if old.OK {
			r.Value.Old, r.Value.HasOld = old.V, true
		}
	}
	if s.versioned != nil {
		return s.putVersion(r)
	}
	var err error
	if r.Value.HasNew {
		err = row.entry.Put(r.Value.New, r.Timestamp)
	} else {
		err = row.entry.Delete(r.Timestamp)
	}
	if err != nil || !s.each {
		return err
	}
	return s.next(r)
}

// putVersion takes an update that may be older than what the key has. One that is too old for the store is
// dropped, and not sent on.
func (s *tableStore[K, V]) putVersion(r Record[K, change[V]]) (err error) {
	var validTo int64
	if r.Value.HasNew {
		validTo, err = s.versioned.Put(r.Key, r.Value.New, r.Timestamp)
	} else {
		validTo, err = s.versioned.Delete(r.Key, r.Timestamp)
	}
	if err != nil {
		return err
	}
	if validTo == state.NotPut {
		s.tk.Dropped(s.node).Late++
		return nil
	}
	r.Value.Late = validTo != state.Latest
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
		return s.get(k)
	}
	row, err := s.kv.Entry(k)
	if err != nil {
		return state.Value[V]{}, err
	}
	return row.Before()
}
