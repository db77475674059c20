package state

import (
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/windows"
)

// Window is the handle of a window store: values by key and window, which expire. Two handles with one name
// mean the same store.
type Window[K, V any] struct {
	timedHandle[K, V]
	size       time.Duration
	duplicates bool
}

// NewWindow declares a window store. It is made when the application starts, once for each task. k is the serde
// of keys without their window.
func NewWindow[K, V any](name string, k serde.Serde[K], v serde.Serde[V]) Window[K, V] {
	return Window[K, V]{timedHandle: timedHandle[K, V]{name: name, key: k, value: v}}
}

// WithRetention has the store keep windows for so long, from their start to the latest start there is. Without
// it an aggregation keeps them until they close, which is the least it accepts.
func (h Window[K, V]) WithRetention(d time.Duration) Window[K, V] {
	h.retention, h.retains = d, true
	return h
}

// InMemory has the store keep all of its rows in memory, and restore them from the changelog at each start.
func (h Window[K, V]) InMemory() Window[K, V] {
	h.inMemory = true
	return h
}

// WithSize says what a window's end is after its start, in a processor's store; without it, nothing. An aggregation
// goes by its own windows.
func (h Window[K, V]) WithSize(d time.Duration) Window[K, V] {
	h.size = d
	return h
}

// WithDuplicates has a processor's store keep every value that is put for a key and a start, in the order they were
// put in. It has no Fetch and no Delete then. An aggregation refuses it.
func (h Window[K, V]) WithDuplicates() Window[K, V] {
	h.duplicates = true
	return h
}

// KeepsDuplicates reports whether the store keeps every value that is put for a key and a start.
func (h Window[K, V]) KeepsDuplicates() bool { return h.duplicates }

// Kind says what sort of store it is, for messages.
func (h Window[K, V]) Kind() string { return "window store" }

// Session is the handle of a session store: values by key and session, which expire. Two handles with one name
// mean the same store.
type Session[K, V any] struct{ timedHandle[K, V] }

// NewSession declares a session store. It is made when the application starts, once for each task. k is the
// serde of keys without their session.
func NewSession[K, V any](name string, k serde.Serde[K], v serde.Serde[V]) Session[K, V] {
	return Session[K, V]{timedHandle[K, V]{name: name, key: k, value: v}}
}

// WithRetention has the store keep sessions for so long, from their end to the latest end there is. Without it
// an aggregation keeps them until they close, which is the least it accepts.
func (h Session[K, V]) WithRetention(d time.Duration) Session[K, V] {
	h.retention, h.retains = d, true
	return h
}

// InMemory has the store keep all of its rows in memory, and restore them from the changelog at each start.
func (h Session[K, V]) InMemory() Session[K, V] {
	h.inMemory = true
	return h
}

// Kind says what sort of store it is, for messages.
func (h Session[K, V]) Kind() string { return "session store" }

// timedHandle is what the handles of stores whose rows expire have in common.
type timedHandle[K, V any] struct {
	name      string
	key       serde.Serde[K]
	value     serde.Serde[V]
	retention time.Duration
	retains   bool // retention was said
	inMemory  bool
}

// Name is the store's name, which its changelog topic has too.
func (h timedHandle[K, V]) Name() string { return h.name }

// KeySerde returns the serde of keys without their window; nil if the handle was declared without.
func (h timedHandle[K, V]) KeySerde() serde.Serde[K] { return h.key }

// Serdes returns the serde of windowed keys, with both bounds, and that of values; they are nil if the handle
// was declared without.
func (h timedHandle[K, V]) Serdes() (serde.Serde[windows.Windowed[K]], serde.Serde[V]) {
	if h.key == nil {
		return nil, h.value
	}
	return windows.BoundsSerde(h.key), h.value
}

// Retention is what WithRetention has said; ok is false if nothing.
func (h timedHandle[K, V]) Retention() (d time.Duration, ok bool) { return h.retention, h.retains }

// IsInMemory reports whether the store is kept in memory.
func (h timedHandle[K, V]) IsInMemory() bool { return h.inMemory }

func (h timedHandle[K, V]) handle() {}
