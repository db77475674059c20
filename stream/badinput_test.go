package stream_test

import (
	"iter"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// What Go itself refuses is in compile_test.go; this is what it cannot know.

type (
	texts  = stream.Stream[string, string]
	perKey = stream.Grouped[string, string]
	rows   = stream.Table[string, string]
)

func textTopic(name string) stream.Topic[string, string] {
	return stream.NewTopic(name, serde.String, serde.String)
}

func from(b *stream.Builder) *texts     { return stream.From(b, textTopic("texts")) }
func grouped(b *stream.Builder) *perKey { return stream.GroupByKey(from(b)) }
func table(b *stream.Builder) *rows     { return stream.TableFrom(b, textTopic("rows")) }
func elsewhere() *stream.Builder        { return stream.NewBuilder() }

func global(b *stream.Builder, name string) *stream.GlobalTable[string, string] {
	return stream.GlobalTableFrom(b, textTopic(name))
}

func counted(name string) state.KeyValue[string, int64] {
	return state.NewKeyValue(name, serde.String, serde.Int64)
}

func windowed(name string) state.Window[string, int64] {
	return state.NewWindow(name, serde.String, serde.Int64)
}

func histories(name string, keep time.Duration) state.Versioned[string, int64] {
	return state.NewVersioned(name, serde.String, serde.Int64, keep)
}

func pass(string, string) bool                                                     { return true }
func toPoint(string, string) point                                                 { return point{} }
func paired(string, string) string                                                 { return "" }
func itself(_, v string) (string, bool)                                            { return v, true }
func both(k, v string) (string, string)                                            { return k, v }
func merged(string, int64, int64) int64                                            { return 0 }
func added(string, string, int64) int64                                            { return 0 }
func nothing(*stream.Context[string, string], stream.Record[string, string]) error { return nil }

var (
	tumbling = windows.Tumbling(time.Minute)
	none     = stream.Zero[int64]
)

// badInput is every kind of mistake that the builder finds.
var badInput = []struct {
	want  string // parts of the message, with " ... " between them
	build func(b *stream.Builder)
}{
	// Topics.
	{`From: topic name "a/b" has '/'`, func(b *stream.Builder) { stream.From(b, textTopic("a/b")) }},
	{"To: topic name is empty", func(b *stream.Builder) { from(b).To(textTopic("")) }},
	{`topic "bare" has no value serde`, func(b *stream.Builder) { stream.From(b, stream.NewTopic[string, string]("bare", serde.String, nil)) }},
	{`topic "t1" is declared with types string, int64 ... string, string at badinput_test.go:`, func(b *stream.Builder) {
		stream.From(b, textTopic("t1")).To(textTopic("t2"))
		stream.From(b, stream.NewTopic("t1", serde.String, serde.Int64))
	}},
	{`topic "t3" is declared with serdes ... share the handle`, func(b *stream.Builder) {
		stream.From(b, textTopic("t3"))
		stream.From(b, stream.NewTopic("t3", serde.String, serde.JSON[string]()))
	}},
	{"FromAll: there is no topic to read", func(b *stream.Builder) { stream.FromAll[string, string](b, nil) }},
	{"StartAt(7): it is Earliest or Latest", func(b *stream.Builder) { stream.From(b, textTopic("t4"), stream.StartAt(7)) }},
	{"ReuseTopic is for TableFrom", func(b *stream.Builder) { stream.From(b, textTopic("t5"), stream.ReuseTopic()) }},
	{`topic "t6" is read by From`, func(b *stream.Builder) { stream.From(b, textTopic("t6")); stream.GlobalTableFrom(b, textTopic("t6")) }},
	{"StartAt(Latest): the topic of a global store is read from its start", func(b *stream.Builder) { stream.GlobalTableFrom(b, textTopic("t7"), stream.StartAt(stream.Latest)) }},
	{"GroupBy: Partitions(0): a topic has at least 1 partition", func(b *stream.Builder) { stream.GroupBy(from(b), paired, stream.Partitions(0)).Count() }},
	{"GroupByKey: options for a repartition topic are given, but the keys did not change", func(b *stream.Builder) { stream.GroupByKey(from(b), stream.Partitions(3)).Count() }},

	// Serdes.
	{"no serde for key type stream_test.point ... With(keySerde, valueSerde)", func(b *stream.Builder) { stream.GroupBy(from(b), toPoint).Count() }},
	{"Aggregate: no serde for value type stream_test.point of the store ... As(store)", func(b *stream.Builder) {
		stream.Aggregate(grouped(b), stream.Zero[point], func(_, _ string, p point) point { return p })
	}},

	// Names.
	{`FilterNot "f": the name "f" is taken by Filter at badinput_test.go:`, func(b *stream.Builder) { from(b).Filter(pass, stream.Named("f")).FilterNot(pass, stream.Named("f")) }},
	{`Filter "a b": Named: ... ' '`, func(b *stream.Builder) { from(b).Filter(pass, stream.Named("a b")) }},
	{"Named: the name is empty", func(b *stream.Builder) { from(b).Filter(pass, stream.Named("")) }},
	{`Children: there is no child named "gone"`, func(b *stream.Builder) { stream.ProcessFunc(from(b), nothing, stream.Children("gone")) }},

	// Stores.
	{`the store name "s1" is taken by Count at badinput_test.go:`, func(b *stream.Builder) { grouped(b).Count().As(counted("s1")); grouped(b).Count().As(counted("s1")) }},
	{`As(s3) at badinput_test.go: ... the table is kept in store "s2" already`, func(b *stream.Builder) { grouped(b).Count().As(counted("s2")).As(counted("s3")) }},
	{`the table is kept in store "s4" already`, func(b *stream.Builder) { grouped(b).Count().As(counted("s4")).As(counted("s4")) }},
	{`store "a/b" ... '/'`, func(b *stream.Builder) { grouped(b).Count().As(counted("a/b")) }},
	{"the store has no name", func(b *stream.Builder) { grouped(b).Count().As(counted("")) }},
	{"Stores: a handle is nil", func(b *stream.Builder) { stream.ProcessFunc(from(b), nothing, stream.Stores(nil)) }},
	{`Stores: the store "s5" was given to ProcessFunc at badinput_test.go: ... settings differ`, func(b *stream.Builder) {
		stream.ProcessFunc(stream.ProcessFunc(from(b), nothing, stream.Stores(counted("s5"))), nothing, stream.Stores(counted("s5").InMemory()))
	}},
	{`store "s6" has a history retention of 0s`, func(b *stream.Builder) { grouped(b).Count().As(histories("s6", 0)) }},
	{`store "s7" has a history retention of -1h0m0s`, func(b *stream.Builder) { grouped(b).Count().As(histories("s7", -time.Hour)) }},
	{`store "s8" has a retention of 1s, and windows are open for 1m0s`, func(b *stream.Builder) {
		grouped(b).WindowedBy(tumbling).Count().As(windowed("s8").WithRetention(time.Second))
	}},
	{`store "s9" has a retention of -1s`, func(b *stream.Builder) {
		grouped(b).WindowedBy(tumbling).Count().As(windowed("s9").WithRetention(-time.Second))
	}},
	{`store "s10" is one WithDuplicates, and a window of this table has one value`, func(b *stream.Builder) { grouped(b).WindowedBy(tumbling).Count().As(windowed("s10").WithDuplicates()) }},
	{`kept in a window store, and "s11" is a session store`, func(b *stream.Builder) {
		grouped(b).WindowedBy(tumbling).Count().As(state.NewSession("s11", serde.String, serde.Int64))
	}},

	// Windows and times.
	{"Count: windows.Tumbling( ... size of 0s is below a millisecond", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Tumbling(0)).Count() }},
	{"Count: windows.Tumbling( ... size of -1m0s is below a millisecond", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Tumbling(-time.Minute)).Count() }},
	{"Count: windows.Tumbling( ... grace of -1s is negative", func(b *stream.Builder) { grouped(b).WindowedBy(tumbling.WithGrace(-time.Second)).Count() }},
	{"size of 1.5ms is not a whole number of milliseconds", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Tumbling(1500 * time.Microsecond)).Count() }},
	{"Count: windows.Hopping( ... advance of 0s is below a millisecond", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Hopping(time.Minute, 0)).Count() }},
	{"Count: windows.Hopping( ... the advance of 1h0m0s is above the size of 1m0s", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Hopping(time.Minute, time.Hour)).Count() }},
	{"Count: windows.Sliding( ... -1s is negative", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Sliding(-time.Second)).Count() }},
	{"Count: windows.Sessions( ... gap of 0s is below a millisecond", func(b *stream.Builder) { grouped(b).SessionWindowedBy(windows.Sessions(0)).Count() }},
	{"Count: windows.Sessions( ... grace of -1s is negative", func(b *stream.Builder) {
		grouped(b).SessionWindowedBy(windows.Sessions(time.Minute).WithGrace(-time.Second)).Count()
	}},
	{"the zero windows.Time is no kind of windows", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Time{}).Count() }},
	{"Count: windows.Day( ... the time zone is nil", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Day(nil)).Count() }},
	{"never close, so that EmitOnClose would send nothing", func(b *stream.Builder) { grouped(b).WindowedBy(windows.Unlimited()).EmitOnClose().Count() }},
	{"CogroupAggregate: windows.Tumbling( ... size of 0s", func(b *stream.Builder) {
		stream.Cogroup(stream.CoPart(grouped(b), added)).WindowedBy(windows.Tumbling(0)).Aggregate(none)
	}},
	{"JoinStreams: windows.Within( ... time difference of -1s is negative", func(b *stream.Builder) { stream.JoinStreams(from(b), from(b), windows.Within(-time.Second), paired) }},
	{"JoinStreams: windows.Within( ... grace of -1s is negative", func(b *stream.Builder) {
		stream.JoinStreams(from(b), from(b), windows.Within(time.Second).WithGrace(-time.Second), paired)
	}},
	{"Grace is for joins with versioned tables", func(b *stream.Builder) {
		stream.JoinStreams(from(b), from(b), windows.Within(time.Second), paired, stream.Grace(time.Second))
	}},
	{"the table is not versioned", func(b *stream.Builder) { stream.JoinTable(from(b), table(b), paired, stream.Grace(time.Second)) }},
	{"InMemory is for what waits in a join with Grace", func(b *stream.Builder) { stream.JoinTable(from(b), table(b), paired, stream.InMemory()) }},
	{"Suppress: a time limit of -1s is negative", func(b *stream.Builder) { table(b).Suppress(stream.UntilTimeLimit(-time.Second)) }},
	{"Suppress: MaxRecords(0): at least 1 is needed", func(b *stream.Builder) { table(b).Suppress(stream.UntilTimeLimit(0).MaxRecords(0)) }},
	{"UntilWindowCloses is for tables of windowed aggregations", func(b *stream.Builder) { table(b).Suppress(stream.UntilWindowCloses()) }},
	{"the zero Suppression holds nothing back", func(b *stream.Builder) { table(b).Suppress(stream.Suppression{}) }},

	// What belongs together.
	{"Merge: the two streams are of different builders", func(b *stream.Builder) { from(b).Merge(from(elsewhere())) }},
	{"JoinTable: the two sides are of different builders", func(b *stream.Builder) { stream.JoinTable(from(b), table(elsewhere()), paired) }},
	{"JoinTables: the two tables are of different builders", func(b *stream.Builder) { stream.JoinTables(table(b), table(elsewhere()), paired) }},
	{"JoinForeign: the two tables are of different builders", func(b *stream.Builder) { stream.JoinForeign(table(b), table(elsewhere()), itself, paired) }},
	{"CogroupAggregate: the parts are of different builders", func(b *stream.Builder) {
		stream.Cogroup(stream.CoPart(grouped(b), added), stream.CoPart(grouped(elsewhere()), added)).Aggregate(none)
	}},
	{"OnLate: nothing aggregates these windows", func(b *stream.Builder) { stream.OnLate(grouped(b).WindowedBy(tumbling)) }},

	// Functions that are nil.
	{"Map: the func(string, string) (string, string) is nil", func(b *stream.Builder) { stream.Map(from(b), (func(k, v string) (string, string))(nil)) }},
	{"MapValues: the func(string) string is nil", func(b *stream.Builder) { stream.MapValues(from(b), (func(string) string)(nil)) }},
	{"MapValuesWithKey: the func(string, string) string is nil", func(b *stream.Builder) { stream.MapValuesWithKey(from(b), (func(k, v string) string)(nil)) }},
	{"FlatMap: ... is nil", func(b *stream.Builder) { stream.FlatMap(from(b), (func(k, v string) iter.Seq2[string, string])(nil)) }},
	{"FlatMapValues: ... is nil", func(b *stream.Builder) { stream.FlatMapValues(from(b), (func(string) iter.Seq[string])(nil)) }},
	{"FlatMapValuesWithKey: ... is nil", func(b *stream.Builder) {
		stream.FlatMapValuesWithKey(from(b), (func(k, v string) iter.Seq[string])(nil))
	}},
	{"SelectKey: ... is nil", func(b *stream.Builder) { stream.SelectKey(from(b), (func(k, v string) string)(nil)) }},
	{"GroupBy: ... is nil", func(b *stream.Builder) { stream.GroupBy(from(b), (func(k, v string) string)(nil)).Count() }},
	{"Filter: the func(string, string) bool is nil", func(b *stream.Builder) { from(b).Filter(nil) }},
	{"FilterNot: ... is nil", func(b *stream.Builder) { from(b).FilterNot(nil) }},
	{"Peek: the func(string, string) is nil", func(b *stream.Builder) { from(b).Peek(nil) }},
	{"ForEach: ... is nil", func(b *stream.Builder) { from(b).ForEach(nil) }},
	{"Print: the writer is nil", func(b *stream.Builder) { from(b).Print(nil) }},
	{"Branch: ... is nil", func(b *stream.Builder) { from(b).Split().Branch(nil) }},
	{"ToFunc: ... is nil", func(b *stream.Builder) { from(b).ToFunc(nil) }},
	{"ProcessFunc: the function is nil", func(b *stream.Builder) { stream.ProcessFunc[string, string, string, string](from(b), nil) }},
	{"ProcessValuesFunc: the function is nil", func(b *stream.Builder) { stream.ProcessValuesFunc[string, string, string](from(b), nil) }},
	{"GlobalProcessFunc: the function is nil", func(b *stream.Builder) { stream.GlobalProcessFunc(b, textTopic("n1"), counted("n1"), nil) }},
	{"Reduce: ... is nil", func(b *stream.Builder) { grouped(b).Reduce(nil) }},
	{"Aggregate: the func() int64 is nil", func(b *stream.Builder) { stream.Aggregate(grouped(b), nil, added) }},
	{"Aggregate: the func(string, string, int64) int64 is nil", func(b *stream.Builder) { stream.Aggregate(grouped(b), none, nil) }},
	{"Reduce: ... is nil", func(b *stream.Builder) { grouped(b).WindowedBy(tumbling).Reduce(nil) }},
	{"AggregateWindows: the func() int64 is nil", func(b *stream.Builder) { stream.AggregateWindows(grouped(b).WindowedBy(tumbling), nil, added) }},
	{"Reduce: ... is nil", func(b *stream.Builder) { grouped(b).SessionWindowedBy(windows.Sessions(time.Minute)).Reduce(nil) }},
	{"AggregateSessions: the func(string, int64, int64) int64 is nil", func(b *stream.Builder) {
		stream.AggregateSessions(grouped(b).SessionWindowedBy(windows.Sessions(time.Minute)), none, added, nil)
	}},
	{"CoPart: ... is nil", func(b *stream.Builder) { stream.CoPart[string, string, int64](grouped(b), nil) }},
	{"CogroupAggregate: ... is nil", func(b *stream.Builder) { stream.Cogroup(stream.CoPart(grouped(b), added)).Aggregate(nil) }},
	{"CogroupAggregate: ... is nil", func(b *stream.Builder) {
		stream.Cogroup(stream.CoPart(grouped(b), added)).WindowedBy(tumbling).Aggregate(nil)
	}},
	{"CogroupAggregate: ... is nil", func(b *stream.Builder) {
		stream.Cogroup(stream.CoPart(grouped(b), added)).SessionWindowedBy(windows.Sessions(time.Minute)).Aggregate(nil, merged)
	}},
	{"JoinStreams: ... is nil", func(b *stream.Builder) {
		stream.JoinStreams(from(b), from(b), windows.Within(time.Second), (func(l, r string) string)(nil))
	}},
	{"LeftJoinStreams: ... is nil", func(b *stream.Builder) {
		stream.LeftJoinStreams(from(b), from(b), windows.Within(time.Second), (func(l, r string, ok bool) string)(nil))
	}},
	{"OuterJoinStreams: ... is nil", func(b *stream.Builder) {
		stream.OuterJoinStreams(from(b), from(b), windows.Within(time.Second), (func(l, r string, have stream.Sides) string)(nil))
	}},
	{"JoinTable: ... is nil", func(b *stream.Builder) { stream.JoinTable(from(b), table(b), (func(v, r string) string)(nil)) }},
	{"LeftJoinTable: ... is nil", func(b *stream.Builder) {
		stream.LeftJoinTable(from(b), table(b), (func(v, r string, ok bool) string)(nil))
	}},
	{"JoinGlobal: ... bool) is nil", func(b *stream.Builder) { stream.JoinGlobal(from(b), global(b, "g1"), nil, paired) }},
	{"LeftJoinGlobal: ... is nil", func(b *stream.Builder) {
		stream.LeftJoinGlobal(from(b), global(b, "g2"), itself, (func(v, r string, ok bool) string)(nil))
	}},
	{"GroupTable: ... is nil", func(b *stream.Builder) {
		stream.GroupTable(table(b), (func(k, v string) (string, string))(nil)).Count()
	}},
	{"Reduce: ... is nil", func(b *stream.Builder) { stream.GroupTable(table(b), both).Reduce(nil, nil) }},
	{"AggregateTable: ... is nil", func(b *stream.Builder) { stream.AggregateTable(stream.GroupTable(table(b), both), none, added, nil) }},
	{"MapTable: ... is nil", func(b *stream.Builder) { stream.MapTable(table(b), (func(k, v string) string)(nil)) }},
	{"Filter: ... is nil", func(b *stream.Builder) { table(b).Filter(nil) }},
	{"FilterNot: ... is nil", func(b *stream.Builder) { table(b).FilterNot(nil) }},
	{"JoinTables: ... is nil", func(b *stream.Builder) { stream.JoinTables(table(b), table(b), (func(l, r string) string)(nil)) }},
	{"LeftJoinTables: ... is nil", func(b *stream.Builder) {
		stream.LeftJoinTables(table(b), table(b), (func(l, r string, ok bool) string)(nil))
	}},
	{"OuterJoinTables: ... is nil", func(b *stream.Builder) {
		stream.OuterJoinTables(table(b), table(b), (func(l, r string, have stream.Sides) string)(nil))
	}},
	{"JoinForeign: ... bool) is nil", func(b *stream.Builder) { stream.JoinForeign(table(b), table(b), nil, paired) }},
	{"LeftJoinForeign: ... is nil", func(b *stream.Builder) {
		stream.LeftJoinForeign(table(b), table(b), itself, (func(l, r string, ok bool) string)(nil))
	}},
}

// rowOf is the mistake whose function literal has the line that an error begins with; -1 if it begins with none.
func rowOf(err error) int {
	at, _, _ := strings.Cut(err.Error(), ": ")
	number, ok := strings.CutPrefix(at, "badinput_test.go:")
	line, bad := strconv.Atoi(number)
	if !ok || bad != nil {
		return -1
	}
	row := -1
	for i, c := range badInput {
		pc := reflect.ValueOf(c.build).Pointer()
		if _, begins := runtime.FuncForPC(pc).FileLine(pc); begins <= line {
			row = i
		}
	}
	return row
}

// lacks is the first part of what an error should say that it does not.
func lacks(err error, want string) string {
	rest := err.Error()
	for part := range strings.SplitSeq(want, " ... ") {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			return part
		}
		rest = after
	}
	return ""
}

// faultsOf are the errors of one Build.
func faultsOf(t *testing.T, b *stream.Builder) []error {
	t.Helper()
	_, err := b.Build()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v", err)
	}
	return joined.Unwrap()
}

// Each mistake is said with the line of the operator, and what is wrong with it; and nothing else is.
func TestBadInput(t *testing.T) {
	for i, c := range badInput {
		t.Run(c.want, func(t *testing.T) {
			b := stream.NewBuilder()
			c.build(b)
			errs := faultsOf(t, b)
			if len(errs) != 1 {
				t.Fatalf("%d errors: %v", len(errs), errs)
			}
			if rowOf(errs[0]) != i {
				t.Errorf("it does not begin with the operator's line: %v", errs[0])
			}
			if part := lacks(errs[0], c.want); part != "" {
				t.Errorf("%q is not in: %v", part, errs[0])
			}
		})
	}
}

// All mistakes of a topology are said together.
func TestBadInputAllAtOnce(t *testing.T) {
	b := stream.NewBuilder()
	for _, c := range badInput {
		c.build(b)
	}
	said := map[int]bool{}
	for _, err := range faultsOf(t, b) {
		i := rowOf(err)
		if i < 0 || said[i] {
			t.Errorf("more than one for each mistake: %v", err)
			continue
		}
		said[i] = true
		if part := lacks(err, badInput[i].want); part != "" {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	for i, c := range badInput {
		if !said[i] {
			t.Errorf("not said: %s", c.want)
		}
	}
}
