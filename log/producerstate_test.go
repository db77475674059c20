package log

import (
	"errors"
	"math"
	"testing"
)

// stamped is a batch of n records as a client would send it.
func stamped(t *testing.T, id int64, epoch int16, sequence int32, n int, transactional bool) []byte {
	t.Helper()
	b := NewBlock()
	defer b.Release()
	for range n {
		b.Append(0, nil, []byte("v"), nil)
	}
	batch, err := appendBatch(nil, b, 0, n, CompressionNone, producerStamp{id, epoch, sequence, transactional})
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// What becomes of a batch that is sent, by what the partition has seen of its producer. Each case is a run of
// batches of one partition; all but the last are accepted.
func TestIdempotence(t *testing.T) {
	type send struct {
		epoch    int16
		sequence int32
		records  int
	}
	six := []send{{0, 0, 1}, {0, 1, 2}, {0, 3, 3}, {0, 6, 4}, {0, 10, 5}, {0, 15, 6}}
	cases := []struct {
		name string
		sent []send
		base int64 // -1: an error
		err  error
	}{
		{"first", []send{{0, 0, 3}}, 0, nil},
		{"unknown producer may start anywhere", []send{{4, 17, 3}}, 0, nil},
		{"next", []send{{0, 0, 3}, {0, 3, 1}}, 3, nil},
		{"same again", []send{{0, 0, 3}, {0, 0, 3}}, 0, nil},
		{"fifth last again", append(append([]send{}, six...), send{0, 1, 2}), 1, nil},
		{"sixth last again", append(append([]send{}, six...), send{0, 0, 1}), -1, ErrOutOfOrderSequence},
		{"same start, other length", []send{{0, 0, 3}, {0, 0, 2}}, -1, ErrOutOfOrderSequence},
		{"gap", []send{{0, 0, 3}, {0, 4, 1}}, -1, ErrOutOfOrderSequence},
		{"new epoch", []send{{0, 0, 3}, {1, 0, 1}}, 3, nil},
		{"new epoch in the middle", []send{{0, 0, 3}, {1, 3, 1}}, -1, ErrOutOfOrderSequence},
		{"same sequence under a new epoch is new", []send{{0, 0, 3}, {1, 0, 3}}, 3, nil},
		{"old epoch", []send{{1, 0, 3}, {0, 0, 1}}, -1, ErrFenced},
		{"around the end", []send{{0, math.MaxInt32 - 1, 1}, {0, math.MaxInt32, 1}, {0, 0, 1}}, 2, nil},
		{"a batch across the end", []send{{0, math.MaxInt32 - 1, 4}, {0, 2, 1}}, 4, nil},
		{"a batch across the end again", []send{{0, math.MaxInt32 - 1, 4}, {0, 2, 1}, {0, math.MaxInt32 - 1, 4}}, 0, nil},
	}
	l := openTest(t, "log", crashOptions(newCrasher(0, 1).fs, SyncOS))
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: int32(len(cases))})
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := l.Partition(TopicPartition{"t", int32(i)})
			if err != nil {
				t.Fatal(err)
			}
			for j, s := range c.sent {
				end := p.appended.Load()
				base, _, err := l.appendEncoded(p, stamped(t, 7, s.epoch, s.sequence, s.records, false))
				if j < len(c.sent)-1 {
					if err != nil || base != end {
						t.Fatalf("batch %d: base %d, %v; want %d", j, base, err, end)
					}
					continue
				}
				if base != c.base || !errors.Is(err, c.err) || c.err == nil && err != nil {
					t.Fatalf("base %d, %v; want %d, %v", base, err, c.base, c.err)
				}
				if (c.err != nil || c.base < end) != (p.appended.Load() == end) {
					t.Fatalf("the partition ended at %d, and ends at %d", end, p.appended.Load())
				}
			}
		})
	}
}

// What a partition knows of a producer is there after a clean stop, and after a crash.
func TestIdempotenceOverRestart(t *testing.T) {
	for _, clean := range []bool{true, false} {
		fs := newCrasher(0, 1).fs
		l := openTest(t, "log", Options{FS: fs, Logger: quiet})
		mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
		send := func(sequence int32) (int64, error) {
			p, err := l.Partition(TopicPartition{"t", 0})
			if err != nil {
				t.Fatal(err)
			}
			base, frame, err := l.appendEncoded(p, stamped(t, 7, 0, sequence, 1, false))
			if err == nil {
				err = l.ack(frame)
			}
			return base, err
		}
		for i := range int32(8) {
			if base, err := send(i); err != nil || base != int64(i) {
				t.Fatal(base, err)
			}
		}
		if clean {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			fs = crashed(fs)
		}
		l = openTest(t, "log", Options{FS: fs, Logger: quiet})
		if base, err := send(4); err != nil || base != 4 {
			t.Fatalf("clean %v: a batch sent again got base %d, %v", clean, base, err)
		}
		if _, err := send(2); !errors.Is(err, ErrOutOfOrderSequence) {
			t.Fatalf("clean %v: a batch that is forgotten: %v", clean, err)
		}
		if base, err := send(8); err != nil || base != 8 {
			t.Fatalf("clean %v: the next batch got base %d, %v", clean, base, err)
		}
	}
}

// A producer whose id is used up goes on under a new one, and nothing is lost or doubled.
func TestEpochsRunOut(t *testing.T) {
	l := openTest(t, "log", Options{FS: newCrasher(0, 1).fs, Sync: SyncOS})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	tp := TopicPartition{"t", 0}
	p := mustProducer(t, l, "app")
	// Stand just before the end of the epochs: all those before were used.
	o := l.owners["app"]
	o.machine.Current.Epoch, o.machine.Previous.Epoch = math.MaxInt16-4, math.MaxInt16-4
	p.who = o.machine.Current
	ids := make(map[int64]bool)
	for range 6 {
		x := mustBegin(t, p)
		ids[x.who.ID] = true
		mustAppend(t, x, tp, "a")
		mustAppend(t, x, tp, "b")
		if err := x.Commit(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids) != 2 {
		t.Fatalf("%d producer ids were used, want 2", len(ids))
	}
	wantValues(t, l, tp, ReadCommitted, "a", "b", "a", "b", "a", "b", "a", "b", "a", "b", "a", "b")
}
