package state

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/serde"
)

// benchStore opens a store in a directory of its own, or in memory.
func benchStore(tb testing.TB, o Options) (*Task, *KeyValueStore[string, int64]) {
	tb.Helper()
	dir := "state"
	if o.FS == nil {
		dir = tb.TempDir()
	}
	db, err := Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	task, err := db.Task("bench/0")
	if err != nil {
		tb.Fatal(err)
	}
	s, err := OpenKeyValue(task, "counts", serde.String, serde.Int64)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := task.Close(); err != nil {
			tb.Error(err)
		}
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return task, s
}

func words(n int) []string {
	w := make([]string, n)
	for i := range w {
		w[i] = fmt.Sprintf("w%07d", i)
	}
	return w
}

// order is which key is used when: uniform, or as words are in a text.
func order(n int, zipf bool) []uint32 {
	rng := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(rng, 1.1, 1, uint64(n-1))
	o := make([]uint32, 1<<20)
	for i := range o {
		if zipf {
			o[i] = uint32(z.Uint64())
		} else {
			o[i] = rng.Uint32N(uint32(n))
		}
	}
	return o
}

func add(tb testing.TB, s *KeyValueStore[string, int64], k string, ts int64) {
	e, err := s.Entry(k)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := e.Get()
	if err != nil {
		tb.Fatal(err)
	}
	if err := e.Put(v.V+1, ts); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkHit is one count: find the key, read, write. An epoch has 100,000 of them.
func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		for _, zipf := range []bool{false, true} {
			b.Run(fmt.Sprintf("keys=%d/zipf=%v", n, zipf), func(b *testing.B) {
				task, s := benchStore(b, Options{FS: vfs.NewMem(), CacheBytes: 1 << 30})
				w, o := words(n), order(n, zipf)
				task.BeginEpoch(1)
				for _, k := range w {
					add(b, s, k, 0)
				}
				task.CommitEpoch()
				epoch := uint64(2)
				task.BeginEpoch(epoch)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					add(b, s, w[o[i%len(o)]], int64(i))
					if i++; i%100_000 == 0 {
						task.CommitEpoch()
						epoch++
						task.BeginEpoch(epoch)
					}
				}
				task.CommitEpoch()
			})
		}
	}
}

// BenchmarkMiss reads keys that the cache has not, of a million that Pebble has. The cache is emptied before
// any comes up a second time, which is part of the time.
func BenchmarkMiss(b *testing.B) {
	const n, batch = 1_000_000, 100_000
	task, s := benchStore(b, Options{CacheBytes: 64 << 20})
	w := words(n)
	for i := 0; i < n; i += batch {
		begin(task)
		for _, k := range w[i : i+batch] {
			add(b, s, k, 0)
		}
		task.CommitEpoch()
		flushNow(b, task)
	}
	for _, absent := range []bool{false, true} {
		b.Run(fmt.Sprintf("absent=%v", absent), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i%batch == 0 {
					s.live.evict(1<<40, task.applied)
				}
				k := w[i*7919%n] // all of them, far apart
				i++
				if absent {
					k += "x"
				}
				if v, err := s.Get(k); err != nil || v.OK == absent {
					b.Fatal(v, err)
				}
			}
		})
	}
}

func flushNow(tb testing.TB, task *Task) {
	tb.Helper()
	if err := task.StartFlush(); err != nil {
		tb.Fatal(err)
	}
	if err := task.WaitFlush(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// Benchmarks of what comes between epochs take the time themselves: to stop the benchmark's timer costs more
// than some of them.

// BenchmarkCommit ends epochs of 1 and of 100,000 keys: how many there are must not matter.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("touched=%d", n), func(b *testing.B) {
			between(b, n, n, "ns/commit", 1, func(task *Task) { task.CommitEpoch() })
		})
	}
}

// BenchmarkAbort takes back 100,000 puts.
func BenchmarkAbort(b *testing.B) {
	between(b, 100_000, 100_000, "ns/key", 100_000, func(task *Task) { task.AbortEpoch() })
}

// BenchmarkFlush writes 100,000 of a million keys, chosen at random, to a disk.
func BenchmarkFlush(b *testing.B) {
	const batch = 100_000
	var owner time.Duration
	between(b, 1_000_000, batch, "ns/key", batch, func(task *Task) {
		task.CommitEpoch()
		start := time.Now()
		if err := task.StartFlush(); err != nil {
			b.Fatal(err)
		}
		owner += time.Since(start)
		if err := task.WaitFlush(context.Background()); err != nil {
			b.Fatal(err)
		}
	})
	b.ReportMetric(float64(owner.Nanoseconds())/float64(b.N)/batch, "owner-ns/key")
}

// between measures what is done at the end of epochs that touch so many of n keys, per so many units.
func between(b *testing.B, n, touched int, unit string, units int, do func(*Task)) {
	task, s := benchStore(b, Options{CacheBytes: 1 << 30})
	w, o := words(n), order(n, false)
	if n == touched {
		for i := range o {
			o[i] = uint32(i % n)
		}
	}
	var spent time.Duration
	at := 0
	for epoch := uint64(1); b.Loop(); epoch++ {
		task.BeginEpoch(epoch)
		for range touched {
			add(b, s, w[o[at%len(o)]], 0)
			at++
		}
		start := time.Now()
		do(task)
		spent += time.Since(start)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N)/float64(units), unit)
}

// BenchmarkRestore writes a million changelog records of as many keys, in random order.
func BenchmarkRestore(b *testing.B) {
	const n = 1_000_000
	w := words(n)
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { w[i], w[j] = w[j], w[i] })
	value := make([]byte, 8)
	for b.Loop() {
		b.StopTimer()
		_, s := benchStore(b, Options{})
		b.StartTimer()
		for _, k := range w {
			if err := s.Restore([]byte(k), value, 1); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Restored(Position{Offset: n}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
