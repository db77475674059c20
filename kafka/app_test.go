package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

var (
	lines  = stream.NewTopic("lines", serde.Bytes, serde.String)
	counts = stream.NewTopic("counts", serde.String, serde.Int64)
	words  = state.NewKeyValue("words", serde.String, serde.Int64)
)

// errCrash is how an application ends that is to be started again.
var errCrash = errors.New("crash")

// crashing is a broker whose third commit that has offsets ends in a crash, in the way of a fault. The application
// stops there, and what it has not committed is as lost as after kill -9.
type crashing struct {
	log.Broker
	how     func(c *crashingEpoch, ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) error
	commits int
	crashed bool
}

func (b *crashing) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := b.Broker.Join(ctx, spec)
	return &crashingMember{Member: m, b: b}, err
}

type crashingMember struct {
	log.Member
	b *crashing
}

func (m *crashingMember) Begin() (log.Epoch, error) {
	e, err := m.Member.Begin()
	return &crashingEpoch{Epoch: e, m: m}, err
}

type crashingEpoch struct {
	log.Epoch
	m *crashingMember
}

func (e *crashingEpoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	if e.m.b.commits++; e.m.b.commits != 3 {
		return e.Epoch.Commit(ctx, next)
	}
	e.m.b.crashed = true
	return log.OutcomeFenced, errors.Join(errCrash, e.m.b.how(e, ctx, next))
}

// An application that crashes at a commit, and is started again, counts each word once, whatever the outcome of that
// commit was. The oracle sees when a Broker does with the commit what it must not.
func TestCrashAtACommit(t *testing.T) {
	type commit = func(e *crashingEpoch, ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) error
	for _, c := range []struct {
		name  string
		how   commit
		right bool
	}{
		{"after the commit", func(e *crashingEpoch, ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) error {
			_, err := e.Epoch.Commit(ctx, next)
			return err
		}, true},
		{"before the commit", func(*crashingEpoch, context.Context, map[log.TopicPartition]log.CommittedOffset) error {
			return nil
		}, true},
		{"offsets are committed before the output", func(e *crashingEpoch, ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) error {
			if err := e.Epoch.Abort(ctx); err != nil {
				return err
			}
			again, err := e.m.Member.Begin()
			if err != nil {
				return err
			}
			_, err = again.Commit(ctx, next)
			return err
		}, false},
		{"output is committed before the offsets", func(e *crashingEpoch, ctx context.Context, _ map[log.TopicPartition]log.CommittedOffset) error {
			_, err := e.Epoch.Commit(ctx, nil)
			return err
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			real := open(t, fake(t, kfake.NumBrokers(1)).ListenAddrs()...)
			b := &crashing{Broker: real, how: c.how}
			want, round := createLines(t, real), 0
			if err := count(t, b, real, &round); !errors.Is(err, errCrash) || !b.crashed {
				t.Fatalf("the application ended with %v", err)
			}
			must(t, count(t, real, real, &round))
			checkCounts(t, real, want, c.right)
		})
	}
}

// lying commits counts, and says that it has aborted: an abort after a commit of which nothing is known does the same.
type lying struct {
	log.Epoch
	lie    *atomic.Bool
	counts atomic.Bool // the epoch has some
}

func (e *lying) Append(tp log.TopicPartition, b *log.Block) (int64, error) {
	if tp.Topic == counts.Name() {
		e.counts.Store(true)
	}
	return e.Epoch.Append(tp, b)
}

func (e *lying) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	o, err := e.Epoch.Commit(ctx, next)
	if o == log.OutcomeCommitted && e.counts.Load() && e.lie.Swap(false) {
		return log.OutcomeAborted, errors.New("the answer was lost")
	}
	return o, err
}

// forgetful loses a block, as who ignores the error of a produce request does.
type forgetful struct {
	log.Epoch
	lose *atomic.Bool
}

func (e forgetful) Append(tp log.TopicPartition, b *log.Block) (int64, error) {
	if strings.HasSuffix(tp.Topic, "-repartition") && e.lose.Swap(false) {
		b.Release()
		return -1, nil
	}
	return e.Epoch.Append(tp, b)
}

// wrapped is a broker whose epochs are wrapped.
type wrapped struct {
	log.Broker
	wrap func(log.Epoch) log.Epoch
}

func (b wrapped) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := b.Broker.Join(ctx, spec)
	return wrappedMember{m, b.wrap}, err
}

type wrappedMember struct {
	log.Member
	wrap func(log.Epoch) log.Epoch
}

func (m wrappedMember) Begin() (log.Epoch, error) {
	e, err := m.Member.Begin()
	if err != nil {
		return nil, err
	}
	return m.wrap(e), nil
}

// The oracle sees faults that need no crash.
func TestCountsSeePlantedFaults(t *testing.T) {
	for name, wrap := range map[string]func(once *atomic.Bool) func(log.Epoch) log.Epoch{
		"none": func(once *atomic.Bool) func(log.Epoch) log.Epoch {
			return func(e log.Epoch) log.Epoch { once.Store(false); return e }
		},
		"a commit is taken for an abort": func(once *atomic.Bool) func(log.Epoch) log.Epoch {
			return func(e log.Epoch) log.Epoch { return &lying{Epoch: e, lie: once} }
		},
		"the error of a produce request is ignored": func(once *atomic.Bool) func(log.Epoch) log.Epoch {
			return func(e log.Epoch) log.Epoch { return forgetful{e, once} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			real := open(t, fake(t, kfake.NumBrokers(1)).ListenAddrs()...)
			var once atomic.Bool // the fault is still to come
			once.Store(true)
			want, round := createLines(t, real), 0
			must(t, count(t, wrapped{real, wrap(&once)}, real, &round))
			if once.Load() {
				t.Fatal("the fault was not planted")
			}
			checkCounts(t, real, want, name == "none")
		})
	}
}

// rounds is how often lines are written. Each round has the same words but one.
const rounds = 6

// createLines makes the topics, and says what will be counted.
func createLines(t *testing.T, b log.Broker) (want map[string]int64) {
	t.Helper()
	must(t, b.CreateTopics(t.Context(), []log.TopicSpec{{Name: lines.Name(), Partitions: 2}, {Name: counts.Name(), Partitions: 2}}))
	want = map[string]int64{}
	for round := range rounds {
		for p := range int32(2) {
			for _, line := range linesOf(round, p) {
				for w := range strings.FieldsSeq(line) {
					want[w]++
				}
			}
		}
	}
	return want
}

func linesOf(round int, partition int32) (all []string) {
	for j := range 20 {
		all = append(all, fmt.Sprintf("the round%d word%d part%d", round, j, partition))
	}
	return all
}

// count runs the application, which counts each round before the next is written, until all are counted or it fails.
// round is the first that is not written yet.
func count(t *testing.T, b, input log.Broker, round *int) error {
	t.Helper()
	builder := stream.NewBuilder()
	split := stream.FlatMapValues(stream.From(builder, lines), strings.FieldsSeq)
	stream.GroupBy(split, func(_ []byte, w string) string { return w }).Count().As(words).ToStream().To(counts)
	topology, err := builder.Build()
	must(t, err)
	app, err := stream.New(topology, stream.Config{
		ApplicationID: "count", Broker: b, StateDir: t.TempDir(), CommitInterval: 20 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	m, err := input.Join(ctx, log.MemberSpec{Group: "writer"})
	must(t, err)
	defer m.Close()
	idle := app.WaitIdle(ctx)
	for ; idle == nil && *round < rounds; *round++ {
		e, err := m.Begin()
		must(t, err)
		for p := range int32(2) {
			block := log.NewBlock()
			for _, line := range linesOf(*round, p) {
				block.Append(1, nil, []byte(line), nil)
			}
			_, err := e.Append(log.TopicPartition{Topic: lines.Name(), Partition: p}, block)
			must(t, err)
		}
		if o, err := e.Commit(ctx, nil); o != log.OutcomeCommitted {
			t.Fatal(o, err)
		}
		idle = app.WaitIdle(ctx)
	}
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	return idle
}

// checkCounts holds the last counts against those that should be there.
func checkCounts(t *testing.T, b log.Broker, want map[string]int64, right bool) {
	t.Helper()
	got := map[string]int64{}
	for p := range int32(2) {
		tp := log.TopicPartition{Topic: counts.Name(), Partition: p}
		end := offsets(t, b, tp).LastStable
		r, err := b.Open(t.Context(), tp, log.Earliest, log.ReadCommitted)
		must(t, err)
		defer r.Close()
		for recs := make([]log.Record, 100); r.Position() < end; {
			n, err := r.Read(t.Context(), recs)
			must(t, err)
			for _, rec := range recs[:n] {
				if got[string(rec.Key)], err = serde.Int64.Decode(rec.Value); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if maps.Equal(got, want) == right {
		return
	}
	for _, w := range slices.Sorted(maps.Keys(want))[:3] {
		t.Logf("%s: %d, want %d", w, got[w], want[w])
	}
	t.Errorf("the counts are right: %v, want %v", !right, right)
}
