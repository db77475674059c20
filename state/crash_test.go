package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/moldau-io/moldau/serde"
)

// This file is the workload of the crash tests: two tasks with two stores each, beside their changelogs, and a
// history of what Pebble was given. Whatever a crash leaves is held against the two:
//
//  1. a store has the content of its changelog up to its position, or neither rows nor position;
//  2. the positions of a task's stores are those of one of its batches, or of none;
//  3. batches are lost from the end: if one is there, so are all that were written before it was begun.

// crashStore is a store of either kind: the values of one are kept live in the cache, those of the other encoded.
type crashStore struct {
	name  string
	store Store
	use   func(k string, v int64, ts int64) error // 0 deletes
	rows  func() (map[string]string, error)
	log   changelog // what is committed
}

// contentAt is what the store has at a position.
func contentAt(c changelog) map[string]string {
	m := map[string]string{}
	for _, r := range c {
		if r.value == nil {
			delete(m, string(r.key))
		} else {
			m[string(r.key)] = fmt.Sprintf("%x@%d", r.value, r.timestamp)
		}
	}
	return m
}

// noPosition says that a store has none.
const noPosition = -1

// batch is what a task has handed to Pebble: the positions of its stores afterwards. Its time is a count of
// what the workload did: it was written after begun and before done.
type batch struct {
	positions   []int64
	begun, done int
}

type crashTask struct {
	name    string
	task    *Task
	stores  []*crashStore
	history []batch
	pending []int // batches of which it is not known that they are written
}

// crashWork drives a database. It is for one goroutine, but for capture.
type crashWork struct {
	fs    vfs.FS
	tune  func(*pebble.Options)
	plant func(*storeBase) // plants a fault in a store; nil: none. Not for whoever looks at a crash
	rng   *rand.Rand
	db    *DB
	epoch uint64

	mu    sync.Mutex // guards the tasks' histories and the stores' logs
	tasks []*crashTask
	tick  int
}

var crashTopic = uuid.MustParse("22222222-3333-4444-5555-666666666666")

func newCrashWork(fs vfs.FS, tune func(*pebble.Options), seed uint64) *crashWork {
	w := &crashWork{fs: fs, tune: tune, rng: rand.New(rand.NewPCG(seed, 1))}
	for i := range 2 {
		w.tasks = append(w.tasks, &crashTask{
			name:    fmt.Sprintf("app/%d", i),
			stores:  []*crashStore{{name: "counts"}, {name: "texts"}},
			history: []batch{{positions: []int64{noPosition, noPosition}}},
		})
	}
	return w
}

// small has Pebble write tables, merge them and begin new manifests after a few batches.
func small(o *pebble.Options) {
	o.MemTableSize = 96 << 10
	o.MaxManifestFileSize = 1 << 10
	o.L0CompactionThreshold = 2
	o.LBaseMaxBytes = 64 << 10
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 16 << 10
	}
}

// withoutWAL is small without a write-ahead log.
func withoutWAL(o *pebble.Options) {
	small(o)
	o.DisableWAL = true
}

// open opens the database and the stores as they are.
func (w *crashWork) open() (err error) {
	if w.db, err = Open("state", Options{FS: w.fs, CacheBytes: 8 << 10, tune: w.tune}); err != nil {
		return err
	}
	for _, t := range w.tasks {
		if err := w.openTask(t); err != nil {
			return err
		}
	}
	return nil
}

func (w *crashWork) openTask(t *crashTask) (err error) {
	if t.task, err = w.db.Task(t.name); err != nil {
		return err
	}
	t.task.last = w.epoch
	ints, err := OpenKeyValue(t.task, t.stores[0].name, serde.String, serde.Int64)
	if err != nil {
		return err
	}
	texts, err := OpenKeyValue(t.task, t.stores[1].name, serde.String, serde.Bytes)
	if err != nil {
		return err
	}
	if w.plant != nil {
		w.plant(ints.storeBase)
		w.plant(texts.storeBase)
	}
	bind(t.stores[0], ints, func(v int64) int64 { return v })
	bind(t.stores[1], texts, func(v int64) []byte { return []byte(fmt.Sprintf("%0*d", 20+v*37%3000, v)) })
	return nil
}

func bind[V any](s *crashStore, kv *KeyValueStore[string, V], value func(int64) V) {
	s.store = kv
	s.use = func(k string, v, ts int64) error {
		if v == 0 {
			return kv.Delete(k, ts)
		}
		return kv.Put(k, value(v), ts)
	}
	s.rows = func() (map[string]string, error) {
		m := map[string]string{}
		for r, err := range kv.All() {
			if err != nil {
				return nil, err
			}
			b, err := kv.valueSerde.Append(nil, r.Value)
			if err != nil {
				return nil, err
			}
			m[r.Key] = fmt.Sprintf("%x@%d", b, r.Timestamp)
		}
		return m, nil
	}
}

// now moves time on.
func (w *crashWork) now() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tick++
	return w.tick
}

// hand notes a batch that is about to be handed to Pebble.
func (w *crashWork) hand(t *crashTask, positions []int64) int {
	begun := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	t.history = append(t.history, batch{positions, begun, math.MaxInt})
	t.pending = append(t.pending, len(t.history)-1)
	return len(t.history) - 1
}

// written notes that all batches of a task that were handed over are in Pebble.
func (w *crashWork) written(t *crashTask) {
	done := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range t.pending {
		t.history[i].done = done
	}
	t.pending = nil
}

// last are the positions after the last batch.
func (t *crashTask) last() []int64 { return slices.Clone(t.history[len(t.history)-1].positions) }

// committed are the positions of what is committed.
func (t *crashTask) committed() []int64 {
	p := t.last()
	for i, s := range t.stores {
		if len(s.log) > 0 {
			p[i] = int64(len(s.log))
		}
	}
	return p
}

func (s *crashStore) position() Position {
	return Position{TopicID: crashTopic, LeaderEpoch: 1, Offset: int64(len(s.log))}
}

// step does one of the things that a runtime does with a database.
func (w *crashWork) step() error {
	t := w.tasks[w.rng.IntN(len(w.tasks))]
	switch n := w.rng.IntN(100); {
	case n < 55:
		return w.oneEpoch(t)
	case n < 75:
		return w.flush(t)
	case n < 85:
		if err := t.task.WaitFlush(context.Background()); err != nil {
			return err
		}
		w.written(t)
		return nil
	case n < 90:
		t.task.Trim()
		return nil
	case n < 93:
		return w.discard(t, w.rng.IntN(len(t.stores)))
	case n < 97:
		if err := t.task.Close(); err != nil {
			return err
		}
		w.written(t)
		if err := w.openTask(t); err != nil {
			return err
		}
		return w.goOn(t)
	default:
		if err := w.close(); err != nil {
			return err
		}
		return w.reopen()
	}
}

func (w *crashWork) oneEpoch(t *crashTask) error {
	w.epoch++
	t.task.BeginEpoch(w.epoch)
	for _, s := range t.stores {
		for range w.rng.IntN(12) {
			// One value in four is a delete.
			v := int64(w.epoch) * min(int64(w.rng.IntN(4)), 1)
			if err := s.use("k"+strconv.Itoa(w.rng.IntN(25)), v, int64(w.epoch)); err != nil {
				return err
			}
		}
	}
	if w.rng.IntN(5) == 0 {
		t.task.AbortEpoch()
		return nil
	}
	changes := make([]changelog, len(t.stores))
	for i, s := range t.stores {
		if err := s.store.AppendChanges(&changes[i]); err != nil {
			return err
		}
	}
	w.mu.Lock()
	for i, s := range t.stores {
		s.log = append(s.log, changes[i]...)
	}
	w.mu.Unlock()
	t.task.CommitEpoch()
	for i, s := range t.stores {
		if len(changes[i]) > 0 {
			s.store.SetPosition(s.position())
		}
	}
	return nil
}

func (w *crashWork) flush(t *crashTask) error {
	w.hand(t, t.committed())
	return t.task.StartFlush()
}

// discard empties a store and restores it from its changelog.
func (w *crashWork) discard(t *crashTask, i int) error {
	if err := t.task.WaitFlush(context.Background()); err != nil {
		return err
	}
	w.written(t)
	p := t.last()
	p[i] = noPosition
	w.hand(t, p)
	if err := t.stores[i].store.Discard(); err != nil {
		return err
	}
	w.written(t)
	return w.restore(t, i, 0)
}

func (w *crashWork) restore(t *crashTask, i int, from int64) error {
	s := t.stores[i]
	if from == int64(len(s.log)) {
		return nil
	}
	for _, r := range s.log[from:] {
		if err := s.store.Restore(r.key, r.value, r.timestamp); err != nil {
			return err
		}
	}
	p := t.last()
	p[i] = int64(len(s.log))
	w.hand(t, p)
	if err := s.store.Restored(s.position()); err != nil {
		return err
	}
	w.written(t)
	return nil
}

// goOn restores what a task's stores lack.
func (w *crashWork) goOn(t *crashTask) error {
	for i, s := range t.stores {
		p, _ := s.store.Stored()
		if err := w.restore(t, i, p.Offset); err != nil {
			return err
		}
	}
	return nil
}

// reopen opens the database as it is on the files. What it has lost, if anything, is not to come back.
func (w *crashWork) reopen() error {
	if err := w.open(); err != nil {
		return err
	}
	found, err := w.find(w.histories())
	if err != nil {
		return err
	}
	w.mu.Lock()
	for i, t := range w.tasks {
		t.history, t.pending = slices.Clip(t.history[:found[i]+1]), nil
	}
	w.mu.Unlock()
	for _, t := range w.tasks {
		w.written(t)
		if err := w.goOn(t); err != nil {
			return err
		}
	}
	return nil
}

func (w *crashWork) close() error {
	if w.db == nil {
		return nil
	}
	var errs []error
	for _, t := range w.tasks {
		if t.task != nil {
			errs = append(errs, t.task.Close())
		}
	}
	errs = append(errs, w.db.Close())
	for _, t := range w.tasks {
		w.written(t)
	}
	return errors.Join(errs...)
}

func (w *crashWork) histories() [][]batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out [][]batch
	for _, t := range w.tasks {
		out = append(out, slices.Clone(t.history))
	}
	return out
}

// capture makes a workload that goes on, on other files, from what this one is at now. It may be called by
// any goroutine.
func (w *crashWork) capture(fs vfs.FS, seed uint64) *crashWork {
	c := newCrashWork(fs, w.tune, seed)
	w.mu.Lock()
	defer w.mu.Unlock()
	c.tick = w.tick
	for i, t := range w.tasks {
		c.tasks[i].history = slices.Clone(t.history)
		for j, s := range t.stores {
			c.tasks[i].stores[j].log = slices.Clip(s.log)
		}
	}
	return c
}

// errOracle is matched by what is said against a database that answers: it answers wrongly.
var errOracle = errors.New("wrong")

// find looks at the open database, and returns for each task the last batch that it may have, given what was
// handed to it.
func (w *crashWork) find(histories [][]batch) ([]int, error) {
	candidates := make([][]int, len(w.tasks))
	for i, t := range w.tasks {
		var positions []int64
		for _, s := range t.stores {
			p, ok := s.store.Stored()
			if !ok {
				p.Offset = noPosition
			} else if p != (Position{TopicID: crashTopic, LeaderEpoch: 1, Offset: p.Offset, WallTime: p.WallTime}) {
				return nil, fmt.Errorf("%w: task %s: store %s: position %+v was never set", errOracle, t.name, s.name, p)
			}
			if p.Offset > int64(len(s.log)) {
				return nil, fmt.Errorf("%w: task %s: store %s: position %d is ahead of the changelog, which ends at %d", errOracle, t.name, s.name, p.Offset, len(s.log))
			}
			positions = append(positions, p.Offset)
			rows, err := s.rows()
			if err != nil {
				return nil, err
			}
			if want := contentAt(s.log[:max(p.Offset, 0)]); !maps.Equal(rows, want) {
				return nil, fmt.Errorf("%w: task %s: store %s at position %d has %v, want %v", errOracle, t.name, s.name, p.Offset, rows, want)
			}
		}
		for j, b := range histories[i] {
			if slices.Equal(b.positions, positions) {
				candidates[i] = append(candidates[i], j)
			}
		}
		if candidates[i] == nil {
			return nil, fmt.Errorf("%w: task %s: positions %v are of no batch: %+v", errOracle, t.name, positions, histories[i])
		}
	}
	for _, a := range slices.Backward(candidates[0]) {
		for _, b := range slices.Backward(candidates[1]) {
			if inOrder(histories[0], a, histories[1], b) && inOrder(histories[1], b, histories[0], a) {
				return []int{a, b}, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: a batch is there, and one that was written before it is not: batches %v of %+v, %v of %+v",
		errOracle, candidates[0], histories[0], candidates[1], histories[1])
}

// inOrder reports whether nothing of which is there, up to batch i, was begun after something was written that is
// not, beyond batch j of the other.
func inOrder(there []batch, i int, other []batch, j int) bool {
	return j+1 == len(other) || there[i].begun <= other[j+1].done
}
