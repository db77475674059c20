package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/moldau-io/moldau/serde"
)

// fill commits n keys.
func fill(t testing.TB, task *Task, s *KeyValueStore[string, int64], from, n int, v int64) {
	t.Helper()
	begin(task)
	for i := from; i < from+n; i++ {
		put(t, s, fmt.Sprintf("w%07d", i), v)
	}
	task.CommitEpoch()
}

// Committed content is due after FlushInterval, and sooner only if there is much of it: then of the task that
// has at least its share.
func TestFlushDue(t *testing.T) {
	now := time.Unix(1000, 0)
	db := openDB(t, Options{FlushInterval: time.Minute, FlushBytes: 100_000, Now: func() time.Time { return now }})
	large, small := openTask(t, db, "app/0"), openTask(t, db, "app/1")
	inLarge, inSmall := openStore(t, large, "counts", serde.Int64), openStore(t, small, "counts", serde.Int64)
	due := func(when string, wantLarge, wantSmall bool) {
		t.Helper()
		if l, s := large.FlushDue(), small.FlushDue(); l != wantLarge || s != wantSmall {
			t.Errorf("%s: due %v and %v, want %v and %v", when, l, s, wantLarge, wantSmall)
		}
	}
	due("with nothing to flush", false, false)
	begin(small)
	put(t, inSmall, "k", 1)
	now = now.Add(time.Hour)
	small.AbortEpoch()
	due("after an abort", false, false)
	fill(t, small, inSmall, 0, 10, 1)
	due("just committed", false, false)
	now = now.Add(time.Minute - 1)
	due("before the interval is over", false, false)
	now = now.Add(1)
	due("after the interval", false, true)
	flushNow(t, small)
	due("after a flush", false, false)
	small.stores[0].SetPosition(Position{Offset: 1})
	now = now.Add(time.Minute)
	due("a position alone", false, true)
	flushNow(t, small)
	if p, ok := inSmall.Stored(); !ok || p.Offset != 1 {
		t.Errorf("stored %+v, %v", p, ok)
	}
	fill(t, small, inSmall, 0, 10, 2)
	fill(t, large, inLarge, 0, 2000, 1)
	due("much is committed", true, false)
	flushNow(t, large)
	due("after the large flush", false, false)
	if n := db.unflushed.Load(); n <= 0 || n > 10_000 {
		t.Errorf("%d bytes are counted as not flushed", n)
	}
}

// Trim brings all caches together under CacheBytes, as soon as Pebble has what they hold.
func TestTrim(t *testing.T) {
	const limit = 400_000
	db := openDB(t, Options{CacheBytes: limit})
	var tasks []*Task
	var stores []*KeyValueStore[string, int64]
	for i := range 3 {
		task := openTask(t, db, fmt.Sprintf("app/%d", i))
		s := openStore(t, task, "counts", serde.Int64)
		tasks, stores = append(tasks, task), append(stores, s)
		fill(t, task, s, 0, 3000*(i+1), 7)
	}
	full := db.cacheBytes.Load()
	for _, task := range tasks {
		task.Trim()
	}
	if n := db.cacheBytes.Load(); n != full {
		t.Errorf("%d of %d bytes are left, but Pebble had none of them", n, full)
	}
	for _, task := range tasks {
		flushNow(t, task)
		task.Trim()
	}
	for _, task := range tasks {
		task.Trim()
		task.Trim()
	}
	if n := db.cacheBytes.Load(); n > limit || n < limit/2 {
		t.Errorf("after Trim %d bytes are cached, the limit is %d", n, limit)
	}
	for i, s := range stores {
		if s.live.live == 0 {
			t.Errorf("store %d has been emptied", i)
		}
		for n := range 3000 * (i + 1) {
			if v := get(t, s, fmt.Sprintf("w%07d", n)); v.V != 7 {
				t.Fatalf("store %d: key %d is %+v", i, n, v)
			}
		}
	}
}

// Two flushes of a task are written in the order they were started in, though goroutines write them.
func TestFlushesOfATaskAreWrittenInOrder(t *testing.T) {
	for round := range 50 {
		fs := vfs.NewMem()
		db := openDB(t, Options{FS: fs})
		task := openTask(t, db, "app/0")
		s := openStore(t, task, "counts", serde.Int64)
		db.flushTurn <- struct{}{} // as if another task's flush were under way
		for n := range int64(4) {
			fill(t, task, s, 0, 1, n)
			s.SetPosition(Position{Offset: n})
			if err := task.StartFlush(); err != nil {
				t.Fatal(err)
			}
			if task.FlushDue() {
				t.Fatal("a flush is due while one is under way")
			}
		}
		<-db.flushTurn
		if err := task.WaitFlush(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.live.evict(1<<40, task.applied)
		p, _ := s.Stored()
		if v := get(t, s, "w0000000"); v.V != 3 || p.Offset != 3 {
			t.Fatalf("round %d: value %d at %d, want 3", round, v.V, p.Offset)
		}
	}
}

func TestWaitFlushEndsWithItsContext(t *testing.T) {
	db := openDB(t, Options{})
	task := openTask(t, db, "app/0")
	s := openStore(t, task, "counts", serde.Int64)
	db.flushTurn <- struct{}{}
	fill(t, task, s, 0, 10, 1)
	if err := task.StartFlush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := task.WaitFlush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitFlush: %v", err)
	}
	<-db.flushTurn
	if err := task.WaitFlush(context.Background()); err != nil {
		t.Error(err)
	}
}

// A discarded store is empty, now and after a restart, whatever was flushed or on its way.
func TestDiscard(t *testing.T) {
	fs := vfs.NewMem()
	db := openDB(t, Options{FS: fs})
	task := openTask(t, db, "app/0")
	s, other := openStore(t, task, "counts", serde.Int64), openStore(t, task, "other", serde.Int64)
	fill(t, task, s, 0, 10, 1)
	fill(t, task, other, 0, 10, 2)
	s.SetPosition(Position{Offset: 10})
	other.SetPosition(Position{Offset: 20})
	flushNow(t, task)
	fill(t, task, s, 5, 10, 1)
	if err := task.StartFlush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	check := func(s, other *KeyValueStore[string, int64]) {
		t.Helper()
		for row, err := range s.All() {
			t.Errorf("a row is left: %+v, %v", row, err)
		}
		if _, ok := s.Stored(); ok {
			t.Error("a position is left")
		}
		if v := get(t, s, "w0000007"); v.OK {
			t.Errorf("a key is left: %+v", v)
		}
		if p, ok := other.Stored(); !ok || p.Offset != 20 {
			t.Errorf("the other store is at %+v, %v", p, ok)
		}
		if v := get(t, other, "w0000007"); v.V != 2 {
			t.Errorf("the other store has %+v", v)
		}
	}
	check(s, other)
	// One record is restored: it is all there is.
	if err := s.Restore([]byte("new"), []byte("\x00\x00\x00\x00\x00\x00\x00\x05"), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Restored(Position{Offset: 1}); err != nil {
		t.Fatal(err)
	}
	for row, err := range s.All() {
		if row.Key != "new" || row.Value != 5 || err != nil {
			t.Errorf("after a restore there is %+v, %v", row, err)
		}
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(task.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, Options{FS: fs})
	task = openTask(t, db, "app/0")
	check(openStore(t, task, "counts", serde.Int64), openStore(t, task, "other", serde.Int64))
}

// Rows without a position mean nothing: a restore did not finish, or the store has no changelog.
func TestRowsWithoutAPositionAreDiscarded(t *testing.T) {
	fs := vfs.NewMem()
	db := openDB(t, Options{FS: fs})
	task := openTask(t, db, "app/0")
	s := openStore(t, task, "counts", serde.Int64)
	value := []byte("\x00\x00\x00\x00\x00\x00\x00\x05")
	for i := range 100_000 { // more than one batch
		if err := s.Restore(fmt.Appendf(nil, "w%07d and a long rest of the key", i), value, 1); err != nil {
			t.Fatal(err)
		}
	}
	empty, err := s.emptyInPebble()
	if err != nil || empty {
		t.Fatalf("nothing was restored: %v, %v", empty, err)
	}
	if err := errors.Join(task.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, Options{FS: fs})
	task = openTask(t, db, "app/0")
	s = openStore(t, task, "counts", serde.Int64)
	for row, err := range s.All() {
		t.Fatalf("a row is left: %+v, %v", row, err)
	}
	if empty, err := s.emptyInPebble(); err != nil || !empty {
		t.Errorf("Pebble is empty: %v, %v", empty, err)
	}
}

// Stores of one name in two tasks, and of one task in two names, are apart; a reopened one is the same.
func TestStoresAreApart(t *testing.T) {
	fs := vfs.NewMem()
	names := []storeName{{"a", "b"}, {"a", "c"}, {"ab", ""}, {"", "ab"}, {"app/1", "x"}, {"app/11", "x"}}
	for round := range int64(3) {
		db := openDB(t, Options{FS: fs})
		var open []*Task
		tasks := map[string]*Task{}
		for i, n := range names {
			task := tasks[n.task]
			if task == nil {
				task = openTask(t, db, n.task)
				tasks[n.task] = task
				open = append(open, task)
			}
			s := openStore(t, task, n.store, serde.Int64)
			want := Value[int64]{100*int64(i) + round - 1, 1, true}
			if round == 0 {
				want = Value[int64]{}
			}
			if v := get(t, s, "k"); v != want {
				t.Errorf("round %d: store %v has %+v, want %+v", round, n, v, want)
			}
			begin(task)
			put(t, s, "k", 100*int64(i)+round)
			task.CommitEpoch()
			s.SetPosition(Position{Offset: round + 1})
		}
		var err error
		for _, task := range open {
			flushNow(t, task)
			err = errors.Join(err, task.Close())
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Run("a newer layout", func(t *testing.T) {
		fs := vfs.NewMem()
		db := openDB(t, Options{FS: fs})
		if err := errors.Join(db.pebble.Set(versionKey(), []byte{layoutVersion + 1}, pebble.NoSync), db.Close()); err != nil {
			t.Fatal(err)
		}
		_, err := Open("state", Options{FS: fs})
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "layout 02, this program knows 1") || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("another Pebble database", func(t *testing.T) {
		fs := vfs.NewMem()
		p, err := pebble.Open("state", &pebble.Options{FS: fs, Logger: pebbleLogger{slog.New(slog.DiscardHandler), func(error) {}}})
		if err == nil {
			err = errors.Join(p.Set([]byte("k"), nil, pebble.NoSync), p.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Open("state", Options{FS: fs}); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "not a Moldau state") {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("a catalog that is damaged", func(t *testing.T) {
		for _, kv := range [][2]string{{string(catalogKey("task", "store")), "\x01"}, {string(catalogKey("", "")[:6]), "\x00\x00\x00\x01"}} {
			fs := vfs.NewMem()
			db := openDB(t, Options{FS: fs})
			if err := errors.Join(db.pebble.Set([]byte(kv[0]), []byte(kv[1]), pebble.NoSync), db.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := Open("state", Options{FS: fs}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("open: %v", err)
			}
		}
	})
	t.Run("a position that is damaged", func(t *testing.T) {
		db := openDB(t, Options{})
		task := openTask(t, db, "app/0")
		id, err := db.storeID(storeName{"app/0", "counts"})
		if err == nil {
			err = db.pebble.Set(positionKey(id), []byte("short"), pebble.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeyValue(task, "counts", serde.String, serde.Int64); !errors.Is(err, ErrCorrupt) {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("a directory that is in use", func(t *testing.T) {
		dir := t.TempDir()
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("a second open: %v, %v", again, err)
		}
		if err := errors.Join(db.Close(), db.Close()); err != nil {
			t.Fatal(err)
		}
		if db, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a path that is a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("open: %v", err)
		}
	})
}

// A panic of Pebble's becomes the database's failure; Close leaves Pebble behind, and gives up its lock.
func TestPanicInPebble(t *testing.T) {
	mem := vfs.NewMem()
	armed := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed && op.Kind == errorfs.OpList {
			panic("a bug in Pebble")
		}
		return nil
	}))
	armed = true
	db, err := Open("state", Options{FS: fs})
	if err == nil || !strings.Contains(err.Error(), "a bug in Pebble") {
		t.Errorf("open: %v, %v", db, err)
	}
	armed = false
	openDB(t, Options{FS: mem})
}

// Tasks on goroutines of their own, with flushes and evictions going on; for the race detector.
func TestTasksInParallel(t *testing.T) {
	fs := vfs.NewMem()
	db := openDB(t, Options{FS: fs, CacheBytes: 50_000, memTableBytes: 128 << 10})
	const tasks, epochs, keys = 4, 30, 100
	var wg sync.WaitGroup
	for n := range tasks {
		task := openTask(t, db, fmt.Sprintf("app/%d", n))
		s := openStore(t, task, "counts", serde.Int64)
		names := openStore(t, task, "names", serde.Bytes)
		wg.Go(func() {
			for epoch := range epochs {
				begin(task)
				for i := range keys {
					k := fmt.Sprintf("%d", (epoch*37+i)%500)
					add(t, s, k, 1)
					if err := names.Put(k, []byte(k), 1); err != nil {
						t.Error(err)
						return
					}
				}
				if epoch%5 == 4 {
					task.AbortEpoch()
					continue
				}
				task.CommitEpoch()
				s.SetPosition(Position{Offset: int64(epoch)})
				if task.FlushDue() || epoch%7 == 0 {
					if err := task.StartFlush(); err != nil {
						t.Error(err)
						return
					}
				}
				task.Trim()
			}
			total := int64(0)
			for row, err := range s.All() {
				if err != nil {
					t.Error(err)
					return
				}
				total += row.Value
			}
			if want := int64(epochs * 4 / 5 * keys); total != want {
				t.Errorf("task %s counts %d, want %d", task.Name(), total, want)
			}
		})
	}
	wg.Wait()
}

func TestHandles(t *testing.T) {
	h := NewKeyValue("counts", serde.String, serde.Int64)
	var any AnyHandle = h
	if any.Name() != "counts" || any.Kind() != "key-value store" {
		t.Errorf("the handle is %s, %s", any.Name(), any.Kind())
	}
	var typed Handle[string, int64] = h
	if k, v := typed.Serdes(); k != serde.String || v != serde.Int64 {
		t.Errorf("serdes %v, %v", k, v)
	}
	task := openTask(t, openDB(t, Options{}), "app/0")
	openStore(t, task, "a", serde.Int64)
	openStore(t, task, "b", serde.Int64)
	if s := task.Stores(); len(s) != 2 || s[0].Name() != "a" || s[1].Name() != "b" {
		t.Errorf("stores %v", s)
	}
}
