package state

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"

	"github.com/moldau-io/moldau/serde"
)

// KeyValueStore is one task's part of a key-value store. It belongs to the task's goroutine, as do the
// values' encoded forms: what a call returns is the caller's to keep and to change.
type KeyValueStore[K, V any] struct {
	*storeBase
	keySerde   serde.Serde[K]
	valueSerde serde.Serde[V]

	// One of the two: the cache holds live values only if they can be handed out without a copy, because they
	// are free of pointers or immutable strings. A function that changes the map it got would otherwise
	// change the committed slot with it.
	live     *cache[V]
	encoded  *cache[[]byte]
	isString bool // of the live values: they may alias a fetched batch, which the cache must not pin

	row   []byte // the store's id and the key of the call under way
	bytes []byte // a value being encoded
	out   []byte // fresh memory for values that are decoded; never written twice
}

// Value is what a store has for a key. OK is false if it has nothing; V is then the zero value. Timestamp
// is in milliseconds since the epoch.
type Value[V any] struct {
	V         V
	Timestamp int64
	OK        bool
}

// OpenKeyValue opens the task's part of the store. It is for before the task's first epoch, or between two.
// If its rows in Pebble cannot be used, because no position says what they are, they are deleted.
//
// Values are kept live or encoded (see serde.SharesNothing). Encoded ones are encoded when they are put;
// live ones when the epoch's changes are appended, which is then where a value that cannot be encoded is
// reported.
func OpenKeyValue[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V]) (*KeyValueStore[K, V], error) {
	base, complete, err := openBase(t, name)
	if err != nil {
		return nil, err
	}
	s := &KeyValueStore[K, V]{storeBase: base, keySerde: k, valueSerde: v, row: appendID(nil, base.id)}
	vt := reflect.TypeFor[V]()
	s.isString = vt.Kind() == reflect.String
	if serde.SharesNothing(v) && (s.isString || !holdsPointers(vt)) {
		c := codec[V]{load: v.Decode, append: v.Append}
		if s.isString {
			c.load = func(b []byte) (V, error) {
				v, err := v.Decode(b)
				return cloneString(v), err
			}
			c.weigh = func(v V) int { return len(*asString(&v)) }
		}
		s.live = newCache(c, complete)
		t.add(base, s.live)
	} else {
		s.encoded = newCache(codec[[]byte]{
			load:   func(b []byte) ([]byte, error) { return slices.Clone(b), nil },
			append: func(dst []byte, b []byte) ([]byte, error) { return append(dst, b...), nil },
			weigh:  func(b []byte) int { return cap(b) },
		}, complete)
		t.add(base, s.encoded)
	}
	return s, nil
}

// holdsPointers reports whether values of type t, other than strings, could pin or share memory. Such types
// are kept encoded even if their serde calls them immutable: what they hold could not be counted.
func holdsPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return holdsPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	return t.Kind() > reflect.Complex128 // the kinds from bool to complex128 are plain numbers
}

// asString looks at a V whose kind is string.
func asString[V any](v *V) *string { return (*string)(unsafe.Pointer(v)) }

func cloneString[V any](v V) V {
	s := asString(&v)
	*s = strings.Clone(*s)
	return v
}

// Entry is a key's place in a store, found once for a read and a write. It is valid until the next call on
// the store.
type Entry[K, V any] struct {
	s *KeyValueStore[K, V]
	i uint32
}

// Entry finds the key, in the cache or else in Pebble, and caches it.
func (s *KeyValueStore[K, V]) Entry(k K) (Entry[K, V], error) {
	row, err := s.keySerde.Append(s.row[:idLen], k)
	if err != nil {
		return Entry[K, V]{}, s.fault("encode key", err)
	}
	s.row = row
	var i uint32
	if s.live != nil {
		i, err = lookup(s.live, s.storeBase, row)
	} else {
		i, err = lookup(s.encoded, s.storeBase, row)
	}
	if err != nil {
		return Entry[K, V]{}, s.fault("read", err)
	}
	return Entry[K, V]{s, i}, nil
}

// lookup returns the entry of the key that row ends in.
func lookup[P any](c *cache[P], s *storeBase, row []byte) (uint32, error) {
	key := row[idLen:]
	hash := c.hash(key)
	if i, ok := c.find(key, hash); ok {
		return i, nil
	}
	return admit(c, s, row, hash)
}

func admit[P any](c *cache[P], s *storeBase, row []byte, hash uint32) (uint32, error) {
	if c.complete {
		return c.add(row[idLen:], hash), nil
	}
	if err := s.task.db.Err(); err != nil {
		return 0, err // Pebble may not answer any more
	}
	b, closer, err := s.task.db.pebble.Get(row)
	if errors.Is(err, pebble.ErrNotFound) {
		return c.add(row[idLen:], hash), nil
	}
	if err != nil {
		return 0, err
	}
	i := c.add(row[idLen:], hash)
	if err := errors.Join(c.load(i, b), closer.Close()); err != nil {
		c.forget(i)
		return 0, fmt.Errorf("key %x: %w", row[idLen:], err)
	}
	return i, nil
}

// Get returns the key's value, as the open epoch sees it.
func (e Entry[K, V]) Get() (Value[V], error) {
	s := e.s
	if s.live != nil {
		x := s.live.at(e.i)
		if x.flags&currentThere == 0 {
			return Value[V]{}, nil
		}
		return Value[V]{x.current, x.currentTs, true}, nil
	}
	x := s.encoded.at(e.i)
	if x.flags&currentThere == 0 {
		return Value[V]{}, nil
	}
	return s.decode(x.current, x.currentTs)
}

func (s *KeyValueStore[K, V]) decode(b []byte, timestampMs int64) (Value[V], error) {
	v, err := s.valueSerde.Decode(s.own(b))
	if err != nil {
		return Value[V]{}, s.fault("decode value", err)
	}
	return Value[V]{v, timestampMs, true}, nil
}

// outChunk is a compromise: one allocation for several values, yet whoever keeps one does not keep many.
const outChunk = 4 << 10

// own copies b to memory that nobody will write again, so that what is decoded from it may alias it.
func (s *KeyValueStore[K, V]) own(b []byte) []byte {
	if len(b) > outChunk/8 {
		return append([]byte{}, b...)
	}
	if cap(s.out)-len(s.out) < len(b) {
		s.out = make([]byte, 0, outChunk)
	}
	n := len(s.out)
	s.out = append(s.out, b...)
	return s.out[n:len(s.out):len(s.out)]
}

// Put sets the key's value in the open epoch. timestampMs is in milliseconds since the epoch.
func (e Entry[K, V]) Put(v V, timestampMs int64) error {
	s := e.s
	if s.task.epoch == 0 {
		return s.fault("put", errNoEpoch)
	}
	if s.live != nil {
		if s.isString {
			v = cloneString(v)
		}
		x := s.live.touch(e.i)
		s.live.weigh(x.current, -1)
		x.current, x.currentTs = v, timestampMs
		x.flags |= currentThere
		s.live.weigh(v, 1)
		return nil
	}
	b, err := s.valueSerde.Append(s.bytes[:0], v)
	if err != nil {
		return s.fault("encode value", err)
	}
	s.bytes = b
	x := s.encoded.touch(e.i)
	s.encoded.weigh(x.current, -1)
	x.current, x.currentTs = append(x.current[:0], b...), timestampMs
	x.flags |= currentThere
	s.encoded.weigh(x.current, 1)
	return nil
}

var errNoEpoch = errors.New("no epoch is open")

// Delete removes the key in the open epoch.
func (e Entry[K, V]) Delete(timestampMs int64) error {
	s := e.s
	if s.task.epoch == 0 {
		return s.fault("delete", errNoEpoch)
	}
	if s.live != nil {
		x := s.live.touch(e.i)
		x.currentTs = timestampMs
		x.flags &^= currentThere
	} else {
		x := s.encoded.touch(e.i)
		x.currentTs = timestampMs
		x.flags &^= currentThere
	}
	return nil
}

// Get returns the key's value, as the open epoch sees it.
func (s *KeyValueStore[K, V]) Get(k K) (Value[V], error) {
	e, err := s.Entry(k)
	if err != nil {
		return Value[V]{}, err
	}
	return e.Get()
}

// Put sets the key's value in the open epoch. timestampMs is in milliseconds since the epoch.
func (s *KeyValueStore[K, V]) Put(k K, v V, timestampMs int64) error {
	e, err := s.Entry(k)
	if err != nil {
		return err
	}
	return e.Put(v, timestampMs)
}

// Delete removes the key in the open epoch.
func (s *KeyValueStore[K, V]) Delete(k K, timestampMs int64) error {
	e, err := s.Entry(k)
	if err != nil {
		return err
	}
	return e.Delete(timestampMs)
}

// EachTouched calls yield for each key that the open epoch has put or deleted, in the order of first touch,
// with its value now and its value when the epoch began. The Timestamp of a key that is now absent is that of
// its deletion. yield may use the store: keys that it touches come last. It stops at the first error.
func (s *KeyValueStore[K, V]) EachTouched(yield func(k K, now, before Value[V]) error) error {
	for n := 0; n < s.touchedCount(); n++ {
		k, now, before, err := s.touchedAt(n)
		if err != nil {
			return err
		}
		if err := yield(k, now, before); err != nil {
			return err
		}
	}
	return nil
}

func (s *KeyValueStore[K, V]) touchedAt(n int) (k K, now, before Value[V], err error) {
	var key []byte
	if s.live != nil {
		x := s.live.at(s.live.touched[n])
		key = s.live.key(x)
		if now.Timestamp = x.currentTs; x.flags&currentThere != 0 {
			now.V, now.OK = x.current, true
		}
		if x.flags&committedThere != 0 {
			before = Value[V]{x.committed, x.committedTs, true}
		}
	} else {
		x := s.encoded.at(s.encoded.touched[n])
		key = s.encoded.key(x)
		if now.Timestamp = x.currentTs; x.flags&currentThere != 0 {
			now, err = s.decode(x.current, x.currentTs)
		}
		if x.flags&committedThere != 0 && err == nil {
			before, err = s.decode(x.committed, x.committedTs)
		}
	}
	if err != nil {
		return k, now, before, err
	}
	if k, err = s.keySerde.Decode(key); err != nil {
		return k, now, before, s.fault("decode key", err)
	}
	return k, now, before, nil
}
