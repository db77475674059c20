//go:build unix

package log

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// cpuSeconds is what this process has used so far, user and system.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// warm writes and removes a file of the given size, so that the pages that are then written were touched
// before: on some machines a page costs ten times as much the first time.
func warm(b *testing.B, dir string, size int64) {
	f, err := os.Create(filepath.Join(dir, "warm"))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(buf)) {
		if _, err := f.WriteAt(buf, at); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppend appends records without keys and with values of 100 bytes, in batches of 1 MiB: filled,
// encoded, summed and written inside of the measurement.
func BenchmarkAppend(b *testing.B) {
	for _, mode := range []Sync{SyncOS, SyncCommit} {
		for _, numPartitions := range []int{1, 12} {
			b.Run(mode.String()+"/partitions="+strconv.Itoa(numPartitions), func(b *testing.B) {
				const perBlock = 1 << 20 / 112
				dir := b.TempDir()
				warm(b, dir, min(int64(b.N)*110+(600<<20), 4<<30))
				l, err := Open(dir, Options{Sync: mode})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				ctx := context.Background()
				if err := l.CreateTopics(ctx, []TopicSpec{{Name: "t", Partitions: int32(numPartitions)}}); err != nil {
					b.Fatal(err)
				}
				p, err := l.NewProducer(ProducerSpec{})
				if err != nil {
					b.Fatal(err)
				}
				value := make([]byte, 100)
				b.SetBytes(100)
				b.ReportAllocs()
				b.ResetTimer()
				before := cpuSeconds(b)
				for n, i := 0, 0; n < b.N; i++ {
					blk := NewBlock()
					for range min(perBlock, b.N-n) {
						blk.Append(1, nil, value, nil)
					}
					n += blk.Len()
					if _, err := p.Append(ctx, TopicPartition{"t", int32(i % numPartitions)}, blk); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N)/(cpuSeconds(b)-before)/1e6, "Mrecords/cpu-s")
			})
		}
	}
}
