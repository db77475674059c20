//go:build unix

// Benchmarks measures what Moldau does per CPU-second: user and system time of the whole process, encoding
// and checksums included, so that background work counts.
//
//	go run ./benchmarks [-only NAME] [-trials N] [-dir DIR] [-profile FILE]
//
// Each workload runs in a directory of its own, removed at the end. Before it is timed, a scratch file as
// large as what it will write is written and deleted: memory and disk blocks that are touched for the first
// time cost many times more on some virtual machines, and that is not what is measured.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// workload is something to measure. run does it once in dir and reports.
type workload struct {
	name, what, unit string
	scratchBytes     int64
	run              func(ctx context.Context, dir string, m *meter) error
}

// result is one trial's figures.
type result struct {
	units     int64 // of the workload: records, words
	wall, cpu time.Duration
	mallocs   uint64
	bytes     uint64
}

func (r result) perCPUSecond() float64 { return float64(r.units) / r.cpu.Seconds() }

// meter measures the part of a run between begin and end.
type meter struct {
	result
	profile   io.Writer
	wallStart time.Time
	cpuStart  time.Duration
	memStart  runtime.MemStats
}

func (m *meter) begin() {
	runtime.GC()
	if m.profile != nil {
		if err := pprof.StartCPUProfile(m.profile); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	runtime.ReadMemStats(&m.memStart)
	m.wallStart, m.cpuStart = time.Now(), cpuTime()
}

func (m *meter) end(units int64) {
	m.units, m.wall, m.cpu = units, time.Since(m.wallStart), cpuTime()-m.cpuStart
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.mallocs, m.bytes = mem.Mallocs-m.memStart.Mallocs, mem.TotalAlloc-m.memStart.TotalAlloc
	if m.profile != nil {
		pprof.StopCPUProfile()
	}
}

// cpuTime is what the process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it cannot fail for RUSAGE_SELF
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("only", "", "run the workloads whose names contain this")
	trials := flag.Int("trials", 3, "how often to run each")
	dir := flag.String("dir", "", "where to put files (default: the system's temporary directory)")
	profile := flag.String("profile", "", "write a CPU profile of the last trial of the last workload here")
	flag.Parse()
	if *trials < 1 {
		return fmt.Errorf("-trials %d: at least 1", *trials)
	}
	fmt.Printf("%s %s/%s, %d CPUs, %d trials each: median [lowest highest]\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *trials)
	fmt.Printf("%-34s %26s %14s %12s %10s\n", "workload", "per CPU-second", "per second", "allocs/unit", "B/unit")
	for _, w := range workloads() {
		if !strings.Contains(w.name, *only) {
			continue
		}
		var rs []result
		for i := range *trials {
			var m meter
			if *profile != "" && i == *trials-1 {
				f, err := os.Create(*profile)
				if err != nil {
					return err
				}
				defer f.Close()
				m.profile = f
			}
			if err := trial(ctx, w, *dir, &m); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			rs = append(rs, m.result)
		}
		print(w, rs)
	}
	return nil
}

func trial(ctx context.Context, w workload, parent string, m *meter) error {
	dir, err := os.MkdirTemp(parent, "moldau-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := touch(filepath.Join(dir, "scratch"), w.scratchBytes); err != nil {
		return err
	}
	return w.run(ctx, dir, m)
}

// touch writes a file of the given size and deletes it.
func touch(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for n := int64(0); n < size && err == nil; n += int64(len(buf)) {
		_, err = f.Write(buf)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

func print(w workload, rs []result) {
	slices.SortFunc(rs, func(a, b result) int { return int(a.perCPUSecond() - b.perCPUSecond()) })
	mid := rs[len(rs)/2]
	rate := fmt.Sprintf("%s [%s %s]", human(mid.perCPUSecond()), human(rs[0].perCPUSecond()), human(rs[len(rs)-1].perCPUSecond()))
	fmt.Printf("%-34s %26s %14s %12.3f %10.1f\n", w.name, rate, human(float64(mid.units)/mid.wall.Seconds()),
		float64(mid.mallocs)/float64(mid.units), float64(mid.bytes)/float64(mid.units))
	fmt.Printf("    %s; one unit is a %s; %d units in %.2f s, %.2f CPU-s\n", w.what, w.unit, mid.units, mid.wall.Seconds(), mid.cpu.Seconds())
}

func human(f float64) string {
	switch {
	case f >= 1e6:
		return fmt.Sprintf("%.2fM", f/1e6)
	case f >= 1e3:
		return fmt.Sprintf("%.0fk", f/1e3)
	}
	return fmt.Sprintf("%.0f", f)
}

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))
