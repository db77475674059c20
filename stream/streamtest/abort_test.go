package streamtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// The claim: whatever is aborted, and wherever, the result is that of an undisturbed run. The topology has
// two sub-topologies, two stores, and an aggregate that is changed in place.

var (
	texts     = stream.NewTopic("texts", serde.String, serde.String)
	totals    = stream.NewTopic("totals", serde.String, serde.Int64)
	followers = stream.NewTopic("followers", serde.String, serde.JSON[map[string]int64]())
	totalsIn  = state.NewKeyValue("totals-store", serde.String, serde.Int64)
	followsIn = state.NewKeyValue("followers-store", serde.String, serde.JSON[map[string]int64]())
)

// abortTopology counts words, and for each word the words that came right before it in their line.
func abortTopology(t testing.TB) *stream.Topology {
	b := stream.NewBuilder()
	words := stream.FlatMapValues(stream.From(b, texts), strings.FieldsSeq)
	g := stream.GroupBy(words, func(_, w string) string { return w })
	g.Count().As(totalsIn).ToStream().To(totals)
	stream.Aggregate(g, func() map[string]int64 { return map[string]int64{} },
		func(_, w string, m map[string]int64) map[string]int64 {
			m[fmt.Sprint(len(m))]++ // in place
			m["n"]++
			return m
		}).As(followsIn).ToStream().To(followers)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func abortInput(seed uint64) []string {
	rng := rand.New(rand.NewPCG(seed, 1))
	lines := make([]string, 10)
	for i := range lines {
		for range 1 + rng.IntN(5) {
			lines[i] += fmt.Sprintf("w%d ", rng.IntN(6))
		}
	}
	return lines
}

// outcome is all that can be seen of a run.
type outcome struct {
	totals, followers []string
	rows              []string
}

func show[K, V any](rs []stream.Record[K, V]) []string {
	var out []string
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%v=%v@%d", r.Key, r.Value, r.Timestamp))
	}
	return out
}

// plan says what happens in a run. Progress is the number of records processed since the start, without
// those that were taken back; steps counts those too.
type plan struct {
	opts     []Option
	commitAt func(progress int) bool
	abortAt  func(step int) bool
	abort    func(d *Driver) // how; nil: Abort
}

// drive runs the topology over the input and returns what came of it, and how many steps that took.
func drive(t testing.TB, topology *stream.Topology, lines []string, p plan) (outcome, int) {
	t.Helper()
	d := New(t, topology, p.opts...)
	in := Input(d, texts)
	for i, l := range lines {
		in.Append(stream.Record[string, string]{Key: fmt.Sprint("k", i%3), Value: l, Timestamp: int64(i)})
	}
	abort := p.abort
	if abort == nil {
		abort = (*Driver).Abort
	}
	steps, progress, committed := 0, 0, 0
	for {
		more, err := d.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			if !d.engine.Dirty() {
				break
			}
			if _, err := d.engine.Commit(context.Background()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		steps, progress = steps+1, progress+1
		if p.abortAt != nil && p.abortAt(steps) {
			abort(d)
			progress = committed
		} else if p.commitAt != nil && p.commitAt(progress) {
			if _, err := d.engine.Commit(context.Background()); err != nil {
				t.Fatal(err)
			}
			committed = progress
		}
	}
	var o outcome
	o.totals = show(Output(d, totals).Committed())
	o.followers = show(Output(d, followers).Committed())
	for _, r := range Rows(d, totalsIn) {
		o.rows = append(o.rows, fmt.Sprint(r))
	}
	for _, r := range Rows(d, followsIn) {
		o.rows = append(o.rows, fmt.Sprint(r))
	}
	return o, steps
}

func (o outcome) equal(other outcome) bool {
	return slices.Equal(o.totals, other.totals) && slices.Equal(o.followers, other.followers) && slices.Equal(o.rows, other.rows)
}

func every(n int) func(int) bool { return func(progress int) bool { return progress%n == 0 } }

var modes = map[string][]Option{
	"EachUpdate":             {Emit(stream.EachUpdate)},
	"OnCommit":               {Emit(stream.OnCommit)},
	"3 partitions":           {Emit(stream.EachUpdate), Partitions(3)},
	"OnCommit, 3 partitions": {Emit(stream.OnCommit), Partitions(3)},
	"small cache":            {Emit(stream.EachUpdate), CacheBytes(1 << 10)},
}

// One abort per run, after every record of the run.
func TestAbortAtEveryRecord(t *testing.T) {
	topology, lines := abortTopology(t), abortInput(1)
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			p := plan{opts: opts, commitAt: every(7)}
			want, steps := drive(t, topology, lines, p)
			if len(want.totals) == 0 || steps < 30 {
				t.Fatalf("a poor run: %d outputs, %d steps", len(want.totals), steps)
			}
			for at := 1; at <= steps; at++ {
				p.abortAt = func(step int) bool { return step == at }
				if got, _ := drive(t, topology, lines, p); !got.equal(want) {
					t.Fatalf("abort after record %d:\ngot  %v\nwant %v", at, got, want)
				}
			}
		})
	}
}

// Aborts and restarts at random, again and again.
func TestAbortsAtRandom(t *testing.T) {
	topology := abortTopology(t)
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(15) {
				lines := abortInput(seed)
				p := plan{opts: opts, commitAt: every(5)}
				want, _ := drive(t, topology, lines, p)
				rng := rand.New(rand.NewPCG(seed, 2))
				p.abortAt = func(int) bool { return rng.IntN(8) == 0 }
				p.abort = func(d *Driver) {
					switch rng.IntN(4) {
					case 0:
						d.Restart()
					case 1:
						d.RestartWithoutState()
					case 2:
						d.Abort()
						d.FlushState()
						d.Restart()
					default:
						d.Abort()
					}
				}
				if got, _ := drive(t, topology, lines, p); !got.equal(want) {
					t.Fatalf("seed %d:\ngot  %v\nwant %v", seed, got, want)
				}
			}
		})
	}
}

// With OnCommit and epochs that end anywhere, each key's outputs are some of those of EachUpdate, in order,
// and end in the same.
func TestOnCommitIsASubsequence(t *testing.T) {
	topology := abortTopology(t)
	for seed := range uint64(15) {
		lines := abortInput(seed)
		want, _ := drive(t, topology, lines, plan{})
		rng := rand.New(rand.NewPCG(seed, 3))
		got, _ := drive(t, topology, lines, plan{
			opts:     []Option{Emit(stream.OnCommit)},
			commitAt: func(int) bool { return rng.IntN(6) == 0 },
			abortAt:  func(int) bool { return rng.IntN(10) == 0 },
		})
		if !slices.Equal(got.rows, want.rows) {
			t.Fatalf("seed %d: rows %v, want %v", seed, got.rows, want.rows)
		}
		for _, x := range [][2][]string{{got.totals, want.totals}, {got.followers, want.followers}} {
			got, want := byKey(x[0]), byKey(x[1])
			if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
				t.Fatalf("seed %d: keys of %v, want those of %v", seed, got, want)
			}
			for k := range want {
				if g, w := got[k], want[k]; g[len(g)-1] != w[len(w)-1] || !subsequence(g, w) {
					t.Fatalf("seed %d: %s: %v, want some of %v and the last", seed, k, g, w)
				}
			}
		}
	}
}

func byKey(records []string) map[string][]string {
	m := map[string][]string{}
	for _, r := range records {
		k, _, _ := strings.Cut(r, "=")
		m[k] = append(m[k], r)
	}
	return m
}

func subsequence(some, all []string) bool {
	for _, x := range all {
		if len(some) > 0 && some[0] == x {
			some = some[1:]
		}
	}
	return len(some) == 0
}

// The oracle must see faults. Each is planted where the code has its counterpart.
func TestAbortOracleSeesFaults(t *testing.T) {
	topology, lines := abortTopology(t), abortInput(1)
	for name, fault := range map[string]func(d *Driver){
		"the committed slot is not restored": func(d *Driver) {
			for _, s := range d.engine.Slots() {
				s.Task.Env.State.CommitEpoch()
			}
			d.Abort()
		},
		"offsets are committed before the output": func(d *Driver) {
			next := map[log.TopicPartition]log.CommittedOffset{}
			for _, s := range d.engine.Slots() {
				s.Task.Next(next)
			}
			p, err := d.log.NewProducer(log.ProducerSpec{Owner: "early"})
			if err != nil {
				t.Fatal(err)
			}
			txn, err := p.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if err := txn.CommitOffsets(d.options.application, next); err != nil {
				t.Fatal(err)
			}
			if err := txn.Commit(context.Background()); err != nil {
				t.Fatal(err)
			}
			d.Abort()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan{commitAt: every(7)}
			want, steps := drive(t, topology, lines, p)
			p.abort = fault
			for at := 1; at <= steps; at++ {
				p.abortAt = func(step int) bool { return step == at }
				if got, _ := drive(t, topology, lines, p); !got.equal(want) {
					return
				}
			}
			t.Error("not seen")
		})
	}
}
