package stream

import (
	"fmt"
	"time"
)

// JoinOption is an option of joins of a stream with a stream or a table.
type JoinOption interface{ join(*settings) }

func (n Name) join(s *settings)           { n.operator(s) }
func (p PartitionCount) join(s *settings) { p.repartition(s) }

// MemoryOnly is an option of operators with buffers. See InMemory.
type MemoryOnly struct{}

// InMemory keeps an operator's buffers in memory only. They have changelogs all the same, from which they are
// read at each start, and are bounded by memory, not by disk.
func InMemory() MemoryOnly { return MemoryOnly{} }

func (MemoryOnly) join(s *settings) { s.inMemory = true }

// GracePeriod is an option of joins of a stream with a versioned table. See Grace.
type GracePeriod struct{ d time.Duration }

// Grace has the records of a stream wait before they are joined with a versioned table, until the highest timestamp
// of the stream's records is d above their own: an update of the table that comes late by no more than that is still
// found (KIP-923). Then they are joined in the order of their timestamps, and of equal ones by the bytes of their keys.
// A record that comes when its time to wait is over already is joined at once. Only the stream's own time counts: if
// it stops, what waits goes on waiting.
//
// d is a whole number of milliseconds, not negative, and no longer than the table's history retention. 0 waits for
// nothing, but makes sure that the table is versioned. What waits lies in a store, with a changelog: it is bounded by
// the disk, or with InMemory by memory, and survives aborts and restarts.
func Grace(d time.Duration) GracePeriod { return GracePeriod{d} }

func (g GracePeriod) join(s *settings) {
	switch {
	case g.d < 0:
		s.problems = append(s.problems, fmt.Errorf("Grace(%s) is negative", g.d))
	case g.d%time.Millisecond != 0:
		s.problems = append(s.problems, fmt.Errorf("Grace(%s) is not a whole number of milliseconds, which is as fine as timestamps are", g.d))
	}
	s.grace = &g.d
}

func joinSettings(opts []JoinOption) (s settings) {
	for _, o := range opts {
		o.join(&s)
	}
	return s
}

// side is the settings of what a join makes for one of its sides: its name with a suffix.
func (s settings) side(suffix string) settings {
	if s.named && s.name != "" {
		s.name += "-" + suffix
	} else {
		s.named = false
	}
	s.problems = nil // the join's
	return s
}

// joinSide is where a join reads one of its streams: where it is, or behind a repartition topic if its keys
// changed. keepNulls: records without a key are the join's to judge (KIP-962).
func joinSide[K, V any](in *Stream[K, V], op, suffix string, s settings, keepNulls bool) *node[K, V] {
	if !in.rekeyed {
		return in.n
	}
	s = s.side(suffix)
	s.keepNulls = keepNulls
	return repartition(in.n, op, s, nil, in.n.keySerde, in.n.valueSerde)
}

// checkJoin reports a fault of a join's settings at its node.
func checkJoin[K, V any](n *node[K, V], s settings, rekeyed bool) {
	if s.partitions > 0 && !rekeyed {
		n.b.fail(n.g, "Partitions(%d) is for a repartition topic, but no keys changed, so there is none", s.partitions)
	}
}

// sameBuilder makes it a fault of n's if what is joined is of different builders.
func sameBuilder[K, V any](n *node[K, V], left, right *Builder) bool {
	if left != right {
		n.b.fail(n.g, "the two sides are of different builders")
	}
	return left == right
}
