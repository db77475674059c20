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

// sessionModel is a session store beside a map.
type sessionModel struct {
	name               string
	settings           SessionSettings
	store              *SessionStore[string, []byte]
	topic              uuid.UUID
	log                changelog
	current, committed sessionContent
	touched            []sessionKey // in this epoch, in order of first touch
	n                  int          // puts
}

type sessionKey struct {
	key        string
	start, end int64
}

type sessionContent struct {
	rows map[sessionKey]modelValue[string]
	time int64 // -1: none
}

func (c sessionContent) clone() sessionContent { return sessionContent{maps.Clone(c.rows), c.time} }

func newSessionModel(name string, o SessionSettings) *sessionModel {
	empty := sessionContent{map[sessionKey]modelValue[string]{}, -1}
	return &sessionModel{name: name, settings: o, topic: uuid.New(), current: empty.clone(), committed: empty}
}

// shown are the keys of what is not too old, in the order of FindAll.
func (m *sessionModel) shown() []sessionKey {
	var keys []sessionKey
	for k := range m.current.rows {
		if m.visible(k.end) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b sessionKey) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.start, b.start), cmp.Compare(a.key, b.key))
	})
	return keys
}

func (m *sessionModel) visible(end int64) bool {
	return end > m.current.time-m.settings.Retention.Milliseconds()
}

func (m *sessionModel) base() *storeBase { return m.store.storeBase }

func (m *sessionModel) position() Position {
	return Position{TopicID: m.topic, LeaderEpoch: 3, Offset: int64(len(m.log)), WallTime: time.UnixMilli(1e12).UTC()}
}

func (m *sessionModel) open(t *rapid.T, task *Task) {
	var err error
	if m.store, err = OpenSession(task, m.name, serde.String, serde.Bytes, m.settings); err != nil {
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

func (m *sessionModel) restore(t *rapid.T, from int64) {
	restoreRecords(t, m.store, m.log[from:], m.position())
	m.checkAll(t)
}

func (m *sessionModel) discard(t *rapid.T) {
	if err := m.store.Discard(); err != nil {
		t.Fatal(err)
	}
	for row, err := range m.store.All() {
		t.Fatalf("a discarded store has a row: %+v, %v", row, err)
	}
	m.restore(t, 0)
}

// key draws a session that is there, or one that need not be.
func (m *sessionModel) key(t *rapid.T) sessionKey {
	if keys := m.shown(); len(keys) > 0 && rapid.Bool().Draw(t, "known") {
		return rapid.SampledFrom(keys).Draw(t, "session")
	}
	k := sessionKey{key: rapid.SampledFrom(windowKeys).Draw(t, "key"), end: rapid.Int64Range(0, 400).Draw(t, "end")}
	if m.current.time > 0 && rapid.Bool().Draw(t, "near") {
		k.end = max(m.current.time+rapid.Int64Range(-2*m.settings.Retention.Milliseconds(), 5).Draw(t, "near end"), 0)
	}
	k.start = max(k.end-rapid.Int64Range(0, 50).Draw(t, "length"), 0)
	return k
}

func (m *sessionModel) use(t *rapid.T) {
	k := m.key(t)
	ts := rapid.Int64Range(0, 1e13).Draw(t, "ts")
	v := fmt.Sprint(m.n)
	m.n++
	want, ok := m.current.rows[k]
	got, err := m.store.Fetch(k.key, k.start, k.end)
	if err != nil {
		t.Fatal(err)
	}
	if ok = ok && m.visible(k.end); ok != got.OK || ok && (string(got.V) != want.v || got.Timestamp != want.ts) {
		t.Fatalf("store %s: %+v is %+v, want %+v (%v)", m.name, k, got, want, ok)
	}
	dropped := m.store.Dropped()
	remove := rapid.Bool().Draw(t, "delete")
	if remove {
		err = m.store.Delete(k.key, k.start, k.end, ts)
	} else {
		err = m.store.Put(k.key, k.start, k.end, []byte(v), ts)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.current.time = max(m.current.time, k.end)
	if !m.visible(k.end) {
		if m.store.Dropped() != dropped+1 {
			t.Fatalf("store %s: a put at %d, at time %d, was not dropped", m.name, k.end, m.current.time)
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

func (m *sessionModel) checkRow(t *rapid.T) {
	key := rapid.SampledFrom(windowKeys).Draw(t, "key")
	earliestEnd, latestStart := m.key(t).end, m.key(t).start
	if rapid.IntRange(0, 5).Draw(t, "open") == 0 {
		earliestEnd, latestStart = math.MinInt64, math.MaxInt64
	}
	want := slices.DeleteFunc(m.shown(), func(k sessionKey) bool {
		return k.key != key || k.end < earliestEnd || k.start > latestStart
	})
	what := fmt.Sprintf("sessions of %q that end from %d and start until %d", key, earliestEnd, latestStart)
	m.same(t, what, collect(t, m.store.FindSessions(key, earliestEnd, latestStart)), want)
	slices.Reverse(want)
	m.same(t, what+", backward", collect(t, m.store.BackwardFindSessions(key, earliestEnd, latestStart)), want)
	m.checkReader(t)
}

func (m *sessionModel) same(t *rapid.T, what string, got []WindowRow[string, []byte], want []sessionKey) {
	t.Helper()
	for i, k := range want {
		v := m.current.rows[k]
		if i >= len(got) || (sessionKey{got[i].Key, got[i].Start, got[i].End}) != k || string(got[i].Value) != v.v || got[i].Timestamp != v.ts {
			t.Fatalf("store %s, time %d: %s: row %d of %+v is not %+v %+v", m.name, m.current.time, what, i, got, k, v)
		}
		got[i].Value[0] = 'x' // the caller's
	}
	if len(got) != len(want) {
		t.Fatalf("store %s, time %d: %s: got %+v, want the %d rows %+v", m.name, m.current.time, what, got, len(want), want)
	}
}

func (m *sessionModel) checkAll(t *rapid.T) {
	m.same(t, "all", collect(t, m.store.All()), m.shown())
	from := rapid.Int64Range(0, 400).Draw(t, "from")
	to := from + rapid.Int64Range(0, 100).Draw(t, "length")
	want := slices.DeleteFunc(m.shown(), func(k sessionKey) bool { return k.end < from || k.end > to })
	m.same(t, fmt.Sprintf("all that end in [%d, %d]", from, to), collect(t, m.store.FindAll(from, to)), want)
	if got, ok := m.store.ObservedTime(); ok != (m.current.time >= 0) || ok && got != m.current.time {
		t.Fatalf("store %s: time %d, %v, want %d", m.name, got, ok, m.current.time)
	}
	m.checkReader(t)
}

func (m *sessionModel) commitRecords(t *rapid.T) changelog {
	i := 0
	if err := m.store.EachTouched(func(w WindowRow[string, []byte], now, before Value[[]byte]) error {
		if i >= len(m.touched) || m.touched[i] != (sessionKey{w.Key, w.Start, w.End}) {
			t.Fatalf("store %s: touched row %d is %+v, want %+v", m.name, i, w, m.touched)
		}
		n, ok := m.current.rows[m.touched[i]]
		b, was := m.committed.rows[m.touched[i]]
		if ok != now.OK || ok && string(now.V) != n.v || was != before.OK || was && string(before.V) != b.v {
			t.Fatalf("store %s: %+v is %+v and was %+v, want %+v and %+v", m.name, w, now, before, n, b)
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
		v, ok := m.current.rows[k]
		key := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte(k.key), uint64(k.end)), uint64(k.start))
		if string(r.key) != string(key) || ok != (r.value != nil) || ok && (string(r.value) != v.v || r.timestamp != v.ts) {
			t.Fatalf("store %s: change %d is %+v, want %+v %+v", m.name, i, r, k, v)
		}
	}
	return c
}

func (m *sessionModel) committedNow(_ *rapid.T, c changelog) {
	m.log = append(m.log, c...)
	m.committed = m.current.clone()
	m.touched = nil
	m.store.SetPosition(m.position())
}

func (m *sessionModel) aborted() {
	m.current = m.committed.clone()
	m.touched = nil
}

func TestSessionModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		testModel(t, func() []modelStore {
			return []modelStore{
				newSessionModel("sessions", SessionSettings{Retention: 100 * time.Millisecond, SegmentInterval: 30 * time.Millisecond}),
				newSessionModel("wide", SessionSettings{Retention: 50 * time.Millisecond}),
				newSessionModel("memory", SessionSettings{Retention: 100 * time.Millisecond, SegmentInterval: 50 * time.Millisecond, InMemory: true}),
			}
		})
	})
}
