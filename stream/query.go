package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/engine"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// ErrNotRunning is matched by the errors of readers (Query) while the application cannot answer: it was not run yet, is
// starting and restores its stores, has its partitions assigned anew, or has stopped. The message says which.
var ErrNotRunning = errors.New("the application is not running")

// ErrElsewhere is matched by the errors of readers if the key belongs to a partition that another instance of the
// application has.
var ErrElsewhere = engine.ErrElsewhere

// ErrUnknownStore is matched by Query's error if the topology has no store of that name that can be queried.
var ErrUnknownStore = errors.New("no such store")

// Query returns the reader of a store, given by its handle: that in which a table or a global table is kept (As), or one
// that processors were given (Stores) or maintain (GlobalProcess). It is a state.KeyValueReader, WindowReader,
// SessionReader or VersionedReader, as the handle is. Query may be called before the application runs, once for all
// readings; the reader's methods fail with ErrNotRunning until it does.
//
// A reader sees what is committed, never what an epoch under way has put, which may be taken back; its Uncommitted
// method gives a reader that does. Each reading is as of one commit, over all partitions that this instance has. It
// waits for no more than the records that the partitions it needs are at, and for a commit that is being made; the
// context bounds that. In turn the application waits for a reading for as long as it takes to find a row, or to begin a
// scan, and not for the loop over a scan.
//
// A store whose table is fed from a topic that others write, or whose keys are up to a processor, is asked in the
// partition where Kafka's partitioner puts the key, and if it is not there in all others. Processors may put one key in
// several partitions: Get then gives one of the rows, that of the partitioner's partition or else of the lowest, and
// scans give them all.
//
// A global store is in no epoch: each reading is as of a moment, and waits for nothing. Uncommitted makes no difference.
func Query[R any](app *App, handle state.Queryable[R]) (R, error) {
	var none R
	if app == nil {
		return none, errors.New("stream: Query: the application is nil")
	}
	what, err := app.topology.stored(handle)
	if err != nil {
		return none, fmt.Errorf("stream: Query: %w", err)
	}
	return handle.Reader(appParts{app, what}), nil
}

// appParts are the parts of a store of a running application.
type appParts struct {
	app  *App
	what engine.Reading
}

// Read is for the reader.
func (p appParts) Read(ctx context.Context, key func(state.Part) ([]byte, error), f func(state.Part) (done bool, err error)) error {
	return p.Fault(p.app.read(ctx, p.what, key, f))
}

// Fault turns the runtime's errors into those of this package.
func (p appParts) Fault(err error) error { return unavailable(p.what.Store.Name, err) }

func (a *App) read(ctx context.Context, what engine.Reading, key func(state.Part) ([]byte, error), f func(state.Part) (done bool, err error)) error {
	select {
	case <-a.running:
		return a.runner.Read(ctx, what, key, f)
	default:
	}
	select {
	case <-a.ended:
		return engine.ErrStopped
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started {
		return fmt.Errorf("%w: it is starting", ErrNotRunning)
	}
	return fmt.Errorf("%w: Run was not called", ErrNotRunning)
}

// unavailable turns the runtime's errors into those of this package.
func unavailable(store string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrStopped), errors.Is(err, state.ErrClosed):
		err = fmt.Errorf("%w: it has stopped", ErrNotRunning)
	case errors.Is(err, engine.ErrUnassigned):
		err = fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return fmt.Errorf("stream: query store %q: %w", store, err)
}

// queryable is a store that can be queried, and a handle of it.
type queryable struct {
	handle state.AnyHandle
	store  *graph.Store
}

// queryable notes that the store may be queried.
func (b *Builder) queryable(h state.AnyHandle, s *graph.Store) { b.handles[h.Name()] = queryable{h, s} }

// stored finds the handle's store.
func (t *Topology) stored(h state.AnyHandle) (engine.Reading, error) {
	declared, ok := t.handles[h.Name()]
	if !ok {
		names := slices.Sorted(maps.Keys(t.handles))
		there := "no store was given a handle, by As or Stores"
		if len(names) > 0 {
			there = fmt.Sprintf("there are %q", names)
		}
		return engine.Reading{}, fmt.Errorf("%w: %q; %s", ErrUnknownStore, h.Name(), there)
	}
	if reflect.TypeOf(declared.handle) != reflect.TypeOf(h) {
		return engine.Reading{}, fmt.Errorf("store %q is a %s, and the handle is a %s", h.Name(), handleType(declared.handle), handleType(h))
	}
	return engine.Reading{Store: declared.store, Partition: keyPartition}, nil
}

// handleType is for messages.
func handleType(h state.AnyHandle) string { return strings.TrimPrefix(reflect.TypeOf(h).String(), "*") }

// placeStores finds out of which stores it is known where a key is: those fed by nothing but topics that we partition
// ourselves, by the bytes that the store has too.
func (b *Builder) placeStores() {
	given := map[*graph.Store]bool{} // to processors, who put what they like
	for _, n := range b.graph.Nodes {
		for _, s := range n.Uses {
			given[s] = true
		}
	}
	for _, n := range b.graph.Nodes {
		if n.Store != nil && n.Store.KeySerde != nil && !given[n.Store] {
			n.Store.ByKey = partitionedBy(n, n.Store.KeySerde())
		}
	}
}

func partitionedBy(n *graph.Node, keySerde any) bool {
	if n.Kind == graph.Source {
		if n.Topic.KeySerde == nil {
			return false
		}
		a, b := reflect.ValueOf(n.Topic.KeySerde()), reflect.ValueOf(keySerde)
		return a.IsValid() && b.IsValid() && a.Comparable() && b.Comparable() && a.Equal(b)
	}
	for _, p := range n.Parents {
		if !partitionedBy(p, keySerde) {
			return false
		}
	}
	return len(n.Parents) > 0
}
