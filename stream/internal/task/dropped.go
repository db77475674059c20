package task

import "github.com/moldau-io/moldau/stream/internal/graph"

// Dropped counts records that were dropped, by reason. stream.Dropped has the same fields.
type Dropped struct {
	NullKey     int64 // no key, where one is needed
	NullValue   int64 // null, where the type has no way to say so
	Timestamp   int64 // a negative timestamp from an extractor
	Late        int64 // for a window that was closed, once for each, or for a join to keep
	Undecodable int64 // bytes of an input record that a handler passed over
	Failed      int64 // a function's failure that a handler passed over
	Unwritten   int64 // a record that could not be written, which a handler passed over
}

// Add adds counts.
func (d *Dropped) Add(o Dropped) {
	d.NullKey += o.NullKey
	d.NullValue += o.NullValue
	d.Timestamp += o.Timestamp
	d.Late += o.Late
	d.Undecodable += o.Undecodable
	d.Failed += o.Failed
	d.Unwritten += o.Unwritten
}

// Dropped is what the operator of the given index in the graph dropped in the open epoch.
func (t *Task) Dropped(node int) *Dropped { return &t.dropped[node] }

// EachDropped calls f for each operator that dropped records in the open epoch.
func (t *Task) EachDropped(f func(n *graph.Node, d Dropped)) {
	for i, d := range t.dropped {
		if d != (Dropped{}) {
			f(t.plan.Graph.Nodes[i], d)
		}
	}
}
