package state

import (
	"context"
	"fmt"
	"time"
)

// Task is one task's part of the database: its stores, which live in the same epochs and are flushed
// together. It belongs to one goroutine at a time; handing it over must happen-before its next use.
//
//	           BeginEpoch                     CommitEpoch
//	between epochs -------> epoch open ----------------------> between epochs
//	   |                        |  AbortEpoch: every entry has
//	   | StartFlush, Trim       +---- its committed value back -> between epochs
//	   v
//	one batch, sorted, with positions -> written in the background
type Task struct {
	db     *DB
	name   string
	stores []*storeBase
	epoch  uint64 // the open one; 0: none
	last   uint64 // the last that was begun
	closed bool

	puttings uint64 // restores that put (storeBase.beginPuts)

	flushID  uint32   // of the last flush that was started
	applied  uint32   // of the last flush that Pebble has
	inFlight []*flush // started and not known to be in Pebble, in order

	dirtySince time.Time // when the first thing that is not flushed was committed; zero: all is flushed
	published  int64     // what DB.cacheBytes counts of this task
	unflushed  int64     // what DB.unflushed counts of this task
}

// Name returns the name the task was opened with.
func (t *Task) Name() string { return t.name }

// Stores returns the task's open stores in the order they were opened in.
func (t *Task) Stores() []Store {
	s := make([]Store, len(t.stores))
	for i, b := range t.stores {
		s[i] = b
	}
	return s
}

// add makes the store one of the task's.
func (t *Task) add(s *storeBase, c cells) {
	s.cells = c
	t.stores = append(t.stores, s)
}

// BeginEpoch starts an epoch: what is put from now on is committed together or not at all. Ids are greater
// than 0 and grow.
func (t *Task) BeginEpoch(id uint64) {
	if t.epoch != 0 || id <= t.last {
		panic(fmt.Sprintf("state: task %s: epoch %d begins after %d, with %d open (0: none)", t.name, id, t.last, t.epoch))
	}
	t.epoch, t.last = id, id
	for _, s := range t.stores {
		s.begin(id)
	}
}

// CommitEpoch makes the epoch's puts the committed content. It looks at no entry: each takes its commit
// step when it is next touched.
func (t *Task) CommitEpoch() {
	if t.epoch == 0 {
		panic(fmt.Sprintf("state: task %s: no epoch to commit after %d", t.name, t.last))
	}
	t.epoch = 0
	for _, s := range t.stores {
		if s.touchedCount() > 0 && !s.memory {
			t.becameDirty()
		}
		s.commit()
	}
	t.publish()
}

// AbortEpoch takes the epoch's puts back: all stores have the content of the last commit again. Without an
// open epoch it does nothing.
func (t *Task) AbortEpoch() {
	if t.epoch == 0 {
		return
	}
	t.epoch = 0
	for _, s := range t.stores {
		s.abort()
	}
	t.publish()
}

func (t *Task) becameDirty() {
	if t.dirtySince.IsZero() {
		t.dirtySince = t.db.opts.Now()
	}
}

// publish brings the database's sums up to date.
func (t *Task) publish() {
	var size, unflushed int64
	for _, s := range t.stores {
		if s.memory {
			continue
		}
		size += s.size()
		unflushed += s.unflushedBytes()
	}
	t.db.cacheBytes.Add(size - t.published)
	t.db.unflushed.Add(unflushed - t.unflushed)
	t.published, t.unflushed = size, unflushed
}

// FlushDue reports whether it is time for StartFlush: committed content has waited for FlushInterval, or
// there is too much of it over all tasks and not less than its share is here. It is to be asked of every
// task between epochs, idle ones too.
func (t *Task) FlushDue() bool {
	t.reap()
	if t.dirtySince.IsZero() || t.epoch != 0 || len(t.inFlight) > 0 || t.db.Err() != nil {
		return false
	}
	if t.db.opts.Now().Sub(t.dirtySince) >= t.db.opts.FlushInterval {
		return true
	}
	unflushed := t.db.unflushed.Load()
	return unflushed >= t.db.opts.FlushBytes &&
		t.db.flushing.Load() < t.db.opts.FlushBytes &&
		t.unflushed*t.db.openTasks.Load() >= unflushed
}

// StartFlush hands all committed content that Pebble does not have, and the stores' positions, to the
// background, which writes them as one batch. Until it is written, the entries stay in the cache. It is for
// between epochs. A flush under way does not keep it from starting the next.
//
// It returns the error of a database that has failed, and that of a value that cannot be encoded.
func (t *Task) StartFlush() error {
	if t.epoch != 0 {
		return fmt.Errorf("state: task %s: flush within epoch %d", t.name, t.epoch)
	}
	if err := t.db.Err(); err != nil {
		return err
	}
	t.reap()
	if t.dirtySince.IsZero() {
		return nil
	}
	f := &flush{done: make(chan struct{}), bytes: t.unflushed}
	for _, s := range t.stores {
		if !s.memory && (s.dirtyCount() > 0 || s.timed != nil && s.timed.dropDue) {
			r := &rows{id: s.id}
			if err := s.gather(r); err != nil {
				return s.fault("flush", err)
			}
			f.rows = append(f.rows, r)
		}
		if s.positionDirty {
			f.positions = append(f.positions, storedPosition{s, s.id, s.committed})
		}
	}
	if n := len(t.inFlight); n > 0 {
		f.after = t.inFlight[n-1]
	}
	t.flushID++
	for _, s := range t.stores {
		s.handedOver(t.flushID)
		s.positionDirty = false
	}
	t.inFlight = append(t.inFlight, f)
	t.dirtySince = time.Time{}
	t.db.flushing.Add(f.bytes)
	t.publish()
	t.db.background.Go(func() { f.run(t.db) })
	return nil
}

// reap notices which flushes have been written.
func (t *Task) reap() {
	for len(t.inFlight) > 0 {
		f := t.inFlight[0]
		select {
		case <-f.done:
		default:
			return
		}
		if t.db.Err() != nil {
			return // it may not have been written
		}
		t.applied++
		for _, p := range f.positions {
			p.store.stored, p.store.hasStored = p.at, true
		}
		t.inFlight = t.inFlight[1:]
	}
	t.inFlight = nil
}

// WaitFlush waits until what StartFlush was called for is written, ctx is done, or the database has failed.
func (t *Task) WaitFlush(ctx context.Context) error {
	if n := len(t.inFlight); n > 0 {
		select {
		case <-t.inFlight[n-1].done:
		case <-t.db.failed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t.reap()
	return t.db.Err()
}

// settle waits for the flushes under way.
func (t *Task) settle() error { return t.WaitFlush(context.Background()) }

// Trim evicts entries that Pebble has while the caches of all tasks are over CacheBytes: this task's share
// of what is too much, those first that have not been used for a while. It is for between epochs.
func (t *Task) Trim() {
	t.reap()
	total := t.db.cacheBytes.Load()
	limit := t.db.opts.CacheBytes
	if total <= limit || t.epoch != 0 || t.published == 0 {
		return
	}
	// A little more than needed, so that the next commit has room and the clock's hand moves in strides.
	over := total - limit + limit/32
	share := float64(over) * (float64(t.published) / float64(total))
	for _, s := range t.stores {
		if s.memory {
			continue
		}
		want := int64(share*(float64(s.size())/float64(t.published))) + 1
		s.evict(want, t.applied)
	}
	t.publish()
}

// Close ends the task. An open epoch is aborted; a flush under way is waited for, and none is started.
func (t *Task) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	t.AbortEpoch()
	err := t.settle()
	for _, s := range t.stores {
		s.reset(false)
	}
	t.publish()
	t.db.openTasks.Add(-1)
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	delete(t.db.tasks, t.name)
	return err
}
