package task

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// fakeSource sends the records it decodes to seen.
type fakeSource struct {
	name string
	seen *[]string
	head string
}

func (s *fakeSource) Decode(r *log.Record, _ int64) (int64, bool, error) {
	s.head = s.name + string(r.Value)
	return r.Timestamp, string(r.Value) != "drop", nil
}

func (s *fakeSource) Push() error {
	if strings.HasSuffix(s.head, "panic") {
		panic("as asked")
	}
	if strings.HasSuffix(s.head, "fail") {
		return errors.New("as asked")
	}
	*s.seen = append(*s.seen, s.head)
	return nil
}

type fakeCursor struct {
	recs []log.Record
	end  int64
	err  error
}

func (c *fakeCursor) Next(dst []log.Record) (int, error) {
	n := copy(dst[:min(len(dst), 2)], c.recs) // two at a time
	c.recs = c.recs[n:]
	if n == 0 {
		return 0, c.err
	}
	return n, nil
}
func (c *fakeCursor) End() int64 { return c.end }
func (c *fakeCursor) Bytes() int { return 10 }

// fixture is a task that reads topics a and b, both partition 0.
type fixture struct {
	*Task
	seen []string
	ends map[string]int64
}

func open(t *testing.T, committed map[log.TopicPartition]log.CommittedOffset, remember func(*Task)) *fixture {
	t.Helper()
	f := &fixture{ends: map[string]int64{}}
	g := &graph.Graph{}
	plan := &Plan{Graph: g, Open: map[*graph.Node]func(*Task) (Source, error){}}
	var sources []*graph.Node
	for _, name := range []string{"a", "b"} {
		n := g.Add(&graph.Node{Kind: graph.Source, Op: "From", At: "here:1", Topic: &graph.Topic{Name: name}})
		plan.Open[n] = func(tk *Task) (Source, error) {
			if remember != nil && name == "a" {
				remember(tk)
			}
			return &fakeSource{name: name, seen: &f.seen}, nil
		}
		sources = append(sources, n)
	}
	g.Add(&graph.Node{Op: "Merge", Parents: sources})
	g.Resolve()
	var err error
	f.Task, err = Open(ID{}, plan, Env{
		Partitions: func(string) int32 { return 1 },
		CaughtUp:   func(tp log.TopicPartition, next int64) bool { return next >= f.ends[tp.Topic] },
	}, committed)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) deliver(topic string, first int64, end int64, recs ...string) {
	c := &fakeCursor{end: end}
	for i, r := range recs {
		value, ts, _ := strings.Cut(r, "@")
		c.recs = append(c.recs, log.Record{Offset: first + int64(i), Timestamp: int64(ts[0] - '0'), Value: []byte(value)})
	}
	f.ends[topic] = max(f.ends[topic], end)
	f.Deliver(log.Fetched{Partition: log.TopicPartition{Topic: topic}, Records: c})
}

func (f *fixture) run(t *testing.T) []string {
	t.Helper()
	f.seen = nil
	var stop atomic.Bool
	if _, _, err := f.Run(1000, &stop); err != nil {
		t.Fatal(err)
	}
	return f.seen
}

func starts(a, b int64) map[log.TopicPartition]log.CommittedOffset {
	return map[log.TopicPartition]log.CommittedOffset{{Topic: "a"}: {Offset: a}, {Topic: "b"}: {Offset: b}}
}

// Records are taken by their timestamps over all inputs, but one that may still get earlier records holds
// the others up (KIP-695).
func TestChooseWaitsForWhatMayStillCome(t *testing.T) {
	f := open(t, starts(0, 0), nil)
	f.ends["b"] = 2
	f.deliver("a", 0, 3, "1@1", "3@3", "5@5")
	if got := f.run(t); len(got) > 0 {
		t.Errorf("took %q though b has more", got)
	}
	f.deliver("b", 0, 2, "2@2", "4@4")
	if got, want := f.run(t), []string{"a1", "b2", "a3", "b4", "a5"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if f.StreamTime() != 5 || !f.Drained() {
		t.Errorf("stream time %d, drained %v", f.StreamTime(), f.Drained())
	}
}

// The offset to commit is the head's: of records decoded ahead, of batches not begun, and after markers.
func TestNextIsTheHeadsOffset(t *testing.T) {
	f := open(t, starts(10, 0), nil)
	offset := func() int64 {
		next := map[log.TopicPartition]log.CommittedOffset{}
		f.Next(next)
		c, ok := next[log.TopicPartition{Topic: "a"}]
		if !ok {
			return -1
		}
		return c.Offset
	}
	f.deliver("a", 10, 14, "1@1", "drop@1", "3@1") // and a marker at 13
	f.deliver("a", 16, 20, "6@1", "7@1")           // 14 and 15 are gone
	var stop atomic.Bool
	for i, want := range []int64{-1, 11, 13, 17, 18, 20} {
		if got := offset(); got != want {
			t.Errorf("after %d records: %d, want %d", i, got, want)
		}
		if _, _, err := f.Run(1, &stop); err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			f.run(t)
		}
	}
	if f.Dropped(0).Timestamp != 1 {
		t.Errorf("%d dropped", f.Dropped(0).Timestamp)
	}
}

func TestFaultsSayWhere(t *testing.T) {
	for _, value := range []string{"fail", "panic"} {
		f := open(t, starts(0, 0), nil)
		f.deliver("b", 7, 9, "1@1", value+"@1")
		var stop atomic.Bool
		_, _, err := f.Run(10, &stop)
		fault, ok := errors.AsType[*Fault](err)
		if !ok || fault.Partition.Topic != "b" || fault.Offset != 8 || !strings.Contains(err.Error(), "as asked") {
			t.Errorf("%s: %v", value, err)
		}
		if _, panicked := errors.AsType[*PanicError](err); panicked != (value == "panic") {
			t.Errorf("%s: panic %v", value, panicked)
		}
	}
}

// A cursor's error comes after the records before it, and names the partition.
func TestReadErrorNamesPartition(t *testing.T) {
	f := open(t, starts(0, 0), nil)
	c := &fakeCursor{recs: []log.Record{{Value: []byte("1")}}, err: errors.New("rotten")}
	f.Deliver(log.Fetched{Partition: log.TopicPartition{Topic: "a"}, Records: c})
	var stop atomic.Bool
	n, _, err := f.Run(10, &stop)
	if n != 1 || err == nil || !strings.Contains(err.Error(), "read a-0: rotten") {
		t.Errorf("%d records, %v", n, err)
	}
}

// What a task remembers is that of its newest commit, whichever input that went with.
func TestMemoryOfTheNewestCommit(t *testing.T) {
	mark := int64(-1)
	remember := func(tk *Task) { mark = -1; tk.Remember("mark", &mark) }
	f := open(t, starts(0, 0), remember)
	committed := starts(0, 0)
	step := func(topic string, value int64) {
		f.deliver(topic, committed[log.TopicPartition{Topic: topic}].Offset, committed[log.TopicPartition{Topic: topic}].Offset+1, "x@"+string(rune('0'+value)))
		f.run(t)
		mark = value
		f.Next(committed)
		f.commits++
		for _, in := range f.inputs {
			in.moved = false
		}
	}
	step("a", 3)
	step("b", 5)
	step("b", 4)
	f = open(t, committed, remember)
	if mark != 4 || f.StreamTime() != 5 {
		t.Errorf("mark %d, stream time %d; want 4, 5", mark, f.StreamTime())
	}
}

func FuzzMemory(f *testing.F) {
	v := int64(7)
	f.Add(encodeMemory(1, 2, []remembered{{"a", &v}}))
	f.Add("")
	f.Add("AQ==")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := decodeMemory(s)
		if err != nil || s == "" {
			return
		}
		var values []remembered
		for name, v := range m.values {
			values = append(values, remembered{name, &v})
		}
		again, err := decodeMemory(encodeMemory(m.partitionTime, m.commit, values))
		if err != nil || again.partitionTime != m.partitionTime || again.commit != m.commit || len(again.values) != len(m.values) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}
