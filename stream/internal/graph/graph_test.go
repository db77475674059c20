package graph

import (
	"strings"
	"testing"
)

// wordCount is the shape of the DSL's word count.
func wordCount() (*Graph, map[string]*Node) {
	g := &Graph{}
	source := g.Add(&Node{Kind: Source, Op: "From", Topic: &Topic{Name: "lines"}})
	flat := g.Add(&Node{Op: "FlatMapValues", Parents: []*Node{source}})
	by := g.Add(&Node{Op: "GroupBy", Parents: []*Node{flat}})
	topic := &Topic{Repartition: true, Owner: by}
	out := g.Add(&Node{Kind: Sink, Op: "Repartition", Parents: []*Node{by}, Topic: topic})
	in := g.Add(&Node{Kind: Source, Op: "From", Topic: topic})
	count := g.Add(&Node{Op: "Count", Parents: []*Node{in}})
	count.Store = &Store{Node: count}
	stream := g.Add(&Node{Op: "ToStream", Parents: []*Node{count}})
	sink := g.Add(&Node{Kind: Sink, Op: "To", Parents: []*Node{stream}, Topic: &Topic{Name: "word-counts"}})
	return g, map[string]*Node{"source": source, "flat": flat, "by": by, "out": out, "in": in, "count": count, "stream": stream, "sink": sink}
}

func TestNamesAndSubTopologies(t *testing.T) {
	g, n := wordCount()
	g.Resolve()
	for node, want := range map[string]string{
		"source": "lines",
		"flat":   "lines.flatMapValues1",
		"by":     "lines.flatMapValues1.groupBy1",
		"out":    "lines.flatMapValues1.groupBy1.repartition1",
		"in":     "lines.flatMapValues1.groupBy1.repartitioned",
		"count":  "lines.flatMapValues1.groupBy1.repartitioned.count1",
	} {
		if n[node].Name != want {
			t.Errorf("%s is named %q, want %q", node, n[node].Name, want)
		}
	}
	if got := n["out"].Topic.FullName("app"); got != "app-lines.flatMapValues1.groupBy1-repartition" {
		t.Errorf("repartition topic is %q", got)
	}
	if got := n["count"].Store.Changelog("app"); got != "app-"+n["count"].Name+"-changelog" {
		t.Errorf("changelog is %q", got)
	}
	if len(g.Subs) != 2 || n["flat"].Sub != 0 || n["count"].Sub != 1 {
		t.Errorf("%d sub-topologies, flatMapValues in %d, count in %d", len(g.Subs), n["flat"].Sub, n["count"].Sub)
	}
	if len(g.Order) != 2 || g.Order[0] != 0 {
		t.Errorf("order %v, want the writer first", g.Order)
	}
}

// Adding an operator must not rename others, or their stores would be lost.
func TestNamesAreStable(t *testing.T) {
	g, n := wordCount()
	g.Resolve()
	want := n["count"].Name

	g, n = wordCount()
	g.Add(&Node{Op: "Filter", Parents: []*Node{n["flat"]}})
	g.Add(&Node{Op: "Count", Parents: []*Node{n["in"]}}) // a later sibling of the same kind
	g.Resolve()
	if n["count"].Name != want {
		t.Errorf("count was renamed from %q to %q", want, n["count"].Name)
	}
}

func TestLongNamesAreCutAndStayUnique(t *testing.T) {
	long := strings.Repeat("x", 200)
	a, b := shorten(long+"a"), shorten(long+"b")
	if len(a) != maxName || len(b) != maxName || a == b {
		t.Errorf("%d bytes %q, %d bytes %q", len(a), a, len(b), b)
	}
}

// Order must put writers before readers even if they were declared the other way round, and end on cycles.
func TestOrderFollowsTopics(t *testing.T) {
	g := &Graph{}
	a, b := &Topic{Name: "a"}, &Topic{Name: "b"}
	readB := g.Add(&Node{Kind: Source, Op: "From", Topic: b})
	readA := g.Add(&Node{Kind: Source, Op: "From", Topic: a})
	g.Add(&Node{Kind: Sink, Op: "To", Topic: b, Parents: []*Node{readA}})
	g.Resolve()
	if readB.Sub != 0 || readA.Sub != 1 {
		t.Fatalf("sub-topologies %d, %d", readB.Sub, readA.Sub)
	}
	if g.Order[0] != 1 || g.Order[1] != 0 {
		t.Errorf("order %v, want the writer of b first", g.Order)
	}
	g.Add(&Node{Kind: Sink, Op: "To", Topic: a, Parents: []*Node{readB}})
	g.Resolve()
	if len(g.Order) != 2 {
		t.Errorf("order %v of a cycle", g.Order)
	}
}

// Two sources of one topic are one sub-topology: a partition has one reader.
func TestReadersOfOneTopicAreTogether(t *testing.T) {
	g := &Graph{}
	topic := &Topic{Name: "a"}
	x := g.Add(&Node{Kind: Source, Op: "From", Topic: topic})
	y := g.Add(&Node{Kind: Source, Op: "From", Topic: topic})
	g.Resolve()
	if x.Sub != y.Sub {
		t.Errorf("sub-topologies %d and %d", x.Sub, y.Sub)
	}
}

func TestDescribe(t *testing.T) {
	g, _ := wordCount()
	g.Resolve()
	const want = `Topologies:
   Sub-topology: 0
    Source: lines (topics: [lines])
      --> lines.flatMapValues1
    Processor: lines.flatMapValues1 (stores: [])
      --> lines.flatMapValues1.groupBy1
      <-- lines
    Processor: lines.flatMapValues1.groupBy1 (stores: [])
      --> lines.flatMapValues1.groupBy1.repartition1
      <-- lines.flatMapValues1
    Sink: lines.flatMapValues1.groupBy1.repartition1 (topic: lines.flatMapValues1.groupBy1-repartition)
      <-- lines.flatMapValues1.groupBy1

   Sub-topology: 1
    Source: lines.flatMapValues1.groupBy1.repartitioned (topics: [lines.flatMapValues1.groupBy1-repartition])
      --> lines.flatMapValues1.groupBy1.repartitioned.count1
    Processor: lines.flatMapValues1.groupBy1.repartitioned.count1 (stores: [lines.flatMapValues1.groupBy1.repartitioned.count1])
      --> lines.flatMapValues1.groupBy1.repartitioned.count1.toStream1
      <-- lines.flatMapValues1.groupBy1.repartitioned
    Processor: lines.flatMapValues1.groupBy1.repartitioned.count1.toStream1 (stores: [])
      --> lines.flatMapValues1.groupBy1.repartitioned.count1.toStream1.to1
      <-- lines.flatMapValues1.groupBy1.repartitioned.count1
    Sink: lines.flatMapValues1.groupBy1.repartitioned.count1.toStream1.to1 (topic: word-counts)
      <-- lines.flatMapValues1.groupBy1.repartitioned.count1.toStream1

`
	if got := g.Describe(""); got != want {
		t.Errorf("got\n%s", got)
	}
}

// A part of an operator is named after it, whatever it hangs on, and does not count among the operator's siblings.
func TestPartsAndOrigins(t *testing.T) {
	g := &Graph{}
	a := g.Add(&Node{Kind: Source, Op: "From", Topic: &Topic{Name: "a"}})
	b := g.Add(&Node{Kind: Source, Op: "From", Topic: &Topic{Name: "b"}})
	join := g.Add(&Node{Op: "Join", Parents: []*Node{a}, After: []*Node{a, b}})
	topic := &Topic{Repartition: true, Follows: true}
	out := g.Add(&Node{Kind: Sink, Op: "Join", Parents: []*Node{a}, Of: join, Part: "out", Topic: topic})
	topic.Owner = out
	in := g.Add(&Node{Kind: Source, Op: "Join", Topic: topic})
	g.Link(in, join)
	second := g.Add(&Node{Op: "Join", Parents: []*Node{a}})
	g.Resolve()
	for n, want := range map[*Node]string{join: "a_b.join1", out: "a_b.join1-out", in: "a_b.join1-out.repartitioned", second: "a.join2"} {
		if n.Name != want {
			t.Errorf("got name %q, want %q", n.Name, want)
		}
	}
	if in.Sub != join.Sub || b.Sub == join.Sub {
		t.Errorf("sub-topologies: in %d, join %d, b %d", in.Sub, join.Sub, b.Sub)
	}
	if o := join.Origins(); len(o) != 2 || o[0].Name != "a" || o[1] != topic {
		t.Errorf("origins %v", o)
	}
}
