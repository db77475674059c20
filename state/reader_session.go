package state

import (
	"context"
	"iter"
	"math"
)

// SessionReader reads a session store from outside; see stream.Query. Its methods may be called concurrently, and
// what they return is the caller's to keep and to change. Each waits, until ctx is done at the latest, for the records
// at hand and for a commit under way, and returns an error that matches stream.ErrNotRunning if the application cannot
// answer. Sessions that are older than the store's retention are not there, whether they were removed or not. Times
// are in milliseconds since the epoch.
type SessionReader[K, V any] struct {
	parts       Parts
	uncommitted bool
}

// Reader is for stream.Query.
func (h Session[K, V]) Reader(p Parts) SessionReader[K, V] { return SessionReader[K, V]{parts: p} }

// Uncommitted is the reader of what the store has now, including what the open epoch has put: it may yet be taken
// back, and be put again.
func (r SessionReader[K, V]) Uncommitted() SessionReader[K, V] {
	r.uncommitted = true
	return r
}

func sessionPart[K, V any](p Part) (*SessionStore[K, V], error) {
	if s, ok := p.(*SessionStore[K, V]); ok {
		return s, nil
	}
	return nil, wrongKind[Session[K, V]](p)
}

// key is for Parts.
func (r SessionReader[K, V]) key(k K) func(Part) ([]byte, error) {
	return func(p Part) ([]byte, error) {
		s, err := sessionPart[K, V](p)
		if err != nil {
			return nil, err
		}
		return s.encodeKey(k)
	}
}

// encodeKey returns the key's bytes. Unlike all else it may be called whoever has the part.
func (s *SessionStore[K, V]) encodeKey(k K) ([]byte, error) {
	b, err := s.keySerde.Append([]byte{}, k)
	if err != nil {
		return nil, s.fault("encode key", err)
	}
	return b, nil
}

// Fetch returns the value of the key's session from startMs to endMs.
func (r SessionReader[K, V]) Fetch(ctx context.Context, k K, startMs, endMs int64) (v Value[V], err error) {
	err = r.parts.Read(ctx, r.key(k), func(p Part) (bool, error) {
		s, err := sessionPart[K, V](p)
		if err != nil {
			return true, err
		}
		if _, _, shown := s.clampAt(s.time(r.uncommitted), endMs, endMs); !shown {
			return false, nil
		}
		if err := s.appendRow(k, startMs, endMs); err != nil {
			return true, err
		}
		v, err = s.read(s.row, r.uncommitted)
		return v.OK, err
	})
	return v, err
}

// FindSessions ranges over the key's sessions that end at earliestEndMs or later and start at latestStartMs or
// earlier, in the order of their ends and then of their starts. An error comes last. The rows are those of one commit,
// the last one when the loop begins, over all partitions of this instance. Nothing waits for the loop; while it lasts,
// disk space of the state that it may still read is not given back.
func (r SessionReader[K, V]) FindSessions(ctx context.Context, k K, earliestEndMs, latestStartMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, &k, &k, earliestEndMs, math.MaxInt64, latestStartMs, false)
}

// BackwardFindSessions is FindSessions backward.
func (r SessionReader[K, V]) BackwardFindSessions(ctx context.Context, k K, earliestEndMs, latestStartMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, &k, &k, earliestEndMs, math.MaxInt64, latestStartMs, true)
}

// Sessions is FindSessions of all sessions of the key that are shown.
func (r SessionReader[K, V]) Sessions(ctx context.Context, k K) iter.Seq2[WindowRow[K, V], error] {
	return r.FindSessions(ctx, k, math.MinInt64, math.MaxInt64)
}

// FindKeys is FindSessions of all keys whose bytes lie in [from, to], both included: by end, start and the bytes of
// the key.
func (r SessionReader[K, V]) FindKeys(ctx context.Context, from, to K, earliestEndMs, latestStartMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, &from, &to, earliestEndMs, math.MaxInt64, latestStartMs, false)
}

// FindAll ranges over the sessions of all keys that end in [firstEndMs, lastEndMs], both included, by end, start and
// the bytes of the key, otherwise as FindSessions does.
func (r SessionReader[K, V]) FindAll(ctx context.Context, firstEndMs, lastEndMs int64) iter.Seq2[WindowRow[K, V], error] {
	return r.rows(ctx, nil, nil, firstEndMs, lastEndMs, math.MaxInt64, false)
}

// All is FindAll of all sessions that are shown.
func (r SessionReader[K, V]) All(ctx context.Context) iter.Seq2[WindowRow[K, V], error] {
	return r.FindAll(ctx, math.MinInt64, math.MaxInt64)
}

// rows ranges over the rows with keys from one to another, both included, or of all keys.
func (r SessionReader[K, V]) rows(ctx context.Context, from, to *K, firstEndMs, lastEndMs, latestStartMs int64, backward bool) iter.Seq2[WindowRow[K, V], error] {
	var key func(Part) ([]byte, error)
	if from != nil && from == to {
		key = r.key(*from)
	}
	return merged(ctx, r.parts, key, func(p Part) (*cursor[WindowRow[K, V]], error) {
		s, err := sessionPart[K, V](p)
		if err != nil {
			return nil, err
		}
		in := timedRange{
			firstMs: firstEndMs, lastMs: lastEndMs, tail: sessionTail, compare: compareSessions, backward: backward, uncommitted: r.uncommitted,
			keep: func(key []byte) bool { return timeAt(key[len(key)-timeLen:]) <= latestStartMs },
		}
		if in.from, in.to, err = keyBounds(s.encodeKey, from, to); err != nil {
			return nil, err
		}
		return timedCursor(&s.rowStore, s.timed, in, func(n *snapshot, row storedRow) (r WindowRow[K, V], err error) {
			at := len(row.key) - sessionTail
			if r.Key, err = s.keySerde.Decode(n.out.copy(row.key[:at])); err != nil {
				return r, s.fault("decode key", err)
			}
			r.End, r.Start = timeAt(row.key[at:]), timeAt(row.key[at+timeLen:])
			r.Value, r.Timestamp, err = decodeValue(&s.rowStore, n, row)
			return r, err
		})
	})
}
