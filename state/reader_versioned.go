package state

import (
	"bytes"
	"context"
	"iter"
	"math"
)

// VersionedReader reads a versioned store from outside; see stream.Query. Its methods may be called concurrently, and
// what they return is the caller's to keep and to change. Each waits, until ctx is done at the latest, for the records
// at hand and for a commit under way, and returns an error that matches stream.ErrNotRunning if the application cannot
// answer. Times are in milliseconds since the epoch.
type VersionedReader[K, V any] struct {
	parts       Parts
	uncommitted bool
}

// Reader is for stream.Query.
func (h Versioned[K, V]) Reader(p Parts) VersionedReader[K, V] {
	return VersionedReader[K, V]{parts: p}
}

// Uncommitted is the reader of what the store has now, including what the open epoch has put: it may yet be taken
// back, and be put again.
func (r VersionedReader[K, V]) Uncommitted() VersionedReader[K, V] {
	r.uncommitted = true
	return r
}

func versionedPart[K, V any](p Part) (*VersionedStore[K, V], error) {
	if s, ok := p.(*VersionedStore[K, V]); ok {
		return s, nil
	}
	return nil, wrongKind[Versioned[K, V]](p)
}

// key is for Parts.
func (r VersionedReader[K, V]) key(k K) func(Part) ([]byte, error) {
	return func(p Part) ([]byte, error) {
		s, err := versionedPart[K, V](p)
		if err != nil {
			return nil, err
		}
		return s.encodeKey(k)
	}
}

// encodeKey returns the key's bytes. Unlike all else it may be called whoever has the part.
func (s *VersionedStore[K, V]) encodeKey(k K) ([]byte, error) {
	b, err := s.keySerde.Append([]byte{}, k)
	if err != nil {
		return nil, s.fault("encode key", err)
	}
	return b, nil
}

// Get returns the key's latest value. Its Timestamp is when it became valid.
func (r VersionedReader[K, V]) Get(ctx context.Context, k K) (Value[V], error) {
	return r.GetAsOf(ctx, k, math.MaxInt64)
}

// GetAsOf returns the value that the key had at timestampMs: the latest if it was valid then, else one that the
// store's history still covers. Its Timestamp is when it became valid.
func (r VersionedReader[K, V]) GetAsOf(ctx context.Context, k K, timestampMs int64) (v Value[V], err error) {
	err = r.parts.Read(ctx, r.key(k), func(p Part) (bool, error) {
		s, err := versionedPart[K, V](p)
		if err != nil {
			return true, err
		}
		v, err = s.readAsOf(k, timestampMs, r.uncommitted)
		return v.OK, err
	})
	return v, err
}

func (s *VersionedStore[K, V]) readAsOf(k K, timestampMs int64, uncommitted bool) (v Value[V], err error) {
	key, err := s.encodeKey(k)
	if err != nil {
		return v, err
	}
	s.row = append(appendSegment(s.row[:idLen], permanent), key...)
	latest, err := s.read(s.row, uncommitted)
	if err != nil {
		return v, err
	}
	if latest.OK && latest.Timestamp <= timestampMs {
		return s.decodeVersion(latest.V, latest.Timestamp)
	}
	if timestampMs == math.MaxInt64 || timestampMs < s.time(uncommitted).floor(s.retention) {
		return v, nil
	}
	c, err := s.versions(key, timestampMs+1, false, uncommitted)
	if err != nil {
		return v, err
	}
	// The first version to end after that time is the one that was valid then, if any was.
	if ok, e := c.advance(); e != nil {
		err = e
	} else if ok {
		var first version
		if first, err = c.decode(c.row); err == nil && first.from <= timestampMs {
			v, err = s.decodeVersion(first.value, first.from)
		}
	}
	if e := c.close(); err == nil {
		err = e
	}
	return v, err
}

// versions takes a snapshot of the key's versions that end at firstMs or later, the latest last. Versions that are
// tombstones are among them.
func (s *VersionedStore[K, V]) versions(key []byte, firstMs int64, backward, uncommitted bool) (*cursor[version], error) {
	var spans []span
	if firstMs, lastMs, some := s.clampAt(s.time(uncommitted), firstMs, math.MaxInt64); some {
		spans = s.spans(firstMs, lastMs, appendTime(bytes.Clone(key), firstMs), appendAfter(bytes.Clone(key), lastMs), backward)
	}
	latest := span{permanent, key, append(bytes.Clone(key), 0)}
	compare := compareVersions
	if backward {
		spans = append([]span{latest}, spans...)
		compare = reversed(compare)
	} else {
		spans = append(spans, latest)
	}
	n, err := s.snapshot(s.order, spans, backward, true, uncommitted)
	if err != nil {
		return nil, err
	}
	return &cursor[version]{
		snapshot: n, spans: spans, compare: compare,
		keep: func(row storedRow) bool {
			return len(row.key) == len(key) || len(row.key) == len(key)+versionTail && row.key[len(row.key)-1] == ended
		},
		decode: func(row storedRow) (v version, err error) {
			if v.to = Latest; len(row.key) > len(key) {
				v.to = timeAt(row.key[len(key):])
			}
			var b []byte
			if v.from, b, err = parseRow(row.value); err != nil {
				return v, s.fault("scan", err)
			}
			v.value = n.out.copy(b)
			return v, nil
		},
	}, nil
}

// compareVersions orders rows of one key: the latest version, which has nothing after the key, is the last.
func compareVersions(a, b []byte) int {
	if len(a) != len(b) {
		return len(b) - len(a)
	}
	return bytes.Compare(a, b)
}

// Versions ranges over the key's values that were valid at some time in [fromMs, toMs] and are still kept, oldest
// first, the latest last. An error comes last. The rows are those of one commit, the last one when the loop begins.
// Nothing waits for the loop.
func (r VersionedReader[K, V]) Versions(ctx context.Context, k K, fromMs, toMs int64) iter.Seq2[Version[V], error] {
	return r.history(ctx, k, fromMs, toMs, false)
}

// BackwardVersions is Versions backward: the latest first.
func (r VersionedReader[K, V]) BackwardVersions(ctx context.Context, k K, fromMs, toMs int64) iter.Seq2[Version[V], error] {
	return r.history(ctx, k, fromMs, toMs, true)
}

func (r VersionedReader[K, V]) history(ctx context.Context, k K, fromMs, toMs int64, backward bool) iter.Seq2[Version[V], error] {
	return seq(func(yield func(Version[V]) bool) error {
		var store *VersionedStore[K, V]
		for v, err := range merged(ctx, r.parts, r.key(k), func(p Part) (*cursor[version], error) {
			s, err := versionedPart[K, V](p)
			if err != nil {
				return nil, err
			}
			key, err := s.encodeKey(k)
			if err != nil {
				return nil, err
			}
			store = s
			return s.versions(key, max(fromMs, math.MinInt64+1), backward, r.uncommitted)
		}) {
			if err != nil {
				return err
			}
			if v.from > toMs || v.to <= fromMs {
				continue
			}
			d, err := store.decodeVersion(v.value, v.from)
			if err != nil {
				return err
			}
			if d.OK && !yield(Version[V]{d.V, v.from, v.to}) {
				return nil
			}
		}
		return nil
	})
}

// All ranges over the latest values of all keys, in the order of the keys' bytes. An error comes last. The rows are
// those of one commit, the last one when the loop begins, over all partitions of this instance. Nothing waits for the
// loop; while it lasts, disk space of the state that it may still read is not given back.
func (r VersionedReader[K, V]) All(ctx context.Context) iter.Seq2[Row[K, V], error] {
	return merged(ctx, r.parts, nil, func(p Part) (*cursor[Row[K, V]], error) {
		s, err := versionedPart[K, V](p)
		if err != nil {
			return nil, err
		}
		spans := []span{{segment: permanent}}
		n, err := s.snapshot(s.order, spans, false, false, r.uncommitted)
		if err != nil {
			return nil, err
		}
		return &cursor[Row[K, V]]{
			snapshot: n, spans: spans, compare: bytes.Compare, keep: everyRow,
			decode: func(row storedRow) (r Row[K, V], err error) {
				if r.Key, err = s.keySerde.Decode(n.out.copy(row.key)); err != nil {
					return r, s.fault("decode key", err)
				}
				ts, b, err := parseRow(row.value)
				if err != nil {
					return r, s.fault("scan", err)
				}
				v, err := s.decodeVersion(n.out.copy(b), ts)
				return Row[K, V]{r.Key, v.V, ts}, err
			},
		}, nil
	})
}
