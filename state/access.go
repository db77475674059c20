package state

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/moldau-io/moldau/serde"
)

// This file owns how a processor gets at the stores it was given: from the handle, which names the store, to the
// type that a processor works with. Those types (KeyValues, Windows, Sessions, Versions) are the stores without
// what only the runtime may do, and with the timestamp of what is being processed at hand.

// Openable ties a handle to the type of store that a processor gets for it.
type Openable[S any] interface {
	AnyHandle
	// access makes the processor's view of a store: the task's Store, a Global, or what ReadOnly made of one. at is
	// what is being processed is stamped with, in milliseconds since the epoch.
	access(s any, at *int64) (S, error)
}

// openable is what handles of stores have that processors may be given.
type openable interface {
	AnyHandle
	// problem is what the handle lacks to be opened by itself, without an operator that knows more.
	problem() error
	open(t *Task, changelog string) (Store, error)
	changelogConfig() map[string]string
	// same says what tells the handle from another of the same type; nil: nothing.
	same(AnyHandle) error
}

// Check reports what keeps the handle's store from being opened with OpenHandle.
func Check(h AnyHandle) error {
	o, ok := h.(openable)
	switch {
	case !ok:
		return fmt.Errorf("a %s is not for processors", h.Kind())
	case h.Name() == "":
		return errors.New("the store has no name")
	}
	return o.problem()
}

// OpenHandle opens the task's part of the handle's store, whose changelog has the given name; see OpenKeyValue.
func OpenHandle(t *Task, h AnyHandle, changelog string) (Store, error) {
	if err := Check(h); err != nil {
		return nil, err
	}
	return h.(openable).open(t, changelog)
}

// ChangelogConfig is what the changelog topic of the handle's store is created with.
func ChangelogConfig(h AnyHandle) map[string]string {
	if o, ok := h.(openable); ok {
		return o.changelogConfig()
	}
	return nil
}

// Access gives a processor's view of the store, which must be the handle's: the task's Store; a Global, for what
// maintains it; or what ReadOnly made of one. at is what is being processed is stamped with, in milliseconds since the
// epoch.
func Access[S any](h Openable[S], s any, at *int64) (S, error) { return h.access(s, at) }

// Conflict says why two handles of one name cannot mean the same store; nil if they do.
func Conflict(a, b AnyHandle) error {
	if ta, tb := reflect.TypeOf(a), reflect.TypeOf(b); ta != tb {
		if a.Kind() != b.Kind() {
			return fmt.Errorf("one is the handle of a %s, the other of a %s", a.Kind(), b.Kind())
		}
		return fmt.Errorf("one is a %s, the other a %s", ta, tb)
	}
	if o, ok := a.(openable); ok {
		return o.same(b)
	}
	return nil
}

// sameSerdes compares serdes by their types: two of one type may be equal, and yet not comparable.
func sameSerdes[K, V any](k, otherK serde.Serde[K], v, otherV serde.Serde[V]) error {
	if a, b := reflect.TypeOf(k), reflect.TypeOf(otherK); a != b {
		return fmt.Errorf("their keys have different serdes, %v and %v", a, b)
	}
	if a, b := reflect.TypeOf(v), reflect.TypeOf(otherV); a != b {
		return fmt.Errorf("their values have different serdes, %v and %v", a, b)
	}
	return nil
}

var errSettings = errors.New("their settings differ")

// lacksSerdes is a handle's problem if it was declared without serdes.
func lacksSerdes[K, V any](k serde.Serde[K], v serde.Serde[V]) error {
	if k == nil || v == nil {
		return errors.New("the store's handle was declared without serdes")
	}
	return nil
}

func bindBoth[K, V any](k serde.Serde[K], v serde.Serde[V], changelog string) (serde.Serde[K], serde.Serde[V], error) {
	key, err := serde.Bind(k, changelog, true)
	if err != nil {
		return nil, nil, fmt.Errorf("key serde: %w", err)
	}
	value, err := serde.Bind(v, changelog, false)
	if err != nil {
		return nil, nil, fmt.Errorf("value serde: %w", err)
	}
	return key, value, nil
}

func wrongStore(h AnyHandle, s any) error {
	return fmt.Errorf("state: store %q is a %T, and not what the handle of a %s is for", h.Name(), s, h.Kind())
}

// nilTest is the test for a V that is nil; nil if V has none.
func nilTest[V any]() func(V) bool {
	switch reflect.TypeFor[V]().Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan:
		return func(v V) bool { return reflect.ValueOf(&v).Elem().IsNil() }
	}
	return nil
}

// compacted is the config of a changelog that keeps the last value of each key.
func compacted() map[string]string { return map[string]string{"cleanup.policy": "compact"} }

// Expiring is the config of a changelog whose rows expire. The log deletes by wall-clock time, and streams may lag
// behind: a day more, as Kafka Streams has it.
func Expiring(retention time.Duration) map[string]string {
	config := compacted()
	if day := 24 * time.Hour; retention < math.MaxInt64-day {
		config["cleanup.policy"] = "compact,delete"
		config["retention.ms"] = strconv.FormatInt((retention + day).Milliseconds(), 10)
	}
	return config
}
