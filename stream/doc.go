// Package stream declares stream processing topologies and runs them, exactly once, on a partitioned log:
// Kafka Streams for Go.
//
// A topology is built from typed topic handles. Operators that keep the types of a stream are methods,
// those that change one are functions:
//
//	b := stream.NewBuilder()
//	words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
//	stream.GroupBy(words, func(_ []byte, w string) string { return w }).
//		Count().As(counts).
//		ToStream().To(wordCounts)
//	topology, err := b.Build()
//
// New makes an application of it, on a Broker such as *log.Log, and App.Run runs it. Input offsets, state
// and output commit in one transaction, the epoch.
//
// # Nulls
//
// Null is nil for types that have one: a pointer, a slice, a map. A type without nil, such as string,
// int64 or a struct, cannot hold null; the record carries it as a bit, and functions that would have to
// take such a null are not called. What happens instead is said at each operator. serde.Nullable makes a
// pointer type of any.
//
// # Functions
//
// Functions given to operators are called by one goroutine at a time for each task, and by several tasks
// at once: what they share must be safe for that. They may be called again for records whose epoch was
// aborted. One that panics stops the application with an error that names the operator and the record.
//
// They may change in place what they are given: aggregates, rows of tables, values of joins. Only the value of
// a record is not theirs alone where others see it too: other operators below the same stream or table, and
// the same aggregator for other windows of the record.
package stream
