package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// ownedStore adds a node below n that owns a store of n's: operators that need several stores have one such
// node for each. What it is called follows from n and op, or, if n's name was given, from that and suffix.
func ownedStore[K, V any](n *node[K, V], op, suffix string, s settings, config map[string]string) *graph.Node {
	g := n.b.graph.Add(&graph.Node{Op: op, At: n.g.At, Parents: []*graph.Node{n.g}})
	g.Store = &graph.Store{Node: g, Config: config}
	s.side(suffix).apply(n.b, g)
	return g
}

// openStore opens the store of g for a task, once. A task that starts again has it open already.
func openStore[K, V any, S state.Store](tk *task.Task, g *graph.Node, key serde.Serde[K], value serde.Serde[V], open func(t *state.Task, name string, k serde.Serde[K], v serde.Serde[V]) (S, error)) (S, error) {
	if s, ok := tk.Memo[g.Store]; ok {
		return s.(S), nil
	}
	name := g.Store.Name
	s, ok := tk.Env.Stores[name].(S)
	if !ok {
		changelog := g.Store.Changelog(tk.Env.Application)
		k, err := serde.Bind(key, changelog, true)
		if err != nil {
			return s, fmt.Errorf("key serde for store %s: %w", name, err)
		}
		v, err := serde.Bind(value, changelog, false)
		if err != nil {
			return s, fmt.Errorf("value serde for store %s: %w", name, err)
		}
		if s, err = open(tk.Env.State, name, k, v); err != nil {
			return s, fmt.Errorf("open store %s: %w", name, err)
		}
		tk.Env.Stores[name] = s
	}
	tk.AddStore(g, s)
	tk.Memo[g.Store] = s
	return s, nil
}
