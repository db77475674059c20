package log

import (
	"context"
	"testing"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// A batch that comes again while the first is not synced yet is not acknowledged before that is: its client would
// take for durable what a crash can take away.
func TestDuplicateWaitsForTheSync(t *testing.T) {
	fs := crashfs.New(crashfs.Options{})
	l := openTest(t, "log", Options{FS: fs, Logger: quiet})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	p, err := l.Partition(TopicPartition{"t", 0})
	if err != nil {
		t.Fatal(err)
	}
	b := block("a")
	batch, err := appendBatch(nil, b, 0, 1, CompressionNone, producerStamp{id: 7})
	if err != nil {
		t.Fatal(err)
	}
	b.Release()
	for range 2 {
		_, sequence, err := l.appendEncoded(p, append([]byte(nil), batch...))
		if err != nil {
			t.Fatal(err)
		}
		if l.journal.synced.Load() >= sequence {
			t.Fatalf("frame %d is acknowledged, and nothing is synced after %d", sequence, l.journal.synced.Load())
		}
	}
	if err := l.ack(l.journal.written()); err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(context.Background(), l, p.tp, 0, ReadCommitted)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
}
