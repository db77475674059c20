package state

import (
	"math"
	"strconv"
	"time"

	"github.com/moldau-io/moldau/serde"
)

// Versioned is the handle of a versioned store: values by key and time (KIP-889). Two handles with one name mean
// the same store.
type Versioned[K, V any] struct {
	name     string
	key      serde.Serde[K]
	value    serde.Serde[V]
	settings VersionedSettings
}

// NewVersioned declares a versioned store that keeps the past for historyRetention, and takes values that are late
// by as much: from the highest timestamp there is. It is made when the application starts, once for each task.
func NewVersioned[K, V any](name string, k serde.Serde[K], v serde.Serde[V], historyRetention time.Duration) Versioned[K, V] {
	return Versioned[K, V]{name, k, v, VersionedSettings{HistoryRetention: historyRetention}}
}

// InMemory has the store keep all of its rows in memory, and restore them from the changelog at each start.
func (h Versioned[K, V]) InMemory() Versioned[K, V] {
	h.settings.InMemory = true
	return h
}

// Name is the store's name, which its changelog topic has too.
func (h Versioned[K, V]) Name() string { return h.name }

// Kind says what sort of store it is, for messages.
func (h Versioned[K, V]) Kind() string { return "versioned store" }

// Serdes returns the serdes the handle was declared with; they are nil if it was declared without.
func (h Versioned[K, V]) Serdes() (serde.Serde[K], serde.Serde[V]) { return h.key, h.value }

// VersionedRows are the rows of a versioned store, as a table uses them. See VersionedStore.
type VersionedRows[K, V any] interface {
	Store
	Get(k K) (Value[V], error)
	GetAsOf(k K, timestampMs int64) (Value[V], error)
	Put(k K, v V, timestampMs int64) (validTo int64, err error)
	Delete(k K, timestampMs int64) (validTo int64, err error)
}

// OpenRows is OpenVersioned with the handle's settings.
func (h Versioned[K, V]) OpenRows(t *Task, name string, k serde.Serde[K], v serde.Serde[V]) (VersionedRows[K, V], error) {
	return OpenVersioned(t, name, k, v, h.settings)
}

// Settings are those to open the store with.
func (h Versioned[K, V]) Settings() VersionedSettings { return h.settings }

func (h Versioned[K, V]) handle() {}

// ChangelogConfig is what the store's changelog topic is created with: it is compacted, but nothing that the history
// may need. The log compacts by wall-clock time, and streams may lag behind: a day more, as Kafka Streams has it.
func (o VersionedSettings) ChangelogConfig() map[string]string {
	config := map[string]string{"cleanup.policy": "compact"}
	if day := 24 * time.Hour; o.HistoryRetention < math.MaxInt64-day {
		config["min.compaction.lag.ms"] = strconv.FormatInt((o.HistoryRetention + day).Milliseconds(), 10)
	} else {
		config["min.compaction.lag.ms"] = strconv.FormatInt(math.MaxInt64, 10)
	}
	return config
}
