package stream

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// TableFrom reads a topic as a table: each record is the new value of its key's row, null deletes it.
// Records without a key are dropped and counted. A record with an older timestamp than its row's is the
// row's new value all the same, unless the table is versioned.
//
// The table has a store if it is given one with As, or if something below has to look at its rows or needs
// to know what a row was before; otherwise it passes changes on as they come. The store has a changelog of
// its own, since the topic may not be compacted: where it is, ReuseTopic does without.
//
// Each call makes a table of its own, which Named names.
func TableFrom[K, V any](b *Builder, t Topic[K, V], opts ...SourceOption) *Table[K, V] {
	s := sourceSettings(opts)
	in := source(b, t, settings{start: s.start})
	table := tableOf(in, "TableFrom", s)
	if s.reuse {
		table.reuse(in, t)
	}
	return table
}

// ToTable makes the stream's records the changes of a table: each is the new value of its key's row, null
// deletes it. Records without a key are dropped and counted. If an operator before it changed the keys, the
// stream goes through a repartition topic first.
//
// The table has a store when that of TableFrom has one.
func (s *Stream[K, V]) ToTable(opts ...RepartitionOption) *Table[K, V] {
	set := repartitionSettings(opts)
	if s.rekeyed {
		// What As or With say of the table holds for its repartition topic too.
		var t *Table[K, V]
		in := repartition(s.n, "ToTable", set, nil,
			func() serde.Serde[K] { return resolve(t.setKey, s.n.keySerde) },
			func() serde.Serde[V] { return resolve(t.setValue, s.n.valueSerde) })
		t = tableOf(in, "ToTable", settings{})
		return t
	}
	t := tableOf(s.n, "ToTable", set)
	if set.partitions > 0 {
		s.n.b.fail(t.n.g, "Partitions is given, but the keys did not change, so there is no repartition topic")
	}
	return t
}

// tableOf makes records the changes of a table.
func tableOf[K, V any](p *node[K, V], op string, s settings) *Table[K, V] {
	n := newNode[K, change[V]](p.b, op, s, p.g)
	t := newTable(n, p.keySerde, p.valueSerde)
	attach(p, n, func(tk *task.Task, next edge[K, change[V]]) (edge[K, V], error) {
		keep, err := t.keep(tk, next)
		if err != nil {
			return nil, err
		}
		return func(r Record[K, V]) error {
			if r.null&nullKey != 0 {
				countDropped(tk, n.g.Index, nullKey)
				return nil
			}
			o := Record[K, change[V]]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers}
			if r.null&nullValue == 0 {
				o.Value = change[V]{New: r.Value, HasNew: true}
			}
			return keep(o)
		}, nil
	})
	return t
}
