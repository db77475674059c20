package graph

import (
	"fmt"
	"strings"
)

// Describe writes the topology in the form of Kafka Streams' TopologyDescription, which tools that draw
// topologies read. application may be ""; then internal topics are shown without its prefix.
func (g *Graph) Describe(application string) string {
	full := func(t *Topic) string {
		if application == "" && t.Repartition {
			return t.Name + "-repartition"
		}
		return t.FullName(application)
	}
	var w strings.Builder
	w.WriteString("Topologies:\n")
	for _, s := range g.Subs {
		of := ""
		if s.Global {
			of = " for global store (will not generate tasks)"
		}
		fmt.Fprintf(&w, "   Sub-topology: %d%s\n", s.ID, of)
		for _, n := range s.Nodes {
			switch n.Kind {
			case Source, GlobalSource:
				fmt.Fprintf(&w, "    Source: %s (topics: [%s])\n", n.Name, full(n.Topic))
			case Sink:
				topic := "chosen by each record"
				if n.Topic != nil {
					topic = full(n.Topic)
				}
				fmt.Fprintf(&w, "    Sink: %s (topic: %s)\n", n.Name, topic)
			default:
				var stores []string
				for _, s := range n.Stores() {
					stores = append(stores, s.Name)
				}
				fmt.Fprintf(&w, "    Processor: %s (stores: [%s])\n", n.Name, strings.Join(stores, ", "))
			}
			if n.Kind != Sink {
				fmt.Fprintf(&w, "      --> %s\n", names(n.children))
			}
			if n.Kind != Source && n.Kind != GlobalSource {
				fmt.Fprintf(&w, "      <-- %s\n", names(n.Parents))
			}
		}
		w.WriteString("\n")
	}
	return w.String()
}

func names(ns []*Node) string {
	if len(ns) == 0 {
		return "none"
	}
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = n.Name
	}
	return strings.Join(out, ", ")
}
