package stream_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// This file has what the tests against models share: a driver in a property, and what may happen to it.

// propertyTB makes a property's T one that a driver takes.
type propertyTB struct {
	testing.TB
	t *rapid.T
}

func (p propertyTB) Helper()                   {}
func (p propertyTB) Cleanup(f func())          { p.t.Cleanup(f) }
func (p propertyTB) Errorf(s string, a ...any) { p.t.Errorf(s, a...) }
func (p propertyTB) Fatalf(s string, a ...any) { p.t.Fatalf(s, a...) }
func (p propertyTB) Fatal(a ...any)            { p.t.Fatal(a...) }
func (p propertyTB) Error(a ...any)            { p.t.Error(a...) }

// drawDriver starts a topology in some way.
func drawDriver(outer testing.TB, t *rapid.T, topology *stream.Topology, opts ...streamtest.Option) *streamtest.Driver {
	opts = append(opts, streamtest.Emit(rapid.SampledFrom([]stream.Emit{stream.EachUpdate, stream.OnCommit}).Draw(t, "emit")))
	if seed := rapid.Uint64Range(0, 1000).Draw(t, "shuffle"); seed > 0 {
		opts = append(opts, streamtest.Shuffle(seed))
	}
	return streamtest.New(propertyTB{outer, t}, topology, opts...)
}

// disturb lets time pass between two records, in which what must not matter in the end may happen.
func disturb(t *rapid.T, d *streamtest.Driver) {
	var err error
	switch what := rapid.IntRange(0, 15).Draw(t, "then"); what {
	case 0, 1, 2:
		err = d.Settle()
	case 3, 4:
		for range what {
			if _, err = d.Step(); err != nil {
				break
			}
		}
	case 5, 6, 7:
		err = d.Commit()
	case 8:
		d.Abort()
	case 9:
		d.Abort()
		d.FlushState()
		d.Restart()
	case 10:
		d.Restart()
	case 11:
		d.RestartWithoutState()
	} // else the next record comes before this one is processed
	if err != nil {
		t.Fatal(err)
	}
}

// settleAll commits until nothing is left: what a commit sends on from one task to another is in the next epoch,
// and no topology here has more than that many steps.
func settleAll(t *rapid.T, d *streamtest.Driver) {
	for range 12 {
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}
