package serde

import (
	"fmt"
	"math"
	"runtime/metrics"
	"testing"
)

// WantSmall reports when f, which decodes b, allocates more than some bytes for each and base bytes in all: a damaged
// number must not ask for memory.
func WantSmall(t *testing.T, b []byte, base int, f func()) {
	t.Helper()
	if err := allocatesLittle(b, base, f); err != nil {
		t.Error(err)
	}
}

// allocatesLittle runs f again if it seems to allocate much: other goroutines count too, and at the end of a
// garbage collection what they had in hand.
func allocatesLittle(b []byte, base int, f func()) error {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	least := uint64(math.MaxUint64)
	for range 5 {
		metrics.Read(sample)
		before := sample[0].Value.Uint64()
		f()
		metrics.Read(sample)
		if least = min(least, sample[0].Value.Uint64()-before); least <= uint64(base+256*len(b)) {
			return nil
		}
	}
	return fmt.Errorf("%d bytes allocated for %d", least, len(b))
}

func TestWantSmallCanFail(t *testing.T) {
	var kept []byte
	if err := allocatesLittle(nil, 1<<16, func() { kept = make([]byte, 1<<20) }); err == nil {
		t.Errorf("%d bytes allocated for none are not noticed", len(kept))
	}
}
