//go:build unix

// Benchmarks measures what Moldau does per CPU-second: user and system time of all processes that take part,
// encoding and checksums included, so that background work counts.
//
//	go run ./benchmarks [-only NAME] [-size F] [-trials N] [-dir DIR] [-profile FILE]
//	go run ./benchmarks -peer kstreams     ours beside Kafka Streams and its broker
//	go run ./benchmarks -only recovery     how long a start takes, after a clean stop and after kill -9
//
// Each trial runs in a directory of its own, removed at the end. Before it is timed, a scratch file as large
// as what it will write is written and deleted: memory and disk blocks that are touched for the first time
// cost many times more on some virtual machines, and that is not what is measured. Every output is checked.
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
	"slices"
	"strings"
)

// options are the flags, and where the report goes.
type options struct {
	out     io.Writer
	only    string
	size    float64
	trials  int
	dir     string
	profile string
	peer    string
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
	if part := os.Getenv(partEnv); part != "" {
		return runPart(ctx, part)
	}
	o, err := parse(os.Args[1:], os.Stderr)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%s %s/%s, %d CPUs, load %s, %d trials each: median [lowest highest]\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), loadAverage(), o.trials)
	switch {
	case o.peer != "":
		return compare(ctx, o)
	case o.only == "recovery":
		return recovery(ctx, o)
	}
	return alone(ctx, o)
}

func parse(args []string, w io.Writer) (options, error) {
	o := options{out: os.Stdout}
	f := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	f.SetOutput(w)
	f.StringVar(&o.only, "only", "", "run the workloads whose names contain this; recovery runs only when it is named")
	f.Float64Var(&o.size, "size", 1, "how much there is to do, as a share of what the README's figures are of")
	f.IntVar(&o.trials, "trials", 3, "how often to run each")
	f.StringVar(&o.dir, "dir", "", "where to put files (default: the system's temporary directory)")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of ours, of the last trial of the last workload, here")
	f.StringVar(&o.peer, "peer", "", "run beside a peer, which is kstreams")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("what is %q? all is said by flags", f.Arg(0))
	case o.trials < 1:
		return o, fmt.Errorf("-trials %d: at least 1", o.trials)
	case !(o.size > 0 && o.size <= 100):
		return o, fmt.Errorf("-size %v: above 0, and 100 at most", o.size)
	case o.peer != "" && o.peer != "kstreams":
		return o, fmt.Errorf("-peer %s: the one there is, is kstreams", o.peer)
	}
	return o, nil
}

// sized is n, of what the README's figures are of, by -size, and at least 1000.
func (o options) sized(n int64) int64 { return max(1000, int64(float64(n)*o.size)) }

// alone runs ours by itself.
func alone(ctx context.Context, o options) error {
	ws, err := named(o, workloads(o), func(w workload) string { return w.name })
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%-24s %26s %14s %12s %10s %8s\n", "workload", "per CPU-second", "per second", "allocs/unit", "B/unit", "others")
	for _, w := range ws {
		var rs []result
		for i := range o.trials {
			r, err := o.trial(w.scratchBytes, i == o.trials-1, func(dir string, m *meter) error { return w.run(ctx, dir, m) })
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			rs = append(rs, r)
		}
		last := rs[len(rs)-1]
		allocs := over(rs, func(r result) float64 { return float64(r.mallocs) / float64(r.units) })
		bytes := over(rs, func(r result) float64 { return float64(r.bytes) / float64(r.units) })
		others := over(rs, func(r result) float64 { return r.others })
		fmt.Fprintf(o.out, "%-24s %26s %14s %12.3f %10.1f %8.2f\n", w.name, over(rs, result.perCPUSecond), human(over(rs, result.perSecond).mid), allocs.mid, bytes.mid, others.mid)
		fmt.Fprintf(o.out, "    %s; one unit is a %s; the last: %d units in %.2f s, %.2f CPU-s\n", w.what, w.unit, last.units, last.wall.Seconds(), last.app.Seconds())
	}
	return nil
}

// named are those whose names -only takes; none is an error.
func named[T any](o options, all []T, name func(T) string) ([]T, error) {
	var names []string
	some := slices.DeleteFunc(slices.Clone(all), func(t T) bool {
		names = append(names, name(t))
		return !strings.Contains(name(t), o.only)
	})
	if len(some) == 0 {
		return nil, fmt.Errorf("-only %s: there are %q, and recovery by itself", o.only, names)
	}
	return some, nil
}

// trial runs what runs in this process, in a directory that it removes.
func (o options) trial(scratchBytes int64, last bool, run func(dir string, m *meter) error) (result, error) {
	dir, err := os.MkdirTemp(o.dir, "moldau-bench-")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	var m meter
	if last && o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return result{}, err
		}
		defer f.Close()
		m.profile = f
	}
	if err := touch(filepath.Join(dir, "scratch"), scratchBytes); err != nil {
		return result{}, err
	}
	err = run(dir, &m)
	return m.result, err
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

var discard = slog.New(slog.DiscardHandler)
