// Package queries tests stream.Query on applications that run: commits, aborts, lost partitions, starts and stops.
package queries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/windows"
)

var (
	pairs  = stream.NewTopic("pairs", serde.String, serde.String)
	counts = state.NewKeyValue("counts", serde.String, serde.Int64)
)

// build counts the records of each key, or, if there is a function, those of the key it chooses.
func build(t testing.TB, by func(k, v string) string) *stream.Topology {
	t.Helper()
	b := stream.NewBuilder()
	s := stream.From(b, pairs)
	if by == nil {
		stream.GroupByKey(s).Count().As(counts)
	} else {
		stream.GroupBy(s, by).Count().As(counts)
	}
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func openLog(t testing.TB, partitions int32) *log.Log {
	t.Helper()
	lg, err := log.Open(t.TempDir(), log.Options{Sync: log.SyncOS, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lg.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "pairs", Partitions: partitions}}); err != nil {
		t.Fatal(err)
	}
	return lg
}

func newApp(t testing.TB, topology *stream.Topology, c stream.Config) *stream.App {
	t.Helper()
	c.ApplicationID, c.Logger = "app", slog.New(slog.DiscardHandler)
	app, err := stream.New(topology, c)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// start runs the application until stop is called.
func start(t testing.TB, app *stream.App) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func waitIdle(t testing.TB, app *stream.App) {
	t.Helper()
	if err := app.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// pair is a record of pairs.
type pair struct {
	partition  int32
	key, value string
	at         int64
}

func send(t testing.TB, lg *log.Log, records ...pair) {
	t.Helper()
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		b := log.NewBlock()
		b.Append(r.at, []byte(r.key), []byte(r.value), nil)
		if _, err := p.Append(t.Context(), log.TopicPartition{Topic: "pairs", Partition: r.partition}, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func home(key string, partitions int32) int32 { return bridge.KeyPartition([]byte(key), partitions) }

// expectNotRunning tries all ways to read.
func expectNotRunning(t *testing.T, r state.KeyValueReader[string, int64], why string) {
	t.Helper()
	_, getErr := r.Get(t.Context(), "a")
	_, countErr := r.ApproximateCount(t.Context())
	var scanErr error
	for _, err := range r.All(t.Context()) {
		scanErr = err
	}
	for _, err := range []error{getErr, countErr, scanErr} {
		if !errors.Is(err, stream.ErrNotRunning) || !strings.Contains(err.Error(), `query store "counts"`) || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v, want %s", err, why)
		}
	}
}

// One reader, from before the application runs until after.
func TestQuery(t *testing.T) {
	const partitions = 4
	for _, c := range []struct {
		name string
		by   func(k, v string) string
	}{
		{"by a topic of others", nil},
		{"by our own topic", func(_, v string) string { return v }},
	} {
		t.Run(c.name, func(t *testing.T) {
			lg := openLog(t, partitions)
			want := map[string]int64{}
			var records []pair
			for i := range 300 {
				k := fmt.Sprintf("k%d", i*i%70)
				// Those who write the topic have ideas of their own about partitions, but always the same.
				records = append(records, pair{(home(k, partitions) + int32(len(k))) % partitions, k, k, int64(i)})
				want[k]++
			}
			send(t, lg, records...)
			app := newApp(t, build(t, c.by), stream.Config{Broker: lg})
			r, err := stream.Query(app, counts)
			if err != nil {
				t.Fatal(err)
			}
			expectNotRunning(t, r, "Run was not called")
			stop := start(t, app)
			waitIdle(t, app)

			for k, n := range want {
				if v, err := r.Get(t.Context(), k); err != nil || !v.OK || v.V != n {
					t.Errorf("%s: %+v, %v, want %d", k, v, err, n)
				}
			}
			if v, err := r.Get(t.Context(), "nobody's"); err != nil || v.OK {
				t.Errorf("got %+v, %v", v, err)
			}
			last := ""
			got := map[string]int64{}
			for row, err := range r.All(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if row.Key <= last {
					t.Errorf("%q comes after %q", row.Key, last)
				}
				last = row.Key
				got[row.Key] = row.Value
			}
			if !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if n, err := r.ApproximateCount(t.Context()); err != nil || n != int64(len(want)) {
				t.Errorf("%d rows, %v, want %d", n, err, len(want))
			}
			stop()
			expectNotRunning(t, r, "has stopped")
		})
	}
}

func TestQueryErrors(t *testing.T) {
	app := newApp(t, build(t, nil), stream.Config{Broker: openLog(t, 1)})
	_, err := stream.Query(app, state.NewKeyValue("count", serde.String, serde.Int64))
	if !errors.Is(err, stream.ErrUnknownStore) || !strings.Contains(err.Error(), `"count"; there are ["counts"]`) {
		t.Error(err)
	}
	_, another := stream.Query(app, state.NewKeyValue("counts", serde.String, serde.String))
	_, kind := stream.Query(app, state.NewWindow("counts", serde.String, serde.Int64))
	for _, err := range []error{another, kind} {
		if err == nil || errors.Is(err, stream.ErrUnknownStore) || !strings.Contains(err.Error(), `store "counts" is a state.KeyValue[string,int64], and the handle is a state.`) {
			t.Error(err)
		}
	}
	if _, err := stream.Query(nil, counts); err == nil {
		t.Error("no error for no application")
	}
}

// A function that does not return holds up who asks its partition, but not for longer than the context allows, and
// nobody else.
func TestQueryWaitsForAFunction(t *testing.T) {
	const partitions = 2
	lg := openLog(t, partitions)
	entered, leave := make(chan struct{}), make(chan struct{})
	b := stream.NewBuilder()
	s := stream.From(b, pairs).Peek(func(_, v string) {
		if v == "stop" {
			close(entered)
			<-leave
		}
	})
	stream.GroupByKey(s).Count().As(counts)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, topology, stream.Config{Broker: lg})
	r, err := stream.Query(app, counts)
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, app)
	send(t, lg, pair{home("k", partitions), "k", "v", 0})
	waitIdle(t, app)
	send(t, lg, pair{1 - home("k", partitions), "other", "stop", 1})
	<-entered
	if v, err := r.Get(t.Context(), "k"); err != nil || v.V != 1 {
		t.Errorf("beside a function: %+v, %v", v, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, err := range r.All(short) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("behind a function: %v", err)
		}
	}
	close(leave)
	waitIdle(t, app)
	if n, err := r.ApproximateCount(t.Context()); err != nil || n != 2 {
		t.Errorf("%d rows, %v", n, err)
	}
	stop()
}

// A scan that is not over when the application stops ends with the error that says so.
func TestScanOfAnApplicationThatStops(t *testing.T) {
	lg := openLog(t, 1)
	var records []pair
	for i := range 1000 {
		records = append(records, pair{0, fmt.Sprint(i), "v", int64(i)})
	}
	send(t, lg, records...)
	first := newApp(t, build(t, nil), stream.Config{Broker: lg})
	stop := start(t, first)
	waitIdle(t, first)
	stop()
	app := newApp(t, build(t, nil), stream.Config{Broker: lg}) // has all rows on disk, and reads them as the scan goes on
	r, err := stream.Query(app, counts)
	if err != nil {
		t.Fatal(err)
	}
	stop = start(t, app)
	waitIdle(t, app)
	rows := 0
	for _, scanErr := range r.All(t.Context()) {
		if err = scanErr; err == nil {
			rows++
		}
		if rows == 1 {
			stop()
		}
	}
	if !errors.Is(err, stream.ErrNotRunning) || !strings.Contains(err.Error(), "it has stopped") || rows < 1 || rows == 1000 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// witness is a Broker that notes how many records are committed, at each commit.
type witness struct {
	log.Broker
	abort  int // one epoch in so many is aborted; 0: none
	take   int // partitions are taken away after so many fetches; 0: never
	mu     sync.Mutex
	epochs int
	at     map[log.TopicPartition]int64
	totals map[int64]bool

	takenTimes int // the poller's
}

func (w *witness) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := w.Broker.Join(ctx, spec)
	return &witnessMember{Member: m, w: w}, err
}

func (w *witness) valid(total int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.totals[total]
}

type witnessMember struct {
	log.Member
	w       *witness
	owned   []log.TopicPartition
	away    bool
	fetches int
}

// Next takes all partitions away from time to time, and gives them back.
func (m *witnessMember) Next(ctx context.Context) (log.Event, error) {
	if m.away {
		committed, err := m.Member.Committed(ctx, m.owned)
		if err != nil {
			return nil, err
		}
		at := map[log.TopicPartition]int64{}
		for _, tp := range m.owned {
			at[tp] = committed[tp].Offset
		}
		m.Member.Seek(at)
		m.away = false
		return log.Assigned{Partitions: m.owned}, nil
	}
	if m.w.take > 0 && m.fetches >= m.w.take {
		m.fetches, m.away = 0, true
		if m.w.takenTimes++; m.w.takenTimes%2 == 0 {
			return log.Lost{Partitions: m.owned}, nil
		}
		return log.Revoking{Partitions: m.owned}, nil
	}
	ev, err := m.Member.Next(ctx)
	switch v := ev.(type) {
	case log.Assigned:
		m.owned = v.Partitions
	case log.Fetched:
		m.fetches++
	}
	return ev, err
}

func (m *witnessMember) Done(log.Revoking) {}

func (m *witnessMember) Begin() (log.Epoch, error) {
	e, err := m.Member.Begin()
	return &witnessEpoch{e, m.w}, err
}

type witnessEpoch struct {
	log.Epoch
	w *witness
}

func (e *witnessEpoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	w := e.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epochs++; w.abort > 0 && w.epochs%w.abort == 0 {
		return log.OutcomeAborted, errors.Join(errors.New("not this one"), e.Epoch.Abort(ctx))
	}
	outcome, err := e.Epoch.Commit(ctx, next)
	if outcome != log.OutcomeCommitted {
		return outcome, err
	}
	for tp, at := range next {
		w.at[tp] = at.Offset
	}
	total := int64(0)
	for _, at := range w.at {
		total += at
	}
	w.totals[total] = true
	return outcome, err
}

// Whatever becomes of epochs and partitions, a scan over all of them sees what one commit made, no more and no less,
// and what was seen once does not go back.
func TestQueriesSeeCommits(t *testing.T) {
	for _, c := range []struct {
		name        string
		abort, take int
		topology    *stream.Topology
		config      stream.Config
	}{
		{"epochs aborted", 3, 0, build(t, nil), stream.Config{Workers: 3}},
		{"at least once", 0, 0, build(t, nil), stream.Config{Guarantee: stream.AtLeastOnce}},
		{"partitions taken away", 0, 12, build(t, nil), stream.Config{}},
		{"a processor's store", 3, 12, buildProcessors(t), stream.Config{Workers: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			testQueriesSeeCommits(t, &witness{abort: c.abort, take: c.take}, c.topology, c.config)
		})
	}
}

func testQueriesSeeCommits(t *testing.T, w *witness, topology *stream.Topology, config stream.Config) {
	const partitions, rounds, perRound = 3, 20, 100
	lg := openLog(t, partitions)
	w.Broker, w.at, w.totals = lg, map[log.TopicPartition]int64{}, map[int64]bool{0: true}
	config.Broker, config.CommitInterval, config.MaxEpochBytes, config.CacheBytes = w, time.Millisecond, 3000, 1
	app := newApp(t, topology, config)
	r, err := stream.Query(app, counts)
	if err != nil {
		t.Fatal(err)
	}
	stopApp := start(t, app)

	stop := make(chan struct{})
	var readers sync.WaitGroup
	scans, refused := make([]int, 3), make([]int, 3)
	for i := range scans {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			q := queries{t: t, r: r, w: w, seen: map[string]int64{}}
			for again := true; again; {
				if err := q.ask(rng); err == nil {
					scans[i]++
				} else if refused[i]++; !errors.Is(err, stream.ErrNotRunning) {
					t.Error(err)
				}
				wait := time.NewTimer(100 * time.Microsecond) // let the application have the processor
				select {
				case <-stop:
					again = false
				case <-wait.C:
				}
			}
		})
	}
	for round := range rounds {
		var records []pair
		for i := range perRound {
			key := fmt.Sprintf("k%d", (round+i*i)%40)
			records = append(records, pair{home(key, partitions), key, "v", int64(i)})
		}
		send(t, lg, records...)
		waitIdle(t, app)
		// What was waited for is seen.
		q := queries{t: t, r: r, w: w, total: int64((round + 1) * perRound)}
		if err := q.scan(); err != nil && !errors.Is(err, stream.ErrNotRunning) {
			t.Error(err)
		}
	}
	stopApp()
	expectNotRunning(t, r, "has stopped")
	close(stop)
	readers.Wait()
	t.Logf("scans %v, refused %v, commits %d, taken away %d times", scans, refused, len(w.totals), w.takenTimes)
	if slices.Max(scans) == 0 || len(w.totals) < rounds || (w.take > 0) != (w.takenTimes > 0) {
		t.Error("nothing was tried")
	}
}

// queries are those of one who asks, and what it was told.
type queries struct {
	t     *testing.T
	r     state.KeyValueReader[string, int64]
	w     *witness
	seen  map[string]int64
	total int64
}

func (q *queries) ask(rng *rand.Rand) error {
	k := fmt.Sprintf("k%d", rng.IntN(40))
	v, err := q.r.Get(q.t.Context(), k)
	if err != nil {
		return err
	}
	if v.V < q.seen[k] {
		q.t.Errorf("%s was %d and is %d", k, q.seen[k], v.V)
	}
	q.seen[k] = v.V
	if _, err := q.r.Uncommitted().Get(q.t.Context(), k); err != nil {
		return err
	}
	return q.scan()
}

func (q *queries) scan() error {
	total := int64(0)
	for row, err := range q.r.All(q.t.Context()) {
		if err != nil {
			return err
		}
		total += row.Value
	}
	if !q.w.valid(total) || total < q.total {
		q.t.Errorf("the rows sum up to %d, which was never committed, or not after %d", total, q.total)
	}
	q.total = total
	return nil
}

// Stores of each kind, read while the application runs.
func TestQueryKinds(t *testing.T) {
	const partitions = 2
	lg := openLog(t, partitions)
	perSecond := state.NewWindow("per-second", serde.String, serde.Int64)
	visits := state.NewSession("visits", serde.String, serde.Int64).InMemory()
	latest := state.NewVersioned("latest", serde.String, serde.String, time.Minute)
	b := stream.NewBuilder()
	in := stream.From(b, pairs)
	stream.GroupByKey(in).WindowedBy(windows.Tumbling(time.Second).WithGrace(time.Minute)).Count().As(perSecond)
	stream.GroupByKey(in).SessionWindowedBy(windows.Sessions(time.Second).WithGrace(time.Minute)).Count().As(visits)
	in.ToTable().As(latest)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, topology, stream.Config{Broker: lg})
	windowReader, err1 := stream.Query(app, perSecond)
	sessionReader, err2 := stream.Query(app, visits)
	versionReader, err3 := stream.Query(app, latest)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, r := range []pair{{key: "a", at: 100}, {key: "a", at: 900}, {key: "b", at: 200}, {key: "a", at: 2500}, {key: "c", at: 2600}} {
		r.partition, r.value = home(r.key, partitions), fmt.Sprint(r.key, " at ", r.at)
		send(t, lg, r)
	}
	stop := start(t, app)
	waitIdle(t, app)

	rows := func(seq func(func(state.WindowRow[string, int64], error) bool)) string {
		var all []string
		for r, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s@[%d,%d)=%d", r.Key, r.Start, r.End, r.Value))
		}
		return strings.Join(all, " ")
	}
	is := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	c := t.Context()
	is(rows(windowReader.All(c)), "a@[0,1000)=2 b@[0,1000)=1 a@[2000,3000)=1 c@[2000,3000)=1")
	is(rows(windowReader.FetchRange(c, "a", 0, 5000)), "a@[0,1000)=2 a@[2000,3000)=1")
	is(rows(windowReader.BackwardFetchRange(c, "a", 0, 5000)), "a@[2000,3000)=1 a@[0,1000)=2")
	is(rows(windowReader.FetchKeys(c, "b", "c", 0, 5000)), "b@[0,1000)=1 c@[2000,3000)=1")
	is(rows(sessionReader.All(c)), "b@[200,200)=1 a@[100,900)=2 a@[2500,2500)=1 c@[2600,2600)=1")
	is(rows(sessionReader.FindSessions(c, "a", 0, 1000)), "a@[100,900)=2")
	is(rows(sessionReader.FindKeys(c, "b", "z", 0, 5000)), "b@[200,200)=1 c@[2600,2600)=1")
	w, err1 := windowReader.Fetch(c, "a", 0)
	s, err2 := sessionReader.Fetch(c, "a", 100, 900)
	v, err3 := versionReader.Get(c, "a")
	old, err4 := versionReader.GetAsOf(c, "a", 899)
	is(fmt.Sprint(w, s, v, old, errors.Join(err1, err2, err3, err4)), "{2 900 true} {2 900 true} {a at 2500 2500 true} {a at 100 100 true} <nil>")
	var history []string
	for v, err := range versionReader.BackwardVersions(c, "a", 0, 5000) {
		history = append(history, fmt.Sprint(v.Value, " ", v.To, err))
	}
	is(strings.Join(history, ", "), fmt.Sprintf("a at 2500 %d <nil>, a at 900 2500 <nil>, a at 100 900 <nil>", int64(state.Latest)))
	stop()
}
