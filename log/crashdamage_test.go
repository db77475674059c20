package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// This file damages what a log has stored, in every kind of file, and holds what it serves then against what was
// written: all of it, or an error that names the file and the place.

// image is a log at rest: closed, or as its process left it, with everything synced and a journal to replay.
type image struct {
	fs      *crashfs.FS
	h       history
	offsets []crashRecord // of the topic that has the groups' offsets
	frames  []imageFrame  // that are to be replayed
	ops     []crashfs.Op  // of opening it
}

// imageFrame is where a frame is in the journal.
type imageFrame struct {
	path             string
	start, end       int64
	sequence, synced uint64
}

const imageDir = "data/log"

// newImage runs the workload and stops it, cleanly or not.
func newImage(seed uint64, clean bool) (*image, error) {
	fs := crashfs.New(crashfs.Options{})
	l, err := Open(imageDir, crashLogOptions(fs, SyncCommit))
	if err != nil {
		return nil, err
	}
	w := newCrashWorker(0, seed, new(atomic.Int64))
	err = w.start(l)
	for n := 0; n < 60 && err == nil; n++ {
		err = w.step()
	}
	if err == nil {
		err = l.ack(l.journal.written())
	}
	left := fs.Clone(100, nil)
	if err = errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	if clean {
		left = fs.Clone(100, nil)
	}
	im := &image{fs: left, h: w.history()}
	im.h.floor = len(im.h.steps)
	return im, im.study()
}

// study notes what opening the image does, and what its journal has.
func (im *image) study() error {
	ctx := context.Background()
	fs := im.fs.Clone(100, nil)
	b, err := fs.ReadFile(imageDir + "/meta/checkpoint")
	if err != nil {
		return err
	}
	st, err := parseState(b)
	if err != nil {
		return err
	}
	for _, name := range fs.Files(imageDir + "/journal/") {
		number, ok := parseJournalName(path.Base(name))
		if b, err = fs.ReadFile(name); err != nil || !ok {
			return fmt.Errorf("%s: %w", name, err)
		}
		at := int64(0)
		if number == st.file {
			at = st.position
		}
		for st.clean == false && number >= st.file && at < int64(len(b)) {
			fr, err := parseFrame(b[at:])
			if err != nil || fr.file != number {
				break
			}
			end := at + int64(len(fr.buf))
			im.frames = append(im.frames, imageFrame{name, at, end, fr.sequence, fr.synced})
			at = end
		}
	}
	fs.Inject(func(op crashfs.Op) crashfs.Fault {
		im.ops = append(im.ops, op)
		return crashfs.Fault{}
	})
	l, err := Open(imageDir, crashLogOptions(fs, SyncCommit))
	fs.Inject(nil)
	if err != nil {
		return err
	}
	if _, err = verify(ctx, l, []history{im.h}); err == nil {
		im.offsets, err = readRecords(ctx, l, TopicPartition{Topic: offsetsTopic}, 0, ReadCommitted)
	}
	return errors.Join(err, l.Close())
}

// damage is bytes of one file that are not what they were.
type damage struct {
	kind     string
	path     string
	from, to int64
}

func (d damage) String() string { return fmt.Sprintf("%s at %s:%d", d.kind, d.path, d.from) }

var damageKinds = []string{"flipped bit", "zeroed block", "torn block", "misdirected write", "short file"}

// sectorSize is what disks write as a whole.
const sectorSize = 512

// damageOne damages one file of a clone by chance.
func (im *image) damageOne(rng *rand.Rand) (*crashfs.FS, damage, error) {
	fs := im.fs.Clone(100, nil)
	byKind := make(map[string][]string)
	for _, name := range fs.Files(imageDir) {
		if b, err := fs.ReadFile(name); err == nil && len(b) > 0 {
			byKind[fileKind(name)] = append(byKind[fileKind(name)], name)
		}
	}
	kinds := slices.Sorted(maps.Keys(byKind))
	names := byKind[kinds[rng.IntN(len(kinds))]]
	d := damage{kind: damageKinds[rng.IntN(len(damageKinds))], path: names[rng.IntN(len(names))]}
	old, err := fs.ReadFile(d.path)
	if err != nil {
		return nil, d, err
	}
	size := int64(len(old))
	at := rng.Int64N(size)
	if fileKind(d.path) == "journal" && len(im.frames) > 0 && rng.IntN(4) > 0 { // mostly where it matters
		fr := im.frames[rng.IntN(len(im.frames))]
		d.path = fr.path
		if old, err = fs.ReadFile(d.path); err != nil {
			return nil, d, err
		}
		size, at = int64(len(old)), fr.start+rng.Int64N(fr.end-fr.start)
	}
	sector := at / sectorSize * sectorSize
	switch d.kind {
	case "flipped bit":
		d.from, d.to = at, at+1
		err = fs.Flip(d.path, at*8+rng.Int64N(8))
	case "zeroed block":
		d.from, d.to = sector, min(size, sector+sectorSize)
		err = fs.Zero(d.path, sector, sectorSize)
	case "torn block": // the rest of the block never came
		d.from, d.to = at, min(size, sector+sectorSize)
		err = fs.Zero(d.path, at, d.to-d.from)
	case "misdirected write":
		// Of this file, from elsewhere: a batch of another partition that has the same offset, and comes to stand
		// where it would stand, is a good batch; Kafka's format does not say whose.
		b := []byte("nothing that belongs here")
		if from := rng.Int64N(size) / sectorSize * sectorSize; from != sector {
			b = old[from:]
		}
		b = b[:min(len(b), sectorSize)]
		d.from, d.to = sector, min(size, sector+int64(len(b)))
		err = fs.Overwrite(d.path, sector, b)
	case "short file":
		d.from, d.to = at, size
		err = fs.Cut(d.path, at)
	}
	if err != nil {
		return nil, d, err
	}
	// Where nothing changed nothing is damaged.
	now, err := fs.ReadFile(d.path)
	for d.from < d.to && d.from < int64(len(now)) && now[d.from] == old[d.from] {
		d.from++
	}
	return fs, d, err
}

// fileKind is what a file of the log is for.
func fileKind(name string) string {
	switch {
	case strings.Contains(name, "/journal/"):
		return "journal"
	case strings.Contains(name, "/topics/"):
		return path.Ext(name)
	}
	return path.Base(name)
}

// bounds is how many steps must be there after the damage. Frames that no undamaged frame says were synced are
// taken for torn, and cut: recover.go has it so, since the two look the same.
func (im *image) bounds(d damage) int {
	var damaged []uint64
	told := uint64(0)
	for _, fr := range im.frames {
		switch {
		case fr.path == d.path && fr.start < d.to && d.from < fr.end:
			damaged = append(damaged, fr.sequence)
		case len(damaged) > 0:
			told = max(told, fr.synced)
		}
	}
	i := slices.IndexFunc(damaged, func(sequence uint64) bool { return sequence > told })
	if i < 0 {
		return len(im.h.steps)
	}
	first := damaged[i]
	k := 0
	for k < len(im.h.steps) && im.h.steps[k].sequence < first {
		k++
	}
	return k
}

// Outcomes of a fault. Each is as it should be; what should not be is an error.
const (
	harmless    = "harmless"
	refusedOpen = "reported by Open"
	refusedRead = "reported by a read"
	refusedOp   = "reported by the operation"
	takenForCut = "taken for a torn tail"
)

// judge opens the damaged log and says what became of it.
func (im *image) judge(fs *crashfs.FS, d damage) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), crashOpenLimit)
	defer cancel()
	l, err := Open(imageDir, crashLogOptions(fs, SyncCommit))
	if err != nil {
		return refusedOpen, d.names(err)
	}
	outcome, err := im.judgeOpen(ctx, l, d)
	cerr := l.Close()
	if errors.Is(cerr, ErrCorrupt) {
		cerr = d.names(cerr)
	}
	return outcome, errors.Join(err, cerr)
}

// names checks that an error tells where the damage is.
func (d damage) names(err error) error {
	var ce *CorruptError
	if !errors.As(err, &ce) {
		return fmt.Errorf("not reported as corrupt: %w", err)
	}
	if d.kind == "misdirected write" && fileKind(d.path) == "journal" && fileKind(ce.Path) == "journal" {
		return nil // a frame that stands where another was does not tell which of two files lacks one
	}
	if ce.Path != d.path || ce.Offset < 0 || ce.Offset > d.to {
		return fmt.Errorf("reported at %s:%d: %w", ce.Path, ce.Offset, err)
	}
	return nil
}

func (im *image) judgeOpen(ctx context.Context, l *Log, d damage) (string, error) {
	tps := partitionsOf(im.h.steps)
	outcome := harmless
	type seen struct {
		records [2][]crashRecord
		err     [2]error
	}
	got := make(map[TopicPartition]seen)
	for _, tp := range tps {
		if l.topic(tp.Topic) == nil {
			continue
		}
		var s seen
		for i, iso := range []Isolation{ReadUncommitted, ReadCommitted} {
			if s.records[i], s.err[i] = readRecords(ctx, l, tp, Earliest, iso); s.err[i] != nil {
				outcome = refusedRead
				if err := d.names(s.err[i]); err != nil {
					return "", err
				}
			}
		}
		got[tp] = s
	}
	offsets := make(map[TopicPartition]int64)
	for tp, o := range l.CommittedOffsets(im.h.group, tps) {
		offsets[tp] = o.Offset
	}
	why, first := "", ""
	for k := len(im.h.steps); k >= im.bounds(d); k-- {
		want := expect(im.h.steps[:k])
		why = ""
		for _, tp := range tps {
			g := got[tp]
			for i, w := range [][]crashRecord{want.all[tp], want.committed[tp]} {
				if g.err[i] != nil {
					w = w[:min(len(w), len(g.records[i]))] // what comes before the damage is served
				}
				if diff := differs(tp, g.records[i], w); diff != "" {
					why = diff
				}
			}
		}
		if !maps.Equal(offsets, want.offsets) {
			why = fmt.Sprintf("the committed offsets are %v, want %v", offsets, want.offsets)
		}
		if why == "" {
			if k == len(im.h.steps) {
				return im.judgeOffsets(ctx, l, d, outcome)
			}
			return takenForCut, nil
		}
		if first == "" {
			first = why
		}
	}
	return "", fmt.Errorf("served in silence, with %d steps of %d to be there: %s; with all of them: %s", im.bounds(d), len(im.h.steps), why, first)
}

// judgeOffsets looks at the topic of the groups' offsets.
func (im *image) judgeOffsets(ctx context.Context, l *Log, d damage, outcome string) (string, error) {
	tp := TopicPartition{Topic: offsetsTopic}
	got, err := readRecords(ctx, l, tp, 0, ReadCommitted)
	if err != nil {
		return refusedRead, d.names(err)
	}
	if diff := differs(tp, got, im.offsets); diff != "" {
		return "", fmt.Errorf("served in silence: %s", diff)
	}
	return outcome, nil
}

// faultCounts counts faults by what they were and what became of them.
type faultCounts map[string]int

func (c faultCounts) add(kind, outcome string) { c[kind+": "+outcome]++ }

func (c faultCounts) String() string {
	var b strings.Builder
	total := 0
	for _, key := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "\n%7d  %s", c[key], key)
		total += c[key]
	}
	return fmt.Sprintf("%d faults injected, 0 served in silence%s", total, &b)
}

// eachFault runs f with seeds until enough faults were injected.
func eachFault(t *testing.T, share int, f func(seed uint64, counts faultCounts) (injected int, err error)) {
	counts := make(faultCounts)
	first, ok := crashSeed(t)
	if !ok {
		first = 1
	}
	scale := crashScaleOf(t)
	for seed, n := first, 0; n < scale.faults*share/100 && (!ok || seed == first); seed++ {
		injected, err := f(seed, counts)
		if err != nil {
			t.Fatalf("seed %d: %v\nagain: MOLDAU_CRASH_SEED=%d go test ./log -count=1 -run '^%s$'", seed, err, seed, t.Name())
		}
		n += injected
	}
	t.Log(counts)
}

// Bytes that are damaged at rest, in any file: what is served is what was written, or there is an error that says
// which file and where; and so it is when the log is opened again.
func TestCrashDamage(t *testing.T) {
	eachFault(t, 50, func(seed uint64, counts faultCounts) (int, error) {
		im, err := newImage(seed, seed%2 == 0)
		if err != nil {
			return 0, err
		}
		const faults = 100
		for i := range faults {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			fs, d, err := im.damageOne(rng)
			if err != nil {
				return 0, err
			}
			outcome, err := im.judge(fs, d)
			if err == nil && outcome != refusedOpen && i%4 == 0 {
				if _, err = im.judge(fs, d); err != nil {
					err = fmt.Errorf("opened again, after it was %s: %w", outcome, err)
				}
			}
			if err != nil {
				return 0, fmt.Errorf("fault %d, %v: %w", i, d, err)
			}
			counts.add(d.kind+" in "+fileKind(d.path), outcome)
		}
		return faults, nil
	})
}
