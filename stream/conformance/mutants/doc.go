// Package mutants shows that the vectors of package conformance see faults: the code of operators and stores is
// changed in one place, and some vector must fail; then in the next. What the mutations are, and the vector and step
// that see each, stand in docs/mutations.md.
//
//	make mutants
//
// runs them, and writes that page anew. go test runs them too, and compares it.
//
// A mutation is two pieces of text in list_test.go: what stands in the code, once, and what stands there instead. All
// are made at once, by go test -overlay, so that no file is changed and one build is enough: a function that has
// mutations begins with its mutated bodies, each behind a switch (build_test.go). If a mutation does not compile, or its
// place is gone, it is the mutation that has to be mended.
package mutants
