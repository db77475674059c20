package stream_test

import (
	"errors"
	"fmt"
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

// A table that is restored from its topic has what was committed, and not what came after: that is processed, and
// sent on, once.
func TestReusedTopicEndsAtTheCommittedOffset(t *testing.T) {
	for _, handle := range []state.KeyValue[string, string]{derived, derived.InMemory()} {
		for _, g := range []stream.Guarantee{stream.ExactlyOnce, stream.AtLeastOnce} {
			d := streamtest.New(t, build(t, func(b *stream.Builder) {
				stream.TableFrom(b, pairs, stream.ReuseTopic()).As(handle).ToStream().To(out)
			}), streamtest.Guarantee(g))
			in, o := streamtest.Input(d, pairs), streamtest.Output(d, out)
			pipe := func(rs ...stream.Record[string, string]) {
				t.Helper()
				for _, r := range rs {
					if err := in.PipeRecord(r); err != nil {
						t.Fatal(err)
					}
				}
			}
			committed := []string{"a=2", "c=1"}
			pipe(rec("a", "1", 1), rec("b", "1", 2), rec("null", "x", 3), rec("a", "2", 4), rec("b", "null", 5), rec("c", "1", 6))
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
			o.All()
			pipe(rec("a", "3", 7), rec("b", "2", 8)) // aborted
			d.Abort()
			expectRows(t, streamtest.Rows(d, derived), committed...)
			d.Restart()
			expectRows(t, streamtest.Rows(d, derived), committed...)
			in = streamtest.Input(d, pairs)
			in.Append(rec("c", "2", 9)) // never processed
			d.RestartWithoutState()
			expectRows(t, streamtest.Rows(d, derived), committed...)
			if err := errors.Join(d.Settle(), d.Commit()); err != nil {
				t.Fatal(err)
			}
			expectRows(t, streamtest.Rows(d, derived), "a=3", "b=2", "c=2")
			if got := o.All(); g == stream.ExactlyOnce {
				expect(t, got, "a=3@7", "b=2@8", "c=2@9")
			}
		}
	}
}

// measured has a rule for timestamps, which counts how often it was asked.
func measured(asked *atomic.Int64) stream.Topic[string, int64] {
	return numbers.WithTimestamps(func(r stream.Record[string, int64], partitionTime int64) int64 {
		asked.Add(1)
		switch {
		case r.Value < 0:
			return -1
		case r.Value == 0:
			return partitionTime
		}
		return 1000 * r.Value
	})
}

// Restored rows are what the table's operators made of the topic's records: with its rule for timestamps and the
// store's serdes, without records that were dropped.
func TestReusedTopicIsReadAsItsSourceReadsIt(t *testing.T) {
	var asked atomic.Int64
	store := state.NewKeyValue("measures", serde.String, serde.JSON[int64]())
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		stream.TableFrom(b, measured(&asked), stream.ReuseTopic()).As(store).ToStream().ForEach(func(string, int64) {})
	}))
	in := streamtest.Input(d, numbers)
	for _, r := range []struct {
		key   string
		value int64
	}{{"a", 3}, {"b", 2}, {"a", -1}, {"b", 0}, {"c", 0}, {"c", -5}} {
		in.Pipe(r.key, r.value, 0)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	for _, restart := range []func(){func() {}, d.RestartWithoutState} {
		restart()
		var got []string
		for _, r := range streamtest.Rows(d, store) {
			got = append(got, fmt.Sprintf("%s=%d@%d", r.Key, r.Value, r.Timestamp))
		}
		if want := []string{"a=3@3000", "b=0@3000", "c=0@3000"}; !slices.Equal(got, want) {
			t.Errorf("rows %q, want %q", got, want)
		}
	}
	if n := asked.Load(); n != 12 {
		t.Errorf("%d records were read, want 6 twice", n)
	}
}

// A store that an application left on disk is only brought up to date, unless it has been there for so long that the
// topic may have forgotten deletions.
func TestReusedTopicIsReadFromWhereTheStoreIs(t *testing.T) {
	var asked atomic.Int64
	topology := build(t, func(b *stream.Builder) {
		stream.TableFrom(b, measured(&asked), stream.ReuseTopic()).As(counts).ToStream().ForEach(func(string, int64) {})
	})
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "numbers", Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}}}); err != nil {
		t.Fatal(err)
	}
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	var now fixedClock
	for i, c := range []struct {
		later time.Duration
		reads int64 // two records come before each run
	}{{0, 2}, {11 * time.Hour, 2}, {11 * time.Hour, 2}, {13 * time.Hour, 2 + 6}} {
		now += fixedClock(c.later)
		b := log.NewBlock()
		for _, key := range []string{"a", "b"} {
			value, err := serde.Int64.Append(nil, int64(i+1))
			if err != nil {
				t.Fatal(err)
			}
			b.Append(0, []byte(key), value, nil)
		}
		if _, err := p.Append(t.Context(), log.TopicPartition{Topic: "numbers"}, b); err != nil {
			t.Fatal(err)
		}
		before := asked.Load()
		if err := run(t, topology, stream.Config{ApplicationID: "app", Broker: lg, Logger: discard, Clock: now}, func(app *stream.App) {
			if err := app.WaitIdle(t.Context()); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if n := asked.Load() - before; n != c.reads {
			t.Errorf("run %d: %d records were read, want %d", i, n, c.reads)
		}
	}
}

// fixedClock stands still, so long after 1970.
type fixedClock time.Duration

func (c fixedClock) Now() time.Time { return time.Unix(0, int64(c)) }

// The application writes no changelog, and does not run on a topic that forgets.
func TestReusedTopicHasToKeepRows(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		stream.TableFrom(b, pairs, stream.ReuseTopic()).As(derived).ToStream().ForEach(func(string, string) {})
	})
	for _, c := range []struct {
		config map[string]string
		ok     bool
	}{
		{nil, false},
		{map[string]string{"cleanup.policy": "compact"}, true},
		{map[string]string{"cleanup.policy": "compact,delete"}, false},
		{map[string]string{"retention.ms": "-1"}, true},
		{map[string]string{"retention.ms": "-1", "retention.bytes": "1000000"}, false},
	} {
		lg := openLog(t, t.TempDir(), 1)
		if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "pairs", Partitions: 1, Config: c.config}}); err != nil {
			t.Fatal(err)
		}
		err := run(t, topology, stream.Config{ApplicationID: "app", Broker: lg, Logger: discard}, func(app *stream.App) {
			if err := app.WaitIdle(t.Context()); err != nil && c.ok {
				t.Error(err)
			}
		})
		if c.ok != (err == nil) || !c.ok && !strings.Contains(err.Error(), `reuse_topic_test.go:`) || !c.ok && !strings.Contains(err.Error(), `TableFrom: ReuseTopic: topic "pairs" forgets rows`) {
			t.Errorf("%v: %v", c.config, err)
		}
		infos, err := lg.Topics(t.Context(), []string{"app-derived-changelog"})
		if err != nil || !errors.Is(infos[0].Err, log.ErrUnknownTopic) {
			t.Errorf("%v: there is a changelog: %+v, %v", c.config, infos, err)
		}
		if err := lg.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReuseTopicBuildErrors(t *testing.T) {
	for _, c := range []struct {
		build func(b *stream.Builder)
		want  string
	}{
		{func(b *stream.Builder) { stream.From(b, pairs, stream.ReuseTopic()) }, "From: ReuseTopic is for TableFrom"},
		{func(b *stream.Builder) {
			stream.FromAll(b, []stream.Topic[string, string]{left, right}, stream.ReuseTopic())
		}, "FromAll: ReuseTopic is for TableFrom"},
		{func(b *stream.Builder) {
			stream.TableFrom(b, pairs, stream.ReuseTopic(), stream.StartAt(stream.Latest))
		},
			"TableFrom: ReuseTopic: the topic is read from its end"},
		{func(b *stream.Builder) { stream.TableFrom(b, pairs, stream.ReuseTopic()).As(past) },
			"TableFrom: ReuseTopic: a versioned table needs a changelog of its own"},
	} {
		b := stream.NewBuilder()
		c.build(b)
		if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "reuse_topic_test.go:") {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// Of several partitions, and with tables above and below: whatever happens, what is aggregated in the end is what
// follows from the last value of each key.
func TestReusedTopicsAgreeWithModel(t *testing.T) {
	for _, c := range tableCases {
		topology := build(t, func(b *stream.Builder) {
			table := c.build(stream.TableFrom(b, lefts, stream.ReuseTopic()), stream.TableFrom(b, rights, stream.ReuseTopic()))
			g := stream.GroupTable(table, func(k, v string) (string, string) { return groupOf(v), k + "=" + v })
			stream.AggregateTable(g, func() map[string]int64 { return map[string]int64{} }, inBag, outOfBag).As(groups)
			g.Count().As(sizes)
		})
		for _, emit := range []stream.Emit{stream.EachUpdate, stream.OnCommit} {
			t.Run(fmt.Sprintf("%s, emit %d", c.name, emit), func(t *testing.T) {
				for seed := range uint64(2) {
					runTables(t, topology, c.model, seed+10, streamtest.Emit(emit), streamtest.Partitions(3))
				}
			})
		}
	}
}
