package state

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Store is what the runtime sees of a store of any kind. Like its task it belongs to one goroutine at a
// time.
type Store interface {
	Name() string

	// Touched is how many keys the open epoch has put or deleted.
	Touched() int
	// AppendChanges appends each of these keys once, with its last value, in the order in which they were
	// first touched.
	AppendChanges(c Changelog) error

	// SetPosition says that the committed content reflects the changelog up to p. It is for after a commit;
	// p goes to Pebble with the next flush.
	SetPosition(p Position)
	// Stored is the position that Pebble's content reflects. ok is false if there is none: the store is to
	// be restored from nothing.
	Stored() (p Position, ok bool)

	// Discard empties the store, in Pebble too, and forgets its position. It is for between epochs.
	Discard() error
	// Restore takes one record of the changelog, from Stored on; a nil value is a delete. The bytes may be
	// used again after it returns. It is for between epochs, and for a store of which nothing waits to be
	// flushed.
	Restore(key, value []byte, timestampMs int64) error
	// Restored says that the records up to p have been given to Restore. They are then written, with p.
	Restored(p Position) error
}

// Changelog takes what an epoch changed. A nil value is a delete. The slices are only valid during the call.
type Changelog interface {
	Append(key, value []byte, timestampMs int64) error
}

// cells is a store's cache, whatever it keeps in its slots. All of it belongs to the task's goroutine.
type cells interface {
	begin(epoch uint64)
	commit()
	abort()

	touchedCount() int
	appendChanges(c Changelog) error

	dirtyCount() int
	// gather adds the rows that Pebble lacks to r and changes nothing; handedOver then marks them as being on
	// their way with that flush.
	gather(r *rows) error
	handedOver(flushID uint32)

	// size is what the liveCount entries take.
	size() int64
	liveCount() int
	// evict drops entries that Pebble has, applied being the last flush it has, until about want bytes are
	// free.
	evict(want int64, applied uint32) int64
	// reset empties the cache. complete says that Pebble has no rows either.
	reset(complete bool)
	// restoreRow takes a record of the changelog, by the row's key, where there is no Pebble to take it.
	restoreRow(key, value []byte, timestampMs int64) error
}

// storeBase is what all kinds of store have in common: all but the typed access.
type storeBase struct {
	task *Task
	name string
	id   uint32
	cells

	stored    Position // in Pebble
	hasStored bool
	committed Position // of the committed content; goes to Pebble with the next flush if positionDirty

	positionDirty bool

	memory bool   // there is no Pebble behind the store
	timed  *timed // of a store whose rows expire, or nil

	restoring rows
	rowKey    []byte // of the record being restored
	// restorePut takes a record of the changelog instead of the rows, if it is not nil.
	restorePut    func(key, value []byte, timestampMs int64) error
	putting       bool // between beginPuts and finishPuts
	restoredBytes int  // since beginPuts
}

// restoreBatchBytes is how many changelog records are sorted and written at a time.
const restoreBatchBytes = 4 << 20

// openBase finds the store in Pebble. complete reports that it has no rows there.
func openBase(t *Task, name string, settings []Setting) (s *storeBase, complete bool, err error) {
	if t.epoch != 0 {
		return nil, false, fmt.Errorf("state: store %s of task %s is opened within epoch %d", name, t.name, t.epoch)
	}
	for _, other := range t.stores {
		if other.name == name {
			return nil, false, fmt.Errorf("state: store %s of task %s is open already", name, t.name)
		}
	}
	s = &storeBase{task: t, name: name}
	for _, set := range settings {
		set(s)
	}
	if s.memory {
		return s, true, nil
	}
	if s.id, err = t.db.storeID(storeName{t.name, name}); err != nil {
		return nil, false, err
	}
	s.restoring.id = s.id
	if err := s.readPosition(); err != nil {
		return nil, false, s.fault("read position", err)
	}
	empty, err := s.emptyInPebble()
	if err != nil {
		return nil, false, s.fault("look for rows", err)
	}
	if !empty && !s.hasStored {
		// Rows of a restore that did not finish (layout.go, invariant 2).
		if err := s.clear(); err != nil {
			return nil, false, s.fault("discard", err)
		}
		empty = true
	}
	return s, empty, nil
}

func (s *storeBase) readPosition() error {
	b, closer, err := s.task.db.pebble.Get(positionKey(s.id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.stored, err = parsePosition(b)
	s.hasStored = err == nil
	return errors.Join(err, closer.Close())
}

func (s *storeBase) emptyInPebble() (bool, error) {
	it, err := s.iterate()
	if err != nil {
		return false, err
	}
	empty := !it.First()
	return empty, it.Close()
}

// iterate returns an iterator over the store's rows in Pebble.
func (s *storeBase) iterate() (*pebble.Iterator, error) {
	return s.task.db.pebble.NewIter(&pebble.IterOptions{
		LowerBound: appendID(nil, s.id),
		UpperBound: appendID(nil, s.id+1),
	})
}

// fault says where an error happened.
func (s *storeBase) fault(step string, err error) error {
	return &storeError{store: s.name, task: s.task.name, step: step, err: corrupt(err)}
}

// storeError says where an error happened.
type storeError struct {
	store, task, step string
	err               error
}

func (e *storeError) Error() string {
	return fmt.Sprintf("state: store %s of task %s: %s: %v", e.store, e.task, e.step, e.err)
}

func (e *storeError) Unwrap() error { return e.err }

// Failed reports whether an error means that the state cannot be read or written, as when a disk fails: then more is
// at stake than one record. It is false for an error of a serde that was given one key or value, which leaves the
// store as it was, and for errors of others.
func Failed(err error) bool {
	if e, ok := errors.AsType[*storeError](err); ok {
		return !strings.HasPrefix(e.step, "encode ") && !strings.HasPrefix(e.step, "decode ")
	}
	_, ok := errors.AsType[*dbError](err)
	return ok
}

// unflushedBytes takes the dirty entries to be as large as the others.
func (s *storeBase) unflushedBytes() int64 {
	live := s.liveCount()
	if live == 0 || s.memory {
		return 0
	}
	return s.size() / int64(live) * int64(s.dirtyCount())
}

func (s *storeBase) Name() string { return s.name }
func (s *storeBase) Touched() int { return s.touchedCount() }

func (s *storeBase) AppendChanges(c Changelog) error {
	if err := s.appendChanges(c); err != nil {
		return s.fault("append changes", err)
	}
	return nil
}

func (s *storeBase) SetPosition(p Position) {
	if s.memory {
		return
	}
	s.committed, s.positionDirty = p, true
	s.task.becameDirty()
}

func (s *storeBase) Stored() (Position, bool) {
	s.task.reap()
	return s.stored, s.hasStored
}

func (s *storeBase) Discard() error {
	if err := s.betweenEpochs("discard"); err != nil {
		return err
	}
	if s.putting { // a restore that did not finish
		s.putting = false
		s.abort()
	}
	if err := s.task.settle(); err != nil { // a flush that lands later would bring rows back
		return err
	}
	if !s.memory {
		if err := s.clear(); err != nil {
			return s.fault("discard", err)
		}
	}
	s.reset(true)
	s.task.publish()
	return nil
}

func (s *storeBase) betweenEpochs(step string) error {
	if s.task.epoch != 0 {
		return s.fault(step, fmt.Errorf("epoch %d is open", s.task.epoch))
	}
	return nil
}

// clear deletes the store's rows and position in Pebble.
func (s *storeBase) clear() error {
	b := s.task.db.pebble.NewBatch()
	if err := errors.Join(
		b.DeleteRange(appendID(nil, s.id), appendID(nil, s.id+1), nil),
		b.Delete(positionKey(s.id), nil),
		b.Delete(clockKey(s.id), nil),
	); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := s.task.db.apply(b); err != nil {
		return err
	}
	s.stored, s.hasStored = Position{}, false
	s.committed, s.positionDirty = Position{}, false
	s.restoring.reset()
	return nil
}

func (s *storeBase) Restore(key, value []byte, timestampMs int64) error {
	if s.restorePut != nil {
		return s.restorePut(key, value, timestampMs)
	}
	if s.restoring.len() == 0 {
		if err := s.beginRestore(); err != nil {
			return err
		}
	}
	if s.timed != nil {
		row, live, err := s.timed.restoreKey(s.rowKey[:0], key)
		if err != nil {
			return s.fault("restore", err)
		}
		s.rowKey = row
		if !live {
			return nil
		}
		key = row
	}
	if s.memory {
		if err := s.cells.restoreRow(key, value, timestampMs); err != nil {
			return s.fault("restore", err)
		}
		return nil
	}
	r := &s.restoring
	if value == nil {
		r.delete(key)
	} else {
		r.end(append(r.begin(key, timestampMs), value...), len(key))
	}
	if len(r.arena) < restoreBatchBytes {
		return nil
	}
	return s.writeRestored(nil)
}

// beginRestore makes sure that the cache hides nothing of what goes past it.
func (s *storeBase) beginRestore() error {
	if err := s.betweenEpochs("restore"); err != nil {
		return err
	}
	if s.memory {
		return nil
	}
	if err := s.task.settle(); err != nil {
		return err
	}
	if n := s.dirtyCount(); n > 0 {
		return s.fault("restore", fmt.Errorf("%d keys wait to be flushed; flush or discard them first", n))
	}
	s.reset(false)
	s.task.publish()
	return nil
}

func (s *storeBase) Restored(p Position) error {
	if err := s.betweenEpochs("restore"); err != nil {
		return err
	}
	if err := s.task.settle(); err != nil {
		return err
	}
	if s.restorePut != nil {
		if err := s.finishPuts(&p); err != nil {
			return err
		}
	} else if !s.memory {
		if err := s.writeRestored(&p); err != nil {
			return err
		}
	}
	if s.memory {
		return nil
	}
	s.stored, s.hasStored = p, true
	s.committed, s.positionDirty = p, false
	s.restoring = rows{id: s.id} // its memory is not needed any more
	return nil
}

// writeRestored writes the gathered records, and p with them if it is not nil.
func (s *storeBase) writeRestored(p *Position) error {
	r := &s.restoring
	if s.timed != nil {
		r.clock = s.timed.clockRow()
	}
	b := s.task.db.pebble.NewBatchWithSize(r.batchBytes() + positionLen)
	err := r.appendTo(b)
	if err == nil && p != nil {
		err = b.Set(positionKey(s.id), appendPosition(nil, *p), nil)
	}
	if err != nil {
		return s.fault("restore", errors.Join(err, b.Close()))
	}
	if err := s.task.db.apply(b); err != nil {
		return s.fault("restore", err)
	}
	r.reset()
	r.clock, r.expired = nil, nil
	return nil
}
