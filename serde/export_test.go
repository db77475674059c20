package serde

import (
	"fmt"
	"runtime/metrics"
	"testing"
)

// WantSmall reports when f, which decodes b, allocates more than some bytes for each: a damaged number must not ask
// for memory.
func WantSmall(t *testing.T, b []byte, f func()) {
	t.Helper()
	if err := allocatesLittle(b, f); err != nil {
		t.Error(err)
	}
}

func allocatesLittle(b []byte, f func()) error {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	// The runtime counts in steps, and other goroutines too.
	if n := sample[0].Value.Uint64() - before; n > 1<<18+256*uint64(len(b)) {
		return fmt.Errorf("%d bytes allocated for %d", n, len(b))
	}
	return nil
}

func TestWantSmallCanFail(t *testing.T) {
	var kept []byte
	if err := allocatesLittle(nil, func() { kept = make([]byte, 1<<20) }); err == nil {
		t.Errorf("%d bytes allocated for none are not noticed", len(kept))
	}
}
