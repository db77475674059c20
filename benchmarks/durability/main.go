//go:build linux

// Command durability measures what a commit over many partitions costs when it has to survive power loss.
//
//	go run ./benchmarks/durability [-dir DIR] [-trials 5] [-trial 350ms] [-syncers 32] [-journal 32]
//
// It compares the two ways that docs/decisions/001-journal.md weighs, on plain files and without package
// log, so that its answer does not depend on what was chosen. ways.go has the ways; this file has the
// workloads and the tables. A run takes about a minute and a half and writes some gigabytes under DIR, of
// which at most one stays at a time; all of it is removed at the end.
//
// The ways take turns trial by trial, in random order, because a shared machine drifts and because what a
// trial leaves behind (files to delete, warm memory) falls on the next one. Figures are the median over
// the trials with the smallest and the largest beside it; p95 and p99 are those of all trials' commits
// together. CPU is user and system time of the whole process by getrusage, the writing back included: a
// way that leaves data in the page cache syncs it before its trial's figures are taken, or its cost would
// be some kernel thread's.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

const (
	recordBytes   = 118 // a key-less record of 100-byte value, with its framing and its share of the batch header
	pretouchBytes = 1 << 30
)

// workload says what one commit covers: appends of recordsPerAppend records, each to the next partition in turn.
type workload struct {
	name             string
	partitions       int
	recordsPerAppend int
	appendsPerCommit int
}

func workloads() []workload {
	var ws []workload
	for _, n := range []int{1, 12, 100} {
		ws = append(ws, workload{"small", n, 100, n})
	}
	for _, n := range []int{1, 12, 100} {
		ws = append(ws, workload{"bulk", n, (1 << 20) / recordBytes, 8})
	}
	return ws
}

// trial is the outcome of running one way for a while.
type trial struct {
	latencies []time.Duration
	elapsed   time.Duration
	cpu       time.Duration
	records   int
}

func main() {
	dir := flag.String("dir", "", "directory on the disk to measure (default: a new one under the system's temporary directory)")
	trials := flag.Int("trials", 5, "trials of each way; one more runs first and is not counted")
	length := flag.Duration("trial", 350*time.Millisecond, "how long one trial commits")
	syncers := flag.Int("syncers", 32, "threads that sync files at the same time where there is no journal")
	journalMiB := flag.Int64("journal", 32, "size of each of the two journal files in MiB")
	flag.Parse()
	if *trials < 1 || *syncers < 1 || *journalMiB < 1 {
		fmt.Fprintln(os.Stderr, "durability: -trials, -syncers and -journal must be at least 1")
		os.Exit(2)
	}
	if err := run(*dir, *trials, *length, *syncers, *journalMiB<<20); err != nil {
		fmt.Fprintln(os.Stderr, "durability:", err)
		os.Exit(1)
	}
}

func run(parent string, trials int, length time.Duration, syncers int, journalBytes int64) (err error) {
	dir, err := os.MkdirTemp(parent, "durability-")
	if err != nil {
		return err
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil {
			err = rerr
		}
	}()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	const tmpfsMagic = 0x01021994
	if fs.Type == tmpfsMagic {
		return fmt.Errorf("%s is on tmpfs, where a sync costs nothing: name a directory on a disk with -dir", dir)
	}
	if err := pretouch(filepath.Join(dir, "scratch")); err != nil {
		return err
	}
	fmt.Printf("file system type %#x, journal 2 x %d MiB, %d trials of %v, median [min max]\n\n",
		fs.Type, journalBytes>>20, trials, length)
	if err := commits(dir, trials, length, syncers, journalBytes); err != nil {
		return err
	}
	return pageCache(dir, trials)
}

// pretouch writes and removes a file as large as what the run holds at a time. Memory that a virtual
// machine has never used is handed to it page by page, which costs ten times the write itself.
func pretouch(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	buf := make([]byte, 1<<20)
	for range pretouchBytes / len(buf) {
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// commits prints the first table: commits that wait for the disk, both ways.
func commits(dir string, trials int, length time.Duration, syncers int, journalBytes int64) error {
	makers := []struct {
		name string
		make func(dir string, partitions int) (way, error)
	}{
		{"a journal", func(d string, n int) (way, error) { return newJournal(d, n, journalBytes, false) }},
		{"a' journal, gathered", func(d string, n int) (way, error) { return newJournal(d, n, journalBytes, true) }},
		{"b files, one round", func(d string, n int) (way, error) { return newPerFile(d, n, syncers, false) }},
		{"b' files, two rounds", func(d string, n int) (way, error) { return newPerFile(d, n, syncers, true) }},
	}
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "commit\tpartitions\tway\tp50 ms\tp95 ms\tp99 ms\tcommits/s\tCPU us/commit\tCPU ns/record\t")
	for _, w := range workloads() {
		results := make([][]trial, len(makers))
		for round := range trials + 1 {
			for _, k := range rand.Perm(len(makers)) {
				t, err := commitTrial(dir, w, length, makers[k].make)
				if err != nil {
					return fmt.Errorf("%s, %s over %d partitions: %w", makers[k].name, w.name, w.partitions, err)
				}
				if round > 0 {
					results[k] = append(results[k], t)
				}
			}
		}
		for k, ts := range results {
			fmt.Fprintf(tw, "%s\t%d\t%s\t", w.name, w.partitions, makers[k].name)
			fmt.Fprint(tw, spread(ts, "%.2f", func(t trial) float64 { return quantile(t.latencies, 0.50).Seconds() * 1e3 }), "\t")
			var all []time.Duration
			for _, t := range ts {
				all = append(all, t.latencies...)
			}
			fmt.Fprintf(tw, "%.2f\t%.2f\t", quantile(all, 0.95).Seconds()*1e3, quantile(all, 0.99).Seconds()*1e3)
			fmt.Fprint(tw, spread(ts, "%.0f", func(t trial) float64 { return float64(len(t.latencies)) / t.elapsed.Seconds() }), "\t")
			fmt.Fprint(tw, spread(ts, "%.0f", func(t trial) float64 { return t.cpu.Seconds() * 1e6 / float64(len(t.latencies)) }), "\t")
			fmt.Fprintln(tw, spread(ts, "%.0f", func(t trial) float64 { return t.cpu.Seconds() * 1e9 / float64(t.records) })+"\t")
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// commitTrial appends and commits for about length. A latency is that of the commit alone: the appends
// before it do not wait. elapsed and cpu end when everything is on disk in its place.
func commitTrial(dir string, w workload, length time.Duration, newWay func(string, int) (way, error)) (t trial, err error) {
	sub, err := os.MkdirTemp(dir, "trial-")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(sub)
	y, err := newWay(sub, w.partitions)
	if err != nil {
		return t, err
	}
	frame := newFrame(w.recordsPerAppend * recordBytes)
	touched := make([]int, 0, w.partitions)
	next := 0
	start, cpu := time.Now(), cpuTime()
	for time.Since(start) < length {
		touched = touched[:0]
		for range w.appendsPerCommit {
			if err := y.append(next, frame); err != nil {
				return t, err
			}
			if len(touched) < w.partitions {
				touched = append(touched, next)
			}
			next = (next + 1) % w.partitions
		}
		begin := time.Now()
		if err := y.commit(touched); err != nil {
			return t, err
		}
		t.latencies = append(t.latencies, time.Since(begin))
		t.records += w.recordsPerAppend * w.appendsPerCommit
	}
	if err := y.settle(); err != nil {
		return t, err
	}
	t.elapsed, t.cpu = time.Since(start), cpuTime()-cpu
	return t, y.close()
}

// pageCache prints the second table: appends that wait for nothing, to see what the second write costs.
func pageCache(dir string, trials int) error {
	const total = 64 << 20
	variants := []struct {
		name             string
		journal, recycle bool
		sum              bool
	}{
		{"segment only", false, false, false},
		{"segment + recycled journal", true, true, false},
		{"segment + recycled journal + checksum", true, true, true},
		{"segment + fresh journal", true, false, false},
	}
	fmt.Println("\nno sync: 64 MiB through the page cache, 12 partitions")
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "append\twrites\tCPU ns/record\tover segment only\t")
	for _, bytes := range []int{100 * recordBytes, 1 << 20} {
		results := make([][]trial, len(variants))
		for round := range trials + 1 {
			for _, k := range rand.Perm(len(variants)) {
				v := variants[k]
				t, err := cacheTrial(dir, bytes, total, v.journal, v.recycle, v.sum)
				if err != nil {
					return fmt.Errorf("%s: %w", v.name, err)
				}
				if round > 0 {
					results[k] = append(results[k], t)
				}
			}
		}
		perRecord := func(t trial) float64 { return t.cpu.Seconds() * 1e9 / float64(t.records) }
		base := median(results[0], perRecord)
		for k, ts := range results {
			fmt.Fprintf(tw, "%d B\t%s\t%s\t%+.1f\t\n", bytes, variants[k].name, spread(ts, "%.1f", perRecord), median(ts, perRecord)-base)
		}
	}
	return tw.Flush()
}

// cacheTrial appends total bytes to twelve segments and, if asked, to a journal before that.
func cacheTrial(dir string, bytes, total int, journaled, recycle, sum bool) (t trial, err error) {
	sub, err := os.MkdirTemp(dir, "trial-")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(sub)
	const partitions = 12
	segs, err := newFiles(sub, "segment", partitions)
	if err != nil {
		return t, err
	}
	var jf *files
	if journaled {
		if jf, err = newFiles(sub, "journal", 1); err != nil {
			return t, err
		}
		if recycle {
			if err := fill(jf.files[0], int64(total+total/8)); err != nil {
				return t, err
			}
		}
	}
	frame := newFrame(bytes)
	cpu := cpuTime()
	for i := range total / bytes {
		if journaled {
			if sum {
				seal(frame, i%partitions, int64(i))
			}
			if err := jf.append(0, frame); err != nil {
				return t, err
			}
		}
		if err := segs.append(i%partitions, frame[frameHeader:]); err != nil {
			return t, err
		}
		t.records += bytes / recordBytes
	}
	t.cpu = cpuTime() - cpu
	if journaled {
		if err := jf.close(); err != nil {
			return t, err
		}
	}
	return t, segs.close()
}

func newFrame(bytes int) []byte {
	frame := make([]byte, frameHeader+bytes)
	r := rand.NewChaCha8([32]byte{})
	r.Read(frame) // never fails
	return frame
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func quantile(ds []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(ds))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

func median(ts []trial, f func(trial) float64) float64 {
	s := sorted(ts, f)
	return s[len(s)/2]
}

func spread(ts []trial, verb string, f func(trial) float64) string {
	s := sorted(ts, f)
	return fmt.Sprintf(verb+" ["+verb+" "+verb+"]", s[len(s)/2], s[0], s[len(s)-1])
}

func sorted(ts []trial, f func(trial) float64) []float64 {
	var s []float64
	for _, t := range ts {
		s = append(s, f(t))
	}
	slices.Sort(s)
	return s
}
