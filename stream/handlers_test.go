package stream_test

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// fussy is a serde of strings that cannot stand some of them.
type fussy struct{}

func (fussy) Append(dst []byte, s string) ([]byte, error) {
	switch {
	case strings.Contains(s, "unwritable"):
		return append(dst, "half of it"...), errors.New("cannot be written")
	case strings.Contains(s, "write-panic"):
		panic("panic in Append")
	}
	return append(dst, s...), nil
}

func (fussy) Decode(b []byte) (string, error) {
	switch s := string(b); {
	case strings.Contains(s, "unreadable"):
		return "", errors.New("cannot be read")
	case strings.Contains(s, "read-panic"):
		panic("panic in Decode")
	}
	return string(b), nil
}

var (
	fussyIn  = stream.NewTopic[string, string]("pairs", fussy{}, fussy{})
	fussyOut = stream.NewTopic[string, string]("out", fussy{}, fussy{})
	letters  = stream.NewTopic("dead", serde.Nullable(serde.String), serde.Nullable(serde.String))
)

// pipe appends records and processes what follows; an error of the topology fails the test.
func pipe(t testing.TB, d *streamtest.Driver, rs ...stream.Record[string, string]) {
	t.Helper()
	in := streamtest.Input(d, pairs)
	for _, r := range rs {
		if err := in.PipeRecord(r); err != nil {
			t.Fatal(err)
		}
	}
}

// deadLetters shows what is in the dead-letter topic: key=value@timestamp, its own headers, and the reason.
func deadLetters(d *streamtest.Driver) []string {
	var all []string
	for _, r := range streamtest.Output(d, letters).Committed() {
		s := fmt.Sprintf("%s=%s@%d", shown(r.Key), shown(r.Value), r.Timestamp)
		for _, h := range r.Headers {
			name, ours := strings.CutPrefix(h.Key, "__streams.errors.")
			switch {
			case name == "stacktrace":
				s += " stack"
			case h.Key == "__moldau.errors.operator":
				op, at, _ := strings.Cut(string(h.Value), " at ")
				s += " at:" + op
				if !strings.HasPrefix(at, "handlers_test.go:") {
					s += " WRONG PLACE " + at
				}
			case ours && (name == "exception" || name == "message" || name == "topic" || name == "partition" || name == "offset"):
				s += fmt.Sprintf(" %s:%s", name, h.Value)
			default:
				s += fmt.Sprintf(" OWN %s:%s", h.Key, h.Value)
			}
		}
		all = append(all, s)
	}
	return all
}

func shown(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// What cannot be decoded, key or value, by error or panic, and what the timestamp rule cannot stand, is passed over
// and lies in the dead-letter topic as it was, in the same transaction; aborts make no more of it.
func TestUndecodableToDeadLetters(t *testing.T) {
	var told []string
	handler := func(f stream.FailedRecord) stream.Answer {
		told = append(told, fmt.Sprintf("%s/%d@%d %s=%s %s %s", f.Topic, f.Partition, f.Offset, f.Key, f.Value, f.Operator, f.Name))
		return stream.DeadLetter
	}
	topology := build(t, func(b *stream.Builder) {
		in := fussyIn.WithTimestamps(func(r stream.Record[string, string], _ int64) int64 {
			if r.Key == "timeless" {
				panic("no time")
			}
			return r.Timestamp
		})
		stream.From(b, in).To(out)
	})
	d := streamtest.New(t, topology, streamtest.OnDeserializationError(handler), streamtest.DeadLetterTopic("dead"))
	h := stream.Header{Key: "h", Value: []byte("1")}
	pipe(t, d, rec("a", "1", 1), rec("a", "unreadable", 2, h), rec("unreadable", "null", 3), rec("read-panic", "x", 4), rec("timeless", "y", 5))
	d.Abort() // and all of it again
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	pipe(t, d, rec("b", "2", 6))
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	expect(t, streamtest.Output(d, out).Committed(), "a=1@1", "b=2@6")
	same(t, "dead letters", deadLetters(d),
		`a=unreadable@2 OWN h:1 exception:*errors.errorString message:decode value: cannot be read topic:pairs partition:0 offset:1 at:From "pairs"`,
		`unreadable=null@3 exception:*errors.errorString message:decode key: cannot be read topic:pairs partition:0 offset:2 at:From "pairs"`,
		`read-panic=x@4 exception:panic message:panic: panic in Decode topic:pairs partition:0 offset:3 at:From "pairs" stack`,
		`timeless=y@5 exception:panic message:panic: no time topic:pairs partition:0 offset:4 at:From "pairs" stack`)
	if len(told) != 8 || told[0] != "pairs/0@1 a=unreadable From pairs" {
		t.Errorf("the handler was told %q", told)
	}
	if got := d.DroppedBy("pairs"); got != (stream.Dropped{Undecodable: 4}) {
		t.Errorf("dropped %+v", got)
	}
}

// A function that fails costs its operator the record: what it sent on before stays, and siblings have theirs.
func TestFailingFunctions(t *testing.T) {
	boom := func(v string) bool {
		if v == "boom" {
			panic("boom")
		}
		return true
	}
	for _, c := range []struct {
		name string
		op   func(s stringStream) stringStream
		want []string // of the operator, for the records a=x, b=boom, c=y
	}{
		{"Filter", func(s stringStream) stringStream {
			return s.Filter(func(_, v string) bool { return boom(v) })
		}, []string{"a=x@1", "c=y@3"}},
		{"MapValues", func(s stringStream) stringStream {
			return stream.MapValues(s, func(v string) string { boom(v); return v })
		}, []string{"a=x@1", "c=y@3"}},
		{"FlatMapValues", func(s stringStream) stringStream {
			return stream.FlatMapValues(s, func(v string) iter.Seq[string] {
				return func(yield func(string) bool) {
					_ = yield("1"+v) && boom(v) && yield("2"+v)
				}
			})
		}, []string{"a=1x@1", "a=2x@1", "b=1boom@2", "c=1y@3", "c=2y@3"}},
		{"Branch", func(s stringStream) stringStream {
			sp := s.Split()
			sp.Branch(func(_, v string) bool { return !boom(v) })
			return sp.Rest()
		}, []string{"a=x@1", "c=y@3"}},
		{"ProcessFunc", func(s stringStream) stringStream {
			return stream.ProcessFunc(s, func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
				if err := ctx.Forward(r.WithValue("first")); err != nil {
					return err
				}
				if r.Value == "boom" {
					return errors.New("boom")
				}
				return ctx.Forward(r)
			})
		}, []string{"a=first@1", "a=x@1", "b=first@2", "c=first@3", "c=y@3"}},
		{"Print", func(s stringStream) stringStream {
			s.Print(brokenWriter{})
			return s
		}, []string{"a=x@1", "b=boom@2", "c=y@3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after := out.WithName("before"), out.WithName("after")
			topology := build(t, func(b *stream.Builder) {
				s := stream.From(b, pairs)
				s.To(before)
				c.op(s).To(out)
				s.To(after)
			})
			var told []stream.FailedRecord
			d := streamtest.New(t, topology, streamtest.OnProcessingError(func(f stream.FailedRecord) stream.Answer {
				told = append(told, f)
				return stream.Skip
			}))
			pipe(t, d, rec("a", "x", 1), rec("b", "boom", 2), rec("c", "y", 3))
			expect(t, streamtest.Output(d, out).All(), c.want...)
			for _, o := range []stream.Topic[string, string]{before, after} {
				expect(t, streamtest.Output(d, o).All(), "a=x@1", "b=boom@2", "c=y@3")
			}
			f := told[len(told)/2]
			if f.Operator != c.name || !strings.HasPrefix(f.At, "handlers_test.go:") || string(f.Value) != "boom" || f.Offset != 1 {
				t.Errorf("the handler was told %+v", f)
			}
			if got := d.Dropped(); got != (stream.Dropped{Failed: int64(len(told))}) {
				t.Errorf("dropped %+v, and the handler was asked %d times", got, len(told))
			}
		})
	}
}

// Without a handler, and with one that answers Fail, everything stops as before; and a handler that has no answer to
// follow stops it too, with both reasons.
func TestHandlersThatStop(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		stream.MapValues(stream.From(b, pairs), func(string) string { panic("boom") }).To(out)
	})
	for name, c := range map[string]struct {
		handler stream.ErrorHandler
		want    []string
	}{
		"none":              {nil, []string{"panic: boom"}},
		"Fail":              {stream.Always(stream.Fail), []string{"panic: boom"}},
		"panic":             {func(stream.FailedRecord) stream.Answer { panic("no idea") }, []string{"the handler panicked", "no idea", "boom"}},
		"DeadLetter":        {stream.Always(stream.DeadLetter), []string{"no topic is set", "Config.DeadLetterTopic", "boom"}},
		"topic not created": {stream.Always(stream.DeadLetterTo("nowhere")), []string{`dead-letter topic "nowhere"`, "unknown topic", "boom"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, topology, streamtest.OnProcessingError(c.handler))
			err := streamtest.Input(d, pairs).PipeRecord(rec("a", "x", 1))
			pe, ok := errors.AsType[*stream.ProcessingError](err)
			if !ok || pe.Operator != "MapValues" || pe.Topic != "pairs" || pe.Offset != 0 {
				t.Fatalf("got %v, want a ProcessingError with the place", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// State is what the records say that did not fail: of a row nothing is done by half, whatever fails, and aborts and
// restarts make no difference.
func TestFailingFunctionsKeepState(t *testing.T) {
	lists := state.NewKeyValue("lists", serde.String, serde.JSON[[]string]())
	topology := build(t, func(b *stream.Builder) {
		stream.Aggregate(stream.GroupByKey(stream.From(b, pairs)), stream.Zero[[]string], func(_, v string, l []string) []string {
			if len(l) > 0 {
				l[0] += "!" // in place, and then perhaps in vain
			}
			if v == "boom" {
				panic("boom")
			}
			return append(l, v)
		}).As(lists)
	})
	for _, emit := range []stream.Emit{stream.EachUpdate, stream.OnCommit} {
		d := streamtest.New(t, topology, streamtest.OnProcessingError(stream.Always(stream.DeadLetter)), streamtest.DeadLetterTopic("dead"),
			streamtest.Emit(emit), streamtest.Partitions(2))
		pipe(t, d, rec("k", "1", 1), rec("k", "boom", 2), rec("k", "2", 3))
		d.Abort()
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		pipe(t, d, rec("k", "boom", 4), rec("k", "3", 5))
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		d.RestartWithoutState()
		if got := fmt.Sprint(streamtest.Rows(d, lists)); got != "[{k [1!! 2 3] 5}]" {
			t.Errorf("row %s", got)
		}
		if got := deadLetters(d); len(got) != 2 || !strings.HasPrefix(got[0], "k=boom@2 ") || !strings.HasPrefix(got[1], "k=boom@4 ") {
			t.Errorf("dead letters %q", got)
		}
	}
}

// A record that cannot be encoded, by error or panic, is passed over; what is before and after it in its block stays.
// The sinks beside have theirs.
func TestUnwritableRecords(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		s := stream.From(b, pairs)
		s.To(fussyOut, stream.Named("sink"))
		s.To(out.WithName("beside"))
	})
	var told []string
	d := streamtest.New(t, topology, streamtest.OnProductionError(func(f stream.FailedRecord) stream.Answer {
		told = append(told, fmt.Sprintf("%s %s to %s/%d %q: %v", f.Operator, f.Name, f.Output.Topic, f.Output.Partition, f.Output.Key, f.Err)[:40])
		return stream.DeadLetterTo("dead")
	}), streamtest.Topics("dead"))
	all := []stream.Record[string, string]{
		rec("a", "1", 1), rec("a", "unwritable", 2), rec("write-panic", "x", 3), rec("b", "write-panic", 4), rec("null", "unwritable", 5), rec("c", "2", 6),
	}
	for _, r := range all {
		streamtest.Input(d, pairs).Append(r)
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	expect(t, streamtest.Output(d, out).Committed(), "a=1@1", "c=2@6")
	expect(t, streamtest.Output(d, out.WithName("beside")).Committed(), showAll(all)...)
	if got := deadLetters(d); len(got) != 4 || !strings.HasPrefix(got[1], "write-panic=x@3 exception:panic") {
		t.Errorf("dead letters\n%s", strings.Join(got, "\n"))
	}
	if len(told) != 4 || !strings.HasPrefix(told[0], `To sink to out/0 "a": encode value: `) || !strings.HasPrefix(told[1], `To sink to out/-1 "": panic`) {
		t.Errorf("the handler was told %q", told)
	}
	if got := d.DroppedBy("sink"); got != (stream.Dropped{Unwritten: 4}) {
		t.Errorf("dropped %+v", got)
	}
}

// longest is how long the value of a record with a key of one byte can be that a topic takes.
func longest(maxMessageBytes int, hs ...stream.Header) int {
	const batch = 61 // bytes of a batch without records
	n := maxMessageBytes - batch
	for log.RecordBytes(1, n, hs) > maxMessageBytes-batch {
		n--
	}
	return n
}

// lengths shows records by the lengths of their values.
func lengths(rs []stream.Record[string, string]) (all []string) {
	for _, r := range rs {
		all = append(all, fmt.Sprintf("%s=%d", r.Key, len(r.Value)))
	}
	return all
}

// A record that is larger than its topic takes, by a byte, is passed over, before it can spoil the epoch: what goes with
// it is written, and aborts make no more of it. Its headers count.
func TestRecordsTooLarge(t *testing.T) {
	h := stream.Header{Key: "h", Value: []byte("1234")}
	fits, fitsWithHeader := longest(log.DefaultMaxMessageBytes), longest(log.DefaultMaxMessageBytes, h)
	topology := build(t, func(b *stream.Builder) {
		grow := func(v string) string {
			n, err := strconv.Atoi(v)
			if err != nil {
				panic(err)
			}
			return strings.Repeat("x", n)
		}
		s := stream.MapValues(stream.From(b, pairs), grow)
		s.To(out, stream.Named("sink"))
		stream.MapValues(s, func(v string) string { return v[:1] }).To(out.WithName("beside"))
	})
	var told []string
	d := streamtest.New(t, topology, streamtest.OnProductionError(func(f stream.FailedRecord) stream.Answer {
		o := f.Output
		told = append(told, fmt.Sprintf("%s@%d %s %s to %s/%d %s=%d %d", f.Topic, f.Offset, f.Operator, f.Name, o.Topic, o.Partition, o.Key, len(o.Value), len(o.Headers)))
		if !errors.Is(f.Err, log.ErrRecordTooLarge) || !strings.Contains(f.Err.Error(), "topic out takes 1048527") {
			t.Errorf("it is told %v", f.Err)
		}
		return stream.DeadLetterTo("dead")
	}), streamtest.Topics("dead"))
	in := []stream.Record[string, string]{
		rec("a", "1", 1), rec("b", fmt.Sprint(fits), 2), rec("c", fmt.Sprint(fits+1), 3), rec("d", fmt.Sprint(fitsWithHeader), 4, h),
		rec("e", fmt.Sprint(fitsWithHeader+1), 5, h), rec("f", "2", 6),
	}
	pipe(t, d, in...)
	d.Abort() // and all of it again
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	same(t, "records", lengths(streamtest.Output(d, out).Committed()), "a=1", fmt.Sprint("b=", fits), fmt.Sprint("d=", fitsWithHeader), "f=2")
	same(t, "beside", lengths(streamtest.Output(d, out.WithName("beside")).Committed()), "a=1", "b=1", "c=1", "d=1", "e=1", "f=1")
	want := []string{
		fmt.Sprintf("pairs@2 To sink to out/0 c=%d 0", fits+1),
		fmt.Sprintf("pairs@4 To sink to out/0 e=%d 1", fitsWithHeader+1),
	}
	same(t, "the handler", told, append(want, want...)...)
	if got := deadLetters(d); len(got) != 2 || !strings.HasPrefix(got[0], fmt.Sprintf("c=%d@3 exception:*errors.errorString message:log: record too large", fits+1)) {
		t.Errorf("dead letters\n%s", strings.Join(got, "\n"))
	}
	if got := d.DroppedBy("sink"); got != (stream.Dropped{Unwritten: 2}) {
		t.Errorf("dropped %+v", got)
	}
}

// By the limits of the topics themselves, those that are looked up too: what is too large is passed over; a dead letter
// that is too large itself, and a record too large without a handler, stop the application, with operator and input.
func TestRunWithRecordsTooLarge(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		byName := func(r stream.Record[string, string]) stream.Topic[string, string] { return out.WithName(r.Key) }
		stream.MapValues(stream.From(b, pairs), func(v string) string { return v + v }).ToFunc(byName)
	})
	for _, c := range []struct {
		name    string
		dead    int // max.message.bytes
		handler stream.ErrorHandler
		written []string
		stops   string
	}{
		{"skipped", 1000, stream.Always(stream.Skip), []string{"a=20"}, ""},
		{"dead letter", 2000, stream.Always(stream.DeadLetter), []string{"a=20"}, ""},
		{"dead letter too large", 600, stream.Always(stream.DeadLetter), nil, "the dead letter of the record: log: record too large"},
		{"no handler", 1000, nil, nil, "ToFunc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lg := openLog(t, filepath.Join(t.TempDir(), "log"), 1)
			defer lg.Close()
			limit := func(n int) map[string]string { return map[string]string{"max.message.bytes": fmt.Sprint(n)} }
			if err := lg.CreateTopics(t.Context(), []log.TopicSpec{
				{Name: "pairs", Partitions: 1}, {Name: "a", Partitions: 1, Config: limit(500)}, {Name: "dead", Partitions: 1, Config: limit(c.dead)},
			}); err != nil {
				t.Fatal(err)
			}
			p, err := lg.NewProducer(log.ProducerSpec{})
			if err != nil {
				t.Fatal(err)
			}
			b := log.NewBlock()
			b.Append(1, []byte("a"), []byte(strings.Repeat("x", 300)), nil)
			b.Append(2, []byte("a"), []byte("0123456789"), nil)
			if _, err := p.Append(t.Context(), log.TopicPartition{Topic: "pairs"}, b); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			err = run(t, topology, stream.Config{Broker: lg, OnProductionError: c.handler, DeadLetterTopic: "dead"}, func(app *stream.App) {
				if err := app.WaitIdle(t.Context()); (err != nil) != (c.stops != "") {
					t.Error(err)
				}
			})
			switch {
			case c.stops == "" && err != nil:
				t.Error(err)
			case c.stops != "" && (!errors.Is(err, log.ErrRecordTooLarge) || !strings.Contains(err.Error(), c.stops) || !strings.Contains(err.Error(), "pairs")):
				t.Errorf("got error %v, want one that says %q", err, c.stops)
			}
			same(t, "written", lengths(slices.Collect(committed(t, lg, "a", 1))), c.written...)
		})
	}
}

// The processing handler is not asked about sinks' serdes, nor the production handler about functions.
func TestHandlersHaveTheirOwn(t *testing.T) {
	topology := build(t, func(b *stream.Builder) {
		stream.MapValues(stream.From(b, pairs), func(v string) string {
			if v == "boom" {
				panic(v)
			}
			return v
		}).To(fussyOut)
	})
	skip := stream.Always(stream.Skip)
	for v, opt := range map[string]streamtest.Option{
		"boom":       streamtest.OnProductionError(skip),
		"unwritable": streamtest.OnProcessingError(skip),
	} {
		d := streamtest.New(t, topology, opt, streamtest.OnDeserializationError(skip))
		if err := streamtest.Input(d, pairs).PipeRecord(rec("a", v, 1)); err == nil {
			t.Errorf("%s: passed over by a handler of something else", v)
		}
	}
}

// A guarded way costs no allocation per record.
func TestHandlersDoNotAllocate(t *testing.T) {
	b := newBenchWith(t, countChain(t), 0, benchRecords(perEpoch), stream.Config{
		OnDeserializationError: stream.Always(stream.Skip), OnProcessingError: stream.Always(stream.Skip), OnProductionError: stream.Always(stream.Skip),
	})
	b.process(t)
	if perRun := testing.AllocsPerRun(20, func() { b.process(t) }); perRun > perEpoch/100 {
		t.Errorf("%v allocations for %d records", perRun, perEpoch)
	}
}
