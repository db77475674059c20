package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moldau-io/moldau/stream/internal/graph"
)

// This file decides how many partitions the application's own topics have, and whether what is joined can be. It does
// no I/O. What Kafka Streams does is in its RepartitionTopics and CopartitionedTopicsEnforcer; docs/semantics.md says
// where this is different.
//
// Who joins by key finds equal keys in one task only if all topics that the join's records come from have equally many
// partitions. These topics are a group. Groups that share a topic are one.
//
//   - How many an input topic has is given, and so it is for a repartition topic with Partitions. Within a group those
//     that are given must be equal; all others of the group have as many.
//   - In a group in which none is given, all have as many as the largest wants.
//   - A repartition topic wants as many as the sub-topology that writes it has tasks: as its largest source topic has.
//     One that only follows (graph.Topic.Follows) wants none.

// partitionCounts finds how many partitions the source topics of a graph have, and those it writes for itself. input
// says it of input topics. The error tells of every join whose topics cannot be put together.
func partitionCounts(g *graph.Graph, application string, input func(topic string) int32) (map[*graph.Topic]int32, error) {
	c := &counting{g: g, application: application, count: map[*graph.Topic]int32{}, given: map[*graph.Topic]bool{}, group: map[*graph.Topic]*topicGroup{}}
	for _, sub := range g.Subs {
		for _, t := range sub.Sources() {
			switch {
			case !t.Repartition:
				c.give(t, input(t.Name))
			case t.Partitions > 0:
				c.give(t, t.Partitions)
			default:
				c.group[t] = &topicGroup{topics: []*graph.Topic{t}}
			}
		}
	}
	var errs []error
	for _, n := range g.Nodes {
		if n.Copartitioned {
			errs = append(errs, c.join(n))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.settle()
	return c.count, nil
}

// counting is a graph whose topics are being counted.
type counting struct {
	g           *graph.Graph
	application string
	count       map[*graph.Topic]int32
	given       map[*graph.Topic]bool
	group       map[*graph.Topic]*topicGroup // every topic has one
}

// topicGroup is topics that have to have equally many partitions.
type topicGroup struct {
	topics []*graph.Topic
	like   *graph.Topic // the first of those whose count is given; nil: there is none
	by     *graph.Node  // the join that brought it to the others; nil: there are none
}

func (c *counting) give(t *graph.Topic, n int32) {
	c.count[t], c.given[t] = n, true
	c.group[t] = &topicGroup{topics: []*graph.Topic{t}, like: t}
}

// join puts the topics of a join into one group. If that cannot be, they stay as they were, so that each join is
// judged by itself.
func (c *counting) join(n *graph.Node) error {
	topics := n.Origins()
	if err := c.conflict(n, topics); err != nil {
		return err
	}
	all := c.group[topics[0]]
	for _, t := range topics[1:] {
		other := c.group[t]
		if other == all {
			continue
		}
		if all.like == nil {
			all.like, all.by = other.like, other.by
		}
		all.topics = append(all.topics, other.topics...)
		for _, t := range other.topics {
			c.group[t] = all
		}
	}
	if all.by == nil {
		all.by = n
	}
	return nil
}

// conflict is the error of a join whose topics do not have equally many partitions, or must not.
func (c *counting) conflict(n *graph.Node, topics []*graph.Topic) error {
	var first *graph.Topic
	var said []string
	inputs, own := 0, 0 // of those said
	for _, t := range topics {
		like := t
		if !c.given[t] {
			like = c.group[t].like
		}
		if like == nil || first != nil && c.count[like] == c.count[first] {
			continue
		}
		if first == nil {
			first = like
		}
		said = append(said, c.describe(t, like))
		if like.Repartition {
			own++
		} else {
			inputs++
		}
	}
	if len(said) < 2 {
		return nil
	}
	var remedies []string
	if inputs > 1 {
		remedies = append(remedies, "send all but one of these topics through Repartition first, which then has as many")
	}
	if own > 0 {
		remedies = append(remedies, "leave Partitions out or have it agree")
	}
	return fmt.Errorf("%s: %s: %s: for equal keys to meet they need equally many; %s",
		n.At, n.Op, strings.Join(said, ", "), strings.Join(remedies, ", and "))
}

// describe says how many partitions t was given, or has to have as like was given so many.
func (c *counting) describe(t, like *graph.Topic) string {
	what := fmt.Sprintf("topic %q has %d partitions", like.FullName(c.application), c.count[like])
	if like.Repartition {
		what = fmt.Sprintf("repartition %s by Partitions at %s", what, like.Owner.At)
	}
	if t != like {
		by := c.group[t].by
		what += fmt.Sprintf(", as %q has to have by %s at %s", t.FullName(c.application), by.Op, by.At)
	}
	return what
}

// settle counts what was not given. Counts begin at nothing and only grow, up to the largest that is given, until they
// fit: so a topic that is written by who reads it has as many as the other topics of that sub-topology.
func (c *counting) settle() {
	for t, group := range c.group {
		if group.like != nil {
			c.count[t] = c.count[group.like]
		}
	}
	for grown := true; grown; {
		grown = false
		for _, id := range c.g.Order { // writers first, so that it does not take many rounds
			tasks := mostPartitions(c.g.Subs[id].Sources(), c.count)
			for _, t := range c.g.Subs[id].Sinks() {
				if !t.Repartition || t.Follows || c.group[t].like != nil {
					continue
				}
				for _, member := range c.group[t].topics {
					if c.count[member] < tasks {
						c.count[member], grown = tasks, true
					}
				}
			}
		}
	}
}

// mostPartitions is how many partitions the largest of the topics has.
func mostPartitions(topics []*graph.Topic, count map[*graph.Topic]int32) (most int32) {
	for _, t := range topics {
		most = max(most, count[t])
	}
	return most
}
