package state

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/serde"
)

// windowModel is a window store beside a map.
type windowModel struct {
	name               string
	settings           WindowSettings
	store              *WindowStore[string, string]
	topic              uuid.UUID
	log                changelog
	current, committed windowContent
	touched            []windowKey // in this epoch, in order of first touch
	n                  int         // puts
}

type windowKey struct {
	key   string
	start int64
	n     int // of duplicates: the order they came in
}

type windowContent struct {
	rows map[windowKey]modelValue[string]
	time int64 // -1: none
}

func (c windowContent) clone() windowContent { return windowContent{maps.Clone(c.rows), c.time} }

func newWindowModel(name string, o WindowSettings) *windowModel {
	empty := windowContent{map[windowKey]modelValue[string]{}, -1}
	return &windowModel{name: name, settings: o, topic: uuid.New(), current: empty.clone(), committed: empty}
}

// shown are the keys of what is not too old, in the order of FetchAll.
func (m *windowModel) shown() []windowKey {
	var keys []windowKey
	for k := range m.current.rows {
		if m.visible(k.start) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b windowKey) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.key, b.key), cmp.Compare(a.n, b.n))
	})
	return keys
}

func (m *windowModel) visible(start int64) bool {
	return start > m.current.time-m.settings.Retention.Milliseconds()
}

func (m *windowModel) base() *storeBase { return m.store.storeBase }

func (m *windowModel) position() Position {
	return Position{TopicID: m.topic, LeaderEpoch: 3, Offset: int64(len(m.log)), WallTime: time.UnixMilli(1e12).UTC()}
}

func (m *windowModel) open(t *rapid.T, task *Task) {
	var err error
	if m.store, err = OpenWindow(task, m.name, serde.String, serde.String, m.settings); err != nil {
		t.Fatal(err)
	}
	p, ok := m.store.Stored()
	if usable, reason := Usable(p, ok, ChangelogFacts{TopicID: m.topic, LeaderEpoch: 3, End: int64(len(m.log))}); !usable {
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

// restore leaves the changelog whole: what compaction drops could make the store's time go back.
func (m *windowModel) restore(t *rapid.T, from int64) {
	restoreRecords(t, m.store, m.log[from:], m.position())
	m.checkAll(t)
}

func restoreRecords(t *rapid.T, s Store, records changelog, p Position) {
	var key, value []byte // used again, as a reader may
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
		if err := s.Restore(key, v, r.timestamp); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Restored(p); err != nil {
		t.Fatal(err)
	}
}

func (m *windowModel) discard(t *rapid.T) {
	if err := m.store.Discard(); err != nil {
		t.Fatal(err)
	}
	for row, err := range m.store.All() {
		t.Fatalf("a discarded store has a row: %+v, %v", row, err)
	}
	m.restore(t, 0)
}

var windowKeys = []string{"", "a", "aa", "a\x80\x00\x00\x00\x00\x00\x00\x01", "\xff", "key"}

func (m *windowModel) start(t *rapid.T) int64 {
	if m.current.time > 0 && rapid.Bool().Draw(t, "near") {
		return max(m.current.time+rapid.Int64Range(-2*m.settings.Retention.Milliseconds(), 5).Draw(t, "near start"), 0)
	}
	return rapid.Int64Range(0, 400).Draw(t, "start")
}

func (m *windowModel) use(t *rapid.T) {
	k := windowKey{key: rapid.SampledFrom(windowKeys).Draw(t, "key"), start: m.start(t)}
	ts := rapid.Int64Range(0, 1e13).Draw(t, "ts")
	remove := !m.settings.RetainDuplicates && rapid.IntRange(0, 3).Draw(t, "delete") == 0
	v := fmt.Sprint(m.n)
	m.n++
	dropped := m.store.Dropped()
	var err error
	switch {
	case remove:
		err = m.store.Delete(k.key, k.start, ts)
	case m.settings.RetainDuplicates || rapid.Bool().Draw(t, "by put"):
		err = m.store.Put(k.key, k.start, v, ts)
	default:
		var e WindowEntry[string, string]
		if e, err = m.store.Entry(k.key, k.start); err != nil {
			t.Fatal(err)
		}
		got, err := e.Get()
		if err != nil {
			t.Fatal(err)
		}
		want, ok := m.current.rows[k]
		if ok = ok && m.visible(k.start); ok != got.OK || ok && (got.V != want.v || got.Timestamp != want.ts) {
			t.Fatalf("store %s: %+v is %+v, want %+v (%v)", m.name, k, got, want, ok)
		}
		if err := e.Put(v, ts); err != nil {
			t.Fatal(err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.settings.RetainDuplicates {
		k.n = m.n
	}
	m.current.time = max(m.current.time, k.start)
	if !m.visible(k.start) {
		if m.store.Dropped() != dropped+1 {
			t.Fatalf("store %s: a put at %d, at time %d, was not dropped", m.name, k.start, m.current.time)
		}
		return
	}
	if remove {
		delete(m.current.rows, k)
	} else {
		m.current.rows[k] = modelValue[string]{v, ts}
	}
	if !slices.Contains(m.touched, k) {
		m.touched = append(m.touched, k)
	}
}

func (m *windowModel) checkRow(t *rapid.T) {
	key := rapid.SampledFrom(windowKeys).Draw(t, "key")
	from := m.start(t)
	to := from + rapid.Int64Range(-1, 200).Draw(t, "length")
	if rapid.IntRange(0, 5).Draw(t, "open") == 0 {
		from, to = math.MinInt64, math.MaxInt64
	}
	backward := rapid.Bool().Draw(t, "backward")
	want := slices.DeleteFunc(m.shown(), func(k windowKey) bool { return k.key != key || k.start < from || k.start > to })
	seq := m.store.FetchRange(key, from, to)
	if backward {
		slices.Reverse(want)
		seq = m.store.BackwardFetchRange(key, from, to)
	}
	m.same(t, fmt.Sprintf("fetch of %q in [%d, %d], backward: %v", key, from, to, backward), collect(t, seq), want)
	m.checkReader(t)
}

func collect[R any](t *rapid.T, seq func(func(R, error) bool)) []R {
	t.Helper()
	var rows []R
	for r, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

func (m *windowModel) same(t *rapid.T, what string, got []WindowRow[string, string], want []windowKey) {
	t.Helper()
	for i, k := range want {
		v := m.current.rows[k]
		w := WindowRow[string, string]{k.key, k.start, k.start + m.settings.Size.Milliseconds(), v.v, v.ts}
		if i >= len(got) || got[i] != w {
			t.Fatalf("store %s, time %d: %s: row %d of %+v is not %+v", m.name, m.current.time, what, i, got, w)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("store %s, time %d: %s: got %+v, want the %d rows %+v", m.name, m.current.time, what, got, len(want), want)
	}
}

func (m *windowModel) checkAll(t *rapid.T) {
	m.same(t, "all", collect(t, m.store.All()), m.shown())
	from := rapid.Int64Range(0, 400).Draw(t, "from")
	to := from + rapid.Int64Range(0, 100).Draw(t, "length")
	want := slices.DeleteFunc(m.shown(), func(k windowKey) bool { return k.start < from || k.start > to })
	m.same(t, fmt.Sprintf("all in [%d, %d]", from, to), collect(t, m.store.FetchAll(from, to)), want)
	if got, ok := m.store.ObservedTime(); ok != (m.current.time >= 0) || ok && got != m.current.time {
		t.Fatalf("store %s: time %d, %v, want %d", m.name, got, ok, m.current.time)
	}
	m.checkReader(t)
}

func (m *windowModel) commitRecords(t *rapid.T) changelog {
	i := 0
	if err := m.store.EachTouched(func(w WindowRow[string, string], now, before Value[string]) error {
		if i >= len(m.touched) || m.touched[i].key != w.Key || m.touched[i].start != w.Start {
			t.Fatalf("store %s: touched row %d is %+v, want %+v", m.name, i, w, m.touched)
		}
		k := m.touched[i]
		n, ok := m.current.rows[k]
		b, was := m.committed.rows[k]
		if ok != now.OK || ok && now.V != n.v || was != before.OK || was && before.V != b.v {
			t.Fatalf("store %s: %+v is %+v and was %+v, want %+v and %+v", m.name, k, now, before, n, b)
		}
		i++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var c changelog
	if err := m.store.AppendChanges(&c); err != nil {
		t.Fatal(err)
	}
	if i != len(m.touched) || len(c) != i {
		t.Fatalf("store %s: touched %d, changes %d, want %d", m.name, i, len(c), len(m.touched))
	}
	for i, r := range c {
		k := m.touched[i]
		n := len(r.key) - 12
		v, ok := m.current.rows[k]
		if string(r.key[:n]) != k.key || int64(binary.BigEndian.Uint64(r.key[n:])) != k.start || ok != (r.value != nil) || ok && (string(r.value) != v.v || r.timestamp != v.ts) {
			t.Fatalf("store %s: change %d is %+v, want %+v %+v", m.name, i, r, k, v)
		}
	}
	return c
}

func (m *windowModel) committedNow(_ *rapid.T, c changelog) {
	m.log = append(m.log, c...)
	m.committed = m.current.clone()
	m.touched = nil
	m.store.SetPosition(m.position())
}

func (m *windowModel) aborted() {
	m.current = m.committed.clone()
	m.touched = nil
}

func TestWindowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		testModel(t, func() []modelStore {
			return []modelStore{
				newWindowModel("windows", WindowSettings{Retention: 100 * time.Millisecond, Size: 10 * time.Millisecond, SegmentInterval: 30 * time.Millisecond}),
				newWindowModel("wide", WindowSettings{Retention: 50 * time.Millisecond, Size: 10 * time.Millisecond}),
				newWindowModel("starts", WindowSettings{Retention: 70 * time.Millisecond, Size: 10 * time.Millisecond, SegmentInterval: time.Millisecond}),
				newWindowModel("duplicates", WindowSettings{Retention: 100 * time.Millisecond, Size: time.Millisecond, SegmentInterval: 50 * time.Millisecond, RetainDuplicates: true}),
				newWindowModel("memory", WindowSettings{Retention: 100 * time.Millisecond, Size: time.Millisecond, SegmentInterval: 50 * time.Millisecond, InMemory: true}),
			}
		})
	})
}
