package conformance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// notWanted has the scenarios that we do not mean to pass, and why.
var notWanted = map[string]string{
	"emit_final_tumbling_throttled": throttled,
	"stream_left_throttled":         throttled,
	"stream_outer_throttled":        throttled,
}

const throttled = "Kafka Streams looks there for what is due once in 1000 ms of the wall clock, and we at every record"

// Each of Kafka Streams' 215 scenarios has a topology or is not wanted, so that none is forgotten.
func TestEveryScenarioIsAccountedFor(t *testing.T) {
	for name := range scenarios {
		if why := notWanted[name]; why != "" {
			t.Errorf("scenario %s has a topology, and yet: %s", name, why)
		}
		for seed := 1; seed <= 3; seed++ {
			if _, err := os.Stat(filepath.Join("testdata", fmt.Sprintf("%s-%d.json", name, seed))); err != nil {
				t.Errorf("scenario %s: a vector is missing: %v", name, err)
			}
		}
	}
	if n := len(scenarios) + len(notWanted); n != 215 {
		t.Errorf("%d scenarios in all, want 215", n)
	}
}
