//go:build go1.27

package stream

import (
	"iter"

	"github.com/moldau-io/moldau/windows"
)

// This file has the operators that change a type again, as methods, which may have type parameters of their own
// from Go 1.27 on: so a whole topology reads as one chain. A method has its function's name without the word for what
// it is a method of, as JoinTables is Join of a Table; only MapTable and GroupTable have their names in Kafka Streams.
//
// GroupByKey and OnLate stay functions: see there.

// Map is the function Map.
func (s *Stream[K, V]) Map[K2, V2 any](f func(K, V) (K2, V2), opts ...Option) *Stream[K2, V2] {
	return Map(s, f, opts...)
}

// MapValues is the function MapValues.
func (s *Stream[K, V]) MapValues[W any](f func(V) W, opts ...Option) *Stream[K, W] {
	return MapValues(s, f, opts...)
}

// MapValuesWithKey is the function MapValuesWithKey.
func (s *Stream[K, V]) MapValuesWithKey[W any](f func(K, V) W, opts ...Option) *Stream[K, W] {
	return MapValuesWithKey(s, f, opts...)
}

// FlatMap is the function FlatMap.
func (s *Stream[K, V]) FlatMap[K2, V2 any](f func(K, V) iter.Seq2[K2, V2], opts ...Option) *Stream[K2, V2] {
	return FlatMap(s, f, opts...)
}

// FlatMapValues is the function FlatMapValues.
func (s *Stream[K, V]) FlatMapValues[W any](f func(V) iter.Seq[W], opts ...Option) *Stream[K, W] {
	return FlatMapValues(s, f, opts...)
}

// FlatMapValuesWithKey is the function FlatMapValuesWithKey.
func (s *Stream[K, V]) FlatMapValuesWithKey[W any](f func(K, V) iter.Seq[W], opts ...Option) *Stream[K, W] {
	return FlatMapValuesWithKey(s, f, opts...)
}

// SelectKey is the function SelectKey.
func (s *Stream[K, V]) SelectKey[K2 any](f func(K, V) K2, opts ...Option) *Stream[K2, V] {
	return SelectKey(s, f, opts...)
}

// GroupBy is the function GroupBy.
func (s *Stream[K, V]) GroupBy[K2 any](f func(K, V) K2, opts ...RepartitionOption) *Grouped[K2, V] {
	return GroupBy(s, f, opts...)
}

// Join is the function JoinStreams.
func (s *Stream[K, V]) Join[R, O any](r *Stream[K, R], w windows.Join, join func(V, R) O, opts ...JoinOption) *Stream[K, O] {
	return JoinStreams(s, r, w, join, opts...)
}

// LeftJoin is the function LeftJoinStreams.
func (s *Stream[K, V]) LeftJoin[R, O any](r *Stream[K, R], w windows.Join, join func(l V, r R, ok bool) O, opts ...JoinOption) *Stream[K, O] {
	return LeftJoinStreams(s, r, w, join, opts...)
}

// OuterJoin is the function OuterJoinStreams.
func (s *Stream[K, V]) OuterJoin[R, O any](r *Stream[K, R], w windows.Join, join func(l V, r R, have Sides) O, opts ...JoinOption) *Stream[K, O] {
	return OuterJoinStreams(s, r, w, join, opts...)
}

// JoinTable is the function JoinTable.
func (s *Stream[K, V]) JoinTable[R, O any](t *Table[K, R], join func(V, R) O, opts ...JoinOption) *Stream[K, O] {
	return JoinTable(s, t, join, opts...)
}

// LeftJoinTable is the function LeftJoinTable.
func (s *Stream[K, V]) LeftJoinTable[R, O any](t *Table[K, R], join func(v V, r R, ok bool) O, opts ...JoinOption) *Stream[K, O] {
	return LeftJoinTable(s, t, join, opts...)
}

// Aggregate is the function Aggregate.
func (g *Grouped[K, V]) Aggregate[A any](init func() A, add func(K, V, A) A, opts ...Option) *Table[K, A] {
	return Aggregate(g, init, add, opts...)
}

// CoPart is the function CoPart.
func (g *Grouped[K, V]) CoPart[A any](add func(K, V, A) A) Part[K, A] { return CoPart(g, add) }

// Aggregate is the function AggregateWindows.
func (w *Windowed[K, V]) Aggregate[A any](init func() A, add func(K, V, A) A, opts ...Option) *Table[windows.Windowed[K], A] {
	return AggregateWindows(w, init, add, opts...)
}

// Aggregate is the function AggregateSessions.
func (w *SessionWindowed[K, V]) Aggregate[A any](init func() A, add func(K, V, A) A, merge func(k K, a, b A) A, opts ...Option) *Table[windows.Windowed[K], A] {
	return AggregateSessions(w, init, add, merge, opts...)
}

// Aggregate is the function AggregateTable.
func (g *GroupedTable[K, V]) Aggregate[A any](init func() A, add, sub func(K, V, A) A, opts ...Option) *Table[K, A] {
	return AggregateTable(g, init, add, sub, opts...)
}

// GroupBy is the function GroupTable.
func (t *Table[K, V]) GroupBy[K2, V2 any](f func(K, V) (K2, V2), opts ...RepartitionOption) *GroupedTable[K2, V2] {
	return GroupTable(t, f, opts...)
}

// Join is the function JoinTables.
func (t *Table[K, V]) Join[R, O any](r *Table[K, R], join func(V, R) O, opts ...Option) *Table[K, O] {
	return JoinTables(t, r, join, opts...)
}

// LeftJoin is the function LeftJoinTables.
func (t *Table[K, V]) LeftJoin[R, O any](r *Table[K, R], join func(l V, r R, ok bool) O, opts ...Option) *Table[K, O] {
	return LeftJoinTables(t, r, join, opts...)
}

// OuterJoin is the function OuterJoinTables.
func (t *Table[K, V]) OuterJoin[R, O any](r *Table[K, R], join func(l V, r R, have Sides) O, opts ...Option) *Table[K, O] {
	return OuterJoinTables(t, r, join, opts...)
}

// MapValues is the function MapTable.
func (t *Table[K, V]) MapValues[W any](f func(K, V) W, opts ...Option) *Table[K, W] {
	return MapTable(t, f, opts...)
}

// JoinGlobal is the function JoinGlobal.
func (s *Stream[K, V]) JoinGlobal[GK, R, O any](g *GlobalTable[GK, R], key func(K, V) (GK, bool), join func(V, R) O, opts ...Option) *Stream[K, O] {
	return JoinGlobal(s, g, key, join, opts...)
}

// LeftJoinGlobal is the function LeftJoinGlobal.
func (s *Stream[K, V]) LeftJoinGlobal[GK, R, O any](g *GlobalTable[GK, R], key func(K, V) (GK, bool), join func(v V, r R, ok bool) O, opts ...Option) *Stream[K, O] {
	return LeftJoinGlobal(s, g, key, join, opts...)
}

// JoinForeign is the function JoinForeign.
func (t *Table[K, V]) JoinForeign[FK, R, O any](r *Table[FK, R], key func(K, V) (FK, bool), join func(V, R) O, opts ...Option) *Table[K, O] {
	return JoinForeign(t, r, key, join, opts...)
}

// LeftJoinForeign is the function LeftJoinForeign.
func (t *Table[K, V]) LeftJoinForeign[FK, R, O any](r *Table[FK, R], key func(K, V) (FK, bool), join func(l V, r R, ok bool) O, opts ...Option) *Table[K, O] {
	return LeftJoinForeign(t, r, key, join, opts...)
}

// Process is the function Process.
func (s *Stream[K, V]) Process[KO, VO any, P Processor[K, V, KO, VO]](newP func() P, opts ...ProcessOption) *Stream[KO, VO] {
	return Process[K, V, KO, VO](s, newP, opts...)
}

// ProcessFunc is the function ProcessFunc.
func (s *Stream[K, V]) ProcessFunc[KO, VO any](f func(*Context[KO, VO], Record[K, V]) error, opts ...ProcessOption) *Stream[KO, VO] {
	return ProcessFunc(s, f, opts...)
}

// ProcessValues is the function ProcessValues.
func (s *Stream[K, V]) ProcessValues[W any, P ValueProcessor[K, V, W]](newP func() P, opts ...ProcessOption) *Stream[K, W] {
	return ProcessValues[K, V, W](s, newP, opts...)
}

// ProcessValuesFunc is the function ProcessValuesFunc.
func (s *Stream[K, V]) ProcessValuesFunc[W any](f func(*ValueContext[W], Record[K, V]) error, opts ...ProcessOption) *Stream[K, W] {
	return ProcessValuesFunc(s, f, opts...)
}

// Transform is the function TransformTable.
func (t *Table[K, V]) Transform[W any, P TableTransformer[K, V, W]](newT func() P, opts ...ProcessOption) *Table[K, W] {
	return TransformTable[K, V, W](t, newT, opts...)
}
