package state

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/serde"
)

// BenchmarkWindowHit is one count in a window, as BenchmarkHit is without one: a window of a minute, of which
// time passes one second with each 10,000 records.
func BenchmarkWindowHit(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			db := openDB(b, Options{FS: vfs.NewMem(), CacheBytes: 1 << 30})
			task := openTask(b, db, "bench/0")
			s, err := OpenWindow(task, "counts", serde.String, serde.Int64, WindowSettings{
				Retention: 10 * time.Minute, Size: time.Minute, SegmentInterval: time.Minute,
			})
			if err != nil {
				b.Fatal(err)
			}
			w, o := words(n), order(n, false)
			i, epoch := 0, uint64(1)
			task.BeginEpoch(epoch)
			b.ReportAllocs()
			for b.Loop() {
				ms := int64(i / 10)
				e, err := s.Entry(w[o[i%len(o)]], ms-ms%60_000)
				if err != nil {
					b.Fatal(err)
				}
				v, err := e.Get()
				if err != nil {
					b.Fatal(err)
				}
				if err := e.Put(v.V+1, ms); err != nil {
					b.Fatal(err)
				}
				if i++; i%100_000 == 0 {
					task.CommitEpoch()
					if i%1_000_000 == 0 {
						if err := task.StartFlush(); err != nil {
							b.Fatal(err)
						}
					}
					epoch++
					task.BeginEpoch(epoch)
				}
			}
			task.CommitEpoch()
		})
	}
}

// BenchmarkJoinSide is what a record of a stream-stream join does in the stores: it goes through the other
// side's records of a minute around it, of which there are three, and is put into its own side's.
func BenchmarkJoinSide(b *testing.B) {
	const keys = 10_000
	db := openDB(b, Options{FS: vfs.NewMem(), CacheBytes: 1 << 30})
	task := openTask(b, db, "bench/0")
	s, err := OpenWindow(task, "side", serde.String, serde.Int64, WindowSettings{Retention: 2 * time.Minute, RetainDuplicates: true})
	if err != nil {
		b.Fatal(err)
	}
	w, o := words(keys), order(keys, false)
	i, epoch, found := 0, uint64(1), int64(0)
	see := func(WindowRow[string, int64]) error {
		found++
		return nil
	}
	task.BeginEpoch(epoch)
	b.ReportAllocs()
	for b.Loop() {
		ms := int64(i) * 3 * 60_000 / keys / 3
		k := w[o[i%len(o)]]
		if err := s.Each(k, ms-3*60_000, ms, false, see); err != nil {
			b.Fatal(err)
		}
		if err := s.Put(k, ms, int64(i), ms); err != nil {
			b.Fatal(err)
		}
		if i++; i%10_000 == 0 {
			task.CommitEpoch()
			if i%100_000 == 0 {
				if err := task.StartFlush(); err != nil {
					b.Fatal(err)
				}
			}
			epoch++
			task.BeginEpoch(epoch)
		}
	}
	task.CommitEpoch()
	b.ReportMetric(float64(found)/float64(i), "found/op")
}
