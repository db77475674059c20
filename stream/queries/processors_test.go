package queries

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// countIn counts a record in the store of counts.
func countIn(ctx stream.StoreContext, key string) error {
	rows := stream.StoreIn(ctx, counts)
	before, err := rows.Get(key)
	if err != nil {
		return err
	}
	return rows.Put(key, before.V+1)
}

// buildProcessors has two processors count in one store: the records with values that begin with "v", and the others.
func buildProcessors(t testing.TB) *stream.Topology {
	t.Helper()
	b := stream.NewBuilder()
	in := stream.From(b, pairs)
	ours := func(_, v string) bool { return strings.HasPrefix(v, "v") }
	stream.ProcessFunc(in.Filter(ours), func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
		return countIn(ctx, r.Key)
	}, stream.Stores(counts))
	stream.ProcessValuesFunc(in.FilterNot(ours), func(ctx *stream.ValueContext[string], r stream.Record[string, string]) error {
		return countIn(ctx, r.Key)
	}, stream.Stores(counts))
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// rowsOf writes down the rows of a scan.
func rowsOf[K, V any](t testing.TB, seq iter.Seq2[state.Row[K, V], error]) string {
	t.Helper()
	var all []string
	for r, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(r.Key, "=", r.Value))
	}
	return strings.Join(all, " ")
}

// A store that processors share; keys that its partitioner would have elsewhere, and one that several partitions have.
func TestQueryProcessors(t *testing.T) {
	const partitions = 3
	lg := openLog(t, partitions)
	app := newApp(t, buildProcessors(t), stream.Config{Broker: lg})
	r, err := stream.Query(app, counts)
	if err != nil {
		t.Fatal(err)
	}
	expectNotRunning(t, r, "Run was not called")
	stop := start(t, app)
	at := home("everywhere", partitions)
	send(t, lg,
		pair{home("a", partitions), "a", "v", 0}, pair{home("a", partitions), "a", "w", 1},
		pair{(home("b", partitions) + 1) % partitions, "b", "w", 2},
		pair{at, "everywhere", "v", 3}, pair{at, "everywhere", "w", 4}, pair{(at + 1) % partitions, "everywhere", "w", 5})
	waitIdle(t, app)
	for key, want := range map[string]int64{"a": 2, "b": 1, "everywhere": 2, "nobody's": 0} {
		if v, err := r.Get(t.Context(), key); err != nil || v.V != want || v.OK != (want > 0) {
			t.Errorf("%s: %+v, %v, want %d", key, v, err, want)
		}
	}
	got := strings.Fields(rowsOf(t, r.All(t.Context())))
	slices.Sort(got) // the rows of one key come in no order
	if want := []string{"a=2", "b=1", "everywhere=1", "everywhere=2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := rowsOf(t, r.Range(t.Context(), "a", "b")); got != "a=2 b=1" {
		t.Errorf("got %s", got)
	}
	if n, err := r.ApproximateCount(t.Context()); err != nil || n != 4 {
		t.Errorf("%d rows, %v", n, err)
	}
	stop()
	expectNotRunning(t, r, "has stopped")
}

// Stores of each kind that a processor is given, read while the application runs.
func TestQueryKindsOfProcessors(t *testing.T) {
	const partitions = 2
	lg := openLog(t, partitions)
	seen := state.NewWindow("seen", serde.String, serde.String).WithRetention(time.Hour).WithSize(time.Second).WithDuplicates()
	stays := state.NewSession("stays", serde.String, serde.Int64).WithRetention(time.Hour)
	past := state.NewVersioned("past", serde.String, serde.String, time.Hour)
	b := stream.NewBuilder()
	stream.ProcessFunc(stream.From(b, pairs), func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
		_, err := stream.StoreIn(ctx, past).Put(r.Key, r.Value, r.Timestamp)
		return errors.Join(err,
			stream.StoreIn(ctx, seen).Put(r.Key, r.Timestamp/1000*1000, r.Value),
			stream.StoreIn(ctx, stays).Put(r.Key, r.Timestamp, r.Timestamp+500, 1))
	}, stream.Stores(seen, stays, past))
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, topology, stream.Config{Broker: lg})
	windowReader, err1 := stream.Query(app, seen)
	sessionReader, err2 := stream.Query(app, stays)
	versionReader, err3 := stream.Query(app, past)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, r := range []pair{{key: "a", value: "1", at: 100}, {key: "a", value: "2", at: 900}, {key: "b", value: "3", at: 1200}} {
		r.partition = home(r.key, partitions)
		send(t, lg, r)
	}
	stop := start(t, app)
	waitIdle(t, app)
	c := t.Context()
	var got []string
	for r, err := range windowReader.FetchRange(c, "a", 0, 5000) {
		got = append(got, fmt.Sprint(r.Start, "-", r.End, "=", r.Value, " ", err))
	}
	for r, err := range sessionReader.All(c) {
		got = append(got, fmt.Sprint(r.Key, r.Start, "-", r.End, " ", err))
	}
	v, err := versionReader.GetAsOf(c, "a", 899)
	got = append(got, fmt.Sprint(v, err))
	if want := []string{"0-1000=1 <nil>", "0-1000=2 <nil>", "a100-600 <nil>", "a900-1400 <nil>", "b1200-1700 <nil>", "{1 100 true} <nil>"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	stop()
}

var (
	countries = stream.NewTopic("countries", serde.String, serde.String)
	names     = state.NewKeyValue("names", serde.String, serde.String)
	lengths   = state.NewKeyValue("lengths", serde.Int64, serde.Int64).InMemory()
	namings   = stream.NewTopic("namings", serde.String, serde.String)
)

// buildGlobals has a global table, and a global store that counts names by their length.
func buildGlobals(t testing.TB) *stream.Topology {
	t.Helper()
	b := stream.NewBuilder()
	stream.From(b, pairs).ForEach(func(string, string) {})
	stream.GlobalTableFrom(b, countries).As(names)
	stream.GlobalProcessFunc(b, namings, lengths, func(ctx *stream.Context[stream.Nothing, stream.Nothing], r stream.Record[string, string]) error {
		rows := stream.StoreIn(ctx, lengths)
		before, err := rows.Get(int64(len(r.Value)))
		if err != nil {
			return err
		}
		return rows.Put(int64(len(r.Value)), before.V+1)
	})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// sendTo appends records "key=value" to a partition.
func sendTo(t testing.TB, lg *log.Log, topic string, partition int32, records ...string) {
	t.Helper()
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	b := log.NewBlock()
	for _, r := range records {
		k, v, _ := strings.Cut(r, "=")
		b.Append(0, []byte(k), []byte(v), nil)
	}
	_, err = p.Append(t.Context(), log.TopicPartition{Topic: topic, Partition: partition}, b)
	if err := errors.Join(err, p.Close()); err != nil {
		t.Fatal(err)
	}
}

// Global stores, on disk and in memory, of a table and of a processor: before, while and after the application runs,
// and as their topics go on.
func TestQueryGlobals(t *testing.T) {
	lg := openLog(t, 1)
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "countries", Partitions: 2}, {Name: "namings", Partitions: 2}}); err != nil {
		t.Fatal(err)
	}
	sendTo(t, lg, "countries", 0, "cz=Czechia", "de=Germany")
	sendTo(t, lg, "countries", 1, "at=Austria")
	sendTo(t, lg, "namings", 0, "=Elbe", "=Eger")
	sendTo(t, lg, "namings", 1, "=Iser")
	app := newApp(t, buildGlobals(t), stream.Config{Broker: lg})
	nameReader, err1 := stream.Query(app, names)
	lengthReader, err2 := stream.Query(app, lengths)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	notRunning := func(why string) {
		t.Helper()
		_, get := nameReader.Get(t.Context(), "cz")
		_, get2 := lengthReader.Get(t.Context(), 4)
		_, count := lengthReader.ApproximateCount(t.Context())
		for _, err := range []error{get, get2, count} {
			if !errors.Is(err, stream.ErrNotRunning) || !strings.Contains(err.Error(), why) {
				t.Errorf("got %v, want %s", err, why)
			}
		}
	}
	notRunning("Run was not called")
	stop := start(t, app)
	waitIdle(t, app)
	is := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	is(rowsOf(t, nameReader.All(t.Context())), "at=Austria cz=Czechia de=Germany")
	is(rowsOf(t, nameReader.BackwardRange(t.Context(), "b", "d")), "cz=Czechia")
	is(rowsOf(t, lengthReader.All(t.Context())), "4=3")
	sendTo(t, lg, "namings", 1, "=Otava", "=Elbe")
	sendTo(t, lg, "countries", 1, "at=Österreich")
	waitIdle(t, app)
	is(rowsOf(t, lengthReader.Uncommitted().All(t.Context())), "4=4 5=1")
	v, err := nameReader.Get(t.Context(), "at")
	is(fmt.Sprint(v.V, err), "Österreich<nil>")
	v, err = nameReader.Get(t.Context(), "xx")
	is(fmt.Sprint(v.OK, err), "false <nil>")
	next, stopScan := iter.Pull2(nameReader.All(t.Context()))
	defer stopScan()
	if _, err, ok := next(); err != nil || !ok {
		t.Fatal(err, ok)
	}
	stop()
	notRunning("has stopped")

	// A scan that goes on when the application has stopped says so, or comes to its end; the rows that it has read
	// from the disk are its own.
	for row, err, ok := next(); ok; row, err, ok = next() {
		if err != nil && !errors.Is(err, stream.ErrNotRunning) {
			t.Error(row, err)
		}
	}
}

// Readers of a global store beside what maintains it, until the application stops and after.
func TestQueriesOfGlobalsThatChange(t *testing.T) {
	const keys, rounds = 64, 40 // 64: what is read at a time, and shown together, is a multiple of it
	lg := openLog(t, 1)
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "countries", Partitions: 1}, {Name: "namings", Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	app := newApp(t, buildGlobals(t), stream.Config{Broker: lg, CacheBytes: 1})
	nameReader, err := stream.Query(app, names)
	if err != nil {
		t.Fatal(err)
	}
	running, ended := make(chan struct{}), make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			<-running
			last := 0
			for again := true; again; {
				rounds := map[string]int{}
				for row, err := range nameReader.All(context.Background()) {
					if err != nil {
						if !errors.Is(err, stream.ErrNotRunning) {
							t.Error(err)
						}
						continue
					}
					rounds[row.Value]++
				}
				for round, n := range rounds {
					if i, err := strconv.Atoi(round); err != nil || n != keys || i < last {
						t.Errorf("%d rows of round %s after round %d: %v", n, round, last, err)
					} else {
						last = i
					}
				}
				select {
				case <-ended:
					again = false
				default:
				}
			}
		})
	}
	stop := start(t, app)
	waitIdle(t, app)
	close(running)
	for round := range rounds {
		var records []string
		for k := range keys {
			records = append(records, fmt.Sprintf("%02d=%d", k, round))
		}
		sendTo(t, lg, "countries", 0, records...)
		if round%8 == 7 {
			waitIdle(t, app)
			if v, err := nameReader.Get(t.Context(), "00"); err != nil || v.V != strconv.Itoa(round) {
				t.Errorf("round %d: %+v, %v", round, v, err)
			}
		}
	}
	stop()
	close(ended)
	readers.Wait()
}
