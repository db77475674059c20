package state

import (
	"bytes"
	"context"
	"errors"
	"iter"
)

// KeyValueReader reads a key-value store from outside; see stream.Query. Its methods may be called concurrently, and
// what they return is the caller's to keep and to change. Each waits, until ctx is done at the latest, for the
// records at hand and for a commit under way, and returns an error that matches stream.ErrNotRunning if the
// application cannot answer.
type KeyValueReader[K, V any] struct {
	parts       Parts
	uncommitted bool
}

// Reader is for stream.Query.
func (h KeyValue[K, V]) Reader(p Parts) KeyValueReader[K, V] { return KeyValueReader[K, V]{parts: p} }

// Uncommitted is the reader of what the store has now, including what the open epoch has put: it may yet be taken
// back, and be put again.
func (r KeyValueReader[K, V]) Uncommitted() KeyValueReader[K, V] {
	r.uncommitted = true
	return r
}

// keyValuePart is a part of a key-value store, whatever it is made of. Its methods are for whoever has the part, but
// for encodeKey and decodeRow, which use only what never changes.
type keyValuePart[K, V any] interface {
	encodeKey(k K) ([]byte, error)
	// readKey is the key's value as it is committed, or as it is now.
	readKey(k K, uncommitted bool) (Value[V], error)
	// snapshotOf takes one of the rows in a span. narrow says that they are few of many.
	snapshotOf(sp span, backward, narrow, uncommitted bool) (*snapshot, error)
	decodeRow(n *snapshot, row storedRow) (Row[K, V], error)
}

func keyValuePartOf[K, V any](p Part) (keyValuePart[K, V], error) {
	if s, ok := p.(keyValuePart[K, V]); ok {
		return s, nil
	}
	return nil, wrongKind[KeyValue[K, V]](p)
}

// Get returns the key's value.
func (r KeyValueReader[K, V]) Get(ctx context.Context, k K) (v Value[V], err error) {
	err = r.parts.Read(ctx, func(p Part) ([]byte, error) {
		s, err := keyValuePartOf[K, V](p)
		if err != nil {
			return nil, err
		}
		return s.encodeKey(k)
	}, func(p Part) (bool, error) {
		s, err := keyValuePartOf[K, V](p)
		if err != nil {
			return true, err
		}
		v, err = s.readKey(k, r.uncommitted)
		return v.OK, err
	})
	return v, err
}

func (s *KeyValueStore[K, V]) encodeKey(k K) ([]byte, error) {
	b, err := s.keySerde.Append([]byte{}, k)
	if err != nil {
		return nil, s.fault("encode key", err)
	}
	return b, nil
}

func (s *KeyValueStore[K, V]) readKey(k K, uncommitted bool) (Value[V], error) {
	key, err := s.keySerde.Append(s.row[:idLen], k)
	if err != nil {
		return Value[V]{}, s.fault("encode key", err)
	}
	s.row = key
	return s.read(key, uncommitted)
}

func (s *KeyValueStore[K, V]) snapshotOf(sp span, backward, narrow, uncommitted bool) (*snapshot, error) {
	return s.snapshot(nil, []span{sp}, backward, narrow, uncommitted)
}

func (s *OrderedStore[K, V]) snapshotOf(sp span, backward, narrow, uncommitted bool) (*snapshot, error) {
	return s.snapshot(s.order, []span{sp}, backward, narrow, uncommitted)
}

func (s *KeyValueStore[K, V]) decodeRow(n *snapshot, row storedRow) (r Row[K, V], err error) {
	if r.Key, err = s.keySerde.Decode(n.out.copy(row.key)); err != nil {
		return r, s.fault("decode key", err)
	}
	r.Value, r.Timestamp, err = decodeValue(&s.rowStore, n, row)
	return r, err
}

// Range ranges over the rows whose keys' bytes lie in [from, to], both included, in ascending order. An error comes
// last. The rows are those of one commit, the last one when the loop begins, over all partitions of this instance.
// Nothing waits for the loop; while it lasts, disk space of the state that it may still read is not given back.
func (r KeyValueReader[K, V]) Range(ctx context.Context, from, to K) iter.Seq2[Row[K, V], error] {
	return r.rows(ctx, inclusive[K, V](from, to), false)
}

// BackwardRange is Range in descending order.
func (r KeyValueReader[K, V]) BackwardRange(ctx context.Context, from, to K) iter.Seq2[Row[K, V], error] {
	return r.rows(ctx, inclusive[K, V](from, to), true)
}

// inclusive is the span of keys from one to another, both included.
func inclusive[K, V any](from, to K) func(keyValuePart[K, V]) (span, bool, error) {
	return func(s keyValuePart[K, V]) (sp span, some bool, err error) {
		if sp.from, err = s.encodeKey(from); err != nil {
			return sp, false, err
		}
		if sp.to, err = s.encodeKey(to); err != nil {
			return sp, false, err
		}
		some = bytes.Compare(sp.from, sp.to) <= 0
		sp.to = append(sp.to, 0)
		return sp, some, nil
	}
}

// Prefix ranges over the rows whose keys' bytes begin with prefix, otherwise as Range does.
func (r KeyValueReader[K, V]) Prefix(ctx context.Context, prefix []byte) iter.Seq2[Row[K, V], error] {
	sp := span{from: bytes.Clone(prefix), to: afterPrefix(prefix)}
	return r.rows(ctx, func(keyValuePart[K, V]) (span, bool, error) { return sp, true, nil }, false)
}

// All ranges over all rows, otherwise as Range does.
func (r KeyValueReader[K, V]) All(ctx context.Context) iter.Seq2[Row[K, V], error] {
	return r.rows(ctx, nil, false)
}

// BackwardAll is All in descending order.
func (r KeyValueReader[K, V]) BackwardAll(ctx context.Context) iter.Seq2[Row[K, V], error] {
	return r.rows(ctx, nil, true)
}

// rows ranges over the rows in a span; nil: all.
func (r KeyValueReader[K, V]) rows(ctx context.Context, in func(keyValuePart[K, V]) (span, bool, error), backward bool) iter.Seq2[Row[K, V], error] {
	compare := bytes.Compare
	if backward {
		compare = reversed(compare)
	}
	return merged(ctx, r.parts, nil, func(p Part) (*cursor[Row[K, V]], error) {
		s, err := keyValuePartOf[K, V](p)
		if err != nil {
			return nil, err
		}
		sp, some := span{}, true
		if in != nil {
			if sp, some, err = in(s); !some || err != nil {
				return nil, err
			}
		}
		n, err := s.snapshotOf(sp, backward, in != nil, r.uncommitted)
		if err != nil {
			return nil, err
		}
		return &cursor[Row[K, V]]{snapshot: n, spans: []span{sp}, keep: everyRow, compare: compare, decode: func(row storedRow) (Row[K, V], error) {
			return s.decodeRow(n, row)
		}}, nil
	})
}

// decodeValue uses of the store only what never changes.
func decodeValue[V any](s *rowStore[V], n *snapshot, row storedRow) (v V, timestampMs int64, err error) {
	timestampMs, b, err := parseRow(row.value)
	if err != nil {
		return v, 0, s.fault("scan", err)
	}
	if v, err = s.valueSerde.Decode(n.out.copy(b)); err != nil {
		return v, 0, s.fault("decode value", err)
	}
	return v, timestampMs, nil
}

// ApproximateCount returns how many rows there are: exactly, as long as there are up to ten thousand in a partition,
// otherwise by how much room those take among all.
func (r KeyValueReader[K, V]) ApproximateCount(ctx context.Context) (n int64, err error) {
	var snapshots []*snapshot
	defer func() {
		for _, s := range snapshots {
			err = errors.Join(err, s.close())
		}
	}()
	if err := r.parts.Read(ctx, nil, func(p Part) (bool, error) {
		s, err := keyValuePartOf[K, V](p)
		if err != nil {
			return true, err
		}
		one, err := s.snapshotOf(span{}, false, false, r.uncommitted)
		if err == nil {
			snapshots = append(snapshots, one)
		}
		return false, err
	}); err != nil {
		return 0, err
	}
	for _, s := range snapshots {
		part, err := s.count(ctx, span{})
		if err != nil {
			return 0, r.parts.Fault(err)
		}
		n += part
	}
	return n, nil
}
