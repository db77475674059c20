package state

import "github.com/moldau-io/moldau/serde"

// AnyHandle is a handle of any kind of store: a name by which a topology says which store it means. The
// kinds are those of this package.
type AnyHandle interface {
	// Name is the store's name, unique within a topology.
	Name() string
	// Kind says in a message what kind of store it is, for example "key-value store".
	Kind() string
	handle()
}

// Handle is a handle of a store with keys K and values V.
type Handle[K, V any] interface {
	AnyHandle
	Serdes() (serde.Serde[K], serde.Serde[V])
}

// KeyValue is the handle of a key-value store that keeps a timestamp with each value. Two handles with one
// name mean the same store.
type KeyValue[K, V any] struct {
	name     string
	key      serde.Serde[K]
	value    serde.Serde[V]
	inMemory bool
}

// NewKeyValue declares a key-value store. It is made when the application starts, once for each task.
func NewKeyValue[K, V any](name string, k serde.Serde[K], v serde.Serde[V]) KeyValue[K, V] {
	return KeyValue[K, V]{name: name, key: k, value: v}
}

// InMemory has the store keep all of its rows in memory, and restore them from the changelog at each start.
func (h KeyValue[K, V]) InMemory() KeyValue[K, V] {
	h.inMemory = true
	return h
}

// IsInMemory reports whether the store is kept in memory.
func (h KeyValue[K, V]) IsInMemory() bool { return h.inMemory }

// Settings are those to open the store with.
func (h KeyValue[K, V]) Settings() []Setting { return memorySetting(h.inMemory) }

// Name is the store's name, which its changelog topic has too.
func (h KeyValue[K, V]) Name() string { return h.name }

// Kind says what sort of store it is, for messages.
func (h KeyValue[K, V]) Kind() string { return "key-value store" }

// Serdes returns the serdes the handle was declared with; they are nil if it was declared without.
func (h KeyValue[K, V]) Serdes() (serde.Serde[K], serde.Serde[V]) { return h.key, h.value }

func (h KeyValue[K, V]) handle() {}
