package state

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"

	"github.com/moldau-io/moldau/serde"
)

// rowStore is what stores of all kinds do with rows, whatever their keys mean: it finds them by the bytes of
// their keys, and reads and writes their values.
type rowStore[V any] struct {
	*storeBase
	valueSerde serde.Serde[V]

	// One of the two: the cache holds live values only if they can be handed out without a copy, because they
	// are free of pointers or immutable strings. A function that changes the map it got would otherwise
	// change the committed slot with it.
	live     *cache[V]
	encoded  *cache[[]byte]
	isString bool // of the live values: they may alias a fetched batch, which the cache must not pin

	row   []byte   // the store's id and the key of the call under way
	bytes []byte   // a value being encoded
	out   ownBytes // for values that are decoded
	walks []*walk[V]
}

// newRowStore makes the rows of the store and their cache. logKey is the codec's.
func newRowStore[V any](base *storeBase, complete bool, v serde.Serde[V], logKey func(dst, key []byte) []byte) rowStore[V] {
	s := rowStore[V]{storeBase: base, valueSerde: v, row: appendID(nil, base.id)}
	var live bool
	if live, s.isString = keptLive(v); live {
		c := codec[V]{load: v.Decode, append: v.Append, logKey: logKey}
		if s.isString {
			c.load = func(b []byte) (V, error) {
				v, err := v.Decode(b)
				return cloneString(v), err
			}
			c.weigh = func(v V) int { return len(*asString(&v)) }
		}
		s.live = newCache(c, complete)
		s.live.memory = base.memory
		return s
	}
	s.encoded = newCache(codec[[]byte]{
		load:   func(b []byte) ([]byte, error) { return slices.Clone(b), nil },
		append: func(dst []byte, b []byte) ([]byte, error) { return append(dst, b...), nil },
		weigh:  func(b []byte) int { return cap(b) },
		logKey: logKey,
	}, complete)
	s.encoded.memory = base.memory
	return s
}

// keptLive reports whether values can be handed out without a copy, and whether they are strings.
func keptLive[V any](v serde.Serde[V]) (live, isString bool) {
	t := reflect.TypeFor[V]()
	isString = t.Kind() == reflect.String
	return serde.SharesNothing(v) && (isString || !holdsPointers(t)), isString
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

// cache returns the one there is.
func (s *rowStore[V]) cache() entryCache {
	if s.live != nil {
		return s.live
	}
	return s.encoded
}

// entryCache is a cache whatever it keeps in its slots.
type entryCache interface {
	cells
	inOrder(o *keyOrder)
	expire(i uint32)
}

// find returns the entry of the key that row, which begins with the store's id, ends in.
func (s *rowStore[V]) find(row []byte) (uint32, error) {
	var i uint32
	var err error
	if s.live != nil {
		i, err = lookup(s.live, s.storeBase, row)
	} else {
		i, err = lookup(s.encoded, s.storeBase, row)
	}
	if err != nil {
		return 0, s.fault("read", err)
	}
	return i, nil
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
	if c.complete || c.order != nil && c.order.complete(row[idLen:]) {
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
	i, err := admitRow(c, row[idLen:], hash, b, closer)
	if err != nil {
		return 0, fmt.Errorf("key %x: %w", row[idLen:], err)
	}
	return i, nil
}

// admitRow makes an entry of what Pebble has for a key. If the serde panics there is none, or the key would seem to
// be absent to whoever goes on.
func admitRow[P any](c *cache[P], key []byte, hash uint32, stored []byte, closer io.Closer) (i uint32, err error) {
	i = c.add(key, hash)
	loaded := false
	defer func() {
		if err = errors.Join(err, closer.Close()); err != nil || !loaded {
			c.forget(i)
		}
	}()
	err = c.load(i, stored)
	loaded = true
	return i, err
}

// get returns the entry's value, as the open epoch sees it.
func (s *rowStore[V]) get(i uint32) (Value[V], error) {
	if s.live != nil {
		x := s.live.at(i)
		if x.flags&currentThere == 0 {
			return Value[V]{}, nil
		}
		return Value[V]{x.current, x.currentTs, true}, nil
	}
	x := s.encoded.at(i)
	if x.flags&currentThere == 0 {
		return Value[V]{}, nil
	}
	return s.decode(x.current, x.currentTs)
}

func (s *rowStore[V]) decode(b []byte, timestampMs int64) (Value[V], error) {
	return s.decodeOwn(s.own(b), timestampMs)
}

// decodeOwn is decode for bytes that nobody will write again.
func (s *rowStore[V]) decodeOwn(b []byte, timestampMs int64) (Value[V], error) {
	v, err := s.valueSerde.Decode(b)
	if err != nil {
		return Value[V]{}, s.fault("decode value", err)
	}
	return Value[V]{v, timestampMs, true}, nil
}

func (s *rowStore[V]) own(b []byte) []byte { return s.out.copy(b) }

// put sets the entry's value in the open epoch.
func (s *rowStore[V]) put(i uint32, v V, timestampMs int64) error {
	if s.task.epoch == 0 && !s.putting {
		return s.fault("put", errNoEpoch)
	}
	if s.live != nil {
		if s.isString {
			v = cloneString(v)
		}
		x := s.live.touch(i)
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
	x := s.encoded.touch(i)
	s.encoded.weigh(x.current, -1)
	x.current, x.currentTs = append(x.current[:0], b...), timestampMs
	x.flags |= currentThere
	s.encoded.weigh(x.current, 1)
	return nil
}

var errNoEpoch = errors.New("no epoch is open")

// delete removes the entry's value in the open epoch.
func (s *rowStore[V]) delete(i uint32, timestampMs int64) error {
	if s.task.epoch == 0 && !s.putting {
		return s.fault("delete", errNoEpoch)
	}
	if s.live != nil {
		x := s.live.touch(i)
		x.currentTs = timestampMs
		x.flags &^= currentThere
	} else {
		x := s.encoded.touch(i)
		x.currentTs = timestampMs
		x.flags &^= currentThere
	}
	return nil
}

// touchedAt returns the key and the values of the nth entry that the open epoch touched.
func (s *rowStore[V]) touchedAt(n int) (key []byte, now, before Value[V], err error) {
	if s.live != nil {
		x := s.live.at(s.live.touched[n])
		key = s.live.key(x)
		if now.Timestamp = x.currentTs; x.flags&currentThere != 0 {
			now.V, now.OK = x.current, true
		}
		if x.flags&committedThere != 0 {
			before = Value[V]{x.committed, x.committedTs, true}
		}
		return key, now, before, nil
	}
	x := s.encoded.at(s.encoded.touched[n])
	key = s.encoded.key(x)
	if now.Timestamp = x.currentTs; x.flags&currentThere != 0 {
		now, err = s.decode(x.current, x.currentTs)
	}
	if x.flags&committedThere != 0 && err == nil {
		before, err = s.decode(x.committed, x.committedTs)
	}
	return key, now, before, err
}

// there reports whether the entry has a value.
func (s *rowStore[V]) there(i uint32) bool {
	if s.live != nil {
		return s.live.at(i).flags&currentThere != 0
	}
	return s.encoded.at(i).flags&currentThere != 0
}

// isComplete reports whether every row that Pebble has is cached.
func (s *rowStore[V]) isComplete() bool {
	if s.live != nil {
		return s.live.complete
	}
	return s.encoded.complete
}

// fresh returns an entry for a key that has no row in Pebble.
func (s *rowStore[V]) fresh(row []byte) uint32 {
	if s.live != nil {
		return fresh(s.live, row[idLen:])
	}
	return fresh(s.encoded, row[idLen:])
}

func fresh[P any](c *cache[P], key []byte) uint32 {
	hash := c.hash(key)
	if i, ok := c.find(key, hash); ok {
		return i
	}
	return c.add(key, hash)
}

// peek returns the row's value, as find and get do, but caches nothing.
func (s *rowStore[V]) peek(row []byte) (Value[V], error) {
	i, ok, complete := uint32(0), false, false
	if s.live != nil {
		i, ok, complete = peek(s.live, row[idLen:])
	} else {
		i, ok, complete = peek(s.encoded, row[idLen:])
	}
	if ok {
		return s.get(i)
	}
	if complete {
		return Value[V]{}, nil
	}
	if err := s.task.db.Err(); err != nil {
		return Value[V]{}, s.fault("read", err)
	}
	b, closer, err := s.task.db.pebble.Get(row)
	if errors.Is(err, pebble.ErrNotFound) {
		return Value[V]{}, nil
	}
	if err != nil {
		return Value[V]{}, s.fault("read", err)
	}
	ts, b, err := parseRow(b)
	if err == nil {
		b = s.own(b) // so that no serde runs before closer is closed: it may panic
	}
	if err := errors.Join(err, closer.Close()); err != nil {
		return Value[V]{}, s.fault("read", err)
	}
	return s.decodeOwn(b, ts)
}

func peek[P any](c *cache[P], key []byte) (i uint32, ok, complete bool) {
	i, ok = c.find(key, c.hash(key))
	return i, ok, c.complete || c.order != nil && c.order.complete(key)
}
