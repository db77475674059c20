package state

import (
	"slices"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
)

// What a compacted changelog keeps of a key is its last record. That is the latest version, or its tombstone, also
// if a late put came after it and the store's time then passed it by in the same epoch.
func TestLatestVersionIsRestoredFromACompactedChangelog(t *testing.T) {
	open := func(name string) (*Task, *VersionedStore[string, string]) {
		task := openTask(t, openDB(t, Options{}), name)
		s, err := OpenVersioned(task, "versions", serde.String, serde.String, VersionedSettings{HistoryRetention: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return task, s
	}
	for _, deleted := range []bool{false, true} {
		task, s := open("app/0")
		var written changelog
		epoch := func(do func() error) {
			t.Helper()
			begin(task)
			err := do()
			if err == nil {
				err = s.AppendChanges(&written)
			}
			if err != nil {
				t.Fatal(err)
			}
			task.CommitEpoch()
		}
		put := func(k, v string, ts int64) func() error {
			return func() error {
				_, err := s.Put(k, v, ts)
				return err
			}
		}
		epoch(put("k", "first", 10))
		epoch(func() error {
			if deleted {
				_, err := s.Delete("k", 50)
				return err
			}
			return put("k", "latest", 50)()
		})
		epoch(func() error {
			if err := put("k", "late", 20)(); err != nil {
				return err
			}
			return put("other", "far ahead", 500)()
		})
		var kept changelog
		for i, r := range written {
			if !slices.ContainsFunc(written[i+1:], func(later record) bool { return string(later.key) == string(r.key) }) {
				kept = append(kept, r)
			}
		}
		want, err := s.Get("k")
		if err != nil || want.OK == deleted {
			t.Fatal(want, err)
		}
		for _, records := range []changelog{written, kept} {
			_, restored := open("app/1")
			for _, r := range records {
				if err := restored.Restore(r.key, r.value, r.timestamp); err != nil {
					t.Fatal(err)
				}
			}
			if err := restored.Restored(Position{}); err != nil {
				t.Fatal(err)
			}
			if got, err := restored.Get("k"); err != nil || got != want {
				t.Errorf("deleted %t, of %d records %d: %+v, %v; want %+v", deleted, len(written), len(records), got, err, want)
			}
		}
	}
}
