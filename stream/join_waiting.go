package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// This file owns the lists of records that wait in a join for a time to pass, in a store ordered by time. A row
// of the store has the records of one timestamp and key, in the order they came in:
//
//	key    timestamp 8, big-endian, sign bit flipped | encoded key
//	value  per record: length, an unsigned varint | encoded value

// moment is the key of such a row.
type moment[K any] struct {
	at  int64 // milliseconds since the epoch
	key K
}

const momentLen = 8

type momentSerde[K any] struct{ inner serde.Serde[K] }

func (s momentSerde[K]) ForTopic(topic string, isKey bool) (serde.Serde[moment[K]], error) {
	inner, err := serde.Bind(s.inner, topic, isKey)
	return momentSerde[K]{inner}, err
}

func (s momentSerde[K]) Append(dst []byte, m moment[K]) ([]byte, error) {
	return s.inner.Append(appendMoment(dst, m.at), m.key)
}

func appendMoment(dst []byte, at int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(at)^(1<<63))
}

func (s momentSerde[K]) Decode(b []byte) (m moment[K], err error) {
	if len(b) < momentLen {
		return m, fmt.Errorf("%d bytes hold no timestamp", len(b))
	}
	m.at = int64(binary.BigEndian.Uint64(b) ^ (1 << 63))
	m.key, err = s.inner.Decode(b[momentLen:])
	return m, err
}

// listSerde encodes several values as one.
type listSerde[V any] struct{ inner serde.Serde[V] }

func (s listSerde[V]) ForTopic(topic string, isKey bool) (serde.Serde[[]V], error) {
	inner, err := serde.Bind(s.inner, topic, isKey)
	return listSerde[V]{inner}, err
}

func (s listSerde[V]) Append(dst []byte, list []V) ([]byte, error) {
	for _, v := range list {
		start := len(dst)
		b, err := s.inner.Append(append(dst, 0), v) // leaves room for a short length
		if err != nil {
			return nil, err
		}
		dst = withLength(b, start)
	}
	return dst, nil
}

// withLength puts the length of what follows b[start], which is free for it, in front of that.
func withLength(b []byte, start int) []byte {
	var length [binary.MaxVarintLen64]byte
	value := len(b) - start - 1
	n := binary.PutUvarint(length[:], uint64(value))
	if n > 1 {
		b = append(b, length[1:n]...)
		copy(b[start+n:], b[start+1:start+1+value])
	}
	copy(b[start:], length[:n])
	return b
}

func (s listSerde[V]) Decode(b []byte) (list []V, err error) {
	for len(b) > 0 {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, errors.New("a list that ends within a value")
		}
		end := n + int(length)
		v, err := s.inner.Decode(b[n:end:end])
		if err != nil {
			return nil, err
		}
		list, b = append(list, v), b[end:]
	}
	return list, nil
}

// waitingList is a task's list of records that wait. From time to time what is due is taken off its front.
type waitingList[K, V any] struct {
	store *state.OrderedStore[moment[K], []V]
	// first is not above the first timestamp on the list: a look before it would find nothing.
	first int64
	batch []state.Row[moment[K], []V] // what is due, from the front of the list
	more  bool                        // more than batch is due
	from  []byte
}

// openWaiting opens the list in the store of g for a task.
func openWaiting[K, V any](tk *task.Task, g *graph.Node, key serde.Serde[K], value serde.Serde[V], inMemory bool) (*waitingList[K, V], error) {
	var o []state.Setting
	if inMemory {
		o = append(o, state.InMemory())
	}
	store, err := openStore(tk, g, serde.Serde[moment[K]](momentSerde[K]{key}), serde.Serde[[]V](listSerde[V]{value}),
		func(t *state.Task, name string, k serde.Serde[moment[K]], v serde.Serde[[]V]) (*state.OrderedStore[moment[K], []V], error) {
			return state.OpenOrdered(t, name, k, v, o...)
		})
	return &waitingList[K, V]{store: store, first: math.MinInt64}, err // what is first is not known
}

// add puts a record on the list.
func (w *waitingList[K, V]) add(k K, v V, at int64) error {
	row, err := w.store.Entry(moment[K]{at, k})
	if err != nil {
		return err
	}
	list, err := row.Get()
	if err != nil {
		return err
	}
	w.first = min(w.first, at)
	return row.Put(append(list.V, v), at)
}

// drop takes all records of a key and timestamp off the list, if there are any.
func (w *waitingList[K, V]) drop(k K, at int64) error {
	row, err := w.store.Entry(moment[K]{at, k})
	if err != nil {
		return err
	}
	if list, err := row.Get(); err != nil || !list.OK {
		return err
	}
	return row.Delete(at)
}

// dueBatch bounds how many rows are in memory while what is due is taken off.
const dueBatch = 256

var errBatchFull = errors.New("batch full")

// look finds what is due: all timestamps below limit.
func (w *waitingList[K, V]) look(limit int64) error {
	if len(w.batch) > 0 { // what is left of the last look, which an error broke off
		w.more = w.first < limit
		return nil
	}
	if w.first >= limit {
		return nil
	}
	return w.fill(limit)
}

// fill reads the front of the list.
func (w *waitingList[K, V]) fill(limit int64) error {
	var from []byte // not the front of the store, where rows lie that were deleted a while ago
	if w.first != math.MinInt64 {
		from = appendMoment(w.from[:0], w.first)
		w.from = from
	}
	w.batch, w.more, w.first = w.batch[:0], false, math.MaxInt64
	err := w.store.Each(from, nil, func(r state.Row[moment[K], []V]) error {
		if r.Key.at >= limit || len(w.batch) == dueBatch {
			w.first, w.more = r.Key.at, r.Key.at < limit
			return errBatchFull
		}
		w.batch = append(w.batch, r)
		return nil
	})
	if errors.Is(err, errBatchFull) {
		return nil
	}
	return err
}

// take takes the first of what is due off the list.
func (w *waitingList[K, V]) take(limit int64) (row state.Row[moment[K], []V], err error) {
	row = w.batch[0]
	w.batch[0] = state.Row[moment[K], []V]{}
	w.batch = w.batch[1:]
	if err := w.store.Delete(row.Key, row.Key.at); err != nil {
		return row, err
	}
	if len(w.batch) == 0 && w.more {
		err = w.fill(limit)
	}
	return row, err
}

// next is the timestamp of the first of what is due.
func (w *waitingList[K, V]) next() (at int64, ok bool) {
	if w == nil || len(w.batch) == 0 {
		return 0, false
	}
	return w.batch[0].Key.at, true
}
