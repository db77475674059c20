package state

import (
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

// versionedModel is a versioned store beside a map of all that was ever put.
type versionedModel struct {
	name               string
	settings           VersionedSettings
	store              *VersionedStore[string, string]
	topic              uuid.UUID
	log                changelog
	current, committed versionedContent
	puts               []record // of the epoch
	late               map[string]bool
	n                  int
}

type versionedContent struct {
	versions map[string]map[int64]*string // by key and timestamp; nil: a tombstone
	time     int64                        // -1: none
}

func (c versionedContent) clone() versionedContent {
	copied := versionedContent{map[string]map[int64]*string{}, c.time}
	for k, v := range c.versions {
		copied.versions[k] = maps.Clone(v)
	}
	return copied
}

// asOf is what the conformance rules say: entries are looked up by their timestamps, and t is too far back if it
// is below the store's time less the retention, unless the latest is at or before it.
func (m *versionedModel) asOf(key string, t int64) Value[string] {
	times := slices.Sorted(maps.Keys(m.current.versions[key]))
	if len(times) == 0 {
		return Value[string]{}
	}
	latest := times[len(times)-1]
	if latest > t && t < m.current.time-m.settings.HistoryRetention.Milliseconds() {
		return Value[string]{}
	}
	i, found := slices.BinarySearch(times, t)
	if !found {
		i--
	}
	if i < 0 || m.current.versions[key][times[i]] == nil {
		return Value[string]{}
	}
	return Value[string]{*m.current.versions[key][times[i]], times[i], true}
}

func newVersionedModel(name string, o VersionedSettings) *versionedModel {
	empty := versionedContent{map[string]map[int64]*string{}, -1}
	return &versionedModel{name: name, settings: o, topic: uuid.New(), current: empty.clone(), committed: empty, late: map[string]bool{}}
}

func (m *versionedModel) base() *storeBase { return m.store.storeBase }

func (m *versionedModel) position() Position {
	return Position{TopicID: m.topic, LeaderEpoch: 3, Offset: int64(len(m.log)), WallTime: time.UnixMilli(1e12).UTC()}
}

func (m *versionedModel) open(t *rapid.T, task *Task) {
	var err error
	if m.store, err = OpenVersioned(task, m.name, serde.String, serde.String, m.settings); err != nil {
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

func (m *versionedModel) restore(t *rapid.T, from int64) {
	restoreRecords(t, m.store, m.log[from:], m.position())
	m.checkAll(t)
}

func (m *versionedModel) discard(t *rapid.T) {
	if err := m.store.Discard(); err != nil {
		t.Fatal(err)
	}
	for row, err := range m.store.All() {
		t.Fatalf("a discarded store has a row: %+v, %v", row, err)
	}
	m.restore(t, 0)
}

func (m *versionedModel) timestamp(t *rapid.T) int64 {
	if m.current.time > 0 && rapid.Bool().Draw(t, "near") {
		return max(m.current.time+rapid.Int64Range(-2*m.settings.HistoryRetention.Milliseconds(), 10).Draw(t, "near ts"), 0)
	}
	return rapid.Int64Range(0, 100).Draw(t, "ts")
}

func (m *versionedModel) use(t *rapid.T) {
	key, ts := rapid.SampledFrom(windowKeys).Draw(t, "key"), m.timestamp(t)
	value := fmt.Sprint(m.n)
	m.n++
	p := &value
	var validTo int64
	var err error
	if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
		p = nil
		validTo, err = m.store.Delete(key, ts)
	} else {
		validTo, err = m.store.Put(key, value, ts)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := int64(Latest)
	if ts < m.current.time-m.settings.HistoryRetention.Milliseconds() {
		want = NotPut
	} else {
		versions := m.current.versions[key]
		if versions == nil {
			versions = map[int64]*string{}
			m.current.versions[key] = versions
		}
		for other := range versions {
			if other > ts {
				want = min(want, other)
			}
		}
		versions[ts] = p
		m.current.time = max(m.current.time, ts)
		r := record{key: []byte(key), timestamp: ts}
		if p != nil {
			r.value = []byte(value)
		}
		m.puts = append(m.puts, r)
		m.late[key] = want != Latest
	}
	if validTo != want {
		t.Fatalf("store %s, time %d: put of %q at %d is valid to %d, want %d", m.name, m.current.time, key, ts, validTo, want)
	}
}

func (m *versionedModel) checkRow(t *rapid.T) {
	key, ts := rapid.SampledFrom(windowKeys).Draw(t, "key"), m.timestamp(t)
	m.checkKey(t, key, ts)
	m.checkReader(t)
}

func (m *versionedModel) checkKey(t *rapid.T, key string, ts int64) {
	t.Helper()
	got, err := m.store.GetAsOf(key, ts)
	if want := m.asOf(key, ts); err != nil || got != want {
		t.Fatalf("store %s, time %d: %q as of %d is %+v, %v, want %+v", m.name, m.current.time, key, ts, got, err, want)
	}
	got, err = m.store.Get(key)
	if want := m.asOf(key, math.MaxInt64); err != nil || got != want {
		t.Fatalf("store %s, time %d: %q is %+v, %v, want %+v", m.name, m.current.time, key, got, err, want)
	}
}

func (m *versionedModel) checkAll(t *rapid.T) {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(m.current.versions)) {
		if m.asOf(key, math.MaxInt64).OK {
			keys = append(keys, key)
		}
		floor := m.current.time - m.settings.HistoryRetention.Milliseconds()
		for ts := range m.current.versions[key] {
			for d := int64(-1); d <= 1; d++ {
				m.checkKey(t, key, ts+d)
			}
		}
		m.checkKey(t, key, floor)
		m.checkKey(t, key, floor-1)
		m.checkVersions(t, key, floor)
	}
	rows := collect(t, m.store.All())
	for i, k := range keys {
		want := m.asOf(k, math.MaxInt64)
		if i >= len(rows) || rows[i] != (Row[string, string]{k, want.V, want.Timestamp}) {
			t.Fatalf("store %s: row %d of %+v is not %q %+v", m.name, i, rows, k, want)
		}
	}
	if len(rows) != len(keys) {
		t.Fatalf("store %s: %+v, want the keys %q", m.name, rows, keys)
	}
	m.checkReader(t)
}

// checkVersions compares the history with what can be seen of it point by point.
func (m *versionedModel) checkVersions(t *rapid.T, key string, floor int64) {
	from := max(floor, 0) + rapid.Int64Range(0, 20).Draw(t, "from")
	to := from + rapid.Int64Range(0, 50).Draw(t, "length")
	var want []Version[string]
	for ts := from; ts <= to; ts++ {
		v := m.asOf(key, ts)
		if v.OK && (len(want) == 0 || want[len(want)-1].From != v.Timestamp) {
			until := int64(Latest)
			for other := range m.current.versions[key] {
				if other > v.Timestamp {
					until = min(until, other)
				}
			}
			want = append(want, Version[string]{v.V, v.Timestamp, until})
		}
	}
	if got := collect(t, m.store.Versions(key, from, to)); !slices.Equal(got, want) {
		t.Fatalf("store %s, time %d: %q in [%d, %d] was %+v, want %+v", m.name, m.current.time, key, from, to, got, want)
	}
}

func (m *versionedModel) commitRecords(t *rapid.T) changelog {
	var c changelog
	if err := m.store.AppendChanges(&c); err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(m.puts)
	for _, p := range m.puts {
		if k := string(p.key); m.late[k] {
			delete(m.late, k)
			ts := slices.Max(slices.Collect(maps.Keys(m.current.versions[k])))
			r := record{key: p.key, timestamp: ts}
			if v := m.current.versions[k][ts]; v != nil {
				r.value = []byte(*v)
			}
			want = append(want, r)
		}
	}
	if m.store.Touched() != len(m.puts) || fmt.Sprint(c) != fmt.Sprint(changelog(want)) {
		t.Fatalf("store %s: changes %v, want %v", m.name, c, want)
	}
	return c
}

func (m *versionedModel) committedNow(_ *rapid.T, c changelog) {
	m.log = append(m.log, c...)
	m.committed = m.current.clone()
	m.puts = nil
	clear(m.late)
	m.store.SetPosition(m.position())
}

func (m *versionedModel) aborted() {
	m.current = m.committed.clone()
	m.puts = nil
	clear(m.late)
}

func TestVersionedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		testModel(t, func() []modelStore {
			return []modelStore{
				newVersionedModel("versions", VersionedSettings{HistoryRetention: 30 * time.Millisecond, SegmentInterval: 10 * time.Millisecond}),
				newVersionedModel("wide", VersionedSettings{HistoryRetention: 50 * time.Millisecond}),
				newVersionedModel("narrow", VersionedSettings{HistoryRetention: 20 * time.Millisecond, SegmentInterval: time.Millisecond}),
				newVersionedModel("memory", VersionedSettings{HistoryRetention: 30 * time.Millisecond, SegmentInterval: 10 * time.Millisecond, InMemory: true}),
			}
		})
	})
}
