package stream_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/streamtest"
)

func foreignStrings(b *stream.Builder) stringTable {
	return stream.JoinForeign(stream.TableFrom(b, left), stream.TableFrom(b, right), valueAsKey, dashed)
}

// What a join of ours does not lose, and Kafka Streams' does: the row moves on to where there is nothing, and
// changes there, before it hears so. The first of these changes is answered, but stale by then; the second is not.
func TestForeignJoinTakesResultBack(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		to := func(_, v string) (string, bool) { return v[:1], true }
		stream.JoinForeign(stream.TableFrom(b, left), stream.TableFrom(b, right), to, dashed).ToStream().To(out)
	}))
	l, r, o := streamtest.Input(d, left), streamtest.Input(d, right), streamtest.Output(d, out)
	r.Pipe("A", "X", 1*time.Millisecond)
	l.Pipe("k", "A1", 2*time.Millisecond)
	expect(t, o.All(), "k=A1-X@2")
	l.Append(rec("k", "B1", 3))
	l.Append(rec("k", "B2", 4))
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	expect(t, o.All(), "k=null@4")
	if got := d.Dropped(); got.Total() != 0 { // no record is lost by it
		t.Errorf("dropped %+v, want none", got)
	}
}

// Records are dropped and counted as Kafka Streams counts them; headers are those of the record that set a result
// off, on either side.
func TestForeignJoinHeadersAndDropped(t *testing.T) {
	h := func(v string) stream.Header { return stream.Header{Key: "h", Value: []byte(v)} }
	for _, c := range []struct {
		name    string
		join    func(l, r stringTable) stringTable
		want    []string
		dropped streamtest.Dropped
	}{
		{"inner", func(l, r stringTable) stringTable {
			return stream.JoinForeign(l, r, noDash, dashed)
		}, []string{"k=A-X@2 h:2", "k=A-Y@3 h:3", "k=null@4 h:4"}, streamtest.Dropped{NullKey: 4}},
		{"left", func(l, r stringTable) stringTable {
			return stream.LeftJoinForeign(l, r, noDash, dashedLeft)
		}, []string{"k=A-X@2 h:2", "k=A-Y@3 h:3", "k=--null@4 h:4", "k=--null@5 h:5", "k=null@6 h:6"}, streamtest.Dropped{NullKey: 2}},
	} {
		d := streamtest.New(t, build(t, func(b *stream.Builder) {
			c.join(stream.TableFrom(b, left), stream.TableFrom(b, right)).ToStream().To(out)
		}))
		l, r, o := streamtest.Input(d, left), streamtest.Input(d, right), streamtest.Output(d, out)
		r.Append(rec("null", "X", 0))
		l.Append(rec("null", "A", 0))
		r.Append(rec("A", "X", 1, h("1")))
		for _, x := range []stream.Record[string, string]{
			rec("k", "A", 2, h("2")), rec("k", "-", 4, h("4")), rec("k", "-", 5, h("5")), rec("k", "null", 6, h("6")), rec("k", "null", 7, h("7")),
		} {
			if err := l.PipeRecord(x); err != nil {
				t.Fatal(err)
			}
			if x.Timestamp == 2 {
				if err := r.PipeRecord(rec("A", "Y", 3, h("3"))); err != nil {
					t.Fatal(err)
				}
			}
		}
		expect(t, o.All(), c.want...)
		if got := d.Dropped(); got != c.dropped {
			t.Errorf("%s: dropped %+v, want %+v", c.name, got, c.dropped)
		}
	}
}

func noDash(_, v string) (string, bool) { return v, v != "-" }

// Types that have a nil have it for null: a nil foreign key points nowhere, a nil result is no row. Values without
// bytes are values.
func TestForeignJoinNils(t *testing.T) {
	str := serde.Nullable(serde.String)
	ls, rs, os := stream.NewTopic("ls", str, str), stream.NewTopic("rs", str, str), stream.NewTopic("os", str, str)
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		key := func(_, v *string) (*string, bool) {
			if *v == "none" {
				return nil, true
			}
			return v, true
		}
		join := func(l, r *string) *string {
			if *r == "gone" {
				return nil
			}
			return new(*l + "+" + *r)
		}
		stream.JoinForeign(stream.TableFrom(b, ls), stream.TableFrom(b, rs), key, join).ToStream().To(os)
	}))
	l, r, o := streamtest.Input(d, ls), streamtest.Input(d, rs), streamtest.Output(d, os)
	for i, s := range []string{"", "gone", "x"} {
		r.Pipe(new(""), &s, time.Duration(i)*time.Millisecond)
		l.Pipe(new("k"), new(""), 0)
	}
	l.Pipe(new("k"), new("none"), 9*time.Millisecond)
	var got []string
	for _, x := range o.All() {
		if x.Value == nil {
			got = append(got, "null")
		} else {
			got = append(got, *x.Value)
		}
	}
	if want := "+ null null +x +x null"; strings.Join(got, " ") != want {
		t.Errorf("results %q, want %q", got, want)
	}
}

// unsorted encodes a map in the order that Go happens to go through it.
type unsorted struct{ serde.Serde[map[string]int] }

func (unsorted) Append(dst []byte, m map[string]int) ([]byte, error) {
	for k, v := range m {
		dst = fmt.Appendf(dst, "%s %d\n", k, v)
	}
	return dst, nil
}

func (unsorted) Decode(b []byte) (map[string]int, error) {
	m := map[string]int{}
	for line := range strings.Lines(string(b)) {
		var k string
		var v int
		if _, err := fmt.Sscanf(line, "%s %d", &k, &v); err != nil {
			return nil, err
		}
		m[k] = v
	}
	return m, nil
}

// Values that are encoded to other bytes each time would lose results in silence.
func TestForeignJoinRefusesUnstableValues(t *testing.T) {
	ls := stream.NewTopic[string, map[string]int]("ls", serde.String, unsorted{})
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		stream.JoinForeign(stream.TableFrom(b, ls), stream.TableFrom(b, right),
			func(string, map[string]int) (string, bool) { return "A", true },
			func(m map[string]int, r string) string { return r }, stream.Named("the-join")).ToStream().To(out)
	}))
	streamtest.Input(d, right).Pipe("A", "X", 0)
	m := map[string]int{}
	for i := range 20 {
		m[fmt.Sprint("k", i)] = i
	}
	err := streamtest.Input(d, ls).PipeRecord(stream.Record[string, map[string]int]{Key: "k", Value: m})
	var p *stream.ProcessingError
	if !errors.As(err, &p) || p.Operator != "JoinForeign" || p.Name != "the-join" || !strings.Contains(err.Error(), "encoded to other bytes each time") {
		t.Errorf("got %v", err)
	}
}

// What a foreign-key join cannot be made of is said with its line.
func TestForeignJoinBuildErrors(t *testing.T) {
	points := stream.NewTopic[string, point]("points", serde.String, serde.JSON[point]())
	for _, c := range []struct {
		name  string
		build func(b *stream.Builder)
		want  []string
	}{
		{"two builders", func(b *stream.Builder) {
			stream.JoinForeign(stream.TableFrom(b, left), stream.TableFrom(stream.NewBuilder(), right), valueAsKey, dashed)
		}, []string{"JoinForeign: the two tables are of different builders"}},
		{"left value", func(b *stream.Builder) {
			l := stream.MapTable(stream.TableFrom(b, left), func(string, string) point { return point{} })
			stream.LeftJoinForeign(l, stream.TableFrom(b, right), func(string, point) (string, bool) { return "", true },
				func(point, string, bool) string { return "" })
		}, []string{"LeftJoinForeign: no serde for value type stream_test.point of the left table", "With(keySerde, valueSerde)"}},
		{"right value", func(b *stream.Builder) {
			r := stream.MapTable(stream.TableFrom(b, right), func(string, string) point { return point{} })
			stream.JoinForeign(stream.TableFrom(b, left), r, valueAsKey, func(string, point) string { return "" })
		}, []string{"JoinForeign: no serde for value type stream_test.point of the right table"}},
		{"result", func(b *stream.Builder) {
			t := stream.JoinForeign(stream.TableFrom(b, left), stream.TableFrom(b, points), valueAsKey, func(_ string, p point) point { return p })
			stream.GroupTable(t, func(k string, p point) (string, string) { return k, k }).Count()
		}, []string{"JoinForeign: no serde for value type stream_test.point of the store"}},
		{"name taken", func(b *stream.Builder) {
			stream.From(b, pairs).Peek(func(string, string) {}, stream.Named("j-subscription-store"))
			stream.JoinForeign(stream.TableFrom(b, left), stream.TableFrom(b, right), valueAsKey, dashed, stream.Named("j"))
		}, []string{`JoinForeign: the name "j-subscription-store" is taken by Peek at foreign_test.go:`}},
		{"bad name", func(b *stream.Builder) {
			stream.JoinForeign(stream.TableFrom(b, left), stream.TableFrom(b, right), valueAsKey, dashed, stream.Named("a b"))
		}, []string{`JoinForeign "a b": Named:`}},
	} {
		b := stream.NewBuilder()
		c.build(b)
		_, err := b.Build()
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, w := range append(c.want, "foreign_test.go:") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not in:\n%v", c.name, w, err)
			}
		}
		if lines := strings.Count(err.Error(), "\n") + 1; lines > 1 {
			t.Errorf("%s: one fault is said in %d lines:\n%v", c.name, lines, err)
		}
	}
}

// Names follow from the two tables, or from the name given; each join has its own.
func TestForeignJoinNames(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		l, r := stream.TableFrom(b, left), stream.TableFrom(b, right)
		stream.JoinForeign(l, r, valueAsKey, dashed).ToStream().To(out)
		stream.JoinForeign(l, r, valueAsKey, dashed).ToStream().To(out)
		stream.LeftJoinForeign(l, r, valueAsKey, dashedLeft, stream.Named("mine")).ToStream().To(out)
	})
	text := topology.Describe()
	for _, want := range []string{
		"Processor: left.tableFrom1_right.tableFrom1.joinForeign1 (stores: [])",
		"(topic: left.tableFrom1_right.tableFrom1.joinForeign1-subscription-registration-repartition)",
		"(stores: [left.tableFrom1_right.tableFrom1.joinForeign1-subscription-store])",
		"(topic: left.tableFrom1_right.tableFrom1.joinForeign1-subscription-response-repartition)",
		"Processor: left.tableFrom1_right.tableFrom1.joinForeign2 (stores: [])",
		"Processor: mine (stores: [])",
		"(topic: mine-subscription-registration-repartition)",
		"(stores: [mine-subscription-store])",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "Sub-topology:"); n != 2 {
		t.Errorf("%d sub-topologies, want that of the left table and that of the right one:\n%s", n, text)
	}
}

// fill appends random rows to left and right, and makes them the model's.
func fill(t *testing.T, lg *log.Log, rng *rand.Rand, partitions map[string]int32, rows map[string]rowsOf, n int) {
	t.Helper()
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		topic, k, v := "left", fmt.Sprint("k", rng.IntN(20)), fmt.Sprint("t", rng.IntN(8))
		if rng.IntN(3) == 0 {
			topic, k, v = "right", v, fmt.Sprint(i)
		}
		value := []byte(v)
		if rows[topic][k] = v; rng.IntN(4) == 0 {
			delete(rows[topic], k)
			value = nil
		}
		b := log.NewBlock()
		b.Append(int64(i), []byte(k), value, nil)
		tp := log.TopicPartition{Topic: topic, Partition: bridge.KeyPartition([]byte(k), partitions[topic])}
		if _, err := p.Append(t.Context(), tp, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// committed reads the committed records of a topic of strings.
func committed(t *testing.T, lg *log.Log, topic string, partitions int32) iter.Seq[stream.Record[string, string]] {
	return func(yield func(stream.Record[string, string]) bool) {
		t.Helper()
		for p := range partitions {
			tp := log.TopicPartition{Topic: topic, Partition: p}
			ends, err := lg.Offsets(t.Context(), []log.TopicPartition{tp})
			if err != nil {
				t.Fatal(err)
			}
			r, err := lg.Open(t.Context(), tp, log.Earliest, log.ReadCommitted)
			if err != nil {
				t.Fatal(err)
			}
			recs := make([]log.Record, 100)
			for r.Position() < ends[tp].LastStable {
				n, err := r.Read(t.Context(), recs)
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range recs[:n] {
					o := stream.Record[string, string]{Key: string(x.Key), Value: string(x.Value), Timestamp: x.Timestamp}
					if x.Value == nil {
						o = o.WithNullValue()
					}
					if !yield(o) {
						return
					}
				}
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The whole runtime joins right, with tasks of both sides at work at the same time, over several runs; so it does
// where each hop between tasks is an epoch, and epochs are aborted and partitions lost.
func TestRunForeignJoin(t *testing.T) {
	for _, c := range []struct {
		name        string
		left, right int32
		unruly      bool
		config      stream.Config
	}{
		{"embedded", 3, 2, false, stream.Config{Workers: 3}},
		{"on commit", 2, 3, false, stream.Config{Workers: 3, Emit: stream.OnCommit}},
		{"at least once", 2, 2, false, stream.Config{Guarantee: stream.AtLeastOnce}},
		{"tiny epochs", 2, 3, false, stream.Config{MaxEpochBytes: 1, CommitInterval: time.Millisecond, CacheBytes: 1}},
		{"unruly", 2, 3, true, stream.Config{CommitInterval: 2 * time.Millisecond, MaxEpochBytes: 2000}},
		{"unruly, on commit", 3, 2, true, stream.Config{CommitInterval: 2 * time.Millisecond, Emit: stream.OnCommit}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lg, err := log.Open(t.TempDir(), log.Options{Sync: log.SyncOS, Logger: discard})
			if err != nil {
				t.Fatal(err)
			}
			defer lg.Close()
			if err := lg.CreateTopics(t.Context(), []log.TopicSpec{
				{Name: "left", Partitions: c.left}, {Name: "right", Partitions: c.right}, {Name: "out", Partitions: 2},
			}); err != nil {
				t.Fatal(err)
			}
			c.config.Broker, c.config.StateDir = lg, t.TempDir()
			if c.unruly {
				c.config.Broker = &unruly{Log: lg, rng: rand.New(rand.NewPCG(1, 1)), whole: true}
			}
			rng := rand.New(rand.NewPCG(uint64(c.left), uint64(c.right)))
			rows := map[string]rowsOf{"left": {}, "right": {}}
			topology := build(t, func(b *stream.Builder) { foreignStrings(b).ToStream().To(out) })
			for i := range 3 {
				if err := run(t, topology, c.config, func(app *stream.App) {
					for range i + 1 { // while it runs
						fill(t, lg, rng, map[string]int32{"left": c.left, "right": c.right}, rows, 200)
					}
					waitIdle(t)(app)
				}); err != nil {
					t.Fatal(err)
				}
				want := rowsOf{}
				for k, v := range rows["left"] {
					if target, ok := rows["right"][v]; ok {
						want[k] = v + "-" + target
					}
				}
				var rs []stream.Record[string, string]
				for r := range committed(t, lg, "out", 2) {
					rs = append(rs, r)
				}
				if got := lastOf(rs); !maps.Equal(got, want) {
					t.Errorf("run %d: got %v\nwant %v", i, got, want)
				}
			}
			if u, ok := c.config.Broker.(*unruly); ok {
				if t.Logf("%+v", u.counts); u.counts.aborted == 0 || u.counts.lost+u.counts.revoked == 0 {
					t.Errorf("too good a week: %+v", u.counts)
				}
			}
		})
	}
}
