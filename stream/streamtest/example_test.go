package streamtest_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// Wherever in a commit the power fails, each visit is counted once.
func ExampleDriver_CrashInCommit() {
	visits := stream.NewTopic("visits", serde.String, serde.String)
	counts := stream.NewTopic("counts", serde.String, serde.Int64)
	b := stream.NewBuilder()
	stream.GroupByKey(stream.From(b, visits)).Count().ToStream().To(counts)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	t := &exampleTB{} // in a test: its own t
	defer t.end()
	seen := map[string]bool{}
	for at, crashed := 0, true; crashed; at++ {
		d := streamtest.New(t, topology, streamtest.Sync(log.SyncCommit))
		in := streamtest.Input(d, visits)
		in.Pipe("ann", "home", 0)
		in.Pipe("bob", "home", 0)
		crashed = d.CrashInCommit(at, streamtest.PowerLoss{})
		in.Pipe("ann", "shop", 0)
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		var read []string
		for _, r := range streamtest.Output(d, counts).Committed() {
			read = append(read, fmt.Sprint(r.Key, "=", r.Value))
		}
		seen[fmt.Sprint(read)] = true
	}
	fmt.Println(slices.Collect(maps.Keys(seen)))
	// Output: [[ann=1 bob=1 ann=2]]
}

// exampleTB lets a driver be used outside a test.
type exampleTB struct {
	testing.TB
	cleanup []func()
}

func (t *exampleTB) Helper()                        {}
func (t *exampleTB) Cleanup(f func())               { t.cleanup = append(t.cleanup, f) }
func (t *exampleTB) Errorf(format string, a ...any) { fmt.Printf(format+"\n", a...) }

func (t *exampleTB) Fatal(a ...any) {
	fmt.Println(a...)
	os.Exit(1)
}

func (t *exampleTB) Fatalf(format string, a ...any) { t.Fatal(fmt.Sprintf(format, a...)) }

func (t *exampleTB) end() {
	for _, f := range slices.Backward(t.cleanup) {
		f()
	}
}
