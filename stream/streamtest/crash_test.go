package streamtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/internal/crashfs"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// The claim: wherever in a commit the power fails, and whatever it leaves of what was not synced, readers of what is
// committed see each result once, and the stores are what they would be. The topology has windows that send each
// update, windows that send when they close, and a count behind a repartition.

var (
	visits    = stream.NewTopic("visits", serde.String, serde.String)
	perMinute = stream.NewTopic("per-minute", serde.String, serde.Int64)
	closed    = stream.NewTopic("closed", serde.String, serde.Int64)
	perPage   = stream.NewTopic("per-page", serde.String, serde.Int64)

	minutes = state.NewWindow("minutes", serde.String, serde.Int64)
	pages   = state.NewKeyValue("pages", serde.String, serde.Int64)
)

func visitsTopology(t testing.TB) *stream.Topology {
	b := stream.NewBuilder()
	in := stream.From(b, visits)
	named := func(w windows.Windowed[string], _ int64) string { return fmt.Sprintf("%s@%d", w.Key, w.Start/1000) }
	byMinute := stream.GroupByKey(in).WindowedBy(windows.Tumbling(time.Minute).WithGrace(10 * time.Second))
	stream.SelectKey(byMinute.Count().As(minutes).ToStream(), named).To(perMinute)
	byHalf := stream.GroupByKey(in).WindowedBy(windows.Tumbling(30 * time.Second)).EmitOnClose()
	stream.SelectKey(byHalf.Count().ToStream(), named).To(closed)
	stream.GroupBy(in, func(_, page string) string { return page }).Count().As(pages).ToStream().To(perPage)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// visitsSeen is all that can be seen of a run, by key: between keys of the repartitioned count there is no order.
type visitsSeen struct{ results, rows []string }

func see(d *Driver) (s visitsSeen) {
	for _, topic := range []stream.Topic[string, int64]{perMinute, closed, perPage} {
		var of []string
		for _, r := range Output(d, topic).Committed() {
			of = append(of, fmt.Sprintf("%s: %s=%d", topic.Name(), r.Key, r.Value))
		}
		slices.SortStableFunc(of, func(a, b string) int { // by key alone: the order of its results counts
			a, _, _ = strings.Cut(a, "=")
			b, _, _ = strings.Cut(b, "=")
			return strings.Compare(a, b)
		})
		s.results = append(s.results, of...)
	}
	for _, r := range WindowRows(d, minutes) {
		s.rows = append(s.rows, fmt.Sprint(r.Key, r.Start, r.Value))
	}
	for _, r := range Rows(d, pages) {
		s.rows = append(s.rows, fmt.Sprint(r.Key, r.Value))
	}
	return s
}

// runVisits takes three epochs of input in, and has crash end the second: with a commit, a crash, or anything.
func runVisits(d *Driver, crash func()) visitsSeen {
	in := Input(d, visits)
	at := 0
	epoch := func(end func()) {
		for range 6 {
			in.Pipe(fmt.Sprint("ann", at%3), fmt.Sprint("page", at%4), time.Duration(at)*11*time.Second)
			at++
		}
		end()
	}
	commit := func() {
		if err := d.Commit(); err != nil {
			d.t.Fatal(err)
		}
	}
	epoch(commit)
	epoch(crash)
	if err := d.Settle(); err != nil { // what the crash took
		d.t.Fatal(err)
	}
	commit()
	epoch(commit)
	return see(d)
}

var losses = map[string]PowerLoss{
	"nothing unsynced is left": {},
	"some of it":               {Survives: 30, Seed: 1},
	"all of it":                {Survives: 100},
}

// crashEverywhere crashes in the second epoch's commit at each change of a file that it makes, and says at which of them
// what came of it is not what it should be. prepare is called with each driver.
func crashEverywhere(t *testing.T, want visitsSeen, loss PowerLoss, prepare func(d *Driver), opts ...Option) (points int, wrong []string) {
	t.Helper()
	topology := visitsTopology(t)
	for crashed := true; crashed; points++ {
		// t.Run ends the driver before the next begins.
		t.Run(fmt.Sprint(points), func(t *testing.T) {
			d := New(t, topology, append(opts, Sync(log.SyncCommit), Partitions(2))...)
			prepare(d)
			got := runVisits(d, func() { crashed = d.CrashInCommit(points, loss) })
			if !slices.Equal(got.results, want.results) || !slices.Equal(got.rows, want.rows) {
				wrong = append(wrong, fmt.Sprintf("point %d:\ngot  %q\nwant %q", points, got, want))
			}
		})
	}
	return points, wrong
}

// undisturbed is what a run comes to without a crash.
func undisturbed(t *testing.T, opts ...Option) visitsSeen {
	t.Helper()
	d := New(t, visitsTopology(t), append(opts, Partitions(2))...)
	want := runVisits(d, func() {
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	})
	if len(want.results) < 20 || len(want.rows) < 8 {
		t.Fatalf("a poor run: %q", want)
	}
	return want
}

func TestCrashAtEveryPointOfACommit(t *testing.T) {
	for emit, opts := range map[string][]Option{"EachUpdate": nil, "OnCommit": {Emit(stream.OnCommit)}} {
		want := undisturbed(t, opts...)
		for left, loss := range losses {
			t.Run(emit+", "+left, func(t *testing.T) {
				points, wrong := crashEverywhere(t, want, loss, func(*Driver) {}, opts...)
				if len(wrong) > 0 {
					t.Error(wrong[0])
				}
				if points < 4 {
					t.Errorf("%d points only", points)
				}
			})
		}
	}
}

// bentLog is a log that is not used as it should be: by commit for an epoch's Commit, and append for its Append.
type bentLog struct {
	log.Broker
	commit func(e log.Epoch, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error)
	append func(e log.Epoch, tp log.TopicPartition, b *log.Block) (int64, error)
}

type bentMember struct {
	log.Member
	b *bentLog
}

type bentEpoch struct {
	log.Epoch
	b *bentLog
}

func (b *bentLog) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := b.Broker.Join(ctx, spec)
	return &bentMember{m, b}, err
}

func (m *bentMember) Begin() (log.Epoch, error) {
	e, err := m.Member.Begin()
	return &bentEpoch{e, m.b}, err
}

func (e *bentEpoch) Append(tp log.TopicPartition, block *log.Block) (int64, error) {
	if e.b.append != nil {
		return e.b.append(e.Epoch, tp, block)
	}
	return e.Epoch.Append(tp, block)
}

func (e *bentEpoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	if e.b.commit != nil {
		return e.b.commit(e.Epoch, next)
	}
	return e.Epoch.Commit(ctx, next)
}

// Crashes are seen to show what is wrong: each of these faults passes all tests without one.
func TestCrashSeesFaults(t *testing.T) {
	offsetsFirst := func(lg *log.Log) log.Broker {
		return &bentLog{Broker: lg, commit: func(e log.Epoch, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
			if err := lg.CommitOffsets("test", next); err != nil {
				return log.OutcomeFenced, err
			}
			return e.Commit(context.Background(), nil)
		}}
	}
	outside := func(lg *log.Log) log.Broker {
		p, err := lg.NewProducer(log.ProducerSpec{})
		if err != nil {
			t.Fatal(err)
		}
		return &bentLog{Broker: lg, append: func(e log.Epoch, tp log.TopicPartition, b *log.Block) (int64, error) {
			if tp.Topic == perMinute.Name() {
				return p.Append(context.Background(), tp, b)
			}
			return e.Append(tp, b)
		}}
	}
	unsynced := func(d *Driver) {
		d.fs.Inject(func(op crashfs.Op) crashfs.Fault {
			if op.Kind == crashfs.Sync && strings.HasPrefix(op.Path, logDir+"/journal/") {
				return crashfs.Fault{Effect: crashfs.Skip}
			}
			return crashfs.Fault{}
		})
	}
	for name, fault := range map[string]struct {
		broker  func(lg *log.Log) log.Broker
		prepare func(d *Driver)
	}{
		"offsets are committed before the output":       {broker: offsetsFirst},
		"output is appended outside of the transaction": {broker: outside},
		"the journal is never synced":                   {prepare: unsynced},
	} {
		t.Run(name, func(t *testing.T) {
			plant := func(o *options) {
				if fault.broker != nil {
					o.broker = fault.broker
				}
			}
			if fault.prepare == nil {
				fault.prepare = func(*Driver) {}
			}
			want := undisturbed(t)
			if got := undisturbed(t, plant, Sync(log.SyncCommit)); !slices.Equal(got.results, want.results) {
				t.Fatalf("without a crash: got %q, want %q", got, want)
			}
			points, wrong := crashEverywhere(t, want, PowerLoss{}, fault.prepare, plant)
			if len(wrong) == 0 {
				t.Errorf("not seen at any of %d points", points)
			}
		})
	}
}

// Next gives every record of an epoch that holds once, and none of one that is lost.
func TestOutputOverACrash(t *testing.T) {
	for at, crashed := 0, true; crashed; at++ {
		d := New(t, abortTopology(t), Sync(log.SyncCommit))
		in, out := Input(d, texts), Output(d, totals)
		in.Pipe("", "a b", 0)
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		got := show(out.All())
		in.Pipe("", "b c", 0)
		crashed = d.CrashInCommit(at, PowerLoss{})
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := d.Settle(); err != nil {
			t.Fatal(err)
		}
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		for r, ok := out.Next(); ok; r, ok = out.Next() {
			got = append(got, show([]stream.Record[string, int64]{r})...)
		}
		want := []string{"a=1@0", "b=1@0", "b=2@0", "c=1@0"}
		if !slices.Equal(got, want) || !slices.Equal(show(out.Committed()), want) {
			t.Fatalf("point %d: got %q, committed %q, want %q", at, got, show(out.Committed()), want)
		}
		d.Crash(PowerLoss{})
		if r, ok := out.Next(); ok || !slices.Equal(show(out.Committed()), want) {
			t.Fatalf("point %d, after another crash: got %v, committed %q", at, r, show(out.Committed()))
		}
	}
}
