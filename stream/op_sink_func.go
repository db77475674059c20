package stream

import (
	"errors"
	"fmt"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// ToFunc writes each record to the topic that choose gives for it: to one of several, or to one named after what
// is in the record. Serdes and partitioner come along with the handle. Topics are not created: one that does not
// exist when the first record for it comes stops the application.
//
// Declare handles of topics that are known once, and return them; make others with WithName. Of handles with one
// name, the first that choose gives to a task is used from then on.
//
// choose is called for every record; KeyIsNull and ValueIsNull tell nulls.
func (s *Stream[K, V]) ToFunc(choose func(Record[K, V]) Topic[K, V], opts ...Option) {
	g := s.n.b.graph.Add(&graph.Node{Kind: graph.Sink, Op: "ToFunc", At: caller(), Parents: []*graph.Node{s.n.g}})
	operatorSettings(opts).apply(s.n.b, g)
	s.n.b.needFunctions(g, choose)
	s.n.lead(g, func(t *task.Task) (edge[K, V], error) {
		sinks := map[string]*sinkOp[K, V]{} // by topic: not made anew for each record
		return guarded(t, g, func(r Record[K, V]) error {
			t.Enter(g.Index)
			topic := choose(r)
			sink := sinks[topic.name]
			if sink == nil {
				var err error
				if sink, err = openChosen(t, g, topic); err != nil {
					return err
				}
				sinks[topic.name] = sink
			}
			return sink.process(r)
		}), nil
	})
}

// openChosen makes the sink for a topic of which the topology did not know.
func openChosen[K, V any](t *task.Task, g *graph.Node, topic Topic[K, V]) (*sinkOp[K, V], error) {
	if topic.name == "" {
		return nil, fmt.Errorf("the function gave a topic without a name; give every record one, or Filter what is to go nowhere")
	}
	if topic.key == nil || topic.value == nil {
		return nil, fmt.Errorf("topic %q has no serdes; make its handle with NewTopic", topic.name)
	}
	partitions, err := t.Env.Lookup(topic.name)
	if err != nil {
		err = fmt.Errorf("topic %q: %w", topic.name, err)
		if !errors.Is(err, log.ErrUnknownTopic) {
			err = t.Final(g.Index, err) // the broker's fault, not the record's
		}
		return nil, err
	}
	sink, err := newSinkOp(t, g, topic.name, partitions, topic.key, topic.value)
	if err != nil {
		return nil, t.Final(g.Index, err) // a registry's
	}
	sink.partitioner = topic.partitioner
	return sink, nil
}
