//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/kafka"
	"github.com/moldau-io/moldau/log"
)

// system is one of those that are compared. run does the job once and reports from the first record to the
// last, the final commit and the end of the application included.
type system struct {
	name string
	run  func(ctx context.Context, j job, dir string) (result, error)
}

// compare runs the jobs on Kafka Streams and on ours, one after another in each trial, so that what else the
// machine does meets all of them.
func compare(ctx context.Context, o options) (err error) {
	if _, err := processCPU(os.Getpid()); err != nil {
		return fmt.Errorf("no peers here: the CPU time of other processes is not known: %w", err)
	}
	js := slices.DeleteFunc(jobs(o), func(j job) bool { return j.peer == "" })
	if js, err = named(o, js, func(j job) string { return j.name }); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "moldau-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	broker, err := peers.Start(ctx, peers.Options{Dir: filepath.Join(dir, "kafka"), Heap: "1500m"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Stop()) }()
	c, err := newCluster(broker)
	if err != nil {
		return err
	}
	defer c.close()

	streams := system{name: "Kafka Streams " + peers.StreamsVersion, run: c.kafkaStreams}
	same := system{name: "Moldau, on the same broker", run: func(ctx context.Context, j job, _ string) (result, error) {
		return o.trial(j.scratchBytes(), false, func(dir string, m *meter) error { return c.moldau(ctx, j, dir, m) })
	}}
	embedded := func(sync log.Sync, last bool) system {
		return system{name: "Moldau, embedded, " + sync.String(), run: func(ctx context.Context, j job, _ string) (result, error) {
			return o.trial(j.scratchBytes(), last, func(dir string, m *meter) error { return j.embedded(ctx, dir, sync, m) })
		}}
	}
	for _, j := range js {
		if err := c.load(ctx, j.in); err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
		results := map[string][]result{}
		var names []string
		for trial := range o.trials {
			last := trial == o.trials-1
			for _, s := range []system{streams, embedded(log.SyncOS, last), embedded(log.SyncCommit, false), same} {
				r, err := s.run(ctx, j, dir)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", j.name, s.name, err)
				}
				if trial == 0 {
					names = append(names, s.name)
				}
				results[s.name] = append(results[s.name], r)
			}
		}
		printComparison(o.out, j, names, results)
		if err := c.deleteAll(ctx, j.in.topic); err != nil {
			return err
		}
	}
	return nil
}

func printComparison(w io.Writer, j job, names []string, results map[string][]result) {
	fmt.Fprintf(w, "%s: %s\n", j.name, j.what)
	fmt.Fprintf(w, "%d %ss, exactly once, %d partitions, %d threads, commits every %v; load %s\n\n", j.in.units, j.unit, partitions, threads, commitInterval, loadAverage())
	fmt.Fprintf(w, "    %-30s %26s %14s %14s %9s %9s %7s\n", "", j.unit+"s per CPU-second", "of the app", "per second", "app CPU", "broker", "others")
	for _, name := range names {
		rs := results[name]
		figure := func(f func(result) float64) float64 { return over(rs, f).mid }
		fmt.Fprintf(w, "    %-30s %26s %14s %14s %7.2f s %7.2f s %7.2f\n", name, over(rs, result.perCPUSecond),
			human(figure(result.perAppSecond)), human(figure(result.perSecond)),
			figure(func(r result) float64 { return r.app.Seconds() }),
			figure(func(r result) float64 { return r.broker.Seconds() }),
			figure(func(r result) float64 { return r.others }))
	}
	fmt.Fprintln(w)
	for _, name := range names[1:] {
		r := ratio("CPU of all", results[name], results[names[0]], result.perCPUSecond, 4)
		if results[name][0].broker > 0 {
			r = ratio("CPU of the application", results[name], results[names[0]], result.perAppSecond, 2)
		}
		fmt.Fprintf(w, "    %-30s %s\n", name, r)
	}
	fmt.Fprintln(w)
}

// ratio says how many times what the peer does ours does, by the medians, and by our worst trial and its best,
// and whether that is what is promised.
func ratio(what string, ours, peer []result, figure func(result) float64, promised float64) string {
	a, b := over(ours, figure), over(peer, figure)
	verdict := fmt.Sprintf("at least %.0f: yes", promised)
	if a.mid/b.mid < promised {
		verdict = fmt.Sprintf("SHORT of %.0f", promised)
	}
	return fmt.Sprintf("%.2f times Kafka Streams, by %s (our worst trial by its best: %.2f); %s", a.mid/b.mid, what, a.low/b.high, verdict)
}

// kafkaStreams runs the job in Kafka Streams: a JVM of its own, warmed up with a quarter of the input under
// another application id. Its start and warming up do not count, the broker's share does.
func (c *cluster) kafkaStreams(ctx context.Context, j job, dir string) (result, error) {
	id, out := c.newApplication()
	if err := c.create(ctx, out, out+"-warm"); err != nil {
		return result{}, err
	}
	defer os.RemoveAll(filepath.Join(dir, id))
	var start, end cpus
	var startErr, endErr error
	err := peers.Streams{
		Bootstrap: c.broker.Bootstrap(), ID: id, Workload: j.peer, In: j.in.topic, Out: out,
		Units: j.in.units, Warm: j.in.units / 4, Threads: threads, Partitions: partitions,
		CacheBytes: j.cacheBytes, CommitInterval: commitInterval, Dir: filepath.Join(dir, id), Heap: "3g",
	}.Run(ctx, func(phase string, pid int) {
		if phase == peers.First {
			start, startErr = cpuSample(pid, c.broker.PID())
		} else {
			end, endErr = cpuSample(pid, c.broker.PID())
		}
	})
	if err := cmp.Or(err, startErr, endErr); err != nil {
		return result{}, err
	}
	if err := j.check(func(add func(key, value []byte) error) error { return c.read(ctx, out, add) }); err != nil {
		return result{}, err
	}
	return end.since(start, j.in.units), c.deleteAll(ctx, id)
}

// moldau runs the job in ours on the broker.
func (c *cluster) moldau(ctx context.Context, j job, dir string, m *meter) error {
	id, out := c.newApplication()
	if err := c.create(ctx, out); err != nil {
		return err
	}
	broker, err := kafka.Open(ctx, kafka.Options{Seeds: []string{c.broker.Bootstrap()}, Logger: discard})
	if err != nil {
		return err
	}
	defer broker.Close()
	app, err := j.app(broker, id, out, dir)
	if err != nil {
		return err
	}
	m.brokerPID = c.broker.PID()
	if err := j.measure(ctx, app, m); err != nil {
		return err
	}
	if err := j.check(func(add func(key, value []byte) error) error { return c.read(ctx, out, add) }); err != nil {
		return err
	}
	return c.deleteAll(ctx, id)
}
