package log

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// This file has what the crash and damage tests found, each as small as it can be shown.

// markerDamaged is a log with an aborted transaction whose marker is damaged in the journal, and after it, if
// asked for, a transaction of the same producer that was committed.
func markerDamaged(t *testing.T, another bool) *Log {
	t.Helper()
	ctx := testContext(t)
	fs := crashfs.New(crashfs.Options{})
	l := openTest(t, "log", Options{FS: fs, Logger: quiet})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	tp := TopicPartition{"t", 0}
	plain, app := mustProducer(t, l, ""), mustProducer(t, l, "app")
	if _, err := plain.Append(ctx, tp, block("before")); err != nil {
		t.Fatal(err)
	}
	transaction := func(value string, end func(x *Txn) error) {
		x, err := app.Begin()
		if err == nil {
			_, err = x.Append(tp, block(value))
		}
		if err = errors.Join(err, end(x)); err != nil {
			t.Fatal(err)
		}
	}
	var at int64
	transaction("aborted", func(x *Txn) error {
		_, at, _ = l.journal.here()
		return x.Abort(ctx)
	})
	if another {
		transaction("committed", func(x *Txn) error { return x.Commit(ctx) })
	}
	if err := l.CommitOffsets("g", map[TopicPartition]CommittedOffset{tp: {Offset: 1}}); err != nil { // its frame tells what is synced
		t.Fatal(err)
	}
	left := fs.Clone(100, nil)
	marker := at + frameHeaderSize + 2*sectionSize // the data of the first of the two sections
	if err := left.Flip(l.journal.cur.f.path, (marker+crcAt)*8); err != nil {
		t.Fatal(err)
	}
	return openTest(t, "log", Options{FS: left, Logger: quiet})
}

// A producer's next marker ended the transaction before as well, whose own marker was damaged: what had been
// aborted was read as committed. And what was fenced was read all the same if a read began before it.
func TestDamagedMarkerShowsNothingAborted(t *testing.T) {
	l := markerDamaged(t, true)
	got, err := tryReadValues(testContext(t), l, TopicPartition{"t", 0}, Earliest, ReadCommitted)
	if !errors.Is(err, ErrCorrupt) || len(got) > 1 {
		t.Fatalf("read %q, %v", got, err)
	}
}

// A reader under ReadCommitted waited for good at a transaction whose marker is damaged.
func TestDamagedMarkerIsToldToWhoWaits(t *testing.T) {
	l := markerDamaged(t, false)
	r, err := l.NewReader(TopicPartition{"t", 0}, Earliest, ReadCommitted)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records := make([]Record, 9)
	n, err := r.Read(testContext(t), records)
	if n != 1 || err != nil {
		t.Fatalf("before the damage there are %d records, %v", n, err)
	}
	if n, err := r.Read(testContext(t), records); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("at the damage there are %d records, %v", n, err)
	}
}

// A bit flipped in .txnindex, which has no sum of its own, made aborted records committed ones.
func TestDamagedAbortIndexIsReported(t *testing.T) {
	ctx := testContext(t)
	fs := crashfs.New(crashfs.Options{})
	o := Options{FS: fs, Logger: quiet}
	l, err := Open("log", o)
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	tp := TopicPartition{"t", 0}
	p := mustProducer(t, l, "app")
	for i := range 3 {
		x, err := p.Begin()
		if err == nil {
			_, err = x.Append(tp, block(fmt.Sprint(i)))
		}
		if err = errors.Join(err, x.Abort(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	part, _ := l.Partition(tp)
	path := part.active().path(abortSuffix)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := fs.ReadFile(path)
	if err != nil || len(b) != 3*abortEntrySize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	for bit := range int64(len(b)) * 8 {
		damaged := fs.Clone(100, nil)
		if err := damaged.Flip(path, bit); err != nil {
			t.Fatal(err)
		}
		l, err := Open("log", Options{FS: damaged, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tryReadValues(ctx, l, tp, Earliest, ReadCommitted)
		var ce *CorruptError
		if !errors.As(err, &ce) || ce.Path != path || len(got) > 0 {
			t.Fatalf("bit %d flipped: read %q, %v", bit, got, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A frame that stands where it does not belong hid those behind it that tell what was synced, and synced frames
// were cut as torn.
func TestMisplacedFrameHidesNothing(t *testing.T) {
	make1 := func(sequence, synced uint64, values ...string) []byte {
		fr := newFrame()
		defer fr.release()
		b := block(values...)
		defer b.Release()
		fr.split(b, 1<<20)
		fr.reset(1)
		if err := fr.addBlock(b, CompressionNone, noProducer, 1<<20); err != nil {
			t.Fatal(err)
		}
		fr.seal(1, sequence, synced)
		return append([]byte(nil), fr.buf...)
	}
	misplaced, real := make1(3, 2, "a long one", "of three", "values"), make1(9, 8, "x")
	b := append(misplaced[:len(misplaced)-60:len(misplaced)-60], real...)
	var told uint64
	scanFrames(b, 1, func(fr *frame) { told = max(told, fr.synced) })
	if told != 8 {
		t.Errorf("synced up to %d is told, want 8", told)
	}
}

// What anybody appended to the topic of the groups' offsets was read as an offset commit when the log was opened,
// which failed for good.
func TestNobodyAppendsToTheOffsetsTopic(t *testing.T) {
	l := openTest(t, "log", Options{FS: crashfs.New(crashfs.Options{}), Logger: quiet})
	tp := TopicPartition{Topic: offsetsTopic}
	if _, err := mustProducer(t, l, "").Append(testContext(t), tp, block("x")); !errors.Is(err, ErrInvalidTopic) {
		t.Errorf("appended: %v", err)
	}
	x, err := mustProducer(t, l, "app").Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Append(tp, block("x")); !errors.Is(err, ErrInvalidTopic) {
		t.Errorf("appended in a transaction: %v", err)
	}
	b := block("x")
	batch, err := appendBatch(nil, b, 0, 1, CompressionNone, noProducer)
	b.Release()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.appendEncoded(l.offsetsPart, batch); !errors.Is(err, ErrInvalidTopic) {
		t.Errorf("appended as encoded: %v", err)
	}
}

// A directory that was made, and whose name could not be synced, was taken for durable by the next Open: power
// loss took the whole log, and all that had been acknowledged in it.
func TestNameOfTheDirectoryIsSyncedInTheEnd(t *testing.T) {
	for failing := range 6 {
		fs := crashfs.New(crashfs.Options{})
		syncs := 0
		fs.Inject(func(op crashfs.Op) crashfs.Fault {
			if op.Kind == crashfs.SyncDir {
				if syncs++; syncs == failing+1 {
					return crashfs.Fault{Effect: crashfs.Fail, Err: syscall.EIO}
				}
			}
			return crashfs.Fault{}
		})
		o := Options{FS: fs, Logger: quiet}
		if _, err := Open("data/log", o); err == nil {
			t.Fatalf("sync %d of a directory failed, and Open did not", failing)
		}
		fs.Inject(nil)
		l := openTest(t, "data/log", o)
		mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
		if _, err := mustProducer(t, l, "").Append(testContext(t), TopicPartition{"t", 0}, block("a")); err != nil {
			t.Fatal(err)
		}
		o.FS = fs.Clone(0, nil)
		wantValues(t, openTest(t, "data/log", o), TopicPartition{"t", 0}, ReadCommitted, "a")
	}
}
