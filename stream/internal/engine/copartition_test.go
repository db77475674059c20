package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/stream/internal/graph"
)

// shape builds graphs of what counts here: sources, joins and repartition topics. Names of topics are one letter; the
// operators are at the places "a.go", "b.go" and so on, in the order of the calls.
type shape struct {
	graph.Graph
	inputs map[string]int32
}

func (s *shape) at() string { return string(rune('a'+len(s.Nodes))) + ".go" }

func (s *shape) input(name string, partitions int32) *graph.Node {
	if s.inputs == nil {
		s.inputs = map[string]int32{}
	}
	s.inputs[name] = partitions
	return s.Add(&graph.Node{Kind: graph.Source, Op: "From", At: s.at(), Topic: &graph.Topic{Name: name}})
}

// repartition sends from through a topic; partitions is 0 where it is not said.
func (s *shape) repartition(name string, partitions int32, from *graph.Node) *graph.Node {
	topic := &graph.Topic{Name: name, Repartition: true, Partitions: partitions}
	topic.Owner = s.Add(&graph.Node{Kind: graph.Sink, Op: "Repartition", At: s.at(), Parents: []*graph.Node{from}, Topic: topic})
	return s.Add(&graph.Node{Kind: graph.Source, Op: "From", Topic: topic})
}

func (s *shape) merge(parents ...*graph.Node) *graph.Node {
	return s.Add(&graph.Node{Op: "Merge", At: s.at(), Parents: parents})
}

func (s *shape) join(parents ...*graph.Node) *graph.Node {
	return s.Add(&graph.Node{Op: "Join", At: s.at(), Parents: parents, Copartitioned: true})
}

// foreign is a foreign-key join, with topics to the right side and back.
func (s *shape) foreign(there, back string, l, r *graph.Node) *graph.Node {
	n := s.join(l)
	right := s.join(s.follows(there, l), r)
	s.Link(s.follows(back, right), n)
	return n
}

func (s *shape) follows(name string, from *graph.Node) *graph.Node {
	in := s.repartition(name, 0, from)
	in.Topic.Follows = true
	return in
}

func (s *shape) count() (map[string]int32, error) {
	s.Resolve()
	counts, err := partitionCounts(&s.Graph, "app", func(topic string) int32 { return s.inputs[topic] })
	byName := map[string]int32{}
	for t, n := range counts {
		byName[t.Name] = n
	}
	return byName, err
}

func TestPartitionCounts(t *testing.T) {
	type counts = map[string]int32
	for _, test := range []struct {
		name  string
		build func(s *shape)
		want  counts
	}{
		{"equal inputs", func(s *shape) { s.join(s.input("A", 2), s.input("B", 2)) }, counts{"A": 2, "B": 2}},
		{"unequal inputs that are merged", func(s *shape) { s.merge(s.input("A", 2), s.input("B", 3)) }, counts{"A": 2, "B": 3}},
		{"a topic as wide as the widest before it", func(s *shape) {
			s.repartition("R", 0, s.merge(s.input("A", 2), s.input("B", 3)))
		}, counts{"A": 2, "B": 3, "R": 3}},
		{"a topic with Partitions", func(s *shape) { s.repartition("R", 5, s.input("A", 2)) }, counts{"A": 2, "R": 5}},
		{"a topic after one with Partitions", func(s *shape) {
			s.repartition("S", 0, s.repartition("R", 5, s.input("A", 2)))
		}, counts{"A": 2, "R": 5, "S": 5}},
		{"a narrow side is made wider", func(s *shape) {
			s.join(s.repartition("R", 0, s.input("A", 2)), s.input("B", 3))
		}, counts{"A": 2, "B": 3, "R": 3}},
		{"a wide side is made narrower, and what comes after it", func(s *shape) {
			j := s.join(s.repartition("R", 0, s.input("A", 4)), s.input("B", 3))
			s.repartition("S", 0, j)
		}, counts{"A": 4, "B": 3, "R": 3, "S": 3}},
		{"two repartition topics: the wider", func(s *shape) {
			s.join(s.repartition("R", 0, s.input("A", 4)), s.repartition("S", 0, s.input("B", 3)))
		}, counts{"A": 4, "B": 3, "R": 4, "S": 4}},
		{"two repartition topics: Partitions, though the other is wider", func(s *shape) {
			s.join(s.repartition("R", 0, s.input("A", 4)), s.repartition("S", 2, s.input("B", 3)))
		}, counts{"A": 4, "B": 3, "R": 2, "S": 2}},
		{"groups with a topic in common are one", func(s *shape) {
			r := s.repartition("R", 0, s.input("A", 4))
			s.join(r, s.repartition("S", 0, s.input("B", 9)))
			s.join(r, s.input("C", 3))
		}, counts{"A": 4, "B": 9, "C": 3, "R": 3, "S": 3}},
		{"a join of a join", func(s *shape) {
			s.join(s.join(s.repartition("R", 0, s.input("A", 4)), s.repartition("S", 0, s.input("B", 5))), s.input("C", 3))
		}, counts{"A": 4, "B": 5, "C": 3, "R": 3, "S": 3}},
		{"a stream that is joined with itself under other keys", func(s *shape) {
			a := s.input("A", 4)
			s.join(s.repartition("R", 0, a), a)
		}, counts{"A": 4, "R": 4}},
		{"a stream that is merged with itself under other keys", func(s *shape) {
			a := s.input("A", 4)
			s.merge(s.repartition("R", 0, a), a)
		}, counts{"A": 4, "R": 4}},
		{"a group that its own tasks write", func(s *shape) {
			r, q := s.repartition("R", 0, s.input("A", 4)), s.repartition("S", 0, s.input("B", 3))
			s.join(s.repartition("T", 0, s.merge(r, q)), q)
		}, counts{"A": 4, "B": 3, "R": 4, "S": 4, "T": 4}},
		{"a foreign-key join of unequal tables", func(s *shape) {
			s.foreign("T", "U", s.input("A", 2), s.input("B", 3))
		}, counts{"A": 2, "B": 3, "T": 3, "U": 2}},
		{"a foreign-key join of a repartition topic is no wider for the other side", func(s *shape) {
			s.foreign("T", "U", s.repartition("R", 0, s.input("A", 2)), s.input("B", 3))
		}, counts{"A": 2, "B": 3, "R": 2, "T": 3, "U": 2}},
		{"a foreign-key join's result, joined", func(s *shape) {
			s.join(s.foreign("T", "U", s.repartition("R", 0, s.input("A", 2)), s.input("B", 3)), s.input("C", 5))
		}, counts{"A": 2, "B": 3, "C": 5, "R": 5, "T": 3, "U": 5}},
		{"a table that points to itself", func(s *shape) {
			a := s.input("A", 2)
			s.foreign("T", "U", a, a)
		}, counts{"A": 2, "T": 2, "U": 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s shape
			test.build(&s)
			if got, err := s.count(); err != nil || !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v; error %v", got, test.want, err)
			}
		})
	}
}

func TestUnequalPartitions(t *testing.T) {
	const (
		need    = ": for equal keys to meet they need equally many; "
		through = "send all but one of these topics through Repartition first, which then has as many"
		leave   = "leave Partitions out or have it agree"
	)
	for _, test := range []struct {
		name  string
		build func(s *shape)
		want  []string
	}{
		{"inputs", func(s *shape) { s.join(s.input("A", 2), s.input("B", 3)) },
			[]string{`c.go: Join: topic "A" has 2 partitions, topic "B" has 3 partitions` + need + through}},
		{"inputs that are merged on one side", func(s *shape) { s.join(s.merge(s.input("A", 2), s.input("B", 3))) },
			[]string{`d.go: Join: topic "A" has 2 partitions, topic "B" has 3 partitions` + need + through}},
		{"each that is not as the first", func(s *shape) {
			s.join(s.merge(s.input("A", 2), s.input("B", 3)), s.input("C", 2), s.input("D", 4))
		}, []string{`f.go: Join: topic "A" has 2 partitions, topic "B" has 3 partitions, topic "D" has 4 partitions` + need + through}},
		{"each join by itself", func(s *shape) {
			a, b := s.input("A", 2), s.input("B", 3)
			s.join(a, b)
			s.join(b, s.input("C", 3))
			s.join(b, a)
		}, []string{
			`c.go: Join: topic "A" has 2 partitions, topic "B" has 3 partitions` + need + through,
			`f.go: Join: topic "B" has 3 partitions, topic "A" has 2 partitions` + need + through,
		}},
		{"Partitions and an input", func(s *shape) { s.join(s.repartition("R", 8, s.input("A", 2)), s.input("B", 3)) },
			[]string{`e.go: Join: repartition topic "app-R-repartition" has 8 partitions by Partitions at b.go, topic "B" has 3 partitions` + need + leave}},
		{"Partitions and Partitions", func(s *shape) {
			s.join(s.repartition("R", 8, s.input("A", 2)), s.repartition("S", 9, s.input("B", 2)))
		}, []string{`g.go: Join: repartition topic "app-R-repartition" has 8 partitions by Partitions at b.go, ` +
			`repartition topic "app-S-repartition" has 9 partitions by Partitions at e.go` + need + leave}},
		{"all of it", func(s *shape) {
			s.join(s.input("A", 2), s.input("B", 3), s.repartition("R", 8, s.input("C", 2)))
		}, []string{`f.go: Join: topic "A" has 2 partitions, topic "B" has 3 partitions, ` +
			`repartition topic "app-R-repartition" has 8 partitions by Partitions at d.go` + need + through + ", and " + leave}},
		{"by another join", func(s *shape) {
			r := s.repartition("R", 0, s.input("A", 9))
			s.join(r, s.input("B", 2))
			s.join(s.input("C", 3), r)
			s.join(r, s.input("D", 2))
		}, []string{`g.go: Join: topic "C" has 3 partitions, topic "B" has 2 partitions, as "app-R-repartition" has to have by Join at e.go` + need + through}},
		{"by other joins on both sides", func(s *shape) {
			r, q := s.repartition("R", 0, s.input("A", 9)), s.repartition("S", 0, s.input("B", 9))
			s.join(r, s.input("C", 2))
			s.join(q, s.input("D", 3))
			s.join(r, q)
		}, []string{`k.go: Join: topic "C" has 2 partitions, as "app-R-repartition" has to have by Join at h.go, ` +
			`topic "D" has 3 partitions, as "app-S-repartition" has to have by Join at j.go` + need + through}},
		{"of a side of a foreign-key join", func(s *shape) {
			s.foreign("T", "U", s.input("A", 5), s.merge(s.input("B", 2), s.input("C", 3)))
		}, []string{`h.go: Join: topic "B" has 2 partitions, topic "C" has 3 partitions` + need + through}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s shape
			test.build(&s)
			_, err := s.count()
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", err, strings.Join(test.want, "\n"))
			}
		})
	}
}

// In a topology of any shape the counts keep to the rules at the top of copartition.go, and there are none exactly if
// the rules cannot be kept.
func TestPartitionCountsKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawShape(t)
		s.Resolve()
		counts, err := partitionCounts(&s.Graph, "app", func(topic string) int32 { return s.inputs[topic] })
		groups := s.groups()
		for _, group := range groups {
			if err == nil {
				s.checkGroup(t, group, counts)
			}
		}
		if possible := !slices.ContainsFunc(groups, s.contradicts); possible != (err == nil) {
			t.Fatalf("the rules can be kept: %v; error: %v", possible, err)
		}
	})
}

// drawShape draws a topology. Few partitions and rare Partitions let it often be a good one.
func drawShape(t *rapid.T) *shape {
	s := &shape{}
	partitions := rapid.Int32Range(1, 3)
	all := []*graph.Node{s.input("A", partitions.Draw(t, "partitions"))}
	some := func() *graph.Node { return rapid.SampledFrom(all).Draw(t, "operator") }
	for i := range rapid.IntRange(1, 10).Draw(t, "operators") {
		name := fmt.Sprint("T", i)
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			all = append(all, s.input(name, partitions.Draw(t, "partitions")))
		case 1:
			all = append(all, s.repartition(name, 0, some()))
		case 2:
			all = append(all, s.repartition(name, partitions.Draw(t, "Partitions"), some()))
		case 3:
			all = append(all, s.merge(some(), some()))
		case 4:
			all = append(all, s.join(some(), some()))
		case 5:
			all = append(all, s.foreign(name+"-there", name+"-back", some(), some()))
		}
	}
	return s
}

// groups finds what has to go together, by putting together until nothing changes.
func (s *shape) groups() (groups [][]*graph.Topic) {
	for _, n := range s.Nodes {
		if n.Copartitioned {
			groups = append(groups, n.Origins())
		} else if n.Kind == graph.Source {
			groups = append(groups, []*graph.Topic{n.Topic})
		}
	}
	for i := 0; i < len(groups); {
		other := slices.IndexFunc(groups[i+1:], func(g []*graph.Topic) bool {
			return slices.ContainsFunc(g, func(t *graph.Topic) bool { return slices.Contains(groups[i], t) })
		})
		if other < 0 {
			i++
			continue
		}
		other += i + 1
		for _, t := range groups[other] {
			if !slices.Contains(groups[i], t) {
				groups[i] = append(groups[i], t)
			}
		}
		groups = slices.Delete(groups, other, other+1)
	}
	return groups
}

// given is how many partitions a topic has whatever the others have; 0: that is not said.
func (s *shape) given(t *graph.Topic) int32 {
	if !t.Repartition {
		return s.inputs[t.Name]
	}
	return t.Partitions
}

// contradicts reports whether two topics of a group are given different numbers.
func (s *shape) contradicts(group []*graph.Topic) bool {
	given := map[int32]bool{}
	for _, t := range group {
		if n := s.given(t); n > 0 {
			given[n] = true
		}
	}
	return len(given) > 1
}

func (s *shape) checkGroup(t *rapid.T, group []*graph.Topic, counts map[*graph.Topic]int32) {
	var given, wanted int32
	for _, topic := range group {
		given = max(given, s.given(topic))
		for _, sub := range s.Subs {
			if slices.Contains(sub.Sinks(), topic) && !topic.Follows {
				wanted = max(wanted, mostPartitions(sub.Sources(), counts))
			}
		}
	}
	want := given
	if given == 0 {
		want = wanted
	}
	for _, topic := range group {
		if got := counts[topic]; got != want || got == 0 {
			t.Fatalf("topic %s has %d partitions, its group has %d given and wants %d", topic.Name, got, given, wanted)
		}
	}
}
