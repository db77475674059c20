package stream

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/internal/engine"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Topology is a built topology. It holds no state: one may be run by several applications.
type Topology struct {
	graph   *graph.Graph
	open    map[*graph.Node]func(*task.Task) (task.Source, error)
	handles map[string]queryable // by the store's name
}

// Describe draws the topology as text, in the form of Kafka Streams' Topology.describe: its
// sub-topologies, their sources, operators, stores and sinks, and the topics between them. Names of
// internal topics are shown without the application's id, which they are prefixed with.
func (t *Topology) Describe() string { return t.graph.Describe("") }

func (t *Topology) plan(onCommit bool) *task.Plan {
	return &task.Plan{Graph: t.graph, Open: t.open, OnCommit: onCommit}
}

func init() {
	bridge.Public, bridge.KeyPartition = public, keyPartition
	bridge.Plan = func(t any, onCommit bool) *task.Plan { return t.(*Topology).plan(onCommit) }
	bridge.Stored = func(t any, h state.AnyHandle) (engine.Reading, error) { return t.(*Topology).stored(h) }
	bridge.Unavailable = unavailable
	bridge.StateFS = func(a any, fs vfs.FS) { a.(*App).stateFS = fs }
	bridge.Stores = func(a any) []state.Store { return a.(*App).runner.Stores() }
	bridge.Globals = func(a any) []state.Global { return a.(*App).runner.Globals() }
}
