package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestTimesReadBack(t *testing.T) {
	entries := []timeEntry{{0, 3}, {0x1234, 9}, {1 << 40, 1 << 31}}
	got, err := parseTimes(appendTimes(nil, entries), entries[2])
	if err != nil || !slices.Equal(got, entries) {
		t.Fatalf("read back is %v, %v", got, err)
	}
	if want := []byte{0, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 9}; !bytes.Equal(appendTimes(nil, entries[1:2]), want) {
		t.Fatalf("an entry is %x, and Kafka's %x", appendTimes(nil, entries[1:2]), want)
	}
	for what, bad := range map[string][]timeEntry{
		"a timestamp that goes back":   {{5, 3}, {4, 9}},
		"the same timestamp again":     {{5, 3}, {5, 9}},
		"an offset that goes back":     {{5, 9}, {6, 3}},
		"an offset behind the newest":  {{5, 10}},
		"a timestamp above the newest": {{7, 3}},
		"a timestamp that is none":     {{-1, 3}},
		"the same entry a second time": {{5, 3}, {5, 3}},
	} {
		if _, err := parseTimes(appendTimes(nil, bad), timeEntry{6, 9}); err == nil {
			t.Errorf("%s is no error", what)
		}
	}
	if _, err := parseTimes(make([]byte, timeEntrySize-1), timeEntry{6, 9}); err == nil {
		t.Error("a part of an entry is no error")
	}
	for _, c := range []struct {
		timestamp, end int64
		want           timeEntry
	}{
		{1, 10, timeEntry{0, 3}}, {0x1234, 10, timeEntry{0, 3}}, {0x1235, 10, timeEntry{0x1234, 9}}, {0x1235, 9, timeEntry{0, 3}},
		{0, 10, noTime}, {1, 3, noTime}, {1 << 41, 1 << 32, timeEntry{1 << 40, 1 << 31}},
	} {
		if got, ok := floorTime(entries, c.timestamp, c.end); got != c.want || ok != (c.want != noTime) {
			t.Errorf("before timestamp %d and offset %d there is %v, %v; want %v", c.timestamp, c.end, got, ok, c.want)
		}
	}
}

// timedBlock is a block of records with the given timestamps.
func timedBlock(timestamps ...int64) *Block {
	b := NewBlock()
	for _, ts := range timestamps {
		b.Append(ts, nil, []byte("a value"), nil)
	}
	return b
}

// The entries are those that Kafka's rules give. Each append is one batch of 61 bytes and 14 or 15 a record; the
// offset index gets its entries after more than 100 bytes.
func TestTimeIndexEntries(t *testing.T) {
	for _, c := range []struct {
		name    string
		appends [][]int64
		want    []timeEntry // checkpointed at the end
	}{
		{"nothing", nil, nil},
		{"one batch, with the largest in its midst", [][]int64{{5, 9, 7}}, []timeEntry{{9, 2}}},
		{"time stands still", [][]int64{{5}, {5}, {5}, {5}, {5}}, []timeEntry{{5, 0}}},
		// Every other batch gets an index entry: the third, the fifth.
		{"time goes on", [][]int64{{1}, {2}, {3}, {4}, {5}, {6}}, []timeEntry{{3, 2}, {5, 4}, {6, 5}}},
		{"the largest is the batch before", [][]int64{{1}, {9, 8}, {3}, {4}, {5}}, []timeEntry{{9, 2}}},
		{"time goes back and on", [][]int64{{7}, {3}, {5}, {8}, {6}}, []timeEntry{{7, 0}, {8, 3}}},
		{"no timestamps", [][]int64{{-1}, {-1}, {-1}, {-1}}, nil},
		{"0 is a timestamp", [][]int64{{-1}, {0}}, []timeEntry{{0, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := testContext(t)
			mem := vfs.NewMem()
			l, err := Open("log", Options{FS: mem, Logger: quiet, Sync: SyncOS})
			if err != nil {
				t.Fatal(err)
			}
			mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1, Config: map[string]string{"index.interval.bytes": "100"}})
			p := mustProducer(t, l, "")
			for _, timestamps := range c.appends {
				if _, err := p.Append(ctx, TopicPartition{"t", 0}, timedBlock(timestamps...)); err != nil {
					t.Fatal(err)
				}
			}
			part, _ := l.Partition(TopicPartition{"t", 0})
			s := part.active()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if got := s.times.entries; !slices.Equal(got, c.want) {
				t.Fatalf("entries are %v, want %v", got, c.want)
			}
			b, err := newFiles(mem).readFile(s.path(timeSuffix))
			if len(c.want) == 0 {
				if err == nil {
					t.Fatalf("there is an index of %d bytes", len(b))
				}
				return
			}
			if err != nil || !bytes.Equal(b, appendTimes(nil, c.want)) {
				t.Fatalf("the file holds %x, %v", b, err)
			}
			// Made anew it lacks no more than what only the end of the segment says.
			if err := s.rebuildTimes(); err != nil {
				t.Fatal(err)
			}
			s.addTime()
			if !slices.Equal(s.times.entries, c.want) {
				t.Fatalf("made anew it has %v, want %v", s.times.entries, c.want)
			}
		})
	}
}

// timeLog is a log with batches of all kinds on one partition, over many segments, and timestamps that mostly
// ascend.
func timeLog(t *testing.T, fs FS, seed uint64) *Log {
	t.Helper()
	ctx := testContext(t)
	clock := new(handClock)
	o := Options{FS: fs, Logger: quiet, Sync: SyncOS, JournalBytes: 16 << 10, Clock: clock}
	l, err := Open("log", o)
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1, Config: map[string]string{
		"index.interval.bytes": "200", "segment.bytes": "2000", "compression.type": "producer",
	}})
	// A stop, so that the topic at least outlives a crash.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open("log", o); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	plain, err := l.NewProducer(ProducerSpec{Compression: CompressionLZ4})
	if err != nil {
		t.Fatal(err)
	}
	owned := mustProducer(t, l, "app")
	now := int64(1000)
	for range 150 {
		clock.ms.Store(now)
		times := make([]int64, 1+rng.IntN(12))
		for i := range times {
			now += int64(rng.IntN(5))
			times[i] = now - int64(rng.IntN(4))*int64(rng.IntN(10))
		}
		switch b := timedBlock(times...); rng.IntN(4) {
		case 0:
			x := mustBegin(t, owned)
			if _, err := x.Append(TopicPartition{"t", 0}, b); err != nil {
				t.Fatal(err)
			}
			end := x.Commit
			if rng.IntN(2) == 0 {
				end = x.Abort
			}
			if err := end(ctx); err != nil {
				t.Fatal(err)
			}
		default:
			if _, err := plain.Append(ctx, TopicPartition{"t", 0}, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The last one is left open: nothing of it is below the last stable offset.
	if _, err := mustBegin(t, owned).Append(TopicPartition{"t", 0}, timedBlock(now+100, now+300, now+200)); err != nil {
		t.Fatal(err)
	}
	return l
}

// allRecords reads all records below bound, markers and aborted ones too.
func allRecords(p *Partition, bound int64) ([]TimestampOffset, error) {
	var all []TimestampOffset
	for next := int64(0); next < bound; {
		f, err := p.Fetch(next, 1<<20, ReadUncommitted)
		if err != nil {
			return nil, err
		}
		for b := f.Buf; len(b) > 0; {
			h, err := parseBatchHeader(b)
			if err != nil {
				return nil, err
			}
			records, err := decompress(b[batchHeaderSize:h.size()], h.compression())
			if err != nil {
				return nil, err
			}
			var d recordDecoder
			if err := d.reset(&h, records, 0); err != nil {
				return nil, err
			}
			some := make([]Record, h.recordCount)
			if n, err := d.next(some); n < len(some) || err != nil {
				return nil, fmt.Errorf("%d of %d records, %v", n, len(some), err)
			}
			for _, r := range some {
				if r.Offset < bound {
					all = append(all, TimestampOffset{Offset: r.Offset, Timestamp: r.Timestamp, LeaderEpoch: h.leaderEpoch})
				}
			}
			b = b[h.size():]
		}
		next = f.Next
	}
	return all, nil
}

// checkTimes asks for every time from one up to another that makes a difference, and holds the answers against a
// look at all records.
func checkTimes(p *Partition, from, to int64) error {
	for _, iso := range []Isolation{ReadCommitted, ReadUncommitted} {
		all, err := allRecords(p, p.bound(iso))
		if err != nil {
			return err
		}
		times := []int64{from, to}
		for _, r := range all {
			times = append(times, max(r.Timestamp, 0), r.Timestamp+1)
		}
		times = slices.DeleteFunc(times, func(ts int64) bool { return ts < from || ts > to })
		slices.Sort(times)
		for _, ts := range slices.Compact(times) {
			i := slices.IndexFunc(all, func(r TimestampOffset) bool { return r.Timestamp >= ts })
			at, found, err := p.OffsetForTime(ts, iso)
			if err != nil {
				return err
			}
			if found != (i >= 0) || found && at != all[i] {
				return fmt.Errorf("isolation %d, time %d: %+v, %v; want record %d of %d", iso, ts, at, found, i, len(all))
			}
		}
		if at, found, err := p.OffsetForTime(LatestTime, iso); err != nil || !found || at.Offset != p.bound(iso) || at.Timestamp != -1 {
			return fmt.Errorf("latest is %+v, %v, %v", at, found, err)
		}
		if at, found, err := p.OffsetForTime(EarliestTime, iso); err != nil || !found || at.Offset != 0 || at.Timestamp != -1 {
			return fmt.Errorf("earliest is %+v, %v, %v", at, found, err)
		}
	}
	all, err := allRecords(p, p.bound(ReadUncommitted))
	if err != nil {
		return err
	}
	if len(all) == 0 { // a crash may have lost them all
		if _, found, err := p.OffsetForTime(MaxTime, ReadUncommitted); found || err != nil {
			return fmt.Errorf("there is a largest timestamp of no records: %v", err)
		}
		return nil
	}
	largest := slices.MaxFunc(all, func(a, b TimestampOffset) int { return int(a.Timestamp - b.Timestamp) })
	at, found, err := p.OffsetForTime(MaxTime, ReadUncommitted)
	if err != nil || !found || at != largest {
		return fmt.Errorf("the largest timestamp is at %+v, %v, %v; want %+v", at, found, err, largest)
	}
	return nil
}

// Every time that makes a difference finds what a look at all records finds: while the log is written, after a
// clean stop, after a crash that lost the index, and after one that lost what the last checkpoint did.
func TestOffsetForTime(t *testing.T) {
	for seed := range uint64(4) {
		mem := vfs.NewCrashableMem()
		l := timeLog(t, mem, seed)
		check := func(what string, l *Log) {
			t.Helper()
			p, err := l.Partition(TopicPartition{"t", 0})
			if err != nil {
				t.Fatal(err)
			}
			if err := checkTimes(p, 0, 1<<40); err != nil {
				t.Fatalf("seed %d, %s: %v", seed, what, err)
			}
		}
		check("as it was written", l)
		if p, _ := l.Partition(TopicPartition{"t", 0}); len(*p.segments.Load()) < 4 {
			t.Fatalf("there are %d segments", len(*p.segments.Load()))
		}
		// The open transaction has the largest timestamp: under ReadCommitted it cannot be read, so there is none.
		p, _ := l.Partition(TopicPartition{"t", 0})
		if at, found, err := p.OffsetForTime(MaxTime, ReadCommitted); found || err != nil {
			t.Fatalf("the largest timestamp is that of an open transaction, at %+v, %v", at, err)
		}
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 2))})
		crashedLog := openTest(t, "log", Options{FS: clone, Logger: quiet})
		check("after a crash", crashedLog)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openTest(t, "log", Options{FS: mem, Logger: quiet})
		check("after a stop", l)
	}
}

// mostTimes is the segment with the most entries in its time index.
func mostTimes(p *Partition) *segment {
	return slices.MaxFunc(*p.segments.Load(), func(a, b *segment) int {
		a.mu.Lock()
		n := a.times.len()
		a.mu.Unlock()
		b.mu.Lock()
		defer b.mu.Unlock()
		return n - b.times.len()
	})
}

// Whatever byte of a time index is wrong, or if it is short or gone, the answers are right, and damage of the
// index is no damage of the partition.
func TestDamagedTimeIndexIsNoDamage(t *testing.T) {
	mem := vfs.NewMem()
	l := timeLog(t, mem, 7)
	p, _ := l.Partition(TopicPartition{"t", 0})
	s := mostTimes(p)
	path := s.path(timeSuffix)
	// The times that are asked of this segment; it is the one before that decides which it has.
	from, to := int64(1<<40), s.newest.timestamp+1
	all, err := allRecords(p, p.bound(ReadUncommitted))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Offset >= s.base && r.Offset < s.next {
			from = min(from, r.Timestamp)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fs := newFiles(mem)
	intact, err := fs.readFile(path)
	if err != nil || len(intact) < 3*timeEntrySize {
		t.Fatalf("index of %d bytes, %v", len(intact), err)
	}
	check := func(what string) {
		t.Helper()
		l := openTest(t, "log", Options{FS: mem, Logger: quiet})
		p, _ := l.Partition(TopicPartition{"t", 0})
		if err := checkTimes(p, from, to); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if p.fault.Load() != nil {
			t.Fatalf("%s: the partition is fenced: %v", what, p.fault.Load().err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for at := range intact {
		b := slices.Clone(intact)
		b[at] ^= 0x09
		if err := fs.replace(path, b); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("byte %d flipped", at))
	}
	mended := func(what string) {
		t.Helper()
		check(what)
		// Less entries than there were are right: a checkpoint in the segment's midst may have added one.
		if b, err := fs.readFile(path); err != nil || len(b) < 2*timeEntrySize {
			t.Fatalf("%s: the index has %d bytes then, %v", what, len(b), err)
		} else if _, err := parseTimes(b, s.newest); err != nil {
			t.Fatalf("%s: the index is not mended: %v", what, err)
		}
	}
	if err := fs.replace(path, intact[:timeEntrySize]); err != nil {
		t.Fatal(err)
	}
	mended("cut short")
	if err := fs.removeIfThere(path); err != nil {
		t.Fatal(err)
	}
	mended("removed")
	if err := fs.replace(path, append([]byte{0xff}, intact...)); err != nil {
		t.Fatal(err)
	}
	mended("moved by a byte")
}

// checkTimes notices a segment that is passed over, and entries that lead behind what is looked for.
func TestTimeCheckCanFail(t *testing.T) {
	mem := vfs.NewMem()
	l := timeLog(t, mem, 7)
	defer l.Close()
	p, _ := l.Partition(TopicPartition{"t", 0})
	if err := checkTimes(p, 0, 1<<40); err != nil {
		t.Fatal(err)
	}
	s := mostTimes(p)
	forget := func(newest timeEntry) timeEntry {
		s.mu.Lock()
		defer s.mu.Unlock()
		old := s.newest
		s.newest = newest
		return old
	}
	newest := forget(noTime)
	if checkTimes(p, 0, 1<<40) == nil {
		t.Error("a segment that does not know its largest timestamp is not noticed")
	}
	forget(newest)
	if err := checkTimes(p, 0, 1<<40); err != nil {
		t.Fatal(err)
	}
	// Without the look at the batch that an entry points to this would be believed: all entries are of the
	// right batches, and none is of the time.
	if _, known := s.floorTime(1<<40, 1<<40); !known {
		t.Fatal("the segment has no entries")
	}
	s.mu.Lock()
	for i := range s.times.entries {
		s.times.entries[i].timestamp = int64(i)
	}
	s.mu.Unlock()
	if _, _, err := p.OffsetForTime(newest.timestamp, ReadUncommitted); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times.rebuilt != 1 {
		t.Errorf("an index that lies was made anew %d times", s.times.rebuilt)
	}
}

// A damaged batch on the way is reported, with its place, and fences the partition from there on only.
func TestOffsetForTimeFindsDamage(t *testing.T) {
	ctx := testContext(t)
	mem := vfs.NewMem()
	l := openTest(t, "log", Options{FS: mem, Logger: quiet, Sync: SyncOS})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	tp := TopicPartition{"t", 0}
	p := mustProducer(t, l, "")
	for i := range int64(10) {
		if _, err := p.Append(ctx, tp, timedBlock(10*i)); err != nil {
			t.Fatal(err)
		}
	}
	part, _ := l.Partition(tp)
	path := part.active().path(logSuffix)
	b, err := mem.UnsafeGetFileDataBuffer(path)
	if err != nil {
		t.Fatal(err)
	}
	size := len(b) / 10
	b[6*size+batchHeaderSize+3] ^= 1
	times := map[TopicPartition]int64{tp: 50}
	if got, err := l.OffsetsForTimes(ctx, times); err != nil || got[tp] != (TimestampOffset{Offset: 5, Timestamp: 50}) {
		t.Fatalf("before the damage: %v, %v", got, err)
	}
	times[tp] = 51
	var ce *CorruptError
	if _, err := l.OffsetsForTimes(ctx, times); !errors.As(err, &ce) || ce.Path != path || ce.Offset != int64(6*size) {
		t.Fatalf("at the damage: %v", err)
	}
	if f := part.fault.Load(); f == nil || f.offset != 6 {
		t.Fatalf("the partition is fenced from %+v on", f)
	}
	if got := func() []string { v, _ := tryReadValues(ctx, l, tp, Earliest, ReadCommitted); return v }(); len(got) != 6 {
		t.Fatalf("%d records can be read", len(got))
	}
}

// What is asked for that cannot be answered.
func TestOffsetsForTimesErrors(t *testing.T) {
	ctx := testContext(t)
	l := openTest(t, "log", Options{FS: vfs.NewMem(), Logger: quiet})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 2})
	some := TopicPartition{"t", 0}
	for _, ts := range []int64{MaxTime, 0, 1 << 40} {
		if got, err := l.OffsetsForTimes(ctx, map[TopicPartition]int64{some: ts}); err != nil || len(got) > 0 {
			t.Errorf("time %d in an empty partition: %v, %v", ts, got, err)
		}
	}
	if _, err := l.OffsetsForTimes(ctx, map[TopicPartition]int64{some: -7}); err == nil {
		t.Error("time -7 is no error")
	}
	if _, err := l.OffsetsForTimes(ctx, map[TopicPartition]int64{some: 0, {"t", 2}: 0}); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("a partition that is not: %v", err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.OffsetsForTimes(done, map[TopicPartition]int64{some: 0}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.OffsetsForTimes(ctx, map[TopicPartition]int64{some: 0}); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed log: %v", err)
	}
}

// handClock is a clock that is set by hand.
type handClock struct{ ms atomic.Int64 }

func (c *handClock) Now() time.Time { return time.UnixMilli(c.ms.Load()) }

// With LogAppendTime every record, and every marker, has the time of its append, whatever its producer said, and
// is found by it; nothing else of a batch changes. It is so after a crash, too.
func TestLogAppendTime(t *testing.T) {
	ctx := testContext(t)
	mem := vfs.NewCrashableMem()
	clock := new(handClock)
	l := openTest(t, "log", Options{FS: mem, Logger: quiet, Clock: clock})
	config := func(timestampType string) map[string]string {
		return map[string]string{"message.timestamp.type": timestampType}
	}
	mustCreate(t, l, TopicSpec{Name: "append", Partitions: 1, Config: config("LogAppendTime")},
		TopicSpec{Name: "create", Partitions: 1, Config: config("CreateTime")})
	topics := []TopicPartition{{"append", 0}, {"create", 0}}
	owned := mustProducer(t, l, "app")
	times := func() []int64 { return []int64{700, 900, 800} }
	for _, tp := range topics {
		clock.ms.Store(5000)
		plain, err := l.NewProducer(ProducerSpec{Compression: CompressionZstd})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plain.Append(ctx, tp, timedBlock(times()...)); err != nil {
			t.Fatal(err)
		}
		clock.ms.Store(6000)
		x := mustBegin(t, owned)
		if _, err := x.Append(tp, timedBlock(times()...)); err != nil {
			t.Fatal(err)
		}
		clock.ms.Store(6500)
		if err := x.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		clock.ms.Store(7000)
		p, _ := l.Partition(tp)
		batch := stamped(t, 77, 0, 0, 3, false)
		if _, sequence, err := l.appendEncoded(p, slices.Clone(batch)); err != nil {
			t.Fatal(err)
		} else if err := l.ack(sequence); err != nil {
			t.Fatal(err)
		}
	}
	created := []int64{700, 900, 800, 700, 900, 800, 6500, 0, 0, 0}
	appended := []int64{5000, 5000, 5000, 6000, 6000, 6000, 6500, 7000, 7000, 7000}
	check := func(l *Log) {
		t.Helper()
		for i, want := range [][]int64{appended, created} {
			p, err := l.Partition(topics[i])
			if err != nil {
				t.Fatal(err)
			}
			all, err := allRecords(p, p.bound(ReadCommitted))
			if err != nil {
				t.Fatal(err)
			}
			for j, r := range all {
				if len(all) != len(want) || r.Timestamp != want[j] {
					t.Fatalf("%s: records are %+v, want timestamps %v", topics[i], all, want)
				}
			}
			if err := checkTimes(p, 0, 1<<40); err != nil {
				t.Fatalf("%s: %v", topics[i], err)
			}
		}
		// But for that, the same batches: what differs is the bit, the largest timestamp and the sum.
		var fetched [2]Batches
		for i, tp := range topics {
			p, _ := l.Partition(tp)
			var err error
			if fetched[i], err = p.Fetch(0, 1<<20, ReadCommitted); err != nil {
				t.Fatal(err)
			}
		}
		a, b := fetched[0].Buf, fetched[1].Buf
		for len(a) > 0 && len(b) > 0 {
			h, _ := parseBatchHeader(a)
			c, _ := parseBatchHeader(b)
			if !h.isLogAppendTime() || c.isLogAppendTime() || h.baseTimestamp != c.baseTimestamp {
				t.Fatalf("headers are %+v and %+v", h, c)
			}
			h.attributes, h.maxTimestamp, h.crc, h.producerID = c.attributes, c.maxTimestamp, c.crc, c.producerID
			h.producerEpoch = c.producerEpoch
			if h != c || !bytes.Equal(a[batchHeaderSize:h.size()], b[batchHeaderSize:h.size()]) {
				t.Fatalf("batches differ: %+v and %+v", h, c)
			}
			a, b = a[h.size():], b[h.size():]
		}
		if len(a) != len(b) {
			t.Fatalf("%d and %d bytes are left over", len(a), len(b))
		}
	}
	check(l)
	check(openTest(t, "log", Options{FS: crashed(mem), Logger: quiet}))
}
