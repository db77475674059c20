// Package graph is the shape of a topology without its types: operators, the topics between them, the
// stores they own, and the sub-topologies that follow from these. It is built once, by stream.Builder, and
// never changes after Resolve.
package graph

import "slices"

// Kind says how an operator is tied to the outside.
type Kind int8

const (
	Processor    Kind = iota
	Source            // reads Topic
	Sink              // writes Topic; nil where each record chooses
	GlobalSource      // reads all of Topic, in every instance: what is below it maintains a global store
)

// Node is one operator.
type Node struct {
	Kind    Kind
	Op      string // the operator's name in the DSL, such as "Filter"
	At      string // file:line of the call that made it
	Pinned  string // the name given with Named, or ""
	Name    string // set by Resolve; stable while no sibling of the same Op is added before it
	Parents []*Node
	After   []*Node // what it is named after; nil: Parents
	Of      *Node   // the operator that it is a part of, or nil: then it is named after that and Part
	Part    string
	// Copartitioned: it finds records of its parents that have equal keys, so that these have to be in one task: all
	// topics that its parents' records come from have to have equally many partitions.
	Copartitioned bool
	Topic         *Topic
	Store         *Store // the store it owns, or nil
	// Uses are stores that it may share with others: all who use one are in one sub-topology.
	Uses  []*Store
	Sub   int // index of its sub-topology, set by Resolve
	Index int // place in Graph.Nodes

	children []*Node
}

// Stores lists the stores that the node owns or uses.
func (n *Node) Stores() []*Store {
	if n.Store == nil {
		return n.Uses
	}
	return append([]*Store{n.Store}, n.Uses...)
}

// Children lists the nodes below it, in the order in which they were added.
func (n *Node) Children() []*Node { return n.children }

// Topic is a topic that the topology reads or writes.
type Topic struct {
	Name string // of an internal topic: set by Resolve, without the application's prefix and the suffix
	// Repartition: the topic is the application's own, between two of its sub-topologies.
	Repartition bool
	// Partitions of a repartition topic; 0: as many as what it is joined with has, or else as the sub-topology that
	// writes it has tasks.
	Partitions int32
	// Follows: the number of partitions is that of the topics that this one is joined with, since what it carries is for
	// the tasks that read those; who writes it does not matter.
	Follows bool
	// Owner names a repartition topic: the grouping that asked for it.
	Owner *Node
	// FromEnd: a source begins at the topic's end where nothing is committed.
	FromEnd bool
	// KeySerde gives the serde by whose bytes all records of the topic are partitioned; nil: it is not known.
	KeySerde func() any
}

// FullName is the topic's name on the broker.
func (t *Topic) FullName(application string) string {
	if t.Repartition {
		return application + "-" + t.Name + "-repartition"
	}
	return t.Name
}

// Store is a state store and the changelog that goes with it.
type Store struct {
	Name string // the handle's; else, set by Resolve, its operator's
	Node *Node  // the operator that owns it, or the first that uses it
	// Config is what the changelog topic is created with; nil: "cleanup.policy" is "compact".
	Config map[string]string
	// Input is the topic of the application's input that is the changelog; nil: the store has one of its own.
	Input *Topic
	// KeySerde gives the serde of keys, without their windows; nil: rows have keys of their own, which tell nothing
	// about where they are.
	KeySerde func() any
	// ByKey: what feeds the store is partitioned by the bytes that the store has as keys, so that it is known which
	// task has a row.
	ByKey bool
}

// Changelog is the name of the store's changelog topic.
func (s *Store) Changelog(application string) string {
	if s.Input != nil {
		return s.Input.FullName(application)
	}
	return application + "-" + s.Name + "-changelog"
}

// Sub is a sub-topology: what is connected without going through a topic. It runs as one task for each
// partition of its source topics.
type Sub struct {
	ID    int
	Nodes []*Node // parents before children
	// Global: it maintains a global store. Such a sub-topology is not in Order, and has no tasks to share out.
	Global bool
}

// Name is the sub-topology's stable name: its first source's.
func (s *Sub) Name() string {
	for _, n := range s.Nodes {
		if n.Kind == Source || n.Kind == GlobalSource {
			return n.Name
		}
	}
	return s.Nodes[0].Name
}

// Sources lists the topics of which the sub-topology's tasks read a partition each, in the order they were
// declared.
func (s *Sub) Sources() []*Topic { return s.topics(Source) }

// GlobalSource is the source of a global sub-topology.
func (s *Sub) GlobalSource() *Node {
	return s.Nodes[slices.IndexFunc(s.Nodes, func(n *Node) bool { return n.Kind == GlobalSource })]
}

// Sinks lists the topics the sub-topology writes, in the order they were declared.
func (s *Sub) Sinks() []*Topic { return s.topics(Sink) }

func (s *Sub) topics(k Kind) []*Topic {
	var ts []*Topic
	for _, n := range s.Nodes {
		if n.Kind == k && n.Topic != nil && !slices.Contains(ts, n.Topic) {
			ts = append(ts, n.Topic)
		}
	}
	return ts
}

// Stores lists the sub-topology's stores, those of parents first.
func (s *Sub) Stores() []*Store {
	var ss []*Store
	for _, n := range s.Nodes {
		for _, store := range n.Stores() {
			if !slices.Contains(ss, store) {
				ss = append(ss, store)
			}
		}
	}
	return ss
}

// Graph is a whole topology.
type Graph struct {
	Nodes []*Node // in the order of the calls that made them, so parents come before children
	Subs  []*Sub
	// Order lists the indices of Subs that have tasks, so that who writes a repartition topic comes before who
	// reads it, but for cycles, which are cut at their first member.
	Order []int
}

// Add appends a node and links it to its parents.
func (g *Graph) Add(n *Node) *Node {
	n.Index = len(g.Nodes)
	g.Nodes = append(g.Nodes, n)
	for _, p := range n.Parents {
		p.children = append(p.children, n)
	}
	return n
}

// Link makes a node that was added before n a child of n's too.
func (g *Graph) Link(n, child *Node) {
	child.Parents = append(child.Parents, n)
	n.children = append(n.children, child)
}

// Origins lists the topics that the node's records come from, within its sub-topology.
func (n *Node) Origins() []*Topic {
	var ts []*Topic
	seen := map[*Node]bool{}
	var visit func(n *Node)
	visit = func(n *Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if n.Kind == Source {
			ts = append(ts, n.Topic)
		}
		for _, p := range n.Parents {
			visit(p)
		}
	}
	visit(n)
	return ts
}

// Resolve names everything and finds the sub-topologies.
func (g *Graph) Resolve() {
	g.name()
	g.split()
	g.order()
}

// split groups nodes that are linked directly, share a source topic, read the same one, or use one store.
func (g *Graph) split() {
	root := make([]int, len(g.Nodes))
	for i := range root {
		root[i] = i
	}
	var find func(i int) int
	find = func(i int) int {
		if root[i] != i {
			root[i] = find(root[i])
		}
		return root[i]
	}
	join := func(a, b int) { a, b = find(a), find(b); root[max(a, b)] = min(a, b) }
	readers := map[*Topic]int{}
	users := map[*Store]int{}
	for _, n := range g.Nodes {
		for _, p := range n.Parents {
			join(n.Index, p.Index)
		}
		for _, s := range n.Stores() {
			if first, ok := users[s]; ok {
				join(first, n.Index)
			} else {
				users[s] = n.Index
			}
		}
		if n.Kind == Source {
			if first, ok := readers[n.Topic]; ok {
				join(first, n.Index)
			} else {
				readers[n.Topic] = n.Index
			}
		}
	}
	g.Subs = nil
	of := map[int]*Sub{}
	for _, n := range g.Nodes {
		s := of[find(n.Index)]
		if s == nil {
			s = &Sub{ID: len(g.Subs)}
			of[find(n.Index)] = s
			g.Subs = append(g.Subs, s)
		}
		n.Sub = s.ID
		s.Nodes = append(s.Nodes, n)
		s.Global = s.Global || n.Kind == GlobalSource
	}
}

// order sorts the sub-topologies along the topics between them (depth first, from the last to the first).
func (g *Graph) order() {
	readers := map[*Topic]int{}
	for _, s := range g.Subs {
		for _, t := range s.Sources() {
			readers[t] = s.ID
		}
	}
	seen := make([]bool, len(g.Subs))
	g.Order = nil
	var visit func(id int)
	visit = func(id int) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, t := range g.Subs[id].Sinks() {
			if r, ok := readers[t]; ok {
				visit(r)
			}
		}
		g.Order = append(g.Order, id)
	}
	for id := len(g.Subs) - 1; id >= 0; id-- {
		if !g.Subs[id].Global {
			visit(id)
		}
	}
	slices.Reverse(g.Order)
}
