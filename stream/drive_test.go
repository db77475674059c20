package stream_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/moldau-io/moldau/stream"
)

// This file has what fluent_test.go needs of the others: CI compiles these two alone with Go 1.27.

// build makes a topology, or fails the test.
func build(t testing.TB, f func(b *stream.Builder)) *stream.Topology {
	t.Helper()
	b := stream.NewBuilder()
	f(b)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// drive runs an example's topology on a test driver; in a test, t is the test.
func drive(f func(t testing.TB)) {
	t := &exampleTB{}
	f(t)
	t.end()
}

// exampleTB lets a driver be used outside a test.
type exampleTB struct {
	testing.TB
	cleanup []func()
}

func (t *exampleTB) Helper()          {}
func (t *exampleTB) Cleanup(f func()) { t.cleanup = append(t.cleanup, f) }
func (t *exampleTB) Fatal(a ...any)   { fmt.Println(a...); os.Exit(1) }
func (t *exampleTB) Fatalf(format string, a ...any) {
	fmt.Printf(format+"\n", a...)
	os.Exit(1)
}
func (t *exampleTB) Errorf(format string, a ...any) { fmt.Printf(format+"\n", a...) }
func (t *exampleTB) end() {
	for i := len(t.cleanup) - 1; i >= 0; i-- {
		t.cleanup[i]()
	}
}
