//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moldau-io/moldau/internal/zipf"
	"github.com/moldau-io/moldau/log"
)

const (
	changelog = "word-count-words-changelog"
	// killsVariable makes TestKill a longer one: so many kills for each variant. make kill sets it.
	killsVariable = "MOLDAU_KILLS"
	defaultKills  = 50
	// undisturbed is what a run that nobody disturbs must take at least, so that there is something to disturb.
	undisturbed = 2 * time.Second
)

// The example is killed with SIGKILL again and again, over one directory, and then left to finish: each word
// is counted as often as it stands in the file. Most kills come after what the run itself has appended, and
// some inside a commit, which the log tells afterwards: counts, held back till then, and changelogs are written
// in commits only, so an aborted transaction that has records of theirs was killed there.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	kills := defaultKills
	if v := os.Getenv(killsVariable); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil || kills < 1 {
			t.Fatalf("%s=%q: want a number of kills", killsVariable, v)
		}
	}
	text := zipf.Text(1, 32<<20)
	want := countWords(text)
	for {
		p := start(t, "-top", "0", writeFile(t, text)).wait(t, 0)
		if err := differ(parseCounts(t, p.stdout.String()), want); err != nil {
			t.Fatalf("undisturbed: %v", err)
		}
		t.Logf("%d MiB undisturbed: %v", len(text)>>20, p.took.Round(time.Millisecond))
		if p.took >= undisturbed {
			break
		}
		more := zipf.Text(uint64(len(text)), len(text))
		text, want = append(text, more...), addCounts(want, countWords(more), 1)
	}
	var insideCommit atomic.Int64
	t.Run("variants", func(t *testing.T) {
		for i, c := range []struct {
			name        string
			partitions  int
			deleteState bool
		}{
			{name: "1 partition", partitions: 1},
			{name: "4 partitions", partitions: 4},
			{name: "state deleted", partitions: 2, deleteState: true},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				j := &job{
					data: filepath.Join(t.TempDir(), "data"), file: writeFile(t, text), want: want,
					partitions: c.partitions, deleteState: c.deleteState, random: rand.New(rand.NewPCG(uint64(i), 50)),
				}
				j.run(t, kills)
				insideCommit.Add(j.insideCommit)
			})
		}
	})
	if insideCommit.Load() == 0 && !t.Failed() {
		t.Error("no kill came inside a commit: this test has not shown what it is for")
	}
}

// job is one directory in which one file is counted, and what is known of both.
type job struct {
	data, file  string
	want        map[string]int64
	partitions  int
	deleteState bool
	random      *rand.Rand

	commits      []string // patterns of the segments that commits alone write; nil until the topics are there
	startup      time.Duration
	insideCommit int64
}

// How far a run is, as its files show.
const (
	started    = iota // the process runs
	opened            // log and state are open: what is appended from here on is not recovery's
	appended          // a segment grew
	committing        // a segment grew that commits alone write
)

// moment is when to end a run: some time after it got so far.
type moment struct {
	after int
	delay time.Duration
}

// moments draws the ends of n runs: most a little after they appended, or at a commit.
func (j *job) moments(n int) []moment {
	ms := make([]moment, n)
	for i := range ms {
		switch {
		case i%16 == 0:
			ms[i] = moment{started, -1} // by the time the last run took to get somewhere
		case i%2 == 0:
			ms[i] = moment{appended, time.Duration(j.random.Int64N(int64(150 * time.Millisecond)))}
		case i%4 == 1:
			ms[i] = moment{committing, 0}
		default:
			ms[i] = moment{committing, time.Duration(j.random.Int64N(int64(2 * time.Millisecond)))}
		}
	}
	j.random.Shuffle(n, func(a, b int) { ms[a], ms[b] = ms[b], ms[a] })
	// The first runs make the topics.
	ms[0], ms[1%n] = moment{started, -1}, moment{started, -1}
	return ms
}

func (j *job) run(t *testing.T, kills int) {
	j.startup = 100 * time.Millisecond
	interruptEvery := max(kills/5, 2)
	var inWork, finished, interrupted int
	ms := j.moments(kills)
	for i := 0; i < kills; {
		if j.deleteState && j.random.IntN(2) == 0 {
			if err := os.RemoveAll(filepath.Join(j.data, "state")); err != nil {
				t.Fatal(err)
			}
		}
		if i%interruptEvery == interruptEvery-1 {
			// A clean stop leaves state in Pebble that later runs go on from. It is no kill.
			if stopped, _ := j.end(t, moment{appended, ms[i].delay}, syscall.SIGINT); stopped {
				interrupted++
			}
		}
		m := ms[i]
		if j.commits == nil && i >= 2 { // the first runs find no log, or a part of one
			if j.findTopics(t); j.commits == nil {
				m.after = min(m.after, appended)
			}
		}
		killed, progress := j.end(t, m, syscall.SIGKILL)
		switch {
		case !killed && finished == kills/2:
			t.Fatalf("%d runs came to their end, and %d of %d were killed: there is too little to do", finished+1, i, kills)
		case !killed:
			finished++
			continue // with more to count
		case progress >= appended:
			inWork++
		}
		i++
	}
	for range 2 { // the second run has nothing to do
		if err := differ(countAll(t, j.args()...), j.want); err != nil {
			t.Fatalf("after %d kills: %v", kills, err)
		}
	}
	lg := openLog(t, j.data)
	defer lg.Close()
	inCommit := abortedTransactions(t, lg, changelog, wordCounts.Name())
	inChangelog := abortedTransactions(t, lg, changelog)
	inLoad := abortedTransactions(t, lg, topicName)
	j.insideCommit = int64(inCommit)
	t.Logf("%d kills, %d after the run had appended: at least %d inside a commit (%d with changelog records), %d inside a transaction of lines; %d runs finished before, %d interrupts",
		kills, inWork, inCommit, inChangelog, inLoad, finished, interrupted)
	if 5*inWork < 4*kills {
		t.Errorf("%d of %d kills came between the first append and the end, want four of five", inWork, kills)
	}
}

func (j *job) args() []string {
	return []string{"-data", j.data, "-partitions", strconv.Itoa(j.partitions), j.file}
}

// end starts a run and sends it the signal at the moment. killed is false if the run came to its end before;
// the counts were right then, and there is more to count now. progress is how far the run came.
func (j *job) end(t *testing.T, m moment, signal syscall.Signal) (killed bool, progress int) {
	t.Helper()
	w := newWatch(j.data, j.commits)
	began := time.Now()
	p := start(t, append([]string{"-top", "0"}, j.args()...)...)
	if m.delay < 0 {
		m.delay = time.Duration(j.random.Int64N(int64(j.startup)))
	}
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	var due <-chan time.Time
	sent := false
	for done := false; !done; {
		if due == nil && progress >= m.after {
			timer := time.NewTimer(m.delay)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-p.exited:
			done = true
		case <-due:
			_ = p.cmd.Process.Signal(signal) // it may have ended
			sent, done = true, true
		case <-tick.C:
			if now := w.look(); now > progress {
				if now >= appended && progress < appended {
					j.startup = time.Since(began)
				}
				progress = now
			}
		}
	}
	<-p.exited
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case sent && (status.Signaled() && status.Signal() == signal || status.ExitStatus() == 130 && signal == syscall.SIGINT):
		return true, progress
	case status.ExitStatus() != 0:
		t.Fatalf("a run ended with %v; it wrote\n%s", p.cmd.ProcessState, p.stderr.String())
	}
	if err := differ(parseCounts(t, p.stdout.String()), j.want); err != nil {
		t.Fatalf("a run that was not killed: %v", err)
	}
	more := zipf.Text(j.random.Uint64(), 16<<20)
	appendFile(t, j.file, more)
	j.want = addCounts(j.want, countWords(more), 1)
	return false, progress
}

// findTopics sets commits once a run has made the topics.
func (j *job) findTopics(t *testing.T) {
	t.Helper()
	lg := openLog(t, j.data)
	infos, err := lg.Topics(t.Context(), []string{changelog, wordCounts.Name()})
	if err != nil {
		t.Fatal(err)
	}
	if infos[0].Err == nil && infos[1].Err == nil {
		for _, info := range infos {
			j.commits = append(j.commits, filepath.Join(j.data, "log", "topics", info.ID.String()+"-*", "*.log"))
		}
	}
	if err := lg.Close(); err != nil {
		t.Fatal(err)
	}
}

// watch sees from a run's files how far it is.
type watch struct {
	state, segments    string // patterns
	commits            []string
	before             map[string]bool
	sizes, commitSizes map[string]int64 // when the state was opened
	progress           int
}

// newWatch makes a watch for the next run. commits are patterns of the segments that commits alone write.
func newWatch(data string, commits []string) *watch {
	w := &watch{
		state:    filepath.Join(data, "state", "*"),
		segments: filepath.Join(data, "log", "topics", "*", "*.log"),
		commits:  commits,
		before:   map[string]bool{},
	}
	for _, name := range glob(w.state) {
		w.before[name] = true
	}
	return w
}

// look says how far the run is. Pebble makes new files whenever it is opened, and it is opened when the log
// has recovered.
func (w *watch) look() int {
	switch w.progress {
	case started:
		for _, name := range glob(w.state) {
			if !w.before[name] {
				w.sizes, w.commitSizes = sizes(glob(w.segments)), sizes(glob(w.commits...))
				w.progress = opened
				break
			}
		}
	case opened:
		if grown(w.sizes) {
			w.progress = appended
		}
	}
	if grown(w.commitSizes) {
		w.progress = committing
	}
	return w.progress
}

func glob(patterns ...string) (names []string) {
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // no pattern of ours is malformed
		names = append(names, found...)
	}
	return names
}

// sizes are those of files; one that cannot be seen has none.
func sizes(names []string) map[string]int64 {
	sizes := map[string]int64{}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			sizes[name] = info.Size()
		}
	}
	return sizes
}

func grown(since map[string]int64) bool {
	for name, size := range since {
		if info, err := os.Stat(name); err == nil && info.Size() > size {
			return true
		}
	}
	return false
}

// abortedTransactions counts the aborted transactions that have records in the topics: those that a kill left open.
// A kill after the commit point, when the disk is waited for, leaves none.
func abortedTransactions(t *testing.T, lg *log.Log, topics ...string) int {
	t.Helper()
	type transaction struct {
		id    int64
		epoch uint16
	}
	found := map[transaction]bool{} // in several partitions, but one transaction
	infos, err := lg.Topics(t.Context(), topics)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		for n := range info.Partitions {
			p, err := lg.Partition(log.TopicPartition{Topic: info.Name, Partition: n})
			if err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < p.Offsets().LastStable; {
				f, err := p.Fetch(at, 1<<20, log.ReadCommitted)
				if err == nil && f.Next <= at {
					err = errors.New("nothing is there")
				}
				if err != nil {
					t.Fatalf("%s at offset %d: %v", p.TopicPartition(), at, err)
				}
				// Record batches, version 2: base offset at 0, length at 8, attributes at 21, producer id at 43,
				// epoch at 51. Control batches end a transaction, and are not records.
				for b := f.Buf; len(b) > 0; b = b[12+binary.BigEndian.Uint32(b[8:]):] {
					const control = 1 << 5
					offset, id := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[43:]))
					for _, a := range f.Aborted {
						if binary.BigEndian.Uint16(b[21:])&control == 0 && a.ProducerID == id && a.FirstOffset <= offset && offset <= a.LastOffset {
							found[transaction{id, binary.BigEndian.Uint16(b[51:])}] = true
						}
					}
				}
				at = f.Next
			}
		}
	}
	return len(found)
}

// openLog opens the log of a -data directory that no run has open.
func openLog(t *testing.T, data string) *log.Log {
	t.Helper()
	lg, err := log.Open(filepath.Join(data, "log"), log.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return lg
}

// The comparison that TestKill relies on sees when something was not exactly once. Each fault is planted in the
// log of a run that was right; a line is then added to the file, and the example runs again.
func TestKillSeesPlantedFaults(t *testing.T) {
	text := zipf.Text(2, 64<<10)
	line := text[:1+bytes.IndexByte(text, '\n')]
	all := append(text[:len(text):len(text)], line...)
	for _, c := range []struct {
		name   string
		plant  func(lg *log.Log, path string) error
		counts []byte // counted too often
		lacks  []byte // counted not often enough
	}{
		{
			name:  "none",
			plant: func(*log.Log, string) error { return nil },
		},
		{
			name:   "a line loaded twice",
			plant:  func(lg *log.Log, _ string) error { return appendRecord(lg, topicName, nil, line) },
			counts: line,
		},
		{
			name: "a position without its lines",
			plant: func(lg *log.Log, path string) error {
				return appendRecord(lg, positions, []byte(path), fmt.Appendf(nil, `{"bytes":%d,"lines":1}`, len(all)))
			},
			lacks: line,
		},
		{
			name:   "counts without their offsets",
			plant:  func(lg *log.Log, _ string) error { return commitOffset(lg, 0) },
			counts: text,
		},
		{
			name: "offsets without their counts",
			plant: func(lg *log.Log, path string) error {
				tp := log.TopicPartition{Topic: topicName}
				ends, err := lg.Offsets(context.Background(), []log.TopicPartition{tp})
				if err != nil {
					return err
				}
				return errors.Join(
					appendRecord(lg, topicName, nil, line),
					appendRecord(lg, positions, []byte(path), fmt.Appendf(nil, `{"bytes":%d,"lines":1}`, len(all))),
					commitOffset(lg, ends[tp].HighWatermark+1))
			},
			lacks: line,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, path := filepath.Join(t.TempDir(), "data"), writeFile(t, text)
			if err := differ(countAll(t, "-data", data, path), countWords(text)); err != nil {
				t.Fatal(err)
			}
			lg := openLog(t, data)
			if err := errors.Join(c.plant(lg, path), lg.Close()); err != nil {
				t.Fatal(err)
			}
			appendFile(t, path, line)
			got, want := countAll(t, "-data", data, path), countWords(all)
			if seen := differ(got, want) != nil; seen != (c.counts != nil || c.lacks != nil) {
				t.Errorf("the fault is seen: %v", seen)
			}
			want = addCounts(want, countWords(c.counts), 1)
			want = addCounts(want, countWords(c.lacks), -1)
			if err := differ(got, want); err != nil {
				t.Errorf("the fault does not do what it is to do: %v", err)
			}
		})
	}
}

func appendRecord(lg *log.Log, topic string, key, value []byte) error {
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		return err
	}
	b := log.NewBlock()
	b.Append(time.Now().UnixMilli(), key, value, nil)
	_, err = p.Append(context.Background(), log.TopicPartition{Topic: topic}, b)
	return errors.Join(err, p.Close())
}

func commitOffset(lg *log.Log, offset int64) error {
	return lg.CommitOffsets("word-count", map[log.TopicPartition]log.CommittedOffset{{Topic: topicName}: {Offset: offset}})
}
