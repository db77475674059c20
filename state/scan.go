package state

import (
	"bytes"
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

// all merges the rows of Pebble with the cached entries that may differ from them, which come first where
// both have a key. value decodes what an entry holds.
func all[K, V, P any](s *KeyValueStore[K, V], c *cache[P], value func(*entry[P]) (V, error)) iter.Seq2[Row[K, V], error] {
	return func(yield func(Row[K, V], error) bool) {
		s.task.reap()
		var it *pebble.Iterator // nil: the cache has every row
		more := false
		if !c.complete {
			var err error
			if it, err = s.iterate(); err != nil {
				yield(Row[K, V]{}, s.fault("scan", err))
				return
			}
			defer func() {
				if err := it.Close(); err != nil {
					s.task.db.logger.Warn("scan ended badly", "store", s.name, "task", s.task.name, "error", err)
				}
			}()
			more = it.First()
		}
		for over := c.lackedBy(it, s.task.applied); more || len(over) > 0; {
			order := -1 // the cached entry is the next row; 1: Pebble's is; 0: they are one row
			if len(over) == 0 {
				order = 1
			} else if more {
				order = bytes.Compare(c.key(c.at(over[0])), it.Key()[idLen:])
			}
			var row Row[K, V]
			var err error
			there := true
			if order > 0 {
				row, err = s.storedRow(it)
			} else {
				e := c.at(over[0])
				over = over[1:]
				if there = e.flags&currentThere != 0; there {
					row.Timestamp = e.currentTs
					if row.Value, err = value(e); err == nil {
						row.Key, err = s.keySerde.Decode(c.key(e))
					}
				}
			}
			if order >= 0 {
				more = it.Next()
			}
			if err != nil {
				yield(Row[K, V]{}, s.fault("scan", err))
				return
			}
			if there && !yield(row, nil) {
				return
			}
		}
		if it != nil && it.Error() != nil {
			yield(Row[K, V]{}, s.fault("scan", it.Error()))
		}
	}
}

func (s *KeyValueStore[K, V]) storedRow(it *pebble.Iterator) (row Row[K, V], err error) {
	b, err := it.ValueAndErr()
	if err != nil {
		return row, err
	}
	if row.Timestamp, b, err = parseRow(b); err != nil {
		return row, err
	}
	if row.Value, err = s.valueSerde.Decode(s.own(b)); err != nil {
		return row, err
	}
	row.Key, err = s.keySerde.Decode(s.own(it.Key()[idLen:]))
	return row, err
}

// lackedBy returns the entries that may differ from what Pebble has, in the order of their keys; all of
// them if it is nil.
func (c *cache[P]) lackedBy(it *pebble.Iterator, applied uint32) []uint32 {
	var over []uint32
	for i := range c.used {
		e := c.at(i)
		if e.flags&inUse != 0 && (it == nil || e.flags&dirty != 0 || e.flushID > applied) {
			over = append(over, i)
		}
	}
	slices.SortFunc(over, func(a, b uint32) int { return bytes.Compare(c.key(c.at(a)), c.key(c.at(b))) })
	return over
}
