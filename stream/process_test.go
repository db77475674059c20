package stream_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

var (
	procIn  = stream.NewTopic("in", serde.String, serde.String)
	procOut = stream.NewTopic("out", serde.String, serde.String)
	tallies = state.NewKeyValue("tallies", serde.String, serde.Int64)
)

// tally counts keys in a store that others may share, and keeps count of its own life.
type tally struct {
	life   *life
	counts *state.KeyValues[string, int64]
}

// life counts the calls of a processor's methods, over all that were made.
type life struct {
	made, begun, closed int
	failInit, failClose error
}

func (l *life) tally() *tally { l.made++; return &tally{life: l} }

func (p *tally) Init(ctx *stream.Context[string, string]) error {
	p.life.begun++
	p.counts = stream.StoreIn(ctx, tallies)
	return p.life.failInit
}

func (p *tally) Process(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
	before, err := p.counts.Get(r.Key)
	if err != nil {
		return err
	}
	if err := p.counts.Put(r.Key, before.V+1); err != nil {
		return err
	}
	if r.Value == "fail" {
		return errors.New("as asked")
	}
	return ctx.Forward(r.WithValue(fmt.Sprintf("%s%d", r.Value, before.V+1)))
}

func (p *tally) Close() error { p.life.closed++; return p.life.failClose }

func built(t *testing.T, build func(b *stream.Builder)) *stream.Topology {
	t.Helper()
	b := stream.NewBuilder()
	build(b)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func values[K, V any](rs []stream.Record[K, V]) (out []V) {
	for _, r := range rs {
		out = append(out, r.Value)
	}
	return out
}

// Each start of a task has a processor of its own, and its store is as of the last commit.
func TestProcessorsLife(t *testing.T) {
	var l life
	topology := built(t, func(b *stream.Builder) {
		stream.Process(stream.From(b, procIn), l.tally, stream.Stores(tallies)).To(procOut)
	})
	l = life{} // what checks of the supplier took
	d := streamtest.New(t, topology, streamtest.Partitions(3))
	in, out := streamtest.Input(d, procIn), streamtest.Output(d, procOut)
	if l != (life{made: 3, begun: 3}) {
		t.Errorf("at start: %+v", l)
	}
	in.Pipe("a", "x", 0)
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	in.Pipe("a", "y", 0)
	d.Abort()
	if l != (life{made: 6, begun: 6, closed: 3}) {
		t.Errorf("after an abort: %+v", l)
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	d.Restart()
	if l != (life{made: 9, begun: 9, closed: 6}) {
		t.Errorf("after a restart: %+v", l)
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	if got, want := values(out.All()), []string{"x1", "y2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProcessorsErrorsNameTheOperator(t *testing.T) {
	for name, c := range map[string]struct {
		l    life
		f    func(*stream.Context[string, string], stream.Record[string, string]) error
		want []string
	}{
		"Process": {want: []string{"as asked", `Process "tally"`, "record at in-0 offset 0", "process_test.go:"}},
		"Init":    {l: life{failInit: errors.New("no beginning")}, want: []string{"no beginning", `Process "tally"`, "process_test.go:"}},
		"panic": {
			f:    func(*stream.Context[string, string], stream.Record[string, string]) error { panic("oh") },
			want: []string{"panic: oh", `ProcessFunc "f"`},
		},
		"a child's, not passed on": {
			f: func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
				_ = ctx.Forward(r)
				return nil
			},
			want: []string{"as asked", `Process "tally"`},
		},
		"an unknown child": {
			f: func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
				_ = ctx.ForwardTo("tolly", r)
				return nil
			},
			want: []string{`ForwardTo at process_test.go:`, `no child named "tolly"`, `["tally"]`, `ProcessFunc "f"`},
		},
		"a store that was not given": {
			f: func(ctx *stream.Context[string, string], _ stream.Record[string, string]) error {
				stream.StoreIn(ctx, state.NewKeyValue("mine", serde.String, serde.Int64))
				return nil
			},
			want: []string{`StoreIn at process_test.go:`, `the store "mine" was not given`, `It has "tallies"`, `ProcessFunc "f"`},
		},
		"a store of another type": {
			f: func(ctx *stream.Context[string, string], _ stream.Record[string, string]) error {
				stream.StoreIn(ctx, state.NewKeyValue("tallies", serde.String, serde.String))
				return nil
			},
			want: []string{`StoreIn at process_test.go:`, `by a different handle`},
		},
		"a negative timestamp": {
			f: func(ctx *stream.Context[string, string], r stream.Record[string, string]) error {
				return ctx.Forward(r.WithTimestamp(-1))
			},
			want: []string{`Forward at process_test.go:`, `timestamp is -1`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			topology := built(t, func(b *stream.Builder) {
				s := stream.From(b, procIn)
				if c.f != nil {
					s = stream.ProcessFunc(s, c.f, stream.Named("f"), stream.Stores(tallies))
				}
				stream.Process(s, c.l.tally, stream.Named("tally"), stream.Stores(tallies)).To(procOut)
			})
			d := streamtest.New(t, topology)
			in := streamtest.Input(d, procIn)
			var r stream.Record[string, string]
			err := in.PipeRecord(r.WithKey("k").WithValue("fail"))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if fault, ok := errors.AsType[*stream.ProcessingError](err); !ok || fault.At == "" {
				t.Errorf("not a ProcessingError: %v", err)
			}
		})
	}
}

// Two processors share a store, which makes their topics one sub-topology.
func TestProcessorsShareAStore(t *testing.T) {
	other := stream.NewTopic("other", serde.String, serde.String)
	var l life
	topology := built(t, func(b *stream.Builder) {
		stream.Process(stream.From(b, procIn), l.tally, stream.Stores(tallies)).To(procOut)
		stream.Process(stream.From(b, other), l.tally, stream.Stores(tallies)).To(procOut)
	})
	if n := strings.Count(topology.Describe(), "Sub-topology"); n != 1 {
		t.Errorf("%d sub-topologies:\n%s", n, topology.Describe())
	}
	d := streamtest.New(t, topology, streamtest.Partitions(2))
	one, two, out := streamtest.Input(d, procIn), streamtest.Input(d, other), streamtest.Output(d, procOut)
	want := map[string]int64{}
	for i := range 20 {
		k := fmt.Sprint("k", i%5)
		in := one
		if i%3 == 0 {
			in = two
		}
		in.Pipe(k, "v", time.Duration(i))
		want[k]++
		if i%4 == 1 {
			d.Abort()
		}
		if i%7 == 3 {
			if err := d.Settle(); err != nil {
				t.Fatal(err)
			}
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
			d.Restart()
		}
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, r := range streamtest.Rows(d, tallies) {
		got[r.Key] = r.Value
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(out.Committed()); n != 20 {
		t.Errorf("%d records, want 20", n)
	}
}

// badInit has an Init of another processor's.
type badInit struct{ tally }

func (*badInit) Init(*stream.Context[string, int64]) error { return nil }

type badClose struct{ tally }

func (*badClose) Close() {}

func TestProcessorsBuildErrors(t *testing.T) {
	b := stream.NewBuilder()
	var l life
	s := stream.From(b, procIn)
	nothing := func(*stream.Context[string, string], stream.Record[string, string]) error { return nil }
	one := &tally{life: &l}

	stream.Process(s, func() *tally { return one })
	stream.Process[string, string, string, string](s, (func() *tally)(nil))
	stream.Process(s, func() *badInit { return &badInit{} })
	stream.Process(s, func() *badClose { return &badClose{} })
	stream.ProcessFunc(s, nothing, stream.Stores(tallies))
	stream.ProcessFunc(s, nothing, stream.Stores(state.NewKeyValue("tallies", serde.String, serde.String)))
	stream.ProcessFunc(s, nothing, stream.Stores(tallies.InMemory()))
	stream.ProcessFunc(s, nothing, stream.Stores(state.NewSession("tallies", serde.String, serde.String).WithRetention(time.Hour)))
	stream.ProcessFunc(s, nothing, stream.Stores(state.NewWindow("w", serde.String, serde.String)))
	stream.ProcessFunc(s, nothing, stream.Stores(state.NewKeyValue[string, string]("x", nil, nil)))
	stream.ProcessFunc(s, nothing, stream.Stores(state.NewKeyValue("", serde.String, serde.String)))
	stream.ProcessFunc(s, nothing, stream.Stores(nil))
	stream.ProcessFunc(s, nothing, stream.Children("gone")).To(procOut, stream.Named("here"))
	stream.ProcessFunc(s, nothing, stream.Named(""))

	_, err := b.Build()
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{
		"same pointer each time", "the function is nil", "method Init that would not be called", "method Close that would not be called",
		"one is a state.KeyValue[string,int64], the other a state.KeyValue[string,string]", "settings differ", "session store", "no retention", "without serdes", "has no name", "handle is nil",
		"the name is empty", `no child named "gone"`,
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(line string) bool {
			return strings.Contains(line, w) && strings.HasPrefix(line, "process_test.go:")
		}) {
			t.Errorf("%q is not said", w)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}
