package log

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// model is the log as one would write it down: for each partition the records, with what became of them.
type model struct {
	partitions map[TopicPartition][]modelRecord
	offsets    map[TopicPartition]int64
}

type modelRecord struct {
	value     string
	txn       int // 0: none
	committed bool
}

// logMachine runs a log and the model beside each other.
type logMachine struct {
	fs    *vfs.MemFS
	o     Options
	l     *Log
	m     model
	tps   []TopicPartition
	plain *Producer
	app   [2]*Producer // with owners
	open  [2]*modelTxn
	txns  int
	seed  uint64
}

type modelTxn struct {
	x       *Txn
	id      int
	offsets map[TopicPartition]int64
}

func (lm *logMachine) start(t *rapid.T) {
	var err error
	if lm.l, err = Open("log", lm.o); err != nil {
		t.Fatal(err)
	}
	config := map[string]string{
		"segment.bytes": "700", "index.interval.bytes": "150", "max.message.bytes": "220",
	}
	specs := []TopicSpec{{Name: "a", Partitions: 2, Config: config}, {Name: "b", Partitions: 1, Config: config}}
	if err := lm.l.CreateTopics(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	if lm.plain, err = lm.l.NewProducer(ProducerSpec{Compression: CompressionLZ4}); err != nil {
		t.Fatal(err)
	}
	for i := range lm.app {
		lm.join(t, i)
	}
}

// join makes a new producer for owner i, which aborts what the one before left open.
func (lm *logMachine) join(t *rapid.T, i int) {
	var err error
	if lm.app[i], err = lm.l.NewProducer(ProducerSpec{Owner: fmt.Sprint("app", i)}); err != nil {
		t.Fatal(err)
	}
	lm.open[i] = nil
}

// restart opens the log again, after a clean stop or a crash.
func (lm *logMachine) restart(t *rapid.T, crash bool) {
	old := lm.l
	if crash {
		lm.seed++
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: int(lm.seed * 37 % 101), RNG: rand.New(rand.NewPCG(lm.seed, 7))}
		lm.fs = lm.fs.CrashClone(cfg)
		lm.o.FS = lm.fs
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	lm.start(t)
}

func (lm *logMachine) block(t *rapid.T, txn int) (*Block, []modelRecord) {
	b := NewBlock()
	var records []modelRecord
	// Values that are repetitive, for compression, and blocks larger than a batch may be.
	for range rapid.IntRange(1, 6).Draw(t, "records") {
		v := strings.Repeat(fmt.Sprint(rapid.IntRange(0, 99).Draw(t, "value"), " "), rapid.IntRange(1, 15).Draw(t, "repeated"))
		b.Append(rapid.Int64Range(0, 50).Draw(t, "timestamp"), nil, []byte(v), nil)
		records = append(records, modelRecord{value: v, txn: txn})
	}
	return b, records
}

func (lm *logMachine) check(t *rapid.T) {
	for _, tp := range lm.tps {
		got, err := tryReadValues(t.Context(), lm.l, tp, Earliest, ReadCommitted)
		if err != nil {
			t.Fatal(err)
		}
		// Readers stop at the first record of an open transaction.
		want := []string{}
		for _, r := range lm.m.partitions[tp] {
			if r.txn > 0 && !r.committed && (lm.open[0] != nil && lm.open[0].id == r.txn || lm.open[1] != nil && lm.open[1].id == r.txn) {
				break
			}
			if r.txn == 0 || r.committed {
				want = append(want, r.value)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s has %q, want %q", tp, got, want)
		}
	}
	offsets := make(map[TopicPartition]int64)
	for tp, o := range lm.l.CommittedOffsets("g", lm.tps) {
		offsets[tp] = o.Offset
	}
	if !maps.Equal(offsets, lm.m.offsets) {
		t.Fatalf("committed offsets are %v, want %v", offsets, lm.m.offsets)
	}
}

// Appends, transactions of two owners, clean stops and crashes, against the model: what is acknowledged is
// there, once and in order, and nothing else.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewCrashableMem()
		lm := &logMachine{
			fs:  fs,
			o:   Options{FS: fs, Logger: quiet, JournalBytes: int64(rapid.SampledFrom([]int{1 << 10, 4 << 10, 1 << 20}).Draw(t, "journal"))},
			tps: []TopicPartition{{"a", 0}, {"a", 1}, {"b", 0}},
			m:   model{partitions: make(map[TopicPartition][]modelRecord), offsets: make(map[TopicPartition]int64)},
		}
		lm.start(t)
		defer func() {
			if err := lm.l.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		tp := rapid.SampledFrom(lm.tps)
		who := rapid.IntRange(0, 1)
		t.Repeat(map[string]func(*rapid.T){
			"": lm.check,
			"append": func(t *rapid.T) {
				p := tp.Draw(t, "partition")
				b, records := lm.block(t, 0)
				if _, err := lm.plain.Append(t.Context(), p, b); err != nil {
					t.Fatal(err)
				}
				lm.m.partitions[p] = append(lm.m.partitions[p], records...)
			},
			"appendInTransaction": func(t *rapid.T) {
				i := who.Draw(t, "owner")
				if lm.open[i] == nil {
					x, err := lm.app[i].Begin()
					if err != nil {
						t.Fatal(err)
					}
					lm.txns++
					lm.open[i] = &modelTxn{x: x, id: lm.txns, offsets: make(map[TopicPartition]int64)}
				}
				p := tp.Draw(t, "partition")
				b, records := lm.block(t, lm.open[i].id)
				if _, err := lm.open[i].x.Append(p, b); err != nil {
					t.Fatal(err)
				}
				lm.m.partitions[p] = append(lm.m.partitions[p], records...)
			},
			"offsets": func(t *rapid.T) {
				i := who.Draw(t, "owner")
				if lm.open[i] == nil {
					t.Skip("nothing is open")
				}
				p, offset := tp.Draw(t, "partition"), rapid.Int64Range(0, 1000).Draw(t, "offset")
				if err := lm.open[i].x.CommitOffsets("g", map[TopicPartition]CommittedOffset{p: {Offset: offset}}); err != nil {
					t.Fatal(err)
				}
				lm.open[i].offsets[p] = offset
			},
			"end": func(t *rapid.T) {
				i := who.Draw(t, "owner")
				open := lm.open[i]
				if open == nil {
					t.Skip("nothing is open")
				}
				lm.open[i] = nil
				if rapid.Bool().Draw(t, "abort") {
					if err := open.x.Abort(t.Context()); err != nil {
						t.Fatal(err)
					}
					return
				}
				if err := open.x.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, records := range lm.m.partitions {
					for j := range records {
						records[j].committed = records[j].committed || records[j].txn == open.id
					}
				}
				for p, offset := range open.offsets {
					lm.m.offsets[p] = offset
				}
			},
			"fence": func(t *rapid.T) {
				i := who.Draw(t, "owner")
				old := lm.open[i]
				lm.join(t, i)
				if old == nil {
					return
				}
				b, _ := lm.block(t, 0)
				if _, err := old.x.Append(tp.Draw(t, "partition"), b); !errors.Is(err, ErrFenced) {
					t.Fatalf("an append of a producer that was replaced: %v", err)
				}
			},
			"readFromTheMiddle": func(t *rapid.T) {
				p := tp.Draw(t, "partition")
				part, err := lm.l.Partition(p)
				if err != nil {
					t.Fatal(err)
				}
				o := part.Offsets()
				from := rapid.Int64Range(0, o.LastStable).Draw(t, "offset")
				got, err := tryReadValues(t.Context(), lm.l, p, from, ReadCommitted)
				if err != nil {
					t.Fatal(err)
				}
				all, err := tryReadValues(t.Context(), lm.l, p, Earliest, ReadCommitted)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) > len(all) || !slices.Equal(got, all[len(all)-len(got):]) || len(all)-len(got) > int(from) {
					t.Fatalf("from %d on there is %q, of %q", from, got, all)
				}
			},
			"findByTime": func(t *rapid.T) {
				part, err := lm.l.Partition(tp.Draw(t, "partition"))
				if err != nil {
					t.Fatal(err)
				}
				iso := rapid.SampledFrom([]Isolation{ReadCommitted, ReadUncommitted}).Draw(t, "isolation")
				all, err := allRecords(part, part.bound(iso))
				if err != nil {
					t.Fatal(err)
				}
				ts := rapid.Int64Range(0, 55).Draw(t, "time")
				i := slices.IndexFunc(all, func(r TimestampOffset) bool { return r.Timestamp >= ts })
				if at, found, err := part.OffsetForTime(ts, iso); err != nil || found != (i >= 0) || found && at != all[i] {
					t.Fatalf("%s at time %d: %+v, %v, %v; want record %d of %+v", part.tp, ts, at, found, err, i, all)
				}
			},
			"restart": func(t *rapid.T) { lm.restart(t, false) },
			"crash":   func(t *rapid.T) { lm.restart(t, true) },
		})
	})
}

// Everything at once: appends, transactions that commit and abort, readers, members, new segments, new
// journal files and checkpoints. The race detector is half of the test.
func TestConcurrency(t *testing.T) {
	ctx := testContext(t)
	l := openTest(t, t.TempDir(), Options{JournalBytes: 64 << 10, Logger: quiet, Sync: SyncInterval(2 * time.Millisecond)})
	config := map[string]string{"segment.bytes": "20000", "index.interval.bytes": "500"}
	const partitions, rounds = 3, 60
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: partitions, Config: config})
	errs := make(chan error)
	running := 0
	start := func(name string, f func() error) {
		running++
		go func() {
			if err := f(); err != nil {
				errs <- fmt.Errorf("%s: %w", name, err)
				return
			}
			errs <- nil
		}()
	}
	value := func(who string, i int) string { return who + fmt.Sprintf(" %04d ", i) + strings.Repeat("x", 50) }
	for n := range int32(partitions) {
		tp := TopicPartition{"t", n}
		start("plain", func() error {
			p, err := l.NewProducer(ProducerSpec{})
			for i := 0; i < rounds && err == nil; i++ {
				_, err = p.Append(ctx, tp, block(value("plain", i)))
			}
			return err
		})
		start("transactions", func() error {
			p, err := l.NewProducer(ProducerSpec{Owner: fmt.Sprint("owner", n)})
			for i := 0; i < rounds && err == nil; i++ {
				var x *Txn
				if x, err = p.Begin(); err != nil {
					break
				}
				for m := range int32(partitions) {
					if _, err = x.Append(TopicPartition{"t", m}, block(value(fmt.Sprint("owner", n), i))); err != nil {
						return err
					}
				}
				if i%3 == 0 {
					err = x.Abort(ctx)
				} else {
					err = x.Commit(ctx)
				}
			}
			return err
		})
		start("reader", func() error {
			r, err := l.NewReader(tp, Earliest, ReadCommitted)
			if err != nil {
				return err
			}
			defer r.Close()
			last := make(map[string]string)
			records := make([]Record, 100)
			for got := 0; got < rounds+partitions*(rounds-rounds/3); {
				n, err := r.Read(ctx, records)
				if err != nil {
					return fmt.Errorf("after %d records: %w", got, err)
				}
				for _, rec := range records[:n] {
					who, _, _ := strings.Cut(string(rec.Value), " ")
					if v := string(rec.Value); v <= last[who] {
						return fmt.Errorf("%q comes after %q", v, last[who])
					}
					last[who] = string(rec.Value)
				}
				got += n
			}
			return nil
		})
	}
	start("times", func() error {
		for i := range rounds {
			for n := range int32(partitions) {
				p, err := l.Partition(TopicPartition{"t", n})
				if err != nil {
					return err
				}
				for _, ts := range []int64{0, int64(i), time.Now().UnixMilli() - 1, MaxTime} {
					if at, found, err := p.OffsetForTime(ts, ReadUncommitted); err != nil || found && (at.Timestamp < ts || at.Offset >= p.highWatermark.Load()) {
						return fmt.Errorf("time %d is at %+v, %v", ts, at, err)
					}
				}
			}
		}
		return nil
	})
	start("topics", func() error {
		for i := range 10 {
			if err := l.CreateTopics(ctx, []TopicSpec{{Name: fmt.Sprint("more", i), Partitions: 2}}); err != nil {
				return err
			}
		}
		return nil
	})
	start("checkpoints", func() error {
		for range 10 {
			if err := l.checkpoint(false); err != nil {
				return err
			}
		}
		return nil
	})
	for range running {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
