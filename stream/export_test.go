package stream

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/stream/internal/task"
)

// Changes calls f with each change that a table sends on, old value included.
func Changes[K, V any](t *Table[K, V], f func(k K, now, before V, hasNow, hasBefore bool)) {
	t.wantOld()
	n := newNode[K, change[V]](t.n.b, "Changes", settings{}, t.n.g)
	attach(t.n, n, func(*task.Task, edge[K, change[V]]) (edge[K, change[V]], error) {
		return func(r Record[K, change[V]]) error {
			f(r.Key, r.Value.New, r.Value.Old, r.Value.HasNew, r.Value.HasOld)
			return nil
		}, nil
	})
}

// SetStateFS has the application keep its state on another file system.
func SetStateFS(a *App, fs vfs.FS) { a.stateFS = fs }

// SetHeldBytes bounds what waits in memory for each partition.
func SetHeldBytes(a *App, n int) { a.heldBytes = n }
