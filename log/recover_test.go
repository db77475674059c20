package log

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// journalFrame is where a frame is in the journal, and what it was about.
type journalFrame struct {
	start, end int
	synced     uint64
	sequence   uint64
}

// unreplayed is a log that crashed with everything synced and a journal to replay.
type unreplayed struct {
	fs     *vfs.MemFS
	path   string // of the one journal file
	frames []journalFrame
	values map[TopicPartition][]string
}

// newUnreplayed makes a log with one value in each frame, on two partitions in turn, each acknowledged.
func newUnreplayed(t *testing.T, numFrames int) *unreplayed {
	t.Helper()
	ctx := testContext(t)
	fs := vfs.NewCrashableMem()
	l := openTest(t, "log", Options{FS: fs, Logger: quiet, JournalBytes: 64 << 10})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 2})
	p := mustProducer(t, l, "")
	u := &unreplayed{values: make(map[TopicPartition][]string)}
	for i := range numFrames {
		tp := TopicPartition{"t", int32(i % 2)}
		v := fmt.Sprint("value ", i)
		if _, err := p.Append(ctx, tp, block(v)); err != nil {
			t.Fatal(err)
		}
		u.values[tp] = append(u.values[tp], v)
	}
	u.fs = crashed(fs)
	u.path = l.journal.cur.f.path
	b, err := u.fs.UnsafeGetFileDataBuffer(u.path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; {
		fr, err := parseFrame(b[at:])
		if err != nil {
			break
		}
		u.frames = append(u.frames, journalFrame{at, at + len(fr.buf), fr.synced, fr.sequence})
		at += len(fr.buf)
	}
	if len(u.frames) < numFrames {
		t.Fatalf("%d frames for %d appends", len(u.frames), numFrames)
	}
	return u
}

// clone is the file system to open, with the journal's bytes changed.
func (u *unreplayed) clone(t *testing.T, change func(b []byte)) *vfs.MemFS {
	t.Helper()
	fs := crashed(u.fs)
	b, err := fs.UnsafeGetFileDataBuffer(u.path)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	return fs
}

// Any flipped bit in the journal: in a frame that a later one says was synced it is reported, by Open or by
// the partition, with file and position, and survives another crash; in the last frame it is taken for torn.
// Nothing that was acknowledged is missing without an error.
func TestDamagedJournal(t *testing.T) {
	const numFrames = 6
	u := newUnreplayed(t, numFrames)
	last := u.frames[len(u.frames)-1]
	refused, fenced := 0, 0
	for at := 0; at < last.end; at++ {
		fs := u.clone(t, func(b []byte) { b[at] ^= 0x21 })
		for range 2 {
			l, err := Open("log", Options{FS: fs, Logger: quiet})
			if err != nil {
				if at >= last.start {
					t.Fatalf("byte %d of the last frame flipped: %v", at, err)
				}
				wantCorrupt(t, err, u, at)
				refused++
				continue
			}
			missing := 0
			for tp, want := range u.values {
				got, err := tryReadValues(testContext(t), l, tp, Earliest, ReadCommitted)
				if err != nil {
					wantCorrupt(t, err, u, at)
					_, err = mustProducer(t, l, "").Append(testContext(t), tp, block("more"))
					wantCorrupt(t, err, u, at)
					fenced++
				} else {
					missing += len(want) - len(got)
				}
				if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
					t.Fatalf("byte %d flipped: %s has %q, want %q", at, tp, got, want)
				}
			}
			if want := 0; at < last.start && missing > want || missing > 1 {
				t.Fatalf("byte %d flipped: %d records are gone without an error", at, missing)
			}
			// The damage must be known after the journal is gone, too.
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refused == 0 || fenced == 0 {
		t.Fatalf("%d opens refused, %d partitions fenced", refused, fenced)
	}
}

func wantCorrupt(t *testing.T, err error, u *unreplayed, at int) {
	t.Helper()
	var ce *CorruptError
	if !errors.As(err, &ce) || !errors.Is(err, ErrCorrupt) || ce.Path != u.path {
		t.Fatalf("byte %d flipped: %v, want damage in %s", at, err, u.path)
	}
	for _, fr := range u.frames {
		if fr.start <= at && at < fr.end && (ce.Offset < int64(fr.start) || ce.Offset >= int64(fr.end)) {
			t.Fatalf("byte %d flipped: %v, want a position in [%d, %d)", at, err, fr.start, fr.end)
		}
	}
}

// The last frame before a pause is synced too, and a note says so: its damage is not taken for a torn tail.
func TestDamageBeforeAPause(t *testing.T) {
	ctx := testContext(t)
	fs := vfs.NewCrashableMem()
	l := openTest(t, "log", Options{FS: fs, Logger: quiet})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	tp := TopicPartition{"t", 0}
	if _, err := mustProducer(t, l, "").Append(ctx, tp, block("the last")); err != nil {
		t.Fatal(err)
	}
	l.journal.note() // as it comes by itself, a little later
	end := l.journal.position
	if l.journal.note(); l.journal.position != end {
		t.Fatal("what is said already is said again")
	}
	// The process ends; what it has written is there.
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	path := l.journal.cur.f.path
	b, err := clone.UnsafeGetFileDataBuffer(path)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.Index(b, []byte("the last"))
	b[last] ^= 1
	again := openTest(t, "log", Options{FS: clone, Logger: quiet})
	var ce *CorruptError
	if values, err := tryReadValues(ctx, again, tp, Earliest, ReadCommitted); !errors.As(err, &ce) || ce.Path != path || len(values) > 0 {
		t.Fatalf("there is %q, %v; want damage of %s", values, err, path)
	}
}

// Every interval syncs what is new, down to the last frame, and nothing else.
func TestSyncIntervalSyncsAll(t *testing.T) {
	ctx := testContext(t)
	l := openTest(t, "log", Options{FS: vfs.NewMem(), Sync: SyncInterval(time.Hour)})
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	tp := TopicPartition{"t", 0}
	p := mustProducer(t, l, "")
	for i := range 5 {
		if _, err := p.Append(ctx, tp, block(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if got := readValues(t, l, tp, Earliest, ReadCommitted); len(got) != i {
			t.Fatalf("before the sync there is %q", got)
		}
		if err := l.journal.syncAll(); err != nil {
			t.Fatal(err)
		}
		if got := readValues(t, l, tp, Earliest, ReadCommitted); len(got) != i+1 {
			t.Fatalf("after the sync there is %q", got)
		}
		l.journal.note()
		synced := l.journal.synced.Load()
		if err := l.journal.syncAll(); err != nil || l.journal.synced.Load() != synced {
			t.Fatalf("a note was synced, %v", err)
		}
	}
}

// Frames that were not synced may be there in part: what is left is the frames before the first hole, and the
// log goes on after them.
func TestTornTailIsCut(t *testing.T) {
	u := newUnreplayed(t, 5)
	// None of the frames says that it was synced.
	unsync := func(b []byte) {
		for _, fr := range u.frames {
			frame, err := parseFrame(b[fr.start:])
			if err != nil {
				t.Fatal(err)
			}
			frame.seal(frame.file, frame.sequence, 0)
		}
	}
	for i, fr := range u.frames {
		if i < 2 {
			continue // without its topic there is nothing to look at
		}
		for _, hole := range [][2]int{{fr.start, fr.end}, {fr.start, fr.start + 10}, {fr.start + 5, fr.start + 60}, {fr.end - 20, fr.end}, {fr.end - 1, fr.end}} {
			fs := u.clone(t, func(b []byte) {
				unsync(b)
				clear(b[hole[0]:hole[1]])
				if hole[1]-hole[0] == 1 {
					b[hole[0]] = 0xff
				}
			})
			l := openTest(t, "log", Options{FS: fs, Logger: quiet})
			got := 0
			for tp, want := range u.values {
				values := readValues(t, l, tp, Earliest, ReadCommitted)
				if !slices.Equal(values, want[:len(values)]) {
					t.Fatalf("%s has %q", tp, values)
				}
				got += len(values)
				if _, err := mustProducer(t, l, "").Append(testContext(t), tp, block("on")); err != nil {
					t.Fatal(err)
				}
			}
			// The first two frames made the topic and reserved producer ids.
			if got != i-2 {
				t.Fatalf("hole %v in frame %d: %d values are left, want %d", hole, i, got, i-2)
			}
		}
	}
}

// A journal file is used again after a cut, with frames of the same sizes and the sequences that were cut:
// what it held before must not be taken for what comes after them.
func TestRecycledJournalFile(t *testing.T) {
	ctx := testContext(t)
	mem := vfs.NewCrashableMem()
	o := Options{FS: mem, Logger: quiet, Sync: SyncOS, JournalBytes: 1 << 20}
	l := openTest(t, "log", o)
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
	tp := TopicPartition{"t", 0}
	p := mustProducer(t, l, "")
	add := func(v string) {
		t.Helper()
		if _, err := p.Append(ctx, tp, block(v)); err != nil {
			t.Fatal(err)
		}
	}
	at := []int64{}
	for i := range 8 {
		at = append(at, l.journal.position)
		add(fmt.Sprint("old ", i))
	}
	// The machine stops; frame 0 is torn, those behind it came to be on disk.
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	old := l.journal.cur.f.path
	b, err := clone.UnsafeGetFileDataBuffer(old)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[at[0] : at[0]+8])
	firstCut := l.journal.sequence - 8
	o.FS = clone
	l = openTest(t, "log", o)
	if got := readValues(t, l, tp, Earliest, ReadCommitted); len(got) != 0 {
		t.Fatalf("after the cut there is %q", got)
	}
	// Recovery used the old file for its new journal, or the test is about nothing.
	if len(l.journal.free) > 0 || l.journal.cur.number < 2 {
		t.Fatalf("the journal is at file %d, with %d free ones", l.journal.cur.number, len(l.journal.free))
	}
	// Bring the new frame exactly to where an old frame with the next sequence follows it.
	if l.journal.sequence != firstCut {
		t.Fatalf("the next frame is %d, want %d", l.journal.sequence, firstCut)
	}
	l.journal.position = at[0]
	p = mustProducer(t, l, "") // reserves ids: the frame with the sequence of "old 0", and not of its size
	l.journal.position = at[1]
	add("new 1")
	if l.journal.position != at[2] {
		t.Fatalf("the new frame ends at %d, want %d", l.journal.position, at[2])
	}
	// A crash now: from at[1] on there is "new 1", and then "old 2" and its like.
	clone = clone.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	b, err = clone.UnsafeGetFileDataBuffer(l.journal.cur.f.path)
	if err != nil {
		t.Fatal(err)
	}
	next, err := parseFrame(b[at[2]:])
	if err != nil || next.sequence != l.journal.sequence {
		t.Fatalf("behind the new frame there is %v, %v; want an old one with sequence %d", next, err, l.journal.sequence)
	}
	r := &recovery{l: l, sequence: next.sequence}
	ended, err := r.replayFile("journal", l.journal.cur.number, b, at[2], nil)
	if err != nil || !ended || r.frames > 0 {
		t.Fatalf("an old frame was replayed: %d frames, ended %v, %v", r.frames, ended, err)
	}
}

// After a clean stop there is nothing to replay, and however large the log is, its segments are not read.
func TestOpenReadsNoSegments(t *testing.T) {
	ctx := testContext(t)
	mem := vfs.NewMem()
	l, err := Open("log", crashOptions(mem, SyncOS))
	if err != nil {
		t.Fatal(err)
	}
	if err := crashTopics(ctx, l); err != nil {
		t.Fatal(err)
	}
	if err := runCrash(ctx, l, 0, 30, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f := &faults{}
	var mu sync.Mutex
	var read []string
	f.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileRead || op.Kind == errorfs.OpFileReadAt {
			mu.Lock()
			defer mu.Unlock()
			read = append(read, op.Path)
		}
		return nil
	})
	var out strings.Builder
	o := crashOptions(errorfs.Wrap(mem, f), SyncOS)
	o.Logger = slog.New(slog.NewTextHandler(&out, nil))
	l = openTest(t, "log", o)
	mu.Lock()
	for _, path := range read {
		if !strings.Contains(path, checkpointName) {
			t.Errorf("opening reads %s", path)
		}
	}
	mu.Unlock()
	if out.Len() > 0 {
		t.Errorf("opening after a clean stop has something to say: %s", &out)
	}
	if _, err := checkCrash(ctx, l, 0); err != nil {
		t.Fatal(err)
	}
}

// The leader epoch goes up when readers may have seen what is lost, and only then.
func TestLeaderEpochTellsOfLoss(t *testing.T) {
	for _, c := range []struct {
		mode  Sync
		clean bool
		want  int32
	}{
		{SyncCommit, true, 0}, {SyncCommit, false, 0}, {SyncInterval(time.Millisecond), false, 0}, {SyncOS, true, 0}, {SyncOS, false, 1},
	} {
		ctx := testContext(t)
		fs := vfs.NewCrashableMem()
		o := Options{FS: fs, Logger: quiet, Sync: c.mode}
		l := openTest(t, "log", o)
		mustCreate(t, l, TopicSpec{Name: "t", Partitions: 1})
		if err := l.journal.syncAll(); err != nil {
			t.Fatal(err)
		}
		tp := TopicPartition{"t", 0}
		p := mustProducer(t, l, "")
		if _, err := p.Append(ctx, tp, block("a")); err != nil {
			t.Fatal(err)
		}
		if c.clean {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			o.FS = crashed(fs)
			again, err := Open("log", o)
			if err != nil {
				t.Fatal(err)
			}
			offsets, err := again.Offsets(ctx, []TopicPartition{tp})
			if err != nil {
				t.Fatal(err)
			}
			if got := offsets[tp].LeaderEpoch; got != c.want {
				t.Errorf("%v, clean %v: leader epoch is %d, want %d", c.mode, c.clean, got, c.want)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A checkpoint that is damaged, or gone while there is a journal, is not taken for a new log.
func TestDamagedCheckpoint(t *testing.T) {
	u := newUnreplayed(t, 3)
	path := "log/meta/checkpoint"
	b, err := u.fs.UnsafeGetFileDataBuffer(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range b {
		b[at] ^= 0x80
		_, err := Open("log", Options{FS: crashed(u.fs), Logger: quiet})
		b[at] ^= 0x80
		if err == nil {
			// The crash clone keeps what was synced; the byte must be in that.
			fs := crashed(u.fs)
			c, cerr := fs.UnsafeGetFileDataBuffer(path)
			if cerr != nil {
				t.Fatal(cerr)
			}
			c[at] ^= 0x80
			_, err = Open("log", Options{FS: fs, Logger: quiet})
		}
		var ce *CorruptError
		if !errors.As(err, &ce) || ce.Path != path {
			t.Fatalf("byte %d flipped: %v, want damage of %s", at, err, path)
		}
	}
	fs := crashed(u.fs)
	if err := fs.Remove(path); err != nil {
		t.Fatal(err)
	}
	var ce *CorruptError
	if _, err := Open("log", Options{FS: fs, Logger: quiet}); !errors.As(err, &ce) || ce.Path != path {
		t.Fatalf("without a checkpoint: %v", err)
	}
}

// A segment that lost its end, or all of it, fences its partition from there on, and only that one.
func TestShortSegment(t *testing.T) {
	ctx := testContext(t)
	mem := vfs.NewMem()
	o := Options{FS: mem, Logger: quiet, Sync: SyncOS}
	l, err := Open("log", o)
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, l, TopicSpec{Name: "t", Partitions: 2})
	p := mustProducer(t, l, "")
	for i := range 10 {
		for n := range int32(2) {
			if _, err := p.Append(ctx, TopicPartition{"t", n}, block(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	bad := TopicPartition{"t", 0}
	part, _ := l.Partition(bad)
	path := part.active().path(logSuffix)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := mem.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := info.Size() - 1; size >= -1; size -= 7 {
		if size >= 0 {
			if err := newFiles(mem).cut(path, size); err != nil {
				t.Fatal(err)
			}
		} else if err := mem.Remove(path); err != nil {
			t.Fatal(err)
		}
		if l, err = Open("log", o); err != nil {
			t.Fatal(err)
		}
		got, err := tryReadValues(ctx, l, bad, Earliest, ReadCommitted)
		var ce *CorruptError
		if want := int(max(size, 0) * 10 / info.Size()); !errors.As(err, &ce) || ce.Path != path || len(got) != want {
			t.Fatalf("segment of %d bytes: %d records, want %d, and %v", size, len(got), want, err)
		}
		if got := readValues(t, l, TopicPartition{"t", 1}, Earliest, ReadCommitted); len(got) != 10 {
			t.Fatalf("the other partition has %d records", len(got))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What is left of a topic and of a segment that did not come to be is cleared away, and nothing else.
func TestLeftoversAreRemoved(t *testing.T) {
	u := newUnreplayed(t, 3)
	fs := newFiles(u.fs)
	id := "log/topics/11111111-2222-3333-4444-555555555555-0"
	strange := []string{"log/topics/notes", "log/topics/11111111-2222-3333-4444-555555555555x0"}
	for _, dir := range append([]string{id}, strange...) {
		if err := fs.mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	l := openTest(t, "log", Options{FS: crashed(u.fs), Logger: quiet})
	part, _ := l.Partition(TopicPartition{"t", 0})
	if err := fs.mkdir(part.dir); err != nil {
		t.Fatal(err)
	}
	segment := fs.PathJoin(part.dir, "00000000000000000077.log")
	index := fs.PathJoin(part.dir, "00000000000000000077.index")
	for _, path := range []string{segment, index} {
		f, err := fs.open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
	}
	clone := u.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	openTest(t, "log", Options{FS: clone, Logger: quiet})
	for _, path := range []string{id, segment, index} {
		if _, err := clone.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	for _, path := range strange {
		if _, err := clone.Stat(path); err != nil {
			t.Errorf("%s is gone", path)
		}
	}
}

// Every finding has a decision, with words for it.
func TestDecisionsAreComplete(t *testing.T) {
	for f := range numFindings {
		if decisions[f].what == "" {
			t.Errorf("finding %d has no decision", f)
		}
	}
}
