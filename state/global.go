package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/moldau-io/moldau/serde"
)

// GlobalStore is a key-value store that is not of one task: all tasks of an instance read it, each with a
// GlobalReader, while one goroutine at a time follows the store's topic and changes it. It knows no epochs and has
// no changelog of its own: the topic is where its content comes from.
//
// What is put shows to readers, and goes to Pebble, with Apply: the changes of some records together with how far
// in the topic they go. So a restart goes on from there, and a record counts once, whatever is made of it.
type GlobalStore[K, V any] struct {
	globalRows[K, V]
	task    *Task
	pending map[string]*sharedRow[V] // put since the last Apply
	bytes   int
	writer  GlobalReader[K, V]

	applying sync.RWMutex // held by Apply against readers from outside (reader_global.go)
}

// Global is what the runtime sees of a GlobalStore of any types. All of it is for the writer.
type Global interface {
	Name() string
	// Positions tells how far in the partitions of the topic the content goes. Partitions of which it has nothing
	// are absent.
	Positions() (map[int32]GlobalPosition, error)
	// Pending is the size of what was put since the last Apply, in bytes.
	Pending() int
	// Apply shows what was put to readers, and writes it together with positions in the topic.
	Apply(at map[int32]GlobalPosition) error
	// Discard empties the store and forgets its positions. Nobody may be reading it.
	Discard() error
	// readOnly is ReadOnly.
	readOnly() any
}

// ReadOnly gives a reader of a global store, for Access.
func ReadOnly(g Global) any { return g.readOnly() }

func (s *GlobalStore[K, V]) readOnly() any {
	return readOnly[K, V]{s.Reader(), s.fault, "only the processor that maintains the store may change it"}
}

// GlobalPosition is how far a global store's content goes in a partition of its topic, and what its writer
// remembers with that.
type GlobalPosition struct {
	Position
	Metadata string
}

// globalRows are what the store and its readers share.
type globalRows[K, V any] struct {
	db         *DB
	name       string
	id         uint32 // 0: it is in memory
	keySerde   serde.Serde[K]
	valueSerde serde.Serde[V]
	live       bool // rows hold values, not their bytes
	isString   bool
	rows       *sharedRows[V]
}

// globalShare is how much of DB's CacheBytes a global store may use.
const globalShare = 8

// OpenGlobal opens the store. Its content is as of the positions it has (Global). InMemory is the only setting that
// means something.
func OpenGlobal[K, V any](t *Task, name string, k serde.Serde[K], v serde.Serde[V], settings ...Setting) (*GlobalStore[K, V], error) {
	base := storeBase{}
	for _, set := range settings {
		set(&base)
	}
	s := &GlobalStore[K, V]{
		globalRows: globalRows[K, V]{db: t.db, name: name, keySerde: k, valueSerde: v},
		task:       t,
		pending:    map[string]*sharedRow[V]{},
	}
	s.live, s.isString = keptLive(v)
	if base.memory {
		s.rows = wholeRows[V]()
	} else {
		var err error
		if s.id, err = t.db.storeID(storeName{t.name, name}); err != nil {
			return nil, err
		}
		s.rows = cachedRows[V](t.db.opts.CacheBytes/globalShare, &t.db.cacheBytes)
	}
	s.writer = *s.Reader()
	return s, nil
}

// Name returns the store's name.
func (s *globalRows[K, V]) Name() string { return s.name }

func (s *globalRows[K, V]) fault(step string, err error) error {
	return fmt.Errorf("state: global store %s: %s: %w", s.name, step, corrupt(err))
}

// Positions is part of Global.
func (s *GlobalStore[K, V]) Positions() (map[int32]GlobalPosition, error) {
	at := map[int32]GlobalPosition{}
	if s.id == 0 {
		return at, nil
	}
	first := globalKey(s.id, 0)
	it, err := s.db.pebble.NewIter(&pebble.IterOptions{LowerBound: first, UpperBound: globalKey(s.id+1, 0)})
	if err != nil {
		return nil, s.fault("read positions", err)
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		var b []byte
		if b, err = it.ValueAndErr(); err != nil {
			break
		}
		if len(it.Key()) != len(first) || len(b) < positionLen {
			err = fmt.Errorf("%w: position of %d bytes under a key of %d", ErrCorrupt, len(b), len(it.Key()))
			break
		}
		var p GlobalPosition
		if p.Position, err = parsePosition(b[:positionLen]); err == nil {
			p.Metadata = string(b[positionLen:])
			at[int32(binary.BigEndian.Uint32(it.Key()[len(first)-4:]))] = p
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, s.fault("read positions", err)
	}
	return at, nil
}

// Put sets the key's value. timestampMs is in milliseconds since the epoch.
func (s *GlobalStore[K, V]) Put(k K, v V, timestampMs int64) error {
	row, err := s.newRow(k, timestampMs)
	if err != nil {
		return err
	}
	if row.bytes, err = s.valueSerde.Append([]byte{}, v); err != nil {
		return s.fault("encode value", err)
	}
	row.there = true
	if s.live {
		s.keep(row, v)
	}
	s.put(row)
	return nil
}

// Delete removes the key.
func (s *GlobalStore[K, V]) Delete(k K, timestampMs int64) error {
	row, err := s.newRow(k, timestampMs)
	if err != nil {
		return err
	}
	s.put(row)
	return nil
}

func (s *GlobalStore[K, V]) newRow(k K, timestampMs int64) (*sharedRow[V], error) {
	key, err := s.keySerde.Append(s.writer.key[:idLen], k)
	if err != nil {
		return nil, s.fault("encode key", err)
	}
	s.writer.key = key
	key = key[idLen:]
	return &sharedRow[V]{key: string(key), hash: s.rows.hash(key), timestampMs: timestampMs}, nil
}

// keep has the row hold the value itself.
func (s *globalRows[K, V]) keep(row *sharedRow[V], v V) {
	if s.isString {
		v = cloneString(v)
		row.heap = len(*asString(&v))
	}
	row.value = v
}

func (s *GlobalStore[K, V]) put(row *sharedRow[V]) {
	if before := s.pending[row.key]; before != nil {
		s.bytes -= len(before.key) + len(before.bytes)
	}
	s.pending[row.key] = row
	s.bytes += len(row.key) + len(row.bytes)
}

// Get returns the key's value, as it is with what was put since the last Apply.
func (s *GlobalStore[K, V]) Get(k K) (Value[V], error) {
	if len(s.pending) > 0 {
		row, err := s.newRow(k, 0)
		if err != nil {
			return Value[V]{}, err
		}
		if row = s.pending[row.key]; row != nil {
			return s.writer.value(row)
		}
	}
	return s.writer.Get(k)
}

// All ranges over the rows in the order of their keys' bytes, with what was put since the last Apply. An error comes
// last. The loop may use the store: rows that it changes may or may not be seen with the change.
func (s *GlobalStore[K, V]) All() iter.Seq2[Row[K, V], error] {
	return s.writer.scan(nil, nil, false, s)
}

// BackwardAll is All in descending order.
func (s *GlobalStore[K, V]) BackwardAll() iter.Seq2[Row[K, V], error] {
	return s.writer.scan(nil, nil, true, s)
}

// Range ranges over the rows whose keys' bytes lie in [from, to], both included, otherwise as All does.
func (s *GlobalStore[K, V]) Range(from, to K) iter.Seq2[Row[K, V], error] {
	return s.writer.keyRange(from, to, false, s)
}

// BackwardRange is Range in descending order.
func (s *GlobalStore[K, V]) BackwardRange(from, to K) iter.Seq2[Row[K, V], error] {
	return s.writer.keyRange(from, to, true, s)
}

// Prefix ranges over the rows whose keys' bytes begin with prefix, otherwise as All does.
func (s *GlobalStore[K, V]) Prefix(prefix []byte) iter.Seq2[Row[K, V], error] {
	return s.writer.scan(prefix, afterPrefix(prefix), false, s)
}

func (s *GlobalStore[K, V]) count() (int, error) { return countRows(s.All()) }

// Pending is part of Global.
func (s *GlobalStore[K, V]) Pending() int { return s.bytes }

// Apply is part of Global.
func (s *GlobalStore[K, V]) Apply(at map[int32]GlobalPosition) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.id != 0 {
		b := s.db.pebble.NewBatchWithSize(s.bytes + len(s.pending)*(idLen+timestampLen+6) + 2*positionLen)
		if err := s.addPending(b); err != nil {
			return s.fault("write", err)
		}
		for partition, p := range at {
			if err := b.Set(globalKey(s.id, partition), append(appendPosition(nil, p.Position), p.Metadata...), nil); err != nil {
				return s.fault("write", errors.Join(err, b.Close()))
			}
		}
		if err := s.db.apply(b); err != nil {
			return s.fault("write", err)
		}
	}
	for _, row := range s.pending {
		if s.live {
			row.bytes = nil
		}
		s.rows.set(row)
	}
	s.bytes = 0
	if len(s.pending) > 1024 { // a map does not shrink
		s.pending = map[string]*sharedRow[V]{}
	}
	clear(s.pending)
	return nil
}

// addPending adds what was put to a batch, which it closes if it fails.
func (s *GlobalStore[K, V]) addPending(b *pebble.Batch) error {
	r := rows{id: s.id, refs: make([]rowRef, 0, len(s.pending)), arena: make([]byte, 0, s.bytes+timestampLen*len(s.pending))}
	for _, row := range s.pending {
		if row.there {
			r.end(append(r.begin([]byte(row.key), row.timestampMs), row.bytes...), len(row.key))
		} else {
			r.delete([]byte(row.key))
		}
	}
	if err := r.appendTo(b); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

// Discard is part of Global.
func (s *GlobalStore[K, V]) Discard() error {
	clear(s.pending)
	s.bytes = 0
	s.rows.clear()
	if s.id == 0 {
		return nil
	}
	b := s.db.pebble.NewBatch()
	if err := errors.Join(
		b.DeleteRange(appendID(nil, s.id), appendID(nil, s.id+1), nil),
		b.DeleteRange(globalKey(s.id, 0), globalKey(s.id+1, 0), nil),
	); err != nil {
		return s.fault("discard", errors.Join(err, b.Close()))
	}
	if err := s.db.apply(b); err != nil {
		return s.fault("discard", err)
	}
	return nil
}

// Reader returns a reader of the store.
func (s *globalRows[K, V]) Reader() *GlobalReader[K, V] {
	return &GlobalReader[K, V]{globalRows: s, key: appendID(nil, s.id)}
}

// GlobalReader reads a GlobalStore: what was applied when it is asked. It belongs to one goroutine; there may be
// any number of readers, also while the store is changed. What a call returns is the caller's to keep and change.
type GlobalReader[K, V any] struct {
	*globalRows[K, V]
	key []byte // the store's id and the key of the call under way
	out ownBytes
}

// Get returns the key's value.
func (r *GlobalReader[K, V]) Get(k K) (Value[V], error) {
	key, err := r.keySerde.Append(r.key[:idLen], k)
	if err != nil {
		return Value[V]{}, r.fault("encode key", err)
	}
	r.key = key
	hash := r.rows.hash(key[idLen:])
	seen := r.rows.at(hash).Load()
	row := seen.find(key[idLen:], hash)
	switch {
	case row != nil:
		return r.value(row)
	case !r.rows.isCache():
		return Value[V]{}, nil
	}
	if row, err = r.load(key, hash); err != nil {
		return Value[V]{}, r.fault("read", err)
	}
	r.rows.fill(seen, row)
	return r.value(row)
}

// load reads the key's row from Pebble.
func (r *GlobalReader[K, V]) load(key []byte, hash uint64) (*sharedRow[V], error) {
	if err := r.db.Err(); err != nil {
		return nil, err // Pebble may not answer any more
	}
	row := &sharedRow[V]{key: string(key[idLen:]), hash: hash}
	b, closer, err := r.db.pebble.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return row, nil
	}
	if err != nil {
		return nil, err
	}
	row.there = true
	row.timestampMs, b, err = parseRow(b)
	if err == nil && r.live {
		var v V
		if v, err = r.valueSerde.Decode(b); err == nil {
			r.keep(row, v)
		}
	} else if err == nil {
		row.bytes = bytes.Clone(b)
	}
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, fmt.Errorf("key %x: %w", key[idLen:], err)
	}
	return row, nil
}

// value returns the row's value.
func (r *GlobalReader[K, V]) value(row *sharedRow[V]) (Value[V], error) {
	if !row.there {
		return Value[V]{}, nil
	}
	if r.live {
		return Value[V]{row.value, row.timestampMs, true}, nil
	}
	v, err := r.valueSerde.Decode(r.out.copy(row.bytes))
	if err != nil {
		return Value[V]{}, r.fault("decode value", err)
	}
	return Value[V]{v, row.timestampMs, true}, nil
}

// All ranges over the rows in the order of their keys' bytes. An error comes last. Rows that change meanwhile may
// or may not be seen with the change.
func (r *GlobalReader[K, V]) All() iter.Seq2[Row[K, V], error] { return r.scan(nil, nil, false, nil) }

// BackwardAll is All in descending order.
func (r *GlobalReader[K, V]) BackwardAll() iter.Seq2[Row[K, V], error] {
	return r.scan(nil, nil, true, nil)
}

// Range ranges over the rows whose keys' bytes lie in [from, to], both included, otherwise as All does.
func (r *GlobalReader[K, V]) Range(from, to K) iter.Seq2[Row[K, V], error] {
	return r.keyRange(from, to, false, nil)
}

// BackwardRange is Range in descending order.
func (r *GlobalReader[K, V]) BackwardRange(from, to K) iter.Seq2[Row[K, V], error] {
	return r.keyRange(from, to, true, nil)
}

// Prefix ranges over the rows whose keys' bytes begin with prefix, otherwise as All does.
func (r *GlobalReader[K, V]) Prefix(prefix []byte) iter.Seq2[Row[K, V], error] {
	return r.scan(prefix, afterPrefix(prefix), false, nil)
}

func (r *GlobalReader[K, V]) count() (int, error) { return countRows(r.All()) }

func countRows[R any](rows iter.Seq2[R, error]) (n int, err error) {
	for _, err := range rows {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func (r *GlobalReader[K, V]) keyRange(from, to K, backward bool, s *GlobalStore[K, V]) iter.Seq2[Row[K, V], error] {
	return func(yield func(Row[K, V], error) bool) {
		first, err := r.keySerde.Append(nil, from)
		var last []byte
		if err == nil {
			last, err = r.keySerde.Append(nil, to)
		}
		if err != nil {
			yield(Row[K, V]{}, r.fault("encode key", err))
			return
		}
		if bytes.Compare(first, last) <= 0 {
			r.scan(first, append(last, 0), backward, s)(yield)
		}
	}
}

// scan ranges over the rows with keys in [from, to); nil is no bound. s is the store if what waits there is to be
// seen, too.
func (r *GlobalReader[K, V]) scan(from, to []byte, backward bool, s *GlobalStore[K, V]) iter.Seq2[Row[K, V], error] {
	return func(yield func(Row[K, V], error) bool) {
		rows := r.memoryRows
		if r.id != 0 {
			rows = r.storedRows
		}
		for row, err := range rows(from, to, backward, s) {
			var out Row[K, V]
			if err == nil {
				var v Value[V]
				if v, err = r.value(row); err == nil {
					out.Value, out.Timestamp = v.V, v.Timestamp
					out.Key, err = r.keySerde.Decode([]byte(row.key))
				}
			}
			if err != nil {
				yield(Row[K, V]{}, r.fault("scan", err))
				return
			}
			if !yield(out, nil) {
				return
			}
		}
	}
}

// memoryRows finds the rows of a store in memory.
func (r *GlobalReader[K, V]) memoryRows(from, to []byte, backward bool, s *GlobalStore[K, V]) iter.Seq2[*sharedRow[V], error] {
	var found []*sharedRow[V]
	add := func(row *sharedRow[V]) {
		if row.there && row.key >= string(from) && (to == nil || row.key < string(to)) {
			found = append(found, row)
		}
	}
	r.rows.each(func(row *sharedRow[V]) {
		if s == nil || s.pending[row.key] == nil {
			add(row)
		}
	})
	if s != nil {
		for _, row := range s.pending {
			add(row)
		}
	}
	slices.SortFunc(found, func(a, b *sharedRow[V]) int {
		if backward {
			a, b = b, a
		}
		return strings.Compare(a.key, b.key)
	})
	return func(yield func(*sharedRow[V], error) bool) {
		for _, row := range found {
			if !yield(row, nil) {
				return
			}
		}
	}
}

// storedRows finds the rows in Pebble. A row is valid until the next.
func (r *GlobalReader[K, V]) storedRows(from, to []byte, backward bool, s *GlobalStore[K, V]) iter.Seq2[*sharedRow[V], error] {
	return func(yield func(*sharedRow[V], error) bool) {
		if err := r.db.Err(); err != nil {
			yield(nil, err)
			return
		}
		bounds := &pebble.IterOptions{LowerBound: append(appendID(nil, r.id), from...), UpperBound: appendID(nil, r.id+1)}
		if to != nil {
			bounds.UpperBound = append(appendID(nil, r.id), to...)
		}
		newIter := r.db.pebble.NewIter
		if s != nil && len(s.pending) > 0 {
			b := r.db.pebble.NewIndexedBatch()
			if err := s.addPending(b); err != nil {
				yield(nil, err)
				return
			}
			defer func() { _ = b.Close() }() // nothing of it is to be written
			newIter = b.NewIter
		}
		it, err := newIter(bounds)
		if err != nil {
			yield(nil, err)
			return
		}
		move, ok := it.Next, false
		if backward {
			move, ok = it.Prev, it.Last()
		} else {
			ok = it.First()
		}
		stopped := false
		for ; ok && err == nil && !stopped; ok = move() {
			row := &sharedRow[V]{there: true, key: string(it.Key()[idLen:])}
			var b []byte
			if b, err = it.ValueAndErr(); err == nil {
				row.timestampMs, row.bytes, err = parseRow(b)
			}
			if err == nil && r.live {
				var v V
				if v, err = r.valueSerde.Decode(row.bytes); err == nil {
					r.keep(row, v)
				}
			}
			if err == nil {
				stopped = !yield(row, nil)
			}
		}
		if err := errors.Join(err, it.Error(), it.Close()); err != nil && !stopped {
			yield(nil, err)
		}
	}
}
