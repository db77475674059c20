package state

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/serde"
)

// record is one of a simulated changelog. A nil value is a delete.
type record struct {
	key, value []byte
	timestamp  int64
}

// changelog gathers what an epoch appends.
type changelog []record

func (c *changelog) Append(key, value []byte, timestampMs int64) error {
	*c = append(*c, record{slices.Clone(key), clone(value), timestampMs})
	return nil
}

// compacted is what compaction may leave of it in the end: of each key the last record, if it is no delete.
func (c changelog) compacted() changelog {
	last := map[string]int{}
	for i, r := range c {
		last[string(r.key)] = i
	}
	var kept changelog
	for i, r := range c {
		if last[string(r.key)] == i && r.value != nil {
			kept = append(kept, r)
		}
	}
	return kept
}

// clone keeps nil nil and empty empty.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

type modelValue[V any] struct {
	v  V
	ts int64
}

// model is a store beside plain maps that say what it must hold.
type model[V any] struct {
	name               string
	serde              serde.Serde[V]
	values             *rapid.Generator[V]
	store              *KeyValueStore[string, V]
	topic              uuid.UUID
	log                changelog // committed
	current, committed map[string]modelValue[V]
	touched            []string         // in this epoch, in order of first touch
	deletedAt          map[string]int64 // in this epoch, and not put again
	mutate             func(V)          // changes what it is given, if that can be done
	openStore          func(*Task) (*KeyValueStore[string, V], error)
	ordered            *OrderedStore[string, V] // nil: the store is not
}

// modelStore is a model whatever its values are.
type modelStore interface {
	open(t *rapid.T, task *Task)
	use(t *rapid.T)
	checkRow(t *rapid.T)
	checkAll(t *rapid.T)
	commitRecords(t *rapid.T) changelog
	committedNow(t *rapid.T, c changelog)
	aborted()
	discard(t *rapid.T)
	position() Position
	base() *storeBase
}

func newModel[V any](name string, s serde.Serde[V], values *rapid.Generator[V], mutate func(V)) *model[V] {
	return &model[V]{
		name: name, serde: s, values: values, mutate: mutate, topic: uuid.New(),
		current: map[string]modelValue[V]{}, committed: map[string]modelValue[V]{}, deletedAt: map[string]int64{},
		openStore: func(task *Task) (*KeyValueStore[string, V], error) { return OpenKeyValue(task, name, serde.String, s) },
	}
}

func (m *model[V]) base() *storeBase { return m.store.storeBase }

func (m *model[V]) position() Position {
	return Position{TopicID: m.topic, LeaderEpoch: 3, Offset: int64(len(m.log)), WallTime: time.UnixMilli(1e12).UTC()}
}

// open opens the store and restores it by the rules from what the changelog has beyond its position.
func (m *model[V]) open(t *rapid.T, task *Task) {
	var err error
	if m.store, err = m.openStore(task); err != nil {
		t.Fatal(err)
	}
	p, ok := m.store.Stored()
	usable, reason := Usable(p, ok, ChangelogFacts{TopicID: m.topic, LeaderEpoch: 3, End: int64(len(m.log))})
	if !usable {
		if ok {
			t.Fatalf("store %s: position %+v is not usable: %s", m.name, p, reason)
		}
		if err := m.store.Discard(); err != nil {
			t.Fatal(err)
		}
		p.Offset = 0
	}
	m.restore(t, p.Offset)
}

func (m *model[V]) restore(t *rapid.T, from int64) {
	var key, value []byte // used again, as a reader may
	records := m.log[from:]
	if from == 0 {
		records = m.log.compacted()
	}
	for _, r := range records {
		key = append(key[:0], r.key...)
		v := r.value
		if v != nil {
			value = append(value[:0], v...)
			v = value[:len(value):len(value)]
			if len(v) == 0 {
				v = []byte{}
			}
		}
		if err := m.store.Restore(key, v, r.timestamp); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.store.Restored(m.position()); err != nil {
		t.Fatal(err)
	}
	if p, ok := m.store.Stored(); !m.store.memory && (!ok || p != m.position()) {
		t.Fatalf("stored position %+v, %v after a restore to %+v", p, ok, m.position())
	}
}

func (m *model[V]) discard(t *rapid.T) {
	if err := m.store.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.store.Stored(); ok {
		t.Fatal("a discarded store has a position")
	}
	for row, err := range m.store.All() {
		t.Fatalf("a discarded store has a row: %+v, %v", row, err)
	}
	m.restore(t, 0)
}

// Keys of which some are prefixes of others, one is empty, and the order of bytes is not that of runes.
var modelKeys = []string{"", "a", "aa", "aaaaaaaa", "aaaaaaaab", "b", "\x00", "\xff", "\xff\xff", "zürich", "k1", "k2", "k3", "k4", "a key that is longer than eight bytes"}

func (m *model[V]) use(t *rapid.T) {
	k := rapid.SampledFrom(modelKeys).Draw(t, "key")
	e, err := m.store.Entry(k)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Get()
	if err != nil {
		t.Fatal(err)
	}
	m.same(t, "before a put", k, got, m.current)
	if m.mutate != nil && got.OK {
		m.mutate(got.V) // must not be seen anywhere
	}
	if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
		ts := rapid.Int64Range(0, 1e13).Draw(t, "ts")
		if err := e.Delete(ts); err != nil {
			t.Fatal(err)
		}
		delete(m.current, k)
		m.deletedAt[k] = ts
	} else {
		v, ts := m.values.Draw(t, "value"), rapid.Int64Range(0, 1e13).Draw(t, "ts")
		if err := e.Put(v, ts); err != nil {
			t.Fatal(err)
		}
		// The model keeps its own copy, by way of the bytes.
		m.current[k] = modelValue[V]{m.copy(t, v), ts}
		delete(m.deletedAt, k)
		if m.mutate != nil {
			m.mutate(v)
		}
	}
	if !slices.Contains(m.touched, k) {
		m.touched = append(m.touched, k)
	}
}

func (m *model[V]) copy(t *rapid.T, v V) V {
	b, err := m.serde.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = m.serde.Decode(append([]byte{}, b...)); err != nil {
		t.Fatal(err)
	}
	return v
}

func (m *model[V]) same(t *rapid.T, when, k string, got Value[V], want map[string]modelValue[V]) {
	t.Helper()
	w, ok := want[k]
	if ok != got.OK || ok && (!reflect.DeepEqual(got.V, w.v) || got.Timestamp != w.ts) {
		t.Fatalf("store %s, %s: %q is %+v, want %+v (%v)", m.name, when, k, got, w, ok)
	}
}

func (m *model[V]) checkRow(t *rapid.T) {
	k := rapid.SampledFrom(modelKeys).Draw(t, "key")
	got, err := m.store.Get(k)
	if err != nil {
		t.Fatal(err)
	}
	m.same(t, "get", k, got, m.current)
	if m.mutate != nil && got.OK {
		m.mutate(got.V)
	}
	m.checkReader(t)
}

func (m *model[V]) checkAll(t *rapid.T) {
	i := 0
	want := slices.Sorted(maps.Keys(m.current))
	for row, err := range m.store.All() {
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(want) || row.Key != want[i] {
			t.Fatalf("store %s: row %d has key %q, want the keys %q", m.name, i, row.Key, want)
		}
		m.same(t, "scan", row.Key, Value[V]{row.Value, row.Timestamp, true}, m.current)
		if m.mutate != nil {
			m.mutate(row.Value)
		}
		i++
	}
	if i < len(want) {
		t.Fatalf("store %s: scan ends after %d rows, want %q", m.name, i, want)
	}
	for range m.store.All() {
		break // an early end leaves nothing open; Close of the database would tell
	}
	m.checkReader(t)
}

// commitRecords checks what the epoch says it did.
func (m *model[V]) commitRecords(t *rapid.T) changelog {
	var seen []string
	if err := m.store.EachTouched(func(k string, now, before Value[V]) error {
		seen = append(seen, k)
		m.same(t, "touched, now", k, now, m.current)
		m.same(t, "touched, before", k, before, m.committed)
		if !now.OK && now.Timestamp != m.deletedAt[k] || !before.OK && before.Timestamp != 0 {
			t.Fatalf("store %s: %q was deleted at %d, want %d; before: %+v", m.name, k, now.Timestamp, m.deletedAt[k], before)
		}
		if m.mutate != nil && now.OK {
			m.mutate(now.V)
		}
		if m.mutate != nil && before.OK {
			m.mutate(before.V)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, m.touched) || m.store.Touched() != len(m.touched) {
		t.Fatalf("store %s: touched %q (%d), want %q", m.name, seen, m.store.Touched(), m.touched)
	}
	var c changelog
	if err := m.store.AppendChanges(&c); err != nil {
		t.Fatal(err)
	}
	for i, r := range c {
		k := m.touched[i]
		w, ok := m.current[k]
		if string(r.key) != k || ok != (r.value != nil) {
			t.Fatalf("store %s: change %d is %q=%q, want %q (%v)", m.name, i, r.key, r.value, k, ok)
		}
		if !ok {
			continue
		}
		if v, err := m.serde.Decode(r.value); err != nil || !reflect.DeepEqual(v, w.v) || r.timestamp != w.ts {
			t.Fatalf("store %s: change %q is %v @%d, %v; want %v", m.name, k, v, r.timestamp, err, w)
		}
	}
	for i, r := range c {
		if r.value == nil && r.timestamp != m.deletedAt[m.touched[i]] {
			t.Fatalf("store %s: delete of %q at %d, want %d", m.name, r.key, r.timestamp, m.deletedAt[m.touched[i]])
		}
	}
	if len(c) != len(m.touched) {
		t.Fatalf("store %s: %d changes, want %d", m.name, len(c), len(m.touched))
	}
	return c
}

func (m *model[V]) committedNow(t *rapid.T, c changelog) {
	m.log = append(m.log, c...)
	m.committed = maps.Clone(m.current)
	m.touched = nil
	clear(m.deletedAt)
	m.store.SetPosition(m.position())
}

func (m *model[V]) aborted() {
	m.current = maps.Clone(m.committed)
	m.touched = nil
	clear(m.deletedAt)
}

// modelRun is a database with two tasks under test.
type modelRun struct {
	fs    *vfs.MemFS
	opts  Options
	db    *DB
	tasks []*Task
	of    [][]modelStore // by task
	epoch uint64
	dirty map[*storeBase]int // when the epoch began
	now   time.Time
}

func (r *modelRun) open(t *rapid.T) {
	var err error
	o := r.opts
	o.FS = r.fs
	o.Now = func() time.Time { return r.now }
	if r.db, err = Open("state", o); err != nil {
		t.Fatal(err)
	}
	r.tasks = nil
	for i, stores := range r.of {
		task, err := r.db.Task(fmt.Sprintf("app/%d", i))
		if err != nil {
			t.Fatal(err)
		}
		r.tasks = append(r.tasks, task)
		for _, s := range stores {
			s.open(t, task)
		}
	}
}

func (r *modelRun) begin() {
	r.epoch++
	r.dirty = map[*storeBase]int{}
	for _, task := range r.tasks {
		task.BeginEpoch(r.epoch)
		for _, s := range task.stores {
			r.dirty[s] = s.dirtyCount()
		}
	}
}

func (r *modelRun) commit(t *rapid.T) {
	var changes []changelog
	for _, stores := range r.of {
		for _, s := range stores {
			changes = append(changes, s.commitRecords(t))
		}
	}
	for i, stores := range r.of {
		r.tasks[i].CommitEpoch()
		for _, s := range stores {
			s.committedNow(t, changes[0])
			changes = changes[1:]
		}
	}
}

func (r *modelRun) abort(t *rapid.T) {
	for i, stores := range r.of {
		r.tasks[i].AbortEpoch()
		for _, s := range stores {
			s.aborted()
			if n := s.base().dirtyCount(); n != r.dirty[s.base()] {
				t.Fatalf("store %s: %d keys wait for a flush after an abort, %d before the epoch", s.base().name, n, r.dirty[s.base()])
			}
		}
	}
}

func (r *modelRun) close(t *rapid.T) {
	for i, stores := range r.of {
		if err := r.tasks[i].Close(); err != nil {
			t.Fatal(err)
		}
		for _, s := range stores {
			s.aborted()
		}
	}
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := r.db.cacheBytes.Load(); n != 0 {
		t.Fatalf("closed tasks leave %d cached bytes", n)
	}
	if n := r.db.unflushed.Load() + r.db.flushing.Load(); n != 0 {
		t.Fatalf("closed tasks leave %d unflushed bytes", n)
	}
}

// crash opens what a crashed machine might find on its disk.
func (r *modelRun) crash(t *rapid.T) {
	after := r.fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "unsynced"),
		RNG:                 rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed"))),
	})
	r.close(t)
	r.fs = after
}

// Stores of each kind of value, in two tasks, beside plain maps: random epochs, aborts, flushes, evictions
// from a cache that is far too small, restores, and restarts with and without a crash.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		testModel(t, func() []modelStore {
			return []modelStore{
				newModel("counts", serde.Int64, rapid.Int64(), nil),
				newModel("names", serde.String, rapid.StringN(0, 10, -1), nil),
				newModel("maps", serde.JSON[map[string]int](), rapid.MapOfN(rapid.SampledFrom(modelKeys[:6]), rapid.Int(), 0, 3),
					func(m map[string]int) { m["mutated"] = 1 }),
				newModel("bytes", serde.Bytes, rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) []byte { return append([]byte{}, b...) }),
					func(b []byte) {
						for i := range b {
							b[i] ^= 0xff
						}
					}),
			}
		})
	})
}

func testModel(t *rapid.T, stores func() []modelStore) {
	r := &modelRun{
		fs:   vfs.NewCrashableMem(),
		opts: Options{CacheBytes: rapid.SampledFrom([]int64{1, 1500, 1 << 20}).Draw(t, "cache"), FlushInterval: time.Minute},
		now:  time.UnixMilli(1e12),
	}
	for range 2 {
		r.of = append(r.of, stores())
	}
	r.open(t)
	r.begin()
	anyStore := func(t *rapid.T) modelStore {
		return rapid.SampledFrom(slices.Concat(r.of...)).Draw(t, "store")
	}
	anyTask := func(t *rapid.T) *Task { return rapid.SampledFrom(r.tasks).Draw(t, "task") }
	// Between two epochs, whatever may be done there.
	between := func(t *rapid.T) {
		for range rapid.IntRange(0, 4).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0, 1:
				if err := anyTask(t).StartFlush(); err != nil {
					t.Fatal(err)
				}
			case 2:
				if err := anyTask(t).WaitFlush(context.Background()); err != nil {
					t.Fatal(err)
				}
			case 3, 4:
				anyTask(t).Trim()
			case 5:
				r.now = r.now.Add(time.Minute)
				task := anyTask(t)
				if task.FlushDue() {
					if err := task.StartFlush(); err != nil {
						t.Fatal(err)
					}
				}
			case 6:
				anyStore(t).checkAll(t)
			case 7:
				if rapid.IntRange(0, 2).Draw(t, "discard") == 0 {
					anyStore(t).discard(t)
				}
			}
		}
	}
	use := func(t *rapid.T) { anyStore(t).use(t) }
	t.Repeat(map[string]func(*rapid.T){
		"use":   use,
		"use2":  use,
		"use3":  use,
		"get":   func(t *rapid.T) { anyStore(t).checkRow(t) },
		"scan":  func(t *rapid.T) { anyStore(t).checkAll(t) },
		"abort": func(t *rapid.T) { r.abort(t); between(t); r.begin() },
		"commit": func(t *rapid.T) {
			r.commit(t)
			between(t)
			r.begin()
		},
		"restart": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
				r.close(t)
				r.open(t)
				r.begin()
			}
		},
		"crash": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
				r.crash(t)
				r.open(t)
				r.begin()
			}
		},
	})
	r.commit(t)
	for _, s := range slices.Concat(r.of...) {
		s.checkAll(t)
	}
	r.close(t)
	r.open(t)
	for _, s := range slices.Concat(r.of...) {
		s.checkAll(t)
	}
	r.close(t)
}
