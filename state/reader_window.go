package state

import (
	"context"
	"iter"
	"math"
)

// WindowReader reads a window store from outside; see stream.Query. Its methods may be called concurrently, and what
// they return is the caller's to keep and to change. Each waits, until ctx is done at the latest, for the records at
// hand and for a commit under way, and returns an error that matches stream.ErrNotRunning if the application cannot
// answer. Windows that are older than the store's retention are not there, whether they were removed or not. Times are
// those of windows' starts, in milliseconds since the epoch.
type WindowReader[K, V any] struct {
	parts       Parts
	uncommitted bool
}

// Reader is for stream.Query.
func (h Window[K, V]) Reader(p Parts) WindowReader[K, V] { return WindowReader[K, V]{parts: p} }

// Uncommitted is the reader of what the store has now, including what the open epoch has put: it may yet be taken
// back, and be put again.
func (r WindowReader[K, V]) Uncommitted() WindowReader[K, V] {
	r.uncommitted = true
	return r
}

func windowPart[K, V any](p Part) (*WindowStore[K, V], error) {
	if s, ok := p.(*WindowStore[K, V]); ok {
		return s, nil
	}
	return nil, wrongKind[Window[K, V]](p)
}

// key is for Parts.
func (r WindowReader[K, V]) key(k K) func(Part) ([]byte, error) {
	return func(p Part) ([]byte, error) {
		s, err := windowPart[K, V](p)
		if err != nil {
			return nil, err
		}
		return s.encodeKey(k)
	}
}

// encodeKey returns the key's bytes. Unlike all else it may be called whoever has the part.
func (s *WindowStore[K, V]) encodeKey(k K) ([]byte, error) {
	b, err := s.keySerde.Append([]byte{}, k)
	if err != nil {
		return nil, s.fault("encode key", err)
	}
	return b, nil
}

// Fetch returns the value of the key's window that starts at startMs.
func (r WindowReader[K, V]) Fetch(ctx context.Context, k K, startMs int64) (v Value[V], err error) {
	err = r.parts.Read(ctx, r.key(k), func(p Part) (bool, error) {
		s, err := windowPart[K, V](p)
		switch {
		case err != nil:
			return true, err
		case s.settings.RetainDuplicates:
			return true, s.fault("fetch", errDuplicates)
		}
		if _, _, shown := s.clampAt(s.time(r.uncommitted), startMs, startMs); !shown {
			return false, nil
		}
		if err := s.appendRow(k, startMs); err != nil {
			return true, err
		}
		v, err = s.read(s.row, r.uncommitted)
		return v.OK, err
	})
	return v, err
}

// FetchRange ranges over the key's windows whose starts lie in [fromMs, toMs], both included, in the order of their
// starts. An error comes last. The rows are those of one commit, the last one when the loop begins, over all
// partitions of this instance. Nothing waits for the loop; while it lasts, disk space of the state that it may still
// read is not given back.
func (r WindowReader[K, V]) FetchRange(ctx context.Context, k K, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, &k, &k, timedRange{firstMs: fromMs, lastMs: toMs})
}

// BackwardFetchRange is FetchRange backward.
func (r WindowReader[K, V]) BackwardFetchRange(ctx context.Context, k K, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, &k, &k, timedRange{firstMs: fromMs, lastMs: toMs, backward: true})
}

// FetchKeys ranges over the windows whose keys' bytes lie in [from, to] and whose starts lie in [fromMs, toMs], all
// included, by start and then by the bytes of the key, otherwise as FetchRange does.
func (r WindowReader[K, V]) FetchKeys(ctx context.Context, from, to K, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, &from, &to, timedRange{firstMs: fromMs, lastMs: toMs})
}

// FetchAll ranges over the windows of all keys whose starts lie in [fromMs, toMs], both included, by start and then by
// the bytes of the key, otherwise as FetchRange does.
func (r WindowReader[K, V]) FetchAll(ctx context.Context, fromMs, toMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, nil, nil, timedRange{firstMs: fromMs, lastMs: toMs})
}

// All is FetchAll of all windows that are shown.
func (r WindowReader[K, V]) All(ctx context.Context) iter.Seq2[WindowRow[K, V], error] {
	return r.FetchAll(ctx, math.MinInt64, math.MaxInt64)
}

// rows ranges over the rows with keys from one to another, both included, or of all keys.
func (r WindowReader[K, V]) rows(ctx context.Context, from, to *K, in timedRange) iter.Seq2[WindowRow[K, V], error] {
	in.uncommitted = r.uncommitted
	var key func(Part) ([]byte, error)
	if from != nil && from == to {
		key = r.key(*from)
	}
	return merged(ctx, r.parts, key, func(p Part) (*cursor[WindowRow[K, V]], error) {
		s, err := windowPart[K, V](p)
		if err != nil {
			return nil, err
		}
		in := in
		in.tail = s.tailLen()
		in.compare = compareWindows(in.tail)
		if in.from, in.to, err = keyBounds(s.encodeKey, from, to); err != nil {
			return nil, err
		}
		return timedCursor(&s.rowStore, s.timed, in, func(n *snapshot, row storedRow) (r WindowRow[K, V], err error) {
			at := len(row.key) - in.tail
			if r.Key, err = s.keySerde.Decode(n.out.copy(row.key[:at])); err != nil {
				return r, s.fault("decode key", err)
			}
			r.Start = timeAt(row.key[at:])
			r.End = s.end(r.Start)
			r.Value, r.Timestamp, err = decodeValue(&s.rowStore, n, row)
			return r, err
		})
	})
}
