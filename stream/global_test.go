package stream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Users come from a country, of which the stream has the code and a global table the name.
var (
	visits       = stream.NewTopic("visits", serde.String, serde.String)
	countries    = stream.NewTopic("countries", serde.String, serde.String)
	named        = stream.NewTopic("named", serde.String, serde.String)
	countryNames = state.NewKeyValue("country-names", serde.String, serde.String)
)

// globalTest is an application with a global table, and its log. The topics have different numbers of partitions.
type globalTest struct {
	*testing.T
	log      *log.Log
	producer *log.Producer
	topology *stream.Topology
	config   stream.Config
	read     atomic.Int64 // records of the table that were decoded
	at       int64        // timestamp of the last append
}

func newGlobalTest(t *testing.T, table state.KeyValue[string, string]) *globalTest {
	t.Helper()
	g := &globalTest{T: t}
	g.openLog()
	g.config = stream.Config{StateDir: filepath.Join(t.TempDir(), "state")}
	from := countries.WithTimestamps(func(r stream.Record[string, string], _ int64) int64 {
		g.read.Add(1)
		return r.Timestamp
	})
	g.topology = build(t, func(b *stream.Builder) {
		names := stream.GlobalTableFrom(b, from).As(table)
		stream.LeftJoinGlobal(stream.From(b, visits), names, countryOf, nameOrCode).To(named)
	})
	return g
}

func countryOf(_, code string) (string, bool) { return code, code != "" }

func nameOrCode(code, name string, ok bool) string {
	if !ok {
		return "? " + code
	}
	return name
}

// openLog opens a log of its own, as if all topics were deleted and made again.
func (g *globalTest) openLog() {
	g.Helper()
	lg, err := log.Open(g.TempDir(), log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() {
		if err := lg.Close(); err != nil {
			g.Error(err)
		}
	})
	if err := lg.CreateTopics(g.Context(), []log.TopicSpec{
		{Name: "visits", Partitions: 2}, {Name: "countries", Partitions: 3}, {Name: "named", Partitions: 1},
	}); err != nil {
		g.Fatal(err)
	}
	g.log = lg
	if g.producer, err = lg.NewProducer(log.ProducerSpec{}); err != nil {
		g.Fatal(err)
	}
}

// block makes records of "key=value"; "key" alone is one with a null value.
func (g *globalTest) block(records ...string) *log.Block {
	b := log.NewBlock()
	for _, r := range records {
		g.at++
		k, v, ok := strings.Cut(r, "=")
		var value []byte
		if ok {
			value = []byte(v)
		}
		b.Append(g.at, []byte(k), value, nil)
	}
	return b
}

// append appends records to a partition.
func (g *globalTest) append(topic string, partition int32, records ...string) {
	g.Helper()
	if _, err := g.producer.Append(g.Context(), log.TopicPartition{Topic: topic, Partition: partition}, g.block(records...)); err != nil {
		g.Fatal(err)
	}
}

// run runs the application while f does.
func (g *globalTest) run(f func(app *stream.App)) error {
	g.Helper()
	g.config.Broker = g.log
	return run(g.T, g.topology, g.config, f)
}

// settle runs the application until it is idle, and tells how many records of the table it read.
func (g *globalTest) settle() (read int64) {
	g.Helper()
	before := g.read.Load()
	if err := g.run(waitIdle(g.T)); err != nil {
		g.Fatal(err)
	}
	return g.read.Load() - before
}

// want compares all results so far, in any order, as "key=value".
func (g *globalTest) want(records ...string) {
	g.Helper()
	got := g.results()
	slices.Sort(got)
	slices.Sort(records)
	if !slices.Equal(got, records) {
		g.Errorf("got  %q\nwant %q", got, records)
	}
}

func (g *globalTest) results() (all []string) {
	g.Helper()
	tp := log.TopicPartition{Topic: "named"}
	ends, err := g.log.Offsets(g.Context(), []log.TopicPartition{tp})
	if err != nil {
		g.Fatal(err)
	}
	r, err := g.log.Open(g.Context(), tp, log.Earliest, log.ReadCommitted)
	if err != nil {
		g.Fatal(err)
	}
	defer r.Close()
	recs := make([]log.Record, 100)
	for r.Position() < ends[tp].LastStable {
		n, err := r.Read(g.Context(), recs)
		if err != nil {
			g.Fatal(err)
		}
		for _, rec := range recs[:n] {
			all = append(all, string(rec.Key)+"="+string(rec.Value))
		}
	}
	return all
}

// The table is read before anything else is processed, from all partitions, by all tasks; and after a restart only
// what is new of it.
func TestGlobalTableOverRestarts(t *testing.T) {
	g := newGlobalTest(t, countryNames)
	g.append("countries", 0, "cz=Czechia", "at=Austria")
	g.append("countries", 1, "de=Germany", "xx=Nowhere")
	g.append("countries", 2, "pl=Poland", "xx")
	g.append("visits", 0, "ann=cz", "bob=de")
	g.append("visits", 1, "eve=pl", "joe=")
	if n := g.settle(); n != 6 {
		t.Errorf("%d records of the table were read", n)
	}
	want := []string{"ann=Czechia", "bob=Germany", "eve=Poland", "joe=? "}
	g.want(want...)

	g.append("countries", 0, "cz=Bohemia")
	g.append("visits", 1, "ann=cz", "bob=at")
	if n := g.settle(); n != 1 {
		t.Errorf("%d records of the table were read after a restart, 1 is new", n)
	}
	want = append(want, "ann=Bohemia", "bob=Austria")
	g.want(want...)

	if err := os.RemoveAll(g.config.StateDir); err != nil {
		t.Fatal(err)
	}
	g.append("visits", 0, "ann=cz")
	if n := g.settle(); n != 7 {
		t.Errorf("%d records of the table were read without state, there are 7", n)
	}
	g.want(append(want, "ann=Bohemia")...)
}

// A table in memory is read again at each start.
func TestGlobalTableInMemory(t *testing.T) {
	g := newGlobalTest(t, countryNames.InMemory())
	g.append("countries", 0, "cz=Czechia")
	g.append("visits", 0, "ann=cz")
	for i := range 2 {
		if n := g.settle(); n != 1 {
			t.Errorf("run %d: %d records of the table were read", i, n)
		}
	}
	g.append("visits", 1, "bob=cz")
	g.settle()
	g.want("ann=Czechia", "bob=Czechia")
}

// What is on disk of a topic that has been deleted and made again is not used.
func TestGlobalTopicMadeAgain(t *testing.T) {
	g := newGlobalTest(t, countryNames)
	g.append("countries", 0, "cz=Czechia")
	g.append("countries", 1, "de=Germany", "at=Austria")
	g.settle()

	g.openLog()
	g.append("countries", 0, "cz=Bohemia")
	g.append("countries", 1, "de=Germany")
	g.append("visits", 0, "ann=cz", "bob=at", "eve=de")
	if n := g.settle(); n != 2 {
		t.Errorf("%d records were read", n)
	}
	g.want("ann=Bohemia", "bob=? at", "eve=Germany")
}

// A record of a transaction is in the table when that is committed, not before, and not if it is aborted. The start
// does not wait for it.
func TestGlobalTableSeesWhatIsCommitted(t *testing.T) {
	g := newGlobalTest(t, countryNames)
	owner, err := g.log.NewProducer(log.ProducerSpec{Owner: "someone"})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(partition int32, record string) *log.Txn {
		t.Helper()
		txn, err := owner.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := txn.Append(log.TopicPartition{Topic: "countries", Partition: partition}, g.block(record)); err != nil {
			t.Fatal(err)
		}
		return txn
	}
	g.append("countries", 0, "at=Austria")
	txn := begin(0, "cz=Czechia")
	if err := g.run(func(app *stream.App) {
		settled := func() {
			t.Helper()
			if err := app.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		g.append("visits", 0, "ann=cz", "bob=at")
		settled()
		if err := txn.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled()
		g.append("visits", 0, "eve=cz")
		settled()
		txn = begin(1, "cz=Moravia")
		if err := txn.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.append("countries", 1, "at=Ostarrichi")
		settled()
		g.append("visits", 0, "joe=cz", "zoe=at")
		settled()
	}); err != nil {
		t.Fatal(err)
	}
	g.want("ann=? cz", "bob=Austria", "eve=Czechia", "joe=Czechia", "zoe=Ostarrichi")
}

// Tasks on several goroutines read the table while it changes: no result is older than the one before it. Each change
// that is waited for is seen.
func TestGlobalTableWhileTasksRun(t *testing.T) {
	for _, table := range []state.KeyValue[string, string]{countryNames, countryNames.InMemory()} {
		g := newGlobalTest(t, table)
		g.config.Workers, g.config.CacheBytes = 3, 1<<12
		const rounds = 60
		if err := g.run(func(app *stream.App) {
			for n := range rounds {
				for p := range int32(3) {
					g.append("countries", p, fmt.Sprintf("%d=%06d", p, n), fmt.Sprintf("%d=%06d", p+3, n))
				}
				for p := range int32(2) {
					var records []string
					for c := range 6 {
						records = append(records, fmt.Sprintf("%d-%d=%d", p, c, c))
					}
					g.append("visits", p, records...)
				}
				if n%20 == 0 {
					if err := app.WaitIdle(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := app.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
			for p := range int32(2) {
				g.append("visits", p, "last=0", "last=1", "last=2", "last=3", "last=4", "last=5")
			}
			if err := app.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		results := g.results()
		last := map[string]string{}
		for _, r := range results {
			k, v, _ := strings.Cut(r, "=")
			if k == "last" {
				if want := fmt.Sprintf("%06d", rounds-1); v != want {
					t.Errorf("%s, want %s", r, want)
				}
				continue
			}
			if strings.HasPrefix(last[k], "0") && v < last[k] {
				t.Errorf("%s came after %s", r, last[k])
			}
			last[k] = v
		}
		if n := 12*rounds + 12; len(results) != n {
			t.Errorf("%d results, want %d", len(results), n)
		}
	}
}

// Bytes in the table's topic that its serde refuses stop the application with their place, be it at the start or later.
func TestGlobalTableUndecodable(t *testing.T) {
	numbers := stream.NewTopic("countries", serde.String, serde.Int64)
	for _, later := range []bool{false, true} {
		g := newGlobalTest(t, countryNames)
		g.topology = build(t, func(b *stream.Builder) {
			stream.JoinGlobal(stream.From(b, visits), stream.GlobalTableFrom(b, numbers), countryOf, func(code string, n int64) string { return code }).To(named)
		})
		bad := func() { g.append("countries", 2, "a=12345678", "b=short") }
		if !later {
			bad()
		}
		err := g.run(func(app *stream.App) {
			if later {
				if err := app.WaitIdle(t.Context()); err != nil {
					t.Error(err)
				}
				bad()
			}
			if err := app.WaitIdle(t.Context()); err == nil {
				t.Error("idle in spite of it")
			}
		})
		fault, ok := errors.AsType[*stream.ProcessingError](err)
		if !ok || fault.Operator != "GlobalTableFrom" || fault.Topic != "countries" || fault.Partition != 2 || fault.Offset != 1 ||
			!strings.HasPrefix(fault.At, "global_test.go:") || !strings.Contains(err.Error(), "decode value") {
			t.Errorf("got %v", err)
		}
	}
}

// A start that is stopped while it reads the table ends at once.
func TestStopWhileGlobalTableIsRead(t *testing.T) {
	g := newGlobalTest(t, countryNames)
	for range 20 {
		g.append("countries", 0, slices.Repeat([]string{"cz=Czechia"}, 200)...)
	}
	reached := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	from := countries.WithTimestamps(func(r stream.Record[string, string], _ int64) int64 {
		if g.read.Add(1) == 700 {
			close(reached)
			<-ctx.Done()
		}
		return r.Timestamp
	})
	topology := build(t, func(b *stream.Builder) {
		stream.JoinGlobal(stream.From(b, visits), stream.GlobalTableFrom(b, from), countryOf, func(_, name string) string { return name }).To(named)
	})
	app, err := stream.New(topology, stream.Config{ApplicationID: "app", Broker: g.log, StateDir: g.config.StateDir, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	<-reached
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := g.read.Load(); n == 4000 {
		t.Error("all of the table was read all the same")
	}
}

// A function that does not return while the table is maintained does not hang the stop without a word.
func TestStopTimeoutNamesGlobalTable(t *testing.T) {
	g := newGlobalTest(t, countryNames)
	reached, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	from := countries.WithTimestamps(func(r stream.Record[string, string], _ int64) int64 {
		close(reached)
		<-never
		return 0
	})
	g.topology = build(t, func(b *stream.Builder) {
		stream.JoinGlobal(stream.From(b, visits), stream.GlobalTableFrom(b, from), countryOf, func(_, name string) string { return name }).To(named)
	})
	g.config.StopTimeout = 20 * time.Millisecond
	err := g.run(func(app *stream.App) {
		if err := app.WaitIdle(t.Context()); err != nil {
			t.Error(err)
		}
		g.append("countries", 0, "cz=Czechia")
		<-reached
	})
	if err == nil || !strings.Contains(err.Error(), `GlobalTableFrom "countries"`) || !strings.Contains(err.Error(), "global_test.go:") {
		t.Errorf("got %v", err)
	}
}

// The table is not part of the epoch: an abort takes nothing of it back, and what is processed again finds the table as
// it is then. A restart after a kill does not lose or double what the table has either.
func TestGlobalTableIsNotInTheEpoch(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		names := stream.GlobalTableFrom(b, countries).As(countryNames)
		stream.LeftJoinGlobal(stream.From(b, visits), names, countryOf, nameOrCode).To(named)
	})
	for _, g := range []stream.Guarantee{stream.ExactlyOnce, stream.AtLeastOnce} {
		d := streamtest.New(t, topology, streamtest.Partitions(2), streamtest.Guarantee(g))
		visit, country := streamtest.Input(d, visits), streamtest.Input(d, countries)
		country.Pipe("cz", "Czechia", 1)
		visit.Pipe("ann", "cz", 2)
		country.Pipe("cz", "Bohemia", 3)
		country.Pipe("at", "Austria", 3)
		d.Abort()
		if rows := streamtest.Rows(d, countryNames); len(rows) != 2 || rows[1].Value != "Bohemia" {
			t.Errorf("%v: after an abort: %v", g, rows)
		}
		if err := d.Commit(); err != nil { // nothing yet
			t.Fatal(err)
		}
		country.Pipe("at", "Ostarrichi", 4) // and ann again
		d.Restart()
		if rows := streamtest.Rows(d, countryNames); len(rows) != 2 || rows[0].Value != "Ostarrichi" {
			t.Errorf("%v: after a restart: %v", g, rows)
		}
		visit.Pipe("bob", "at", 5)
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		last := map[string]string{}
		for _, r := range streamtest.Output(d, named).Committed() {
			last[r.Key] = r.Value
		}
		if last["ann"] != "Bohemia" || last["bob"] != "Ostarrichi" {
			t.Errorf("%v: %v", g, last)
		}
		d.RestartWithoutState()
		if rows := streamtest.Rows(d, countryNames); len(rows) != 2 || rows[0].Value != "Ostarrichi" {
			t.Errorf("%v: read again: %v", g, rows)
		}
	}
}

// What the topology itself writes to the table's topic is in the table once it is committed.
func TestGlobalTableFedByTheTopologyItself(t *testing.T) {
	seen := stream.NewTopic("seen", serde.String, serde.String)
	topology := build(t, func(b *stream.Builder) {
		s := stream.From(b, visits)
		stream.LeftJoinGlobal(s, stream.GlobalTableFrom(b, seen), func(user, _ string) (string, bool) { return user, true },
			func(code, before string, ok bool) string { return before + ">" + code }).To(named)
		s.To(seen)
	})
	d := streamtest.New(t, topology)
	visit := streamtest.Input(d, visits)
	for _, code := range []string{"cz", "at", "de"} {
		visit.Pipe("ann", code, 0)
		visit.Pipe("ann", code, 0)
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, r := range streamtest.Output(d, named).All() {
		got = append(got, r.Value)
	}
	if want := []string{">cz", ">cz", "cz>at", "cz>at", "at>de", "at>de"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Nulls in types without nil: the key function is not called with them.
func TestJoinGlobalNulls(t *testing.T) {
	for _, left := range []bool{false, true} {
		topology := build(t, func(b *stream.Builder) {
			s, names := stream.From(b, visits), stream.GlobalTableFrom(b, countries)
			if left {
				stream.LeftJoinGlobal(s, names, countryOf, nameOrCode).To(named)
			} else {
				stream.JoinGlobal(s, names, countryOf, func(_, name string) string { return name }).To(named)
			}
		})
		d := streamtest.New(t, topology)
		visit, country := streamtest.Input(d, visits), streamtest.Input(d, countries)
		var c stream.Record[string, string]
		if err := country.PipeRecord(c.WithNullKey().WithValue("dropped")); err != nil {
			t.Fatal(err)
		}
		country.Pipe("cz", "Czechia", 0)
		r := stream.Record[string, string]{Headers: stream.Headers{}.With("h", []byte("x"))}
		r.Timestamp = 7
		for _, r := range []stream.Record[string, string]{
			r.WithNullKey().WithValue("cz"), r.WithKey("null").WithNullValue(), r.WithKey("none").WithValue(""), r.WithKey("ann").WithValue("cz"),
		} {
			if err := visit.PipeRecord(r); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, r := range streamtest.Output(d, named).All() {
			got = append(got, show(r))
		}
		want := []string{"ann=Czechia@7 h:x"}
		dropped := streamtest.Dropped{NullKey: 3, NullValue: 1}
		if left {
			want = []string{"null=? cz@7 h:x", "none=? @7 h:x", "ann=Czechia@7 h:x"}
			dropped.NullKey = 1
		}
		if !slices.Equal(got, want) || d.Dropped() != dropped {
			t.Errorf("left %v: got %q, want %q; dropped %+v, want %+v", left, got, want, d.Dropped(), dropped)
		}
	}
}

// A topic's rule for timestamps goes on after a restart from the partition's time, as it was.
func TestGlobalTableTimestamps(t *testing.T) {
	g := newGlobalTest(t, countryNames)
	var times []int64
	from := countries.WithTimestamps(func(r stream.Record[string, string], partitionTimeMs int64) int64 {
		times = append(times, partitionTimeMs)
		if r.Value == "drop" {
			return -1
		}
		return r.Timestamp * 10
	})
	g.topology = build(t, func(b *stream.Builder) {
		names := stream.GlobalTableFrom(b, from).As(countryNames)
		stream.JoinGlobal(stream.From(b, visits), names, countryOf, func(_, name string) string { return name }).To(named)
	})
	g.append("countries", 0, "cz=Czechia", "de=drop") // at 1 and 2
	g.append("countries", 1, "at=Austria")            // at 3
	g.settle()
	g.append("countries", 0, "de=Germany", "pl=Poland") // at 4 and 5
	g.settle()
	if want := []int64{-1, 10, -1, 10, 40}; !slices.Equal(times, want) {
		t.Errorf("partition times %v, want %v", times, want)
	}
}

// Each fault of a topology with a global table names its line.
func TestGlobalBuildErrors(t *testing.T) {
	join := func(b *stream.Builder, g *stream.GlobalTable[string, string]) {
		stream.LeftJoinGlobal(stream.From(b, visits), g, countryOf, nameOrCode).To(named)
	}
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  []string
	}{
		{"read as a stream before", func(b *stream.Builder) {
			stream.From(b, countries)
			join(b, stream.GlobalTableFrom(b, countries))
		}, []string{`GlobalTableFrom: topic "countries" is read by From at global_test.go:`}},
		{"read as a table after", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(b, countries))
			stream.TableFrom(b, countries)
		}, []string{`GlobalTableFrom: topic "countries" is read by From at global_test.go:`}},
		{"two of one topic", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(b, countries))
			join(b, stream.GlobalTableFrom(b, countries))
		}, []string{`GlobalTableFrom: topic "countries" is read by GlobalTableFrom at global_test.go:`}},
		{"two types", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(b, countries))
			stream.GlobalTableFrom(b, stream.NewTopic("countries", serde.String, serde.Int64))
		}, []string{`topic "countries" is declared with types string, int64 here and with string, string at`}},
		{"As twice", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(b, countries).As(countryNames).As(countryNames))
		}, []string{`As(country-names) at global_test.go:`, `the table is kept in store "country-names" already, by As at global_test.go:`}},
		{"no name", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(b, countries).As(state.NewKeyValue("", serde.String, serde.String)))
		}, []string{"the store has no name"}},
		{"one handle for two", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(b, countries).As(countryNames))
			stream.TableFrom(b, named).As(countryNames)
		}, []string{`the store name "country-names" is taken by GlobalTableFrom at global_test.go:`}},
		{"one name for two", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(b, countries, stream.Named("n")))
			stream.TableFrom(b, named, stream.Named("n"))
		}, []string{`the name "n" is taken by GlobalTableFrom at global_test.go:`}},
		{"two builders", func(b *stream.Builder) {
			join(b, stream.GlobalTableFrom(stream.NewBuilder(), countries))
		}, []string{"LeftJoinGlobal: the two sides are of different builders"}},
	} {
		b := stream.NewBuilder()
		c.build(b)
		_, err := b.Build()
		for _, want := range append(c.want, "global_test.go:") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in: %v", c.name, want, err)
			}
		}
	}
}

// A global table is a sub-topology of its own, without tasks.
func TestDescribeGlobalTable(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		names := stream.GlobalTableFrom(b, countries).As(countryNames)
		stream.LeftJoinGlobal(stream.From(b, visits), names, countryOf, nameOrCode).To(named)
	})
	want := `Topologies:
   Sub-topology: 0 for global store (will not generate tasks)
    Source: countries (topics: [countries])
      --> countries.globalTableFrom1
    Processor: countries.globalTableFrom1 (stores: [country-names])
      --> none
      <-- countries

   Sub-topology: 1
    Source: visits (topics: [visits])
      --> visits.leftJoinGlobal1
    Processor: visits.leftJoinGlobal1 (stores: [])
      --> visits.leftJoinGlobal1.to1
      <-- visits
    Sink: visits.leftJoinGlobal1.to1 (topic: named)
      <-- visits.leftJoinGlobal1

`
	if got := topology.Describe(); got != want {
		t.Errorf("got\n%s", got)
	}
}
