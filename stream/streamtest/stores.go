package streamtest

import (
	"iter"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/bridge"
)

// Rows returns the rows of a key-value store, of all tasks: in the order of their encoded keys, task by
// task. They include what is not committed. Those of a global store are the same for all tasks.
func Rows[K, V any](d *Driver, handle state.KeyValue[K, V]) []state.Row[K, V] {
	d.t.Helper()
	for _, g := range d.engine.Globals() {
		if s, ok := g.(*state.GlobalStore[K, V]); ok && s.Name() == handle.Name() {
			return gather(d, s.Name(), s.Reader().All())
		}
	}
	return append(rows[*state.KeyValueStore[K, V], state.Row[K, V]](d, handle), rows[*state.OrderedStore[K, V], state.Row[K, V]](d, handle)...)
}

// WindowRows returns the windows of a window store, of all tasks: by start and then by encoded key, task by task.
// They include what is not committed.
func WindowRows[K, V any](d *Driver, handle state.Window[K, V]) []state.WindowRow[K, V] {
	d.t.Helper()
	return rows[*state.WindowStore[K, V], state.WindowRow[K, V]](d, handle)
}

// SessionRows returns the sessions of a session store, of all tasks: by end, start and encoded key, task by task.
// They include what is not committed.
func SessionRows[K, V any](d *Driver, handle state.Session[K, V]) []state.WindowRow[K, V] {
	d.t.Helper()
	return rows[*state.SessionStore[K, V], state.WindowRow[K, V]](d, handle)
}

// GetAsOf returns the value that a key of a versioned store had at a time, in milliseconds since the epoch, or will
// have then, what is not committed included.
func GetAsOf[K, V any](d *Driver, handle state.Versioned[K, V], k K, atMs int64) state.Value[V] {
	d.t.Helper()
	for _, s := range d.engine.Slots() {
		for _, st := range s.Task.Stores() {
			store, ok := st.Store.(*state.VersionedStore[K, V])
			if !ok || store.Name() != handle.Name() {
				continue
			}
			v, err := store.GetAsOf(k, atMs)
			if err != nil {
				d.t.Fatalf("streamtest: read store %s: %v", handle.Name(), err)
			}
			if v.OK { // else the key is another task's
				return v
			}
		}
	}
	return state.Value[V]{}
}

func rows[S interface {
	state.Store
	All() iter.Seq2[R, error]
}, R any](d *Driver, handle state.AnyHandle) []R {
	d.t.Helper()
	var rows []R
	for _, st := range d.engine.Stores() {
		store, ok := st.(S)
		if !ok || store.Name() != handle.Name() {
			continue
		}
		rows = append(rows, gather(d, store.Name(), store.All())...)
	}
	return rows
}

func gather[R any](d *Driver, name string, all iter.Seq2[R, error]) (rows []R) {
	d.t.Helper()
	for row, err := range all {
		if err != nil {
			d.t.Fatalf("streamtest: read store %s: %v", name, err)
		}
		rows = append(rows, row)
	}
	return rows
}

func init() {
	bridge.DriverStores = func(d any) []state.Store { return d.(*Driver).engine.Stores() }
	bridge.DriverGlobals = func(d any) []state.Global { return d.(*Driver).engine.Globals() }
}
