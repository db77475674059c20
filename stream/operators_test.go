package stream_test

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// show writes a record in one line.
func show[K, V any](r stream.Record[K, V]) string {
	key, value := fmt.Sprint(r.Key), fmt.Sprint(r.Value)
	if r.KeyIsNull() {
		key = "null"
	}
	if r.ValueIsNull() {
		value = "null"
	}
	s := fmt.Sprintf("%s=%s@%d", key, value, r.Timestamp)
	for _, h := range r.Headers {
		s += fmt.Sprintf(" %s:%s", h.Key, h.Value)
	}
	return s
}

func showAll[K, V any](rs []stream.Record[K, V]) []string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = show(r)
	}
	return out
}

func expect[K, V any](t *testing.T, got []stream.Record[K, V], want ...string) {
	t.Helper()
	if g := showAll(got); !slices.Equal(g, want) {
		t.Errorf("got  %q\nwant %q", g, want)
	}
}

// rec is a record of pairs; "null" stands for null.
func rec(key, value string, at int64, headers ...stream.Header) stream.Record[string, string] {
	r := stream.Record[string, string]{Key: key, Value: value, Timestamp: at, Headers: headers}
	if key == "null" {
		r = r.WithNullKey()
	}
	if value == "null" {
		r = r.WithNullValue()
	}
	return r
}

var out = stream.NewTopic("out", serde.String, serde.String)

// stateless runs records through an operator from pairs to out.
func stateless(t *testing.T, f func(s *stream.Stream[string, string]) *stream.Stream[string, string]) (*streamtest.Driver, func(rs ...stream.Record[string, string]) []stream.Record[string, string]) {
	d := streamtest.New(t, build(t, func(b *stream.Builder) { f(stream.From(b, pairs)).To(out) }))
	in, o := streamtest.Input(d, pairs), streamtest.Output(d, out)
	return d, func(rs ...stream.Record[string, string]) []stream.Record[string, string] {
		for _, r := range rs {
			if err := in.PipeRecord(r); err != nil {
				t.Fatal(err)
			}
		}
		return o.All()
	}
}

type stringStream = *stream.Stream[string, string]

// What each stateless operator does with records, headers, and nulls that its types cannot hold.
func TestStatelessOperators(t *testing.T) {
	h := stream.Header{Key: "h", Value: []byte("1")}
	input := []stream.Record[string, string]{
		rec("a", "x y", 1, h), rec("b", "", 2), rec("null", "z", 3), rec("c", "null", 4), rec("null", "null", 5),
	}
	long := func(_, v string) bool { return len(v) > 1 }
	for _, c := range []struct {
		name string
		op   func(s stringStream) stringStream
		want []string
		drop streamtest.Dropped
	}{
		{"Filter", func(s stringStream) stringStream { return s.Filter(long) },
			[]string{"a=x y@1 h:1", "null=z@3", "c=null@4", "null=null@5"}, streamtest.Dropped{}},
		{"FilterNot", func(s stringStream) stringStream { return s.FilterNot(long) },
			[]string{"b=@2", "null=z@3", "c=null@4", "null=null@5"}, streamtest.Dropped{}},
		{"Map", func(s stringStream) stringStream {
			return stream.Map(s, func(k, v string) (string, string) { return v, k })
		}, []string{"x y=a@1 h:1", "=b@2"}, streamtest.Dropped{NullKey: 2, NullValue: 1}},
		{"MapValues", func(s stringStream) stringStream { return stream.MapValues(s, strings.ToUpper) },
			[]string{"a=X Y@1 h:1", "b=@2", "null=Z@3", "c=null@4", "null=null@5"}, streamtest.Dropped{}},
		{"MapValuesWithKey", func(s stringStream) stringStream {
			return stream.MapValuesWithKey(s, func(k, v string) string { return k + v })
		}, []string{"a=ax y@1 h:1", "b=b@2", "c=null@4"}, streamtest.Dropped{NullKey: 2}},
		{"SelectKey", func(s stringStream) stringStream {
			return stream.SelectKey(s, func(k, v string) string { return k + k })
		}, []string{"aa=x y@1 h:1", "bb=@2"}, streamtest.Dropped{NullKey: 2, NullValue: 1}},
		{"FlatMap", func(s stringStream) stringStream {
			return stream.FlatMap(s, func(k, v string) iter.Seq2[string, string] {
				return func(yield func(string, string) bool) {
					for w := range strings.FieldsSeq(v) {
						if !yield(w, k) {
							return
						}
					}
				}
			})
		}, []string{"x=a@1 h:1", "y=a@1 h:1"}, streamtest.Dropped{NullKey: 2, NullValue: 1}},
		{"FlatMapValues", func(s stringStream) stringStream { return stream.FlatMapValues(s, strings.FieldsSeq) },
			[]string{"a=x@1 h:1", "a=y@1 h:1", "null=z@3"}, streamtest.Dropped{}},
		{"FlatMapValuesWithKey", func(s stringStream) stringStream {
			return stream.FlatMapValuesWithKey(s, func(k, v string) iter.Seq[string] { return strings.FieldsSeq(k + v) })
		}, []string{"a=ax@1 h:1", "a=y@1 h:1", "b=b@2"}, streamtest.Dropped{NullKey: 2}},
		{"FlatMapValues to nothing", func(s stringStream) stringStream {
			return stream.FlatMapValues(s, func(string) iter.Seq[string] { return nil })
		}, nil, streamtest.Dropped{}},
		{"Merge", func(s stringStream) stringStream {
			return s.Filter(long).Merge(stream.MapValues(s, strings.ToUpper))
		}, []string{"a=x y@1 h:1", "a=X Y@1 h:1", "b=@2", "null=z@3", "null=Z@3", "c=null@4", "c=null@4", "null=null@5", "null=null@5"}, streamtest.Dropped{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, pipe := stateless(t, c.op)
			expect(t, pipe(input...), c.want...)
			if got := d.Dropped(); got != c.drop {
				t.Errorf("dropped %+v, want %+v", got, c.drop)
			}
		})
	}
}

func TestPeekAndForEach(t *testing.T) {
	var peeked, each []string
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		s := stream.From(b, pairs).Peek(func(k, v string) { peeked = append(peeked, k+v) })
		s.ForEach(func(k, v string) { each = append(each, k+v) })
		s.To(out)
	}))
	in := streamtest.Input(d, pairs)
	in.Pipe("a", "1", 0)
	in.Pipe("b", "2", time.Second)
	if want := []string{"a1", "b2"}; !slices.Equal(peeked, want) || !slices.Equal(each, want) {
		t.Errorf("peeked %q, each %q", peeked, each)
	}
	expect(t, streamtest.Output(d, out).All(), "a=1@0", "b=2@1000")
}

// Types with a nil carry null as nil, and functions see it.
func TestNullIsNil(t *testing.T) {
	nullable := stream.NewTopic("nullable", serde.Nullable(serde.String), serde.Nullable(serde.String))
	text := func(s *string) string {
		if s == nil {
			return "nil"
		}
		return *s
	}
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		s := stream.From(b, nullable)
		stream.Map(s, func(k, v *string) (string, string) { return text(k), text(v) }).To(out)
		stream.MapValues(s, func(v *string) *string {
			if v != nil && *v == "drop" {
				return nil
			}
			return v
		}).To(nullable.WithName("back"))
	}))
	in := streamtest.Input(d, nullable)
	a, b, drop := "a", "b", "drop"
	in.Pipe(&a, &b, 0)
	in.Pipe(nil, &drop, 0)
	in.Pipe(&a, nil, 0)
	expect(t, streamtest.Output(d, out).All(), "a=b@0", "nil=drop@0", "a=nil@0")
	var got []string
	for _, r := range streamtest.Output(d, nullable.WithName("back")).All() {
		got = append(got, text(r.Key)+"="+text(r.Value))
	}
	if want := []string{"a=b", "nil=nil", "a=nil"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTimestampsAndPartitioner(t *testing.T) {
	stamped := pairs.WithTimestamps(func(r stream.Record[string, string], partitionTimeMs int64) int64 {
		if r.Value == "drop" {
			return -1
		}
		if r.Value == "late" {
			return partitionTimeMs
		}
		return r.Timestamp + 1000
	})
	last := out.WithPartitioner(func(_ stream.Record[string, string], n int32) int32 { return n - 1 })
	d := streamtest.New(t, build(t, func(b *stream.Builder) { stream.From(b, stamped).To(last) }), streamtest.Partitions(3))
	in := streamtest.Input(d, pairs)
	for _, v := range []string{"x", "drop", "late", "y"} {
		in.Pipe("a", v, 5*time.Millisecond)
	}
	expect(t, streamtest.Output(d, out).All(), "a=x@1005", "a=late@1005", "a=y@1005")
	if n := d.Dropped().Timestamp; n != 1 {
		t.Errorf("%d dropped for their timestamp, want 1", n)
	}
}

// wordCountTopology is the thirty-line program.
func wordCountTopology(t testing.TB) *stream.Topology {
	return build(t, func(b *stream.Builder) {
		words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
		stream.GroupBy(words, func(_ []byte, w string) string { return w }).
			Count().As(counts).
			ToStream().To(wordCounts)
	})
}

func TestWordCount(t *testing.T) {
	d := streamtest.New(t, wordCountTopology(t))
	in, o := streamtest.Input(d, lines), streamtest.Output(d, wordCounts)
	in.Pipe(nil, "to be or not to be", time.Second)
	expect(t, o.All(), "to=1@1000", "be=1@1000", "or=1@1000", "not=1@1000", "to=2@1000", "be=2@1000")
	in.Pipe(nil, "not", 0)
	expect(t, o.All(), "not=2@1000") // the later of record's and row's timestamp
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	in.Pipe(nil, "be gone", 2*time.Second)
	d.Restart()
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	expect(t, o.All(), "be=3@2000", "gone=1@2000")
	if got := fmt.Sprint(streamtest.Rows(d, counts)); got != "[{be 3 2000} {gone 1 2000} {not 2 1000} {or 1 1000} {to 2 1000}]" {
		t.Errorf("rows %v", got)
	}
}

// With OnCommit each key is sent on once an epoch, with its last value.
func TestEmitOnCommit(t *testing.T) {
	d := streamtest.New(t, wordCountTopology(t), streamtest.Emit(stream.OnCommit))
	in, o := streamtest.Input(d, lines), streamtest.Output(d, wordCounts)
	in.Pipe(nil, "to be or not to be", time.Second)
	expect(t, o.All())
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	expect(t, o.All(), "to=2@1000", "be=2@1000", "or=1@1000", "not=1@1000")
	in.Pipe(nil, "be", 2*time.Second)
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	expect(t, o.All(), "be=3@2000")
}

func TestReduceAndAggregate(t *testing.T) {
	sums := stream.NewTopic("sums", serde.String, serde.Int64)
	lists := stream.NewTopic("lists", serde.String, serde.JSON[[]int64]())
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		g := stream.GroupByKey(stream.From(b, numbers))
		g.Reduce(func(old, v int64) int64 { return old + v }).ToStream().To(sums)
		// A negative number empties the list, and nil deletes the row.
		stream.Aggregate(g, stream.Zero[[]int64], func(_ string, v int64, l []int64) []int64 {
			if v < 0 {
				return nil
			}
			return append(l, v)
		}).As(state.NewKeyValue("lists-store", serde.String, serde.JSON[[]int64]())).ToStream().To(lists)
	}))
	in := streamtest.Input(d, numbers)
	for i, v := range []int64{3, 4, -1, 5} {
		in.Pipe("a", v, time.Duration(i)*time.Millisecond)
	}
	if err := in.PipeRecord(stream.Record[string, int64]{Key: "a"}.WithNullValue()); err != nil {
		t.Fatal(err)
	}
	if err := in.PipeRecord(stream.Record[string, int64]{Value: 9}.WithNullKey()); err != nil {
		t.Fatal(err)
	}
	expect(t, streamtest.Output(d, sums).All(), "a=3@0", "a=7@1", "a=6@2", "a=11@3")
	expect(t, streamtest.Output(d, lists).All(), "a=[3]@0", "a=[3 4]@1", "a=null@2", "a=[5]@3")
	if n := d.Dropped().NullKey; n != 2 {
		t.Errorf("%d dropped without a key, want 2", n)
	}
}

// Equal keys come together through the repartition topic, whatever partition they came from.
func TestRepartitionBringsKeysTogether(t *testing.T) {
	for _, parts := range []int{0, 3} {
		t.Run(fmt.Sprint(parts), func(t *testing.T) {
			d := streamtest.New(t, build(t, func(b *stream.Builder) {
				var opts []stream.RepartitionOption
				if parts > 0 {
					opts = append(opts, stream.Partitions(parts))
				}
				words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
				stream.GroupBy(words, func(_ []byte, w string) string { return w }, opts...).
					Count().As(counts).ToStream().To(wordCounts)
			}), streamtest.Partitions(4))
			in := streamtest.Input(d, lines)
			for range 8 { // lines without a key go round the partitions
				in.Pipe(nil, "a b c d e f", 0)
			}
			last := map[string]int64{}
			for _, r := range streamtest.Output(d, wordCounts).All() {
				last[r.Key] = max(last[r.Key], r.Value)
			}
			for _, w := range strings.Fields("a b c d e f") {
				if last[w] != 8 {
					t.Errorf("%s=%d, want 8", w, last[w])
				}
			}
		})
	}
}

// Within a task the record with the lowest timestamp is taken first, over all its topics.
func TestLowestTimestampFirst(t *testing.T) {
	other := pairs.WithName("other")
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		stream.FromAll(b, []stream.Topic[string, string]{pairs, other}).To(out)
	}))
	a, b := streamtest.Input(d, pairs), streamtest.Input(d, other)
	for _, at := range []int64{1, 3, 2, 9} {
		a.Append(rec("a", "", at))
	}
	for _, at := range []int64{2, 4, 5} {
		b.Append(rec("b", "", at))
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	expect(t, streamtest.Output(d, out).All(), "a=@1", "b=@2", "a=@3", "a=@2", "b=@4", "b=@5", "a=@9")
}

// A function that changes its aggregate in place must not change the old value that goes with the new one,
// nor what is stored.
func TestOldValueSurvivesChangeInPlace(t *testing.T) {
	for _, emit := range []stream.Emit{stream.EachUpdate, stream.OnCommit} {
		var got []string
		d := streamtest.New(t, build(t, func(b *stream.Builder) {
			table := stream.Aggregate(stream.GroupByKey(stream.From(b, numbers)), func() map[string]int64 { return map[string]int64{} },
				func(_ string, v int64, m map[string]int64) map[string]int64 {
					m["sum"] += v
					return m
				}).With(serde.String, serde.JSON[map[string]int64]())
			stream.Changes(table, func(k string, now, before map[string]int64, _, hasBefore bool) {
				got = append(got, fmt.Sprint(k, " ", before["sum"], " ", hasBefore, " ", now["sum"]))
				now["sum"] = -1 // nobody else's business
			})
		}), streamtest.Emit(emit))
		in := streamtest.Input(d, numbers)
		for _, v := range []int64{1, 2, 3} {
			in.Pipe("a", v, 0)
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		// With each update the first value before is what init gave, as in KStreamAggregate.
		want := []string{fmt.Sprintf("a 0 %t 1", emit == stream.EachUpdate), "a 1 true 3", "a 3 true 6"}
		if !slices.Equal(got, want) {
			t.Errorf("emit %d: got %q, want %q", emit, got, want)
		}
	}
}

// A deleted row leaves the table as a tombstone, not as an encoded nil: Nullable refuses to encode one.
func TestDeletedRowIsATombstone(t *testing.T) {
	last := stream.NewTopic("last", serde.String, serde.Nullable(serde.Int64))
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		stream.Aggregate(stream.GroupByKey(stream.From(b, numbers)), stream.Zero[*int64],
			func(_ string, v int64, _ *int64) *int64 {
				if v < 0 {
					return nil
				}
				return &v
			}).With(serde.String, serde.Nullable(serde.Int64)).ToStream().To(last)
	}))
	in := streamtest.Input(d, numbers)
	in.Pipe("a", 1, 0)
	in.Pipe("a", -1, 0)
	got := streamtest.Output(d, last).All()
	if len(got) != 2 || got[0].ValueIsNull() || !got[1].ValueIsNull() {
		t.Errorf("got %v", got)
	}
}

// Records without a key do not go into a repartition topic.
func TestNullKeysStayOutOfRepartitionTopics(t *testing.T) {
	keys := stream.NewTopic("keys", serde.Nullable(serde.String), serde.String)
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		s := stream.Map(stream.From(b, pairs), func(k, v string) (*string, string) {
			if k == "" {
				return nil, v
			}
			return &k, v
		}).With(serde.Nullable(serde.String), serde.String)
		stream.GroupByKey(s, stream.Named("regroup")).Count()
	}))
	in := streamtest.Input(d, pairs)
	in.Pipe("", "1", 0)
	in.Pipe("a", "2", 0)
	got := streamtest.Output(d, keys.WithName("test-regroup-repartition")).All()
	if len(got) != 1 || got[0].KeyIsNull() {
		t.Errorf("the topic has %v", got)
	}
	if n := d.Dropped().NullKey; n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
}
