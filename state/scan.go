package state

import (
	"bytes"
	"errors"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Row is a key and what a store has for it.
type Row[K, V any] struct {
	Key       K
	Value     V
	Timestamp int64 // ms since the epoch
}

// All ranges over the store's rows as the open epoch sees them, in the order of their keys' bytes. An error
// comes last. The loop may use the store: rows that it changes may or may not be seen with the change.
func (s *KeyValueStore[K, V]) All() iter.Seq2[Row[K, V], error] {
	if s.live != nil {
		return all(s, s.live, func(e *entry[V]) (V, error) { return e.current, nil })
	}
	return all(s, s.encoded, func(e *entry[[]byte]) (V, error) { return s.valueSerde.Decode(s.own(e.current)) })
}

func all[K, V, P any](s *KeyValueStore[K, V], c *cache[P], value func(*entry[P]) (V, error)) iter.Seq2[Row[K, V], error] {
	return func(yield func(Row[K, V], error) bool) {
		s.task.reap()
		var it *pebble.Iterator
		if !c.complete {
			var err error
			if it, err = s.iterate(); err != nil {
				yield(Row[K, V]{}, s.fault("scan", err))
				return
			}
		}
		if err := merge(s, c, it, value, yield); err != nil {
			yield(Row[K, V]{}, s.fault("scan", err))
		}
	}
}

// errStop is how a loop that ends early ends the merge.
var errStop = errors.New("stop")

// merge yields the rows of it, which may be nil, and over them the cached entries that it lacks. It closes
// it, and returns an error that was not yielded.
func merge[K, V, P any](s *KeyValueStore[K, V], c *cache[P], it *pebble.Iterator, value func(*entry[P]) (V, error), yield func(Row[K, V], error) bool) (err error) {
	over := c.lackedBy(it != nil, s.task.applied)
	emit := func(key []byte, v V, timestampMs int64) error {
		k, err := s.keySerde.Decode(key)
		if err == nil && !yield(Row[K, V]{k, v, timestampMs}, nil) {
			return errStop
		}
		return err
	}
	cached := func(i uint32) error {
		e := c.at(i)
		if e.flags&currentThere == 0 {
			return nil
		}
		v, err := value(e)
		if err != nil {
			return err
		}
		return emit(c.key(e), v, e.currentTs)
	}
	stored := func() error {
		b, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		ts, b, err := parseRow(b)
		if err != nil {
			return err
		}
		v, err := s.valueSerde.Decode(s.own(b))
		if err != nil {
			return err
		}
		return emit(s.own(it.Key()[idLen:]), v, ts)
	}
	err = func() error {
		if it != nil {
			for it.First(); it.Valid(); it.Next() {
				key := it.Key()[idLen:]
				hidden := false
				for len(over) > 0 && !hidden {
					order := bytes.Compare(c.key(c.at(over[0])), key)
					if order > 0 {
						break
					}
					if err := cached(over[0]); err != nil {
						return err
					}
					over, hidden = over[1:], order == 0
				}
				if hidden {
					continue
				}
				if err := stored(); err != nil {
					return err
				}
			}
			if err := it.Error(); err != nil {
				return err
			}
		}
		for _, i := range over {
			if err := cached(i); err != nil {
				return err
			}
		}
		return nil
	}()
	if err == errStop {
		err = nil
		if it != nil {
			_ = it.Close() // the loop is over: nobody is left to hear of an error
		}
		return nil
	}
	if it != nil {
		err = errors.Join(err, it.Close())
	}
	return err
}

// lackedBy returns the entries that may differ from what Pebble has, in the order of their keys; all of
// them if Pebble is not looked at.
func (c *cache[P]) lackedBy(pebble bool, applied uint32) []uint32 {
	var over []uint32
	for i := range c.used {
		e := c.at(i)
		if e.flags&inUse != 0 && (!pebble || e.flags&dirty != 0 || e.flushID > applied) {
			over = append(over, i)
		}
	}
	slices.SortFunc(over, func(a, b uint32) int { return bytes.Compare(c.key(c.at(a)), c.key(c.at(b))) })
	return over
}
