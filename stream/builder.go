package stream

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Builder gathers a topology, operator by operator. It is for one goroutine, and for one topology.
type Builder struct {
	graph   graph.Graph
	open    map[*graph.Node]func(*task.Task) (task.Source, error)
	topics  map[string]declared
	sources map[string]any          // *node[K, V] by topic name: a topic has one source
	demands []func()                // what operators need of tables, decided when the topology is whole
	checks  []func()                // what can only be said when the topology is whole
	shared  map[string]*sharedStore // that processors were given, by name
	tables  map[string]tableHandle  // that are kept in stores with handles, by these's names
	faults  map[*graph.Node]bool
	errs    []error
	handles map[string]queryable // by the store's name
	built   bool
}

// NewBuilder returns an empty builder.
func NewBuilder() *Builder {
	return &Builder{
		open:    map[*graph.Node]func(*task.Task) (task.Source, error){},
		topics:  map[string]declared{},
		sources: map[string]any{},
		shared:  map[string]*sharedStore{},
		tables:  map[string]tableHandle{},
		faults:  map[*graph.Node]bool{},
		handles: map[string]queryable{},
	}
}

// fail records a fault of n's, unless one of its ancestors has one: of a broken stream the first fault is
// said, and once.
func (b *Builder) fail(n *graph.Node, format string, a ...any) {
	if b.broken(n) {
		return
	}
	b.faults[n] = true
	what := n.Op
	if n.Pinned != "" {
		what += fmt.Sprintf(" %q", n.Pinned)
	}
	b.errs = append(b.errs, fmt.Errorf("%s: %s: %w", n.At, what, fmt.Errorf(format, a...)))
}

func (b *Builder) broken(n *graph.Node) bool {
	if b.faults[n] {
		return true
	}
	for _, p := range n.Parents {
		if b.broken(p) {
			return true
		}
	}
	return n.Kind == graph.Source && n.Topic.Owner != nil && b.broken(n.Topic.Owner)
}

// Build checks the topology and closes it. All faults are returned together, each with the file and line
// of the operator it is about.
func (b *Builder) Build() (*Topology, error) {
	if b.built {
		return nil, errors.New("stream: Build was called before; a Builder makes one topology")
	}
	b.built = true
	for _, demand := range b.demands {
		demand()
	}
	b.shareStores()
	b.graph.Resolve()
	if len(b.graph.Nodes) == 0 {
		return nil, errors.New("stream: the topology is empty; begin with From")
	}
	b.checkNames()
	for _, check := range b.checks {
		check()
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	b.placeStores()
	return &Topology{graph: &b.graph, open: b.open, handles: b.handles}, nil
}

// demand has f called when the topology is built, before anything is named.
func (b *Builder) demand(f func()) { b.demands = append(b.demands, f) }

// checkNames finds names that were given twice, and names that cannot be part of a topic's.
func (b *Builder) checkNames() {
	nodes := map[string]*graph.Node{}
	stores := map[string]*graph.Node{}
	for _, n := range b.graph.Nodes {
		if first := nodes[n.Name]; first != nil {
			b.fail(n, "the name %q is taken by %s at %s", n.Name, first.Op, first.At)
		}
		nodes[n.Name] = n
		for _, s := range n.Uses {
			if s.Node != n {
				continue
			}
			if first := stores[s.Name]; first != nil {
				b.fail(n, "the store name %q is taken by %s at %s", s.Name, first.Op, first.At)
			}
			stores[s.Name] = n
			if err := log.ValidateTopic(s.Name); err != nil {
				b.fail(n, "store %q: %v (store names become part of topic names)", s.Name, err)
			}
		}
		if n.Pinned != "" {
			if err := log.ValidateTopic(n.Pinned); err != nil {
				b.fail(n, "Named: %v (names become part of topic names)", err)
			}
		}
		if n.Store == nil {
			continue
		}
		if first := stores[n.Store.Name]; first != nil {
			b.fail(n, "the store name %q is taken by %s at %s", n.Store.Name, first.Op, first.At)
		}
		stores[n.Store.Name] = n
		if err := log.ValidateTopic(n.Store.Name); err != nil && n.Of == nil { // else it is Named's fault
			b.fail(n, "store %q: %v (store names become part of topic names)", n.Store.Name, err)
		}
	}
}

// thisPackage is the prefix of the names of this package's functions. With the dot: stream/streamtest and
// the external tests count as outside.
var thisPackage = reflect.TypeFor[Builder]().PkgPath() + "."

// caller is the file:line of the first frame outside this package.
func caller() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, thisPackage) || strings.HasSuffix(f.File, "_test.go") || !more {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
	}
}

// edge is how a record goes to the next operator: a call. An error ends the epoch.
type edge[K, V any] func(Record[K, V]) error

// node is the typed place of an operator's results in the graph. No method of node or Table may name a
// Stream, and none of Stream's a Stream of a wrapped K or V: that would be an instantiation cycle.
type node[K, V any] struct {
	b    *Builder
	g    *graph.Node
	kids []func(*task.Task) (edge[K, V], error)
	to   []*graph.Node // whose operators kids open

	// The serdes: set by a handle or With, else inherited from a parent of the same type, else serde.For.
	setKey       serde.Serde[K]
	setValue     serde.Serde[V]
	inheritKey   func() serde.Serde[K]
	inheritValue func() serde.Serde[V]

	start start // of a source
}

// newNode adds an operator's node below its parents.
func newNode[K, V any](b *Builder, op string, s settings, parents ...*graph.Node) *node[K, V] {
	n := &node[K, V]{b: b, g: b.graph.Add(&graph.Node{Op: op, At: caller(), Parents: parents})}
	s.apply(b, n.g)
	return n
}

// given makes it a fault of n's if one of the functions that its operator was given is nil.
func (n *node[K, V]) given(functions ...any) { n.b.needFunctions(n.g, functions...) }

// needFunctions makes it a fault of n's if one of the functions is nil.
func (b *Builder) needFunctions(n *graph.Node, functions ...any) {
	for _, f := range functions {
		if reflect.ValueOf(f).IsNil() {
			b.fail(n, "the %T is nil", f)
		}
	}
}

// keySerde is nil if none is known.
func (n *node[K, V]) keySerde() serde.Serde[K] {
	return resolve(n.setKey, n.inheritKey)
}

// valueSerde is nil if none is known.
func (n *node[K, V]) valueSerde() serde.Serde[V] {
	return resolve(n.setValue, n.inheritValue)
}

func resolve[T any](set serde.Serde[T], inherit func() serde.Serde[T]) serde.Serde[T] {
	if set != nil {
		return set
	}
	if inherit != nil {
		if s := inherit(); s != nil {
			return s
		}
	}
	s, _ := serde.For[T]()
	return s
}

// needSerdes makes it a fault of n's if a serde is not known when the topology is built. whose and remedy
// complete the message.
func needSerdes[K, V any](b *Builder, n *graph.Node, key func() serde.Serde[K], value func() serde.Serde[V], whose, remedy string) {
	b.checks = append(b.checks, func() {
		var missing []string
		if key() == nil {
			missing = append(missing, "key type "+reflect.TypeFor[K]().String())
		}
		if value() == nil {
			missing = append(missing, "value type "+reflect.TypeFor[V]().String())
		}
		if missing != nil {
			b.fail(n, "no serde for %s%s; give one with %s", strings.Join(missing, " and "), whose, remedy)
		}
	})
}

// edge opens what lies below n for a task, once.
func (n *node[K, V]) edge(t *task.Task) (edge[K, V], error) {
	if e, ok := t.Memo[n.g]; ok {
		return e.(edge[K, V]), nil
	}
	edges := make([]edge[K, V], len(n.kids))
	for i, open := range n.kids {
		e, err := open(t)
		if err != nil {
			return nil, err
		}
		edges[i] = e
	}
	e := fanOut(edges)
	t.Memo[n.g], t.Memo[edgesOf{n.g}] = e, edges
	return e, nil
}

// edgesOf is where a task's Memo has the edges to each operator below a node.
type edgesOf struct{ g *graph.Node }

// named lists the edges to the children that were given a name. edge must have been called.
func (n *node[K, V]) named(t *task.Task) map[string]edge[K, V] {
	edges := map[string][]edge[K, V]{}
	for i, e := range t.Memo[edgesOf{n.g}].([]edge[K, V]) {
		if name := n.to[i].Pinned; name != "" {
			edges[name] = append(edges[name], e)
		}
	}
	named := map[string]edge[K, V]{}
	for name, es := range edges {
		named[name] = fanOut(es)
	}
	return named
}

// lead adds an operator below n: open is called once for each task.
func (n *node[K, V]) lead(to *graph.Node, open func(*task.Task) (edge[K, V], error)) {
	n.kids, n.to = append(n.kids, open), append(n.to, to)
}

func fanOut[K, V any](edges []edge[K, V]) edge[K, V] {
	switch len(edges) {
	case 0:
		return func(Record[K, V]) error { return nil }
	case 1:
		return edges[0]
	}
	return func(r Record[K, V]) error {
		for _, e := range edges {
			if err := e(r); err != nil {
				return err
			}
		}
		return nil
	}
}

// attach adds an operator below p: make is called once for each task, with what lies below n.
func attach[K, V, K2, V2 any](p *node[K, V], n *node[K2, V2], make func(t *task.Task, next edge[K2, V2]) (edge[K, V], error)) {
	p.lead(n.g, func(t *task.Task) (edge[K, V], error) {
		next, err := n.edge(t)
		if err != nil {
			return nil, err
		}
		e, err := make(t, next)
		if err != nil {
			return nil, err
		}
		return guarded(t, n.g, e), nil
	})
}
