package log

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fetchLog is a log with 40 batches of 1 to 3 records in several segments, the values being the offsets.
func fetchLog(t *testing.T) (l *Log, p *Partition, starts []int64) {
	t.Helper()
	l = openTest(t, "log", Options{FS: vfs.NewMem(), Sync: SyncOS})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1, Config: map[string]string{"segment.bytes": "900", "index.interval.bytes": "200"}})
	pr := mustProducer(t, l, "")
	offset := int64(0)
	for i := range 40 {
		b := NewBlock()
		starts = append(starts, offset)
		for range i%3 + 1 {
			b.Append(0, nil, []byte(fmt.Sprint(offset)), nil)
			offset++
		}
		if _, err := pr.Append(testContext(t), TopicPartition{"t", 0}, b); err != nil {
			t.Fatal(err)
		}
	}
	p, err := l.Partition(TopicPartition{"t", 0})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(*p.segments.Load()); n < 4 {
		t.Fatalf("there are %d segments", n)
	}
	return l, p, append(starts, offset)
}

// From every offset on, with every limit: the first batch holds the offset, batches are whole and follow one
// another, the limit is kept but for a first batch that is larger, and going on at Next reads all there is.
func TestFetchFromEveryOffset(t *testing.T) {
	_, p, starts := fetchLog(t)
	end := starts[len(starts)-1]
	for _, maxBytes := range []int{1, 60, 61, 62, 80, 150, 1000, 1 << 20} {
		for from := range end {
			for at := from; at < end; {
				f, err := p.Fetch(at, maxBytes, ReadCommitted)
				if err != nil {
					t.Fatalf("fetch %d, %d bytes: %v", at, maxBytes, err)
				}
				first, err := parseBatchHeader(f.Buf)
				if err != nil {
					t.Fatalf("fetch %d, %d bytes: %v", at, maxBytes, err)
				}
				if i, _ := slices.BinarySearch(starts, at+1); first.baseOffset != starts[i-1] {
					t.Fatalf("fetch %d, %d bytes: the first batch starts at %d, want %d", at, maxBytes, first.baseOffset, starts[i-1])
				}
				if len(f.Buf) > maxBytes && len(f.Buf) > first.size() {
					t.Fatalf("fetch %d, %d bytes: got %d", at, maxBytes, len(f.Buf))
				}
				c := newCursor(f.Buf, at, f.Next, nil)
				records := make([]Record, 200)
				n, err := c.Next(records)
				if err != nil || n != int(f.Next-at) {
					t.Fatalf("fetch %d, %d bytes: %d records up to %d, %v", at, maxBytes, n, f.Next, err)
				}
				for i, r := range records[:n] {
					if r.Offset != at+int64(i) || string(r.Value) != fmt.Sprint(r.Offset) {
						t.Fatalf("fetch %d: record %d is %q at offset %d", at, i, r.Value, r.Offset)
					}
				}
				at = f.Next
			}
		}
	}
}

func TestFetchOutOfRange(t *testing.T) {
	l, p, starts := fetchLog(t)
	end := starts[len(starts)-1]
	for _, offset := range []int64{-1, -2, end + 1, 1 << 60} {
		if _, err := p.Fetch(offset, 100, ReadCommitted); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("fetch at %d: %v, want ErrOffsetOutOfRange", offset, err)
		}
	}
	if f, err := p.Fetch(end, 100, ReadCommitted); err != nil || len(f.Buf) > 0 || f.Next != end {
		t.Errorf("fetch at the end: %d bytes, next %d, %v", len(f.Buf), f.Next, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Fetch(0, 100, ReadCommitted); !errors.Is(err, ErrClosed) {
		t.Errorf("fetch of a closed log: %v, want ErrClosed", err)
	}
}

// Fetch tells what to skip: the aborted transactions that reach into what was fetched, and no others, also
// when their markers are in later segments.
func TestFetchTellsAborted(t *testing.T) {
	ctx := testContext(t)
	l := openTest(t, "log", Options{FS: vfs.NewMem(), Sync: SyncOS})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1, Config: map[string]string{"segment.bytes": "200"}})
	tp := TopicPartition{"t", 0}
	long, short := mustProducer(t, l, "long"), mustProducer(t, l, "short")
	x := mustBegin(t, long)
	mustAppend(t, x, tp, "long") // offset 0
	for i := range 5 {
		y := mustBegin(t, short)
		mustAppend(t, y, tp, "short") // offsets 1, 3, 5, 7, 9; markers at 2, 4, 6, 8, 10
		var err error
		if i%2 == 0 {
			err = y.Abort(ctx)
		} else {
			err = y.Commit(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p, _ := l.Partition(tp)
	if f, err := p.Fetch(0, 1<<20, ReadCommitted); err != nil || len(f.Buf) > 0 {
		t.Fatalf("with a transaction open from offset 0 on: %d bytes, %v", len(f.Buf), err)
	}
	mustAppend(t, x, tp, "long") // offset 11
	if err := x.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	for offset := range int64(12) {
		f, err := p.Fetch(offset, 1, ReadCommitted)
		if err != nil {
			t.Fatal(err)
		}
		type span struct{ first, last int64 }
		var want, got []span
		for _, s := range []span{{1, 2}, {5, 6}, {9, 10}, {0, 12}} {
			if s.first < f.Next && s.last >= offset {
				want = append(want, s)
			}
		}
		for _, a := range f.Aborted {
			got = append(got, span{a.FirstOffset, a.LastOffset})
		}
		if !slices.Equal(got, want) {
			t.Errorf("fetch at %d up to %d tells %v, want %v", offset, f.Next, got, want)
		}
		if f, err := p.Fetch(offset, 1, ReadUncommitted); err != nil || len(f.Aborted) > 0 {
			t.Errorf("under ReadUncommitted it tells %v, %v", f.Aborted, err)
		}
	}
	wantValues(t, l, tp, ReadCommitted, "short", "short")
}
