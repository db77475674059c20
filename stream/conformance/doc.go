// Package conformance holds Kafka Streams' own answers, and a test that gives the same.
//
// testdata has vectors: for a topology, a random input and what the TopologyTestDriver of Apache Kafka
// Streams 4.3.1 answered to each of its records, and what its stores held in the end. scenarios_test.go has
// the same topologies in package stream. The answers must be Kafka Streams' every time that a vector is run:
//
//   - step by step, with a commit after each step, at least once, with aborts, with restarts, and with restarts that
//     find the state deleted, all by package streamtest (run_test.go);
//   - end to end, by stream.App on the embedded log, exactly once (runtime_test.go);
//   - one vector of each scenario end to end on a real Kafka broker, where there can be one (kafka_test.go).
//
// The vectors of another directory are run instead with
//
//	MOLDAU_VECTORS=/absolute/directory go test ./stream/conformance -run Vectors -count=1 -v
//
// which runs each step by step and end to end, and ends in a line "N passed, M failed"; thousands of them need a
// -timeout. A scenario that has no topology here fails; those that are not wanted (docs/semantics.md) are counted apart.
//
// To add a scenario: write its topology in a scenarios_*_test.go from the description in its vectors, and put its
// vectors into testdata as they are.
//
// The settings of Kafka Streams were: one partition for every topic, no record cache (so every update is
// sent on), no optimization of the topology. Operators were added in the order in which a description names
// them. Keys and values are strings, and nulls: the topologies here use serde.Nullable throughout. In the
// descriptions TEXT(x) is x, or the text "null"; BUCKET(v) is "g" and the number v modulo 3, or null; INIT
// gives "0"; ADD is agg + "+" + TEXT(value); CONCAT is old + "+" + new; OUT writes a table's changes to
// topic output.
package conformance
