package stream

import "github.com/moldau-io/moldau/serde"

// Repartition sends the stream through a topic of the application's own, so that equal keys come together, and
// reads it from there: to process on more partitions, say, or where keys were changed by an operator that does
// not look like it. Records without a key are dropped and counted. What follows is another sub-topology, with
// tasks of its own.
//
// With on the result says how the topic's records are encoded, too.
func (s *Stream[K, V]) Repartition(opts ...RepartitionOption) *Stream[K, V] {
	var in *node[K, V]
	in = repartition(s.n, "Repartition", repartitionSettings(opts), nil,
		func() serde.Serde[K] { return resolve(in.setKey, s.n.keySerde) },
		func() serde.Serde[V] { return resolve(in.setValue, s.n.valueSerde) })
	return &Stream[K, V]{n: in}
}
