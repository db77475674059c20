package conformance_test

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// way is a way to run a vector.
type way struct {
	name        string
	atLeastOnce bool
	commitEach  bool
	// disturb happens in the midst of some steps: one in every. Then what was committed in the end is
	// compared; without it, what came of each step.
	disturb func(p *play) error
	every   int
}

var ways = []way{
	{name: "step by step"},
	{name: "with a commit after each step", commitEach: true},
	{name: "at least once", atLeastOnce: true},
	{name: "with aborts", every: 3, disturb: (*play).abort},
	{name: "with restarts", every: 12, disturb: func(p *play) error {
		if err := p.abort(); err != nil {
			return err
		}
		if p.rng.IntN(2) == 0 {
			p.d.FlushState() // else a restart finds nothing on the disk
		}
		p.d.Restart()
		return nil
	}},
	{name: "with restarts that find the state deleted", every: 12, disturb: func(p *play) error {
		p.d.RestartWithoutState()
		return nil
	}},
}

// mismatch is where and how an answer is not Kafka Streams'.
type mismatch struct {
	v    *vector
	way  string
	step int    // from 1; 0 for stores, which are compared after the last step
	what string // store or topics
	got  []string
	want []string
}

func (m *mismatch) Error() string {
	where := "after the last step"
	if m.step > 0 {
		where = fmt.Sprintf("step %d of %d (%v)", m.step, len(m.v.Events), m.v.Events[m.step-1])
	}
	return fmt.Sprintf("scenario %s, %s, %s, run %s: %s:\n\tgot  %s\n\twant %s", m.v.Scenario, m.v.file, where, m.way, m.what,
		strings.Join(m.got, "\n\t     "), strings.Join(m.want, "\n\t     "))
}

// check runs a vector step by step in all ways and returns the first difference, or error of the topology.
func check(t *testing.T, topology *stream.Topology, v *vector, sc scenario) error {
	for _, w := range ways {
		if err := runOnce(t, topology, v, sc, w); err != nil {
			return err
		}
	}
	return nil
}

// play is one run of a vector.
type play struct {
	v   *vector
	sc  scenario
	way way
	d   *streamtest.Driver
	in  map[string]*streamtest.InputTopic[S, S]
	rng *rand.Rand
}

func runOnce(t *testing.T, topology *stream.Topology, v *vector, sc scenario, w way) error {
	opts := []streamtest.Option{streamtest.Emit(stream.EachUpdate), streamtest.Topics(sc.out...)}
	opts = append(opts, sc.handlers()...)
	if w.atLeastOnce {
		opts = append(opts, streamtest.Guarantee(stream.AtLeastOnce))
	}
	seed := fnv.New64a()
	fmt.Fprint(seed, v.Scenario, v.Seed, w.name)
	p := &play{
		v: v, sc: sc, way: w,
		d:   streamtest.New(t, topology, opts...),
		in:  map[string]*streamtest.InputTopic[S, S]{},
		rng: rand.New(rand.NewPCG(seed.Sum64(), 0)),
	}
	for _, e := range v.Events {
		if e.In != "" && p.in[e.In] == nil {
			p.in[e.In] = streamtest.Input(p.d, topic(e.In))
		}
	}
	run := p.stepByStep
	if w.disturb != nil {
		run = p.disturbed
	}
	if err := run(); err != nil {
		return err
	}
	return v.compareStores(sc, w.name, bridge.DriverStores(p.d), bridge.DriverGlobals(p.d))
}

// begin starts a step.
func (p *play) begin(e event) {
	if e.In == "" {
		p.d.MoveClock(time.Duration(e.Advance) * time.Millisecond)
		return
	}
	r := stream.Record[S, S]{Timestamp: e.TS}
	for _, h := range e.Headers {
		var value []byte
		if h[1] != nil {
			value = []byte(*h[1])
		}
		r.Headers = r.Headers.With(text(h[0]), value)
	}
	p.in[e.In].Append(r.WithKey(e.Key).WithValue(e.Value))
}

// abort takes back what is not committed; and what came before the abort may be, in the midst of a step.
func (p *play) abort() error {
	if p.rng.IntN(2) == 0 {
		if err := p.d.Commit(); err != nil {
			return err
		}
	}
	p.d.Abort()
	return nil
}

// rest commits until nothing is left. What a topology writes for itself in one epoch is read in the next.
func (p *play) rest() error {
	err := p.d.Commit()
	if err == nil && p.sc.feedback {
		err = p.d.Commit()
	}
	return err
}

// fault says where an error of the topology came up. Steps count from 0 here.
func (p *play) fault(step int, err error) error {
	return fmt.Errorf("scenario %s, %s, step %d of %d (%v), run %s: %w", p.v.Scenario, p.v.file, step+1, len(p.v.Events), p.v.Events[step], p.way.name, err)
}

func (p *play) stepByStep() error {
	var out []*streamtest.OutputTopic[S, S]
	for _, name := range p.sc.out {
		out = append(out, streamtest.Output(p.d, topic(name)))
	}
	for i, e := range p.v.Events {
		p.begin(e)
		err := p.d.Settle()
		if err == nil && (p.way.commitEach || p.sc.feedback && !p.way.atLeastOnce) {
			err = p.rest()
		}
		if err != nil {
			return p.fault(i, err)
		}
		var got, want []string
		for k, o := range out {
			got = append(got, show(p.sc.out[k], o.All())...)
		}
		for _, r := range e.Out {
			want = append(want, r.String())
		}
		if !slices.Equal(got, want) {
			return &mismatch{p.v, p.way.name, i + 1, "topics " + strings.Join(p.sc.out, ", "), got, want}
		}
	}
	return nil
}

// disturbed runs the steps with what the way has against them, and compares what is committed in the end.
func (p *play) disturbed() error {
	// What is taken back comes again in the order of timestamps, not of steps, if it is of several topics;
	// and the clock does not go back. Then no more than one step may be open.
	lone := len(p.in) > 1 || slices.ContainsFunc(p.v.Events, func(e event) bool { return e.In == "" })
	last := len(p.v.Events) - 1
	if err := p.rest(); err != nil { // when punctuators on the wall clock are due is committed from the start
		return err
	}
	for i, e := range p.v.Events {
		at := -1 // how many records are processed before the disturbance
		if p.rng.IntN(p.way.every) == 0 {
			at = p.rng.IntN(5)
		}
		if i == last/2 {
			at = 0 // at least one
		}
		p.begin(e)
		err := p.processed(at)
		if err == nil && (lone || i == last || p.rng.IntN(4) == 0) {
			err = p.rest()
		}
		if err != nil {
			return p.fault(i, err)
		}
	}
	for _, name := range p.sc.out {
		if err := p.whole(name, show(name, streamtest.Output(p.d, topic(name)).Committed())); err != nil {
			return err
		}
	}
	return nil
}

// processed processes what there is, and disturbs that after some records.
func (p *play) processed(disturbAfter int) error {
	for n := 0; ; n++ {
		if n == disturbAfter {
			if err := p.way.disturb(p); err != nil {
				return err
			}
		}
		if more, err := p.d.Step(); err != nil || !more {
			return err
		}
	}
}

// whole compares all records of a topic.
func (p *play) whole(name string, got []string) error {
	for i, e := range p.v.Events {
		var want []string
		for _, r := range e.Out {
			if r.Topic == name {
				want = append(want, r.String())
			}
		}
		n := min(len(want), len(got))
		if !slices.Equal(got[:n], want) {
			return &mismatch{p.v, p.way.name, i + 1, "topic " + name + " from there on", got, want}
		}
		got = got[n:]
	}
	if len(got) > 0 {
		return &mismatch{p.v, p.way.name, len(p.v.Events), "topic " + name + ", after all", got, nil}
	}
	return nil
}

func show(topic string, rs []stream.Record[S, S]) []string {
	var out []string
	for _, r := range rs {
		w := record{Topic: topic, Key: r.Key, Value: r.Value, TS: r.Timestamp}
		for _, h := range r.Headers {
			var value *string
			if h.Value != nil {
				value = new(string(h.Value))
			}
			w.Headers = append(w.Headers, [2]*string{&h.Key, value})
		}
		out = append(out, w.String())
	}
	return out
}
