//go:build unix

package log

import (
	"context"
	"strconv"
	"testing"
)

// BenchmarkCommit is one transaction: 1 KiB to each of so many partitions, and the commit with its offsets,
// synced. One sync serves them all.
func BenchmarkCommit(b *testing.B) {
	for _, numPartitions := range []int{1, 12, 100} {
		b.Run("partitions="+strconv.Itoa(numPartitions), func(b *testing.B) {
			l, err := Open(b.TempDir(), Options{Logger: quiet})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			ctx := context.Background()
			if err := l.CreateTopics(ctx, []TopicSpec{{Name: "t", Partitions: int32(numPartitions)}}); err != nil {
				b.Fatal(err)
			}
			p, err := l.NewProducer(ProducerSpec{Owner: "app"})
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 100)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuSeconds(b)
			for i := range b.N {
				x, err := p.Begin()
				if err != nil {
					b.Fatal(err)
				}
				for n := range int32(numPartitions) {
					blk := NewBlock()
					for range 10 {
						blk.Append(1, nil, value, nil)
					}
					if _, err := x.Append(TopicPartition{"t", n}, blk); err != nil {
						b.Fatal(err)
					}
				}
				if err := x.CommitOffsets("g", map[TopicPartition]CommittedOffset{{"t", 0}: {Offset: int64(i)}}); err != nil {
					b.Fatal(err)
				}
				if err := x.Commit(ctx); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric((cpuSeconds(b)-before)/float64(b.N)*1e6, "cpu-us/op")
		})
	}
}

// BenchmarkRead reads records of 100 bytes back, from the page cache, through a Reader.
func BenchmarkRead(b *testing.B) {
	l, err := Open(b.TempDir(), Options{Logger: quiet, Sync: SyncOS})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ctx := context.Background()
	if err := l.CreateTopics(ctx, []TopicSpec{{Name: "t", Partitions: 1}}); err != nil {
		b.Fatal(err)
	}
	p, err := l.NewProducer(ProducerSpec{})
	if err != nil {
		b.Fatal(err)
	}
	tp := TopicPartition{"t", 0}
	value := make([]byte, 100)
	for range 50 {
		blk := NewBlock()
		for range 9000 {
			blk.Append(1, nil, value, nil)
		}
		if _, err := p.Append(ctx, tp, blk); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.SetBytes(100)
	b.ResetTimer()
	before := cpuSeconds(b)
	records := make([]Record, 256)
	for n := 0; n < b.N; {
		r, err := l.NewReader(tp, Earliest, ReadCommitted)
		if err != nil {
			b.Fatal(err)
		}
		for n < b.N && r.Position() < 50*9000 {
			got, err := r.Read(ctx, records[:min(len(records), b.N-n)])
			if err != nil {
				b.Fatal(err)
			}
			n += got
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/(cpuSeconds(b)-before)/1e6, "Mrecords/cpu-s")
}
