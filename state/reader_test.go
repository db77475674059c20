package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/serde"
)

// These check readers beside the models of the stores, with the committed content and with that of the open epoch.

// parts are stores that nobody else uses.
type parts []Part

func (p parts) Fault(err error) error { return err }

func (p parts) Read(_ context.Context, key func(Part) ([]byte, error), f func(Part) (bool, error)) error {
	if key != nil {
		if _, err := key(p[0]); err != nil {
			return err
		}
	}
	for _, s := range p {
		if done, err := f(s); done || err != nil {
			return err
		}
	}
	return nil
}

func (m *model[V]) checkReader(t *rapid.T) {
	var store Store = m.store
	if m.ordered != nil {
		store = m.ordered
	}
	for _, uncommitted := range []bool{false, true} {
		content, when := m.committed, "reader of what is committed"
		r := NewKeyValue(m.name, serde.String, m.serde).Reader(parts{store})
		if uncommitted {
			content, when, r = m.current, "reader of what is not committed", r.Uncommitted()
		}
		for _, k := range modelKeys {
			got, err := r.Get(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			m.same(t, when, k, got, content)
		}
		keys := slices.Sorted(maps.Keys(content))
		check := func(what string, seq iter.Seq2[Row[string, V], error], keep func(string) bool, backward bool) {
			want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !keep(k) })
			if backward {
				slices.Reverse(want)
			}
			rows := collect(t, seq)
			for i, k := range want {
				if i >= len(rows) || rows[i].Key != k {
					t.Fatalf("store %s, %s, %s: row %d of %+v is not %q", m.name, when, what, i, rows, k)
				}
				m.same(t, when, k, Value[V]{rows[i].Value, rows[i].Timestamp, true}, content)
				if m.mutate != nil {
					m.mutate(rows[i].Value)
				}
			}
			if len(rows) != len(want) {
				t.Fatalf("store %s, %s, %s: %+v, want %q", m.name, when, what, rows, want)
			}
		}
		all := func(string) bool { return true }
		check("all", r.All(t.Context()), all, false)
		check("all backward", r.BackwardAll(t.Context()), all, true)
		from, to := rapid.SampledFrom(modelKeys).Draw(t, "from"), rapid.SampledFrom(modelKeys).Draw(t, "to")
		in := func(k string) bool { return k >= from && k <= to }
		check(fmt.Sprintf("range %q to %q", from, to), r.Range(t.Context(), from, to), in, false)
		check(fmt.Sprintf("range %q to %q backward", from, to), r.BackwardRange(t.Context(), from, to), in, true)
		check("prefix "+from, r.Prefix(t.Context(), []byte(from)), func(k string) bool { return strings.HasPrefix(k, from) }, false)
		if n, err := r.ApproximateCount(t.Context()); err != nil || n != int64(len(content)) {
			t.Fatalf("store %s, %s: %d rows, %v, want %d", m.name, when, n, err, len(content))
		}
		for range r.All(t.Context()) {
			break // an early end leaves nothing open; Close of the database would tell
		}
	}
}

// asOf calls f with the current content, and with the committed one in its place.
func asOf[C any](current *C, committed C, f func(uncommitted bool)) {
	f(true)
	kept := *current
	*current = committed
	f(false)
	*current = kept
}

func (m *windowModel) checkReader(t *rapid.T) {
	current := m.current
	asOf(&m.current, m.committed, func(uncommitted bool) {
		r := NewWindow(m.name, serde.String, serde.String).Reader(parts{m.store})
		when := "reader of what is committed"
		if uncommitted {
			r, when = r.Uncommitted(), "reader of what is not committed"
		}
		m.same(t, when+", all", collect(t, r.All(t.Context())), m.shown())
		key, low, high := rapid.SampledFrom(windowKeys).Draw(t, "key"), rapid.SampledFrom(windowKeys).Draw(t, "low"), rapid.SampledFrom(windowKeys).Draw(t, "high")
		from := m.start(t)
		to := from + rapid.Int64Range(-1, 200).Draw(t, "length")
		if rapid.IntRange(0, 5).Draw(t, "open") == 0 {
			from, to = math.MinInt64, math.MaxInt64
		}
		in := func(keep func(string) bool) []windowKey {
			return slices.DeleteFunc(m.shown(), func(k windowKey) bool { return !keep(k.key) || k.start < from || k.start > to })
		}
		when = fmt.Sprintf("%s, in [%d, %d]", when, from, to)
		m.same(t, when, collect(t, r.FetchAll(t.Context(), from, to)), in(func(string) bool { return true }))
		m.same(t, fmt.Sprintf("%s, keys [%q, %q]", when, low, high), collect(t, r.FetchKeys(t.Context(), low, high, from, to)),
			in(func(k string) bool { return k >= low && k <= high }))
		want := in(func(k string) bool { return k == key })
		m.same(t, fmt.Sprintf("%s, of %q", when, key), collect(t, r.FetchRange(t.Context(), key, from, to)), want)
		slices.Reverse(want)
		m.same(t, fmt.Sprintf("%s, of %q backward", when, key), collect(t, r.BackwardFetchRange(t.Context(), key, from, to)), want)
		if m.settings.RetainDuplicates {
			if _, err := r.Fetch(t.Context(), key, from); err == nil {
				t.Fatalf("store %s: a fetch of one of several", m.name)
			}
			return
		}
		// Windows that either content has, of which some are too old for it.
		for k := range both(current.rows, m.committed.rows) {
			got, err := r.Fetch(t.Context(), k.key, k.start)
			w, ok := m.current.rows[k]
			if ok = ok && m.visible(k.start); err != nil || ok != got.OK || ok && got != (Value[string]{w.v, w.ts, true}) {
				t.Fatalf("store %s, time %d, %s: %+v is %+v, %v, want %+v (%v)", m.name, m.current.time, when, k, got, err, w, ok)
			}
		}
	})
}

func both[K comparable, V any](a, b map[K]V) map[K]V {
	c := maps.Clone(a)
	maps.Copy(c, b)
	return c
}

func (m *sessionModel) checkReader(t *rapid.T) {
	current := m.current
	asOf(&m.current, m.committed, func(uncommitted bool) {
		r := NewSession(m.name, serde.String, serde.Bytes).Reader(parts{m.store})
		when := "reader of what is committed"
		if uncommitted {
			r, when = r.Uncommitted(), "reader of what is not committed"
		}
		m.same(t, when+", all", collect(t, r.All(t.Context())), m.shown())
		low, high := rapid.SampledFrom(windowKeys).Draw(t, "low"), rapid.SampledFrom(windowKeys).Draw(t, "high")
		k := m.key(t)
		from := m.key(t).end
		to := from + rapid.Int64Range(-1, 200).Draw(t, "length")
		in := func(keep func(k sessionKey) bool) []sessionKey {
			return slices.DeleteFunc(m.shown(), func(k sessionKey) bool { return !keep(k) })
		}
		m.same(t, fmt.Sprintf("%s, that end in [%d, %d]", when, from, to), collect(t, r.FindAll(t.Context(), from, to)),
			in(func(k sessionKey) bool { return k.end >= from && k.end <= to }))
		overlaps := func(k sessionKey) bool { return k.end >= from && k.start <= to }
		want := in(func(o sessionKey) bool { return o.key == k.key && overlaps(o) })
		when = fmt.Sprintf("%s, from %d to %d", when, from, to)
		m.same(t, fmt.Sprintf("%s, of %q", when, k.key), collect(t, r.FindSessions(t.Context(), k.key, from, to)), want)
		slices.Reverse(want)
		m.same(t, fmt.Sprintf("%s, of %q backward", when, k.key), collect(t, r.BackwardFindSessions(t.Context(), k.key, from, to)), want)
		m.same(t, fmt.Sprintf("%s, of [%q, %q]", when, low, high), collect(t, r.FindKeys(t.Context(), low, high, from, to)),
			in(func(k sessionKey) bool { return k.key >= low && k.key <= high && overlaps(k) }))
		m.same(t, fmt.Sprintf("%s, all of %q", when, k.key), collect(t, r.Sessions(t.Context(), k.key)), in(func(o sessionKey) bool { return o.key == k.key }))
		for k := range both(current.rows, m.committed.rows) {
			got, err := r.Fetch(t.Context(), k.key, k.start, k.end)
			w, ok := m.current.rows[k]
			if ok = ok && m.visible(k.end); err != nil || ok != got.OK || ok && (string(got.V) != w.v || got.Timestamp != w.ts) {
				t.Fatalf("store %s, time %d, %s: %+v is %+v, %v, want %+v (%v)", m.name, m.current.time, when, k, got, err, w, ok)
			}
		}
	})
}

func (m *versionedModel) checkReader(t *rapid.T) {
	asOf(&m.current, m.committed, func(uncommitted bool) {
		r := NewVersioned(m.name, serde.String, serde.String, m.settings.HistoryRetention).Reader(parts{m.store})
		when := "reader of what is committed"
		if uncommitted {
			r, when = r.Uncommitted(), "reader of what is not committed"
		}
		var want []Row[string, string]
		for _, key := range slices.Sorted(maps.Keys(m.current.versions)) {
			latest := m.asOf(key, math.MaxInt64)
			if got, err := r.Get(t.Context(), key); err != nil || got != latest {
				t.Fatalf("store %s, time %d, %s: %q is %+v, %v, want %+v", m.name, m.current.time, when, key, got, err, latest)
			}
			if latest.OK {
				want = append(want, Row[string, string]{key, latest.V, latest.Timestamp})
			}
			times := []int64{m.current.time - m.settings.HistoryRetention.Milliseconds() - 1}
			for ts := range m.current.versions[key] {
				times = append(times, ts)
			}
			for _, ts := range times {
				for d := int64(-1); d <= 1; d++ {
					if got, err := r.GetAsOf(t.Context(), key, ts+d); err != nil || got != m.asOf(key, ts+d) {
						t.Fatalf("store %s, time %d, %s: %q as of %d is %+v, %v, want %+v", m.name, m.current.time, when, key, ts+d, got, err, m.asOf(key, ts+d))
					}
				}
			}
			if !uncommitted && len(m.puts) > 0 {
				continue // the store itself can be asked for no other history
			}
			from, to := m.timestamp(t), m.timestamp(t)
			history := collect(t, m.store.Versions(key, from, to))
			if got := collect(t, r.Versions(t.Context(), key, from, to)); !slices.Equal(got, history) {
				t.Fatalf("store %s, time %d: %q in [%d, %d] was %+v, want %+v", m.name, m.current.time, key, from, to, got, history)
			}
			slices.Reverse(history)
			if got := collect(t, r.BackwardVersions(t.Context(), key, from, to)); !slices.Equal(got, history) {
				t.Fatalf("store %s, time %d: %q in [%d, %d] was %+v, want %+v", m.name, m.current.time, key, from, to, got, history)
			}
		}
		if got := collect(t, r.All(t.Context())); !slices.Equal(got, want) {
			t.Fatalf("store %s, %s: %+v, want %+v", m.name, when, got, want)
		}
	})
}

// A scan is of one moment, whatever becomes of the store while it lasts, and the store may be closed.
func TestScanIsOfOneMoment(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(*Task) (Store, func(k string, n int64) error, error)
	}{
		{"hashed", func(task *Task) (Store, func(string, int64) error, error) {
			s, err := OpenKeyValue(task, "s", serde.String, serde.Int64)
			return s, func(k string, n int64) error { return s.Put(k, n, n) }, err
		}},
		{"ordered", func(task *Task) (Store, func(string, int64) error, error) {
			s, err := OpenOrdered(task, "s", serde.String, serde.Int64)
			return s, func(k string, n int64) error { return s.Put(k, n, n) }, err
		}},
		{"memory", func(task *Task) (Store, func(string, int64) error, error) {
			s, err := OpenKeyValue(task, "s", serde.String, serde.Int64, InMemory())
			return s, func(k string, n int64) error { return s.Put(k, n, n) }, err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := openDB(t, Options{CacheBytes: 1})
			task, err := db.Task("t")
			if err != nil {
				t.Fatal(err)
			}
			store, put, err := c.open(task)
			if err != nil {
				t.Fatal(err)
			}
			const rows = 1000 // several chunks
			epoch := uint64(0)
			write := func(n int64) {
				epoch++
				task.BeginEpoch(epoch)
				for i := range rows {
					if err := put(fmt.Sprintf("%04d", i), n); err != nil {
						t.Fatal(err)
					}
				}
			}
			flush := func() {
				if err := errors.Join(task.StartFlush(), task.WaitFlush(t.Context())); err != nil {
					t.Fatal(err)
				}
				task.Trim()
			}
			write(1)
			task.CommitEpoch()
			flush()
			write(2)
			task.CommitEpoch()
			write(3)

			r := NewKeyValue("s", serde.String, serde.Int64).Reader(parts{store})
			type scan struct {
				next func() (Row[string, int64], error, bool)
				stop func()
				want int64
			}
			var scans []scan
			for want, r := range map[int64]KeyValueReader[string, int64]{2: r, 3: r.Uncommitted()} {
				for _, seq := range []iter.Seq2[Row[string, int64], error]{r.All(t.Context()), r.Range(t.Context(), "0000", "9999")} {
					next, stop := iter.Pull2(seq)
					if row, err, ok := next(); !ok || err != nil || row.Value != want {
						t.Fatalf("first row: %+v, %v, %v", row, err, ok)
					}
					scans = append(scans, scan{next, stop, want})
				}
			}
			task.CommitEpoch()
			flush()
			write(4)
			task.CommitEpoch()
			flush()
			if err := store.Discard(); err != nil {
				t.Fatal(err)
			}
			for _, s := range scans {
				n := 1
				for row, err, ok := s.next(); ok; row, err, ok = s.next() {
					if err != nil || row.Value != s.want || row.Key != fmt.Sprintf("%04d", n) {
						t.Fatalf("row %d is %+v, %v, want the value %d", n, row, err, s.want)
					}
					n++
				}
				if n != rows {
					t.Errorf("%d rows", n)
				}
			}
		})
	}
}

// A scan that somebody forgets does not keep the database from closing, and says what happened.
func TestScanEndsWithTheDatabase(t *testing.T) {
	db := openDB(t, Options{CacheBytes: 1})
	task, err := db.Task("t")
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenKeyValue(task, "s", serde.String, serde.Int64)
	if err != nil {
		t.Fatal(err)
	}
	task.BeginEpoch(1)
	for i := range 1000 {
		if err := s.Put(fmt.Sprint(i), 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	task.CommitEpoch()
	if err := errors.Join(task.StartFlush(), task.WaitFlush(t.Context())); err != nil {
		t.Fatal(err)
	}
	r := NewKeyValue("s", serde.String, serde.Int64).Reader(parts{s})
	next, stop := iter.Pull2(r.All(t.Context()))
	defer stop()
	if _, err, ok := next(); err != nil || !ok {
		t.Fatal(err, ok)
	}
	if err := errors.Join(task.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	for {
		_, err, ok := next()
		if !ok {
			t.Fatal("the scan came to its end")
		}
		if err != nil {
			if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			break
		}
	}
	if _, err := r.Get(t.Context(), "1"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	for _, err := range r.All(t.Context()) {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

// Rows of several parts come in one order; of a segment with more rows than are gathered at a time too.
func TestPartsAreMerged(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	db := openDB(t, Options{})
	var kv, win parts
	const each = 3 * gatherRows
	for p := range 3 {
		task, err := db.Task(fmt.Sprint("t", p))
		if err != nil {
			t.Fatal(err)
		}
		s, err := OpenKeyValue(task, "s", serde.String, serde.Int64)
		if err != nil {
			t.Fatal(err)
		}
		w, err := OpenWindow(task, "w", serde.String, serde.Int64, WindowSettings{Retention: time.Hour, Size: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		task.BeginEpoch(1)
		for i := range each {
			n := i*3 + p
			if err := errors.Join(s.Put(fmt.Sprintf("%08d", n), int64(n), 0), w.Put(fmt.Sprintf("%06d", n%1000), int64(n*7919%100_000), int64(n), 0)); err != nil {
				t.Fatal(err)
			}
		}
		task.CommitEpoch()
		if p > 0 {
			if err := errors.Join(task.StartFlush(), task.WaitFlush(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		kv, win = append(kv, s), append(win, w)
	}
	n := int64(0)
	for row, err := range NewKeyValue("s", serde.String, serde.Int64).Reader(kv).All(t.Context()) {
		if err != nil || row.Value != n {
			t.Fatalf("row %d is %+v, %v", n, row, err)
		}
		n++
	}
	if n != 3*each {
		t.Fatalf("%d rows, want %d", n, 3*each)
	}
	want := map[string]bool{}
	for i := range 3 * each {
		want[fmt.Sprintf("%06d %d", i%1000, i*7919%100_000)] = true
	}
	var last WindowRow[string, int64]
	got := 0
	for row, err := range NewWindow("w", serde.String, serde.Int64).Reader(win).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if got > 0 && cmp.Or(cmp.Compare(last.Start, row.Start), cmp.Compare(last.Key, row.Key)) > 0 {
			t.Fatalf("%+v comes after %+v", row, last)
		}
		if !want[fmt.Sprintf("%s %d", row.Key, row.Start)] {
			t.Fatalf("%+v was not put", row)
		}
		last = row
		got++
	}
	if got < len(want) {
		t.Errorf("%d rows, want at least %d", got, len(want))
	}
}

// A large store's rows are not counted one by one.
func TestApproximateCount(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	db := openDB(t, Options{})
	task, err := db.Task("t")
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenKeyValue(task, "s", serde.String, serde.Int64)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 200_000
	task.BeginEpoch(1)
	for i := range rows {
		if err := s.Put(fmt.Sprintf("%016d", i*7919), int64(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	task.CommitEpoch()
	if err := errors.Join(task.StartFlush(), task.WaitFlush(t.Context()), db.pebble.Flush()); err != nil {
		t.Fatal(err)
	}
	n, err := NewKeyValue("s", serde.String, serde.Int64).Reader(parts{s}).ApproximateCount(t.Context())
	if err != nil || n < rows/2 || n > rows*2 {
		t.Errorf("about %d rows, %v, of %d", n, err, rows)
	}
	t.Logf("about %d of %d", n, rows)
}

func TestReaderOfAnotherKind(t *testing.T) {
	db := openDB(t, Options{})
	task, err := db.Task("t")
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenKeyValue(task, "s", serde.String, serde.Int64)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewWindow("s", serde.String, serde.Int64).Reader(parts{s}).Fetch(t.Context(), "k", 0)
	if err == nil || !strings.Contains(err.Error(), "store s is a *state.KeyValueStore[string,int64]") {
		t.Error(err)
	}
}

// What the open epoch did is hidden, and what it took away is there: rows it put, changed and deleted, whether they
// were in Pebble or not, and the time it moved, which hides old windows.
func TestReadersSeeWhatIsCommitted(t *testing.T) {
	db := openDB(t, Options{CacheBytes: 1})
	task := openTask(t, db, "t")
	kv := openStore(t, task, "kv", serde.String)
	win, err := OpenWindow(task, "win", serde.String, serde.String, WindowSettings{Retention: 100 * time.Millisecond, Size: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	task.BeginEpoch(1)
	for _, k := range []string{"changed", "deleted", "kept"} {
		put(t, kv, k, "old")
	}
	if err := win.Put("k", 10, "old", 1); err != nil {
		t.Fatal(err)
	}
	task.CommitEpoch()
	read := func(when, wantRows, wantWindows string, uncommitted bool) {
		t.Helper()
		r, w := NewKeyValue("kv", serde.String, serde.String).Reader(parts{kv}), NewWindow("win", serde.String, serde.String).Reader(parts{win})
		if uncommitted {
			r, w = r.Uncommitted(), w.Uncommitted()
		}
		var rows, byRange, byGet, windows, byFetch []string
		for row, err := range r.All(t.Context()) {
			rows = append(rows, fmt.Sprint(row.Key, " ", row.Value, err))
		}
		for row, err := range r.Range(t.Context(), "a", "z") {
			byRange = append(byRange, fmt.Sprint(row.Key, " ", row.Value, err))
		}
		for _, k := range []string{"changed", "deleted", "kept", "new"} {
			if v, err := r.Get(t.Context(), k); v.OK || err != nil {
				byGet = append(byGet, fmt.Sprint(k, " ", v.V, err))
			}
		}
		for row, err := range w.All(t.Context()) {
			windows = append(windows, fmt.Sprint(row.Key, row.Start, err))
		}
		for _, start := range []int64{10, 200} {
			if v, err := w.Fetch(t.Context(), "k", start); v.OK || err != nil {
				byFetch = append(byFetch, fmt.Sprint("k", start, err))
			}
		}
		for _, got := range [][]string{rows, byRange, byGet} {
			if fmt.Sprint(got) != wantRows {
				t.Errorf("%s: %v, want %s", when, got, wantRows)
			}
		}
		for _, got := range [][]string{windows, byFetch} {
			if fmt.Sprint(got) != wantWindows {
				t.Errorf("%s: %v, want %s", when, got, wantWindows)
			}
		}
	}
	old, now := "[changed old<nil> deleted old<nil> kept old<nil>]", "[changed now<nil> kept old<nil> new now<nil>]"
	for _, flushed := range []bool{false, true} {
		if flushed {
			if err := errors.Join(task.StartFlush(), task.WaitFlush(t.Context())); err != nil {
				t.Fatal(err)
			}
			task.Trim()
		}
		task.BeginEpoch(task.last + 1)
		put(t, kv, "changed", "now")
		put(t, kv, "new", "now")
		if err := errors.Join(kv.Delete("deleted", 1), win.Put("k", 200, "now", 1)); err != nil {
			t.Fatal(err)
		}
		read(fmt.Sprint("committed, flushed ", flushed), old, "[k10 <nil>]", false)
		read(fmt.Sprint("uncommitted, flushed ", flushed), now, "[k200 <nil>]", true)
		task.AbortEpoch()
		read(fmt.Sprint("aborted, flushed ", flushed), old, "[k10 <nil>]", true)
	}
	task.BeginEpoch(task.last + 1)
	put(t, kv, "changed", "now")
	put(t, kv, "new", "now")
	if err := errors.Join(kv.Delete("deleted", 1), win.Put("k", 200, "now", 1)); err != nil {
		t.Fatal(err)
	}
	task.CommitEpoch()
	read("committed, not flushed", now, "[k200 <nil>]", false)
	if err := task.StartFlush(); err != nil {
		t.Fatal(err)
	}
	read("being flushed", now, "[k200 <nil>]", false)
	if err := task.WaitFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	task.Trim()
	read("flushed", now, "[k200 <nil>]", false)
}
