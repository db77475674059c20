package state

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/serde"
)

// storedRows counts the store's rows in Pebble.
func storedRows(t testing.TB, s *storeBase) (rows int) {
	t.Helper()
	it, err := s.iterate()
	if err != nil {
		t.Fatal(err)
	}
	for more := it.First(); more; more = it.Next() {
		rows++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func flushAll(t testing.TB, task *Task) {
	t.Helper()
	if err := task.StartFlush(); err != nil {
		t.Fatal(err)
	}
	if err := task.WaitFlush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// What has expired takes no room: neither in Pebble, once the next flush is written, nor in the cache, whatever
// state its entries were in.
func TestExpiredRowsAreGone(t *testing.T) {
	for _, flushEvery := range []int64{1, 3, 50} {
		t.Run(fmt.Sprintf("flush every %d epochs", flushEvery), func(t *testing.T) {
			task := openTask(t, openDB(t, Options{}), "app/0")
			s, err := OpenWindow(task, "windows", serde.Int64, serde.Int64, WindowSettings{
				Retention: 100 * time.Millisecond, Size: 10 * time.Millisecond, SegmentInterval: 20 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			memory, err := OpenSession(task, "memory", serde.Int64, serde.Int64, SessionSettings{
				Retention: 100 * time.Millisecond, SegmentInterval: 20 * time.Millisecond, InMemory: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			const live = 12 * 5 * 4 // segments of a retention and one more, with what one of them has
			for epoch := range int64(200) {
				begin(task)
				for k := range int64(4) {
					if err := s.Put(k, epoch*5, epoch, 0); err != nil {
						t.Fatal(err)
					}
					if err := memory.Put(k, epoch*5, epoch*5, epoch, 0); err != nil {
						t.Fatal(err)
					}
				}
				task.CommitEpoch()
				if epoch%flushEvery == 0 {
					flushAll(t, task)
				}
				if n := s.liveCount(); flushEvery < 50 && n > live {
					t.Fatalf("epoch %d: %d cached windows, want at most %d", epoch, n, live)
				}
				if n := memory.liveCount(); n > live {
					t.Fatalf("epoch %d: %d sessions in memory, want at most %d", epoch, n, live)
				}
			}
			flushAll(t, task)
			if n := storedRows(t, s.storeBase); n == 0 || n > live {
				t.Errorf("%d rows in Pebble, want some, and at most %d", n, live)
			}
			if n := s.liveCount(); n > live {
				t.Errorf("%d cached windows, want at most %d", n, live)
			}
			if n := len(s.order.segments); n > 8 {
				t.Errorf("%d segments, want those of a retention", n)
			}
		})
	}
}

// The latest values of a versioned store never expire, their history does.
func TestVersionsExpireButTheLatest(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s, err := OpenVersioned(task, "versions", serde.Int64, serde.Int64, VersionedSettings{
		HistoryRetention: 100 * time.Millisecond, SegmentInterval: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	for ts := range int64(1000) {
		begin(task)
		if _, err := s.Put(ts%50, ts, ts); err != nil { // keys 0 to 49
			t.Fatal(err)
		}
		if _, err := s.Put(1000+ts, ts, ts); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delete(1000+ts, ts+1); err != nil {
			t.Fatal(err)
		}
		task.CommitEpoch()
		if ts%7 == 0 {
			flushAll(t, task)
		}
	}
	flushAll(t, task)
	// Of the last 120 ms: of each three rows, the old value of a key, the deleted value, the tombstone.
	if n := storedRows(t, s.storeBase); n < 50+3*100 || n > 50+3*121 {
		t.Errorf("%d rows in Pebble, want 50 latest values and the history", n)
	}
	n := 0
	for row, err := range s.All() {
		if err != nil || row.Value != 950+row.Key {
			t.Fatalf("%+v, %v", row, err)
		}
		n++
	}
	if n != 50 {
		t.Errorf("%d latest values, want 50", n)
	}
}

// A segment of more rows than are sorted at a time comes in order all the same.
func TestFetchAllOfMany(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s, err := OpenWindow(task, "windows", serde.Int64, serde.Int64, WindowSettings{Retention: time.Hour, Size: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const n = 5*gatherRows + 17
	begin(task)
	for i := range int64(n) {
		if err := s.Put(i%100, i*7919%n, i, 0); err != nil {
			t.Fatal(err)
		}
	}
	count, last := 0, int64(-1)
	for row, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
		if row.Start < last {
			t.Fatalf("start %d after %d", row.Start, last)
		}
		last = row.Start
		count++
	}
	if count != n {
		t.Errorf("%d rows, want %d", count, n)
	}
	task.AbortEpoch()
}

// Rows that lie by another interval cannot be found: they are restored.
func TestOtherIntervalIsRestored(t *testing.T) {
	fs := vfs.NewMem()
	open := func(interval time.Duration) (*DB, *Task, *WindowStore[int64, int64]) {
		db, err := Open("state", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		task, err := db.Task("app/0")
		if err != nil {
			t.Fatal(err)
		}
		s, err := OpenWindow(task, "windows", serde.Int64, serde.Int64, WindowSettings{Retention: time.Minute, SegmentInterval: interval})
		if err != nil {
			t.Fatal(err)
		}
		return db, task, s
	}
	db, task, s := open(time.Second)
	begin(task)
	if err := s.Put(1, 5000, 7, 0); err != nil {
		t.Fatal(err)
	}
	task.CommitEpoch()
	s.SetPosition(Position{Offset: 1})
	flushAll(t, task)
	for _, step := range []struct {
		interval time.Duration
		kept     bool
	}{{time.Second, true}, {2 * time.Second, false}} {
		if err := task.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db, task, s = open(step.interval)
		_, ok := s.Stored()
		v, err := s.Fetch(1, 5000)
		if _, set := s.ObservedTime(); err != nil || ok != step.kept || v.OK != step.kept || set != step.kept {
			t.Errorf("interval %s: position %v, row %+v, time %v, %v; want them to be kept: %v", step.interval, ok, v, set, err, step.kept)
		}
	}
	if err := task.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A count in a window that is there allocates nothing; nor does a look at a key's windows.
func TestWindowsAllocateNothing(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s, err := OpenWindow(task, "windows", serde.String, serde.Int64, WindowSettings{Retention: time.Hour, Size: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	look := func(r WindowRow[string, int64]) error {
		sum += r.Value
		return nil
	}
	epoch := func() {
		begin(task)
		for start := range int64(10) {
			e, err := s.Entry("a key of some length", start*1000)
			if err != nil {
				t.Fatal(err)
			}
			v, err := e.Get()
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Put(v.V+1, start); err != nil {
				t.Fatal(err)
			}
		}
		task.CommitEpoch()
	}
	epoch()
	epoch()
	if n := testing.AllocsPerRun(10, epoch); n != 0 {
		t.Errorf("%v allocations in an epoch of 10 puts", n)
	}
	fetch := func() {
		if err := s.Each("a key of some length", 0, 5000, false, look); err != nil {
			t.Fatal(err)
		}
	}
	fetch()
	if n := testing.AllocsPerRun(10, fetch); n > 0 {
		t.Errorf("%v allocations in a look at 6 windows", n)
	}
}
