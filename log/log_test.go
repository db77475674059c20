package log

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// testContext ends before the test binary's own time-out would, so that a wait that never ends is a failure
// with a place.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// block makes a block of records with the given values and no keys.
func block(values ...string) *Block {
	b := NewBlock()
	for i, v := range values {
		b.Append(int64(i), nil, []byte(v), nil)
	}
	return b
}

// openTest opens a log and closes it at the end of the test.
func openTest(t *testing.T, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func mustCreate(t *testing.T, l *Log, specs ...TopicSpec) {
	t.Helper()
	if err := l.CreateTopics(testContext(t), specs); err != nil {
		t.Fatal(err)
	}
}

// readValues returns the values that a reader sees from offset on up to the end of what it may see.
func readValues(t *testing.T, l *Log, tp TopicPartition, offset int64, iso Isolation) []string {
	t.Helper()
	values, err := tryReadValues(testContext(t), l, tp, offset, iso)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func tryReadValues(ctx context.Context, l *Log, tp TopicPartition, offset int64, iso Isolation) ([]string, error) {
	p, err := l.Partition(tp)
	if err != nil {
		return nil, err
	}
	r, err := l.NewReader(tp, offset, iso)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var values []string
	records := make([]Record, 7)
	for r.Position() < p.bound(iso) {
		n, err := r.Read(ctx, records)
		if err != nil {
			return values, err
		}
		for _, rec := range records[:n] {
			values = append(values, string(rec.Value))
		}
	}
	return values, nil
}

// eachFS runs the test on the operating system's files and in memory.
func eachFS(t *testing.T, test func(t *testing.T, dir string, fs FS)) {
	t.Run("disk", func(t *testing.T) { test(t, t.TempDir(), nil) })
	t.Run("memory", func(t *testing.T) { test(t, "data/log", vfs.NewMem()) })
}

func TestAppendAndReadBack(t *testing.T) {
	for _, mode := range []Sync{SyncCommit, SyncInterval(time.Millisecond), SyncOS} {
		t.Run(mode.String(), func(t *testing.T) {
			eachFS(t, func(t *testing.T, dir string, fs FS) {
				ctx := testContext(t)
				tp := TopicPartition{"orders", 1}
				l := openTest(t, dir, Options{Sync: mode, FS: fs})
				mustCreate(t, l, TopicSpec{Name: "orders", Partitions: 2})
				p, err := l.NewProducer(ProducerSpec{})
				if err != nil {
					t.Fatal(err)
				}
				r, err := l.NewReader(tp, Earliest, ReadCommitted)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				records := make([]Record, 10)
				for i := range 50 {
					base, err := p.Append(ctx, tp, block(fmt.Sprint("a", i), fmt.Sprint("b", i)))
					if err != nil || base != int64(2*i) {
						t.Fatalf("append %d: base %d, %v", i, base, err)
					}
					for got := 0; got < 2; {
						n, err := r.Read(ctx, records)
						if err != nil {
							t.Fatal(err)
						}
						for j, rec := range records[:n] {
							if want := fmt.Sprintf("%c%d", 'a'+got+j, i); string(rec.Value) != want || rec.Offset != int64(2*i+got+j) {
								t.Fatalf("got %q at offset %d, want %q at %d", rec.Value, rec.Offset, want, 2*i+got+j)
							}
						}
						got += n
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = openTest(t, dir, Options{Sync: mode, FS: fs})
				if got := readValues(t, l, tp, Earliest, ReadCommitted); len(got) != 100 || got[99] != "b49" {
					t.Fatalf("after opening again there are %d records", len(got))
				}
			})
		})
	}
}
