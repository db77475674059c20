package conformance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// notBuilt has the scenarios whose topologies package stream cannot express yet, by what they wait for; some
// wait for more. A scenario leaves the list when it gets its topology.
var notBuilt = map[string]string{
	"Process": `global_store_processor`,
}

// notWanted has the scenarios that we do not mean to pass, and why.
var notWanted = map[string]string{
	"emit_final_tumbling_throttled": throttled,
	"stream_left_throttled":         throttled,
	"stream_outer_throttled":        throttled,
}

const throttled = "Kafka Streams looks there for what is due once in 1000 ms of the wall clock, and we at every record"

// awaiting says, for each scenario of notBuilt, what it waits for.
func awaiting() map[string]string {
	m := map[string]string{}
	for feature, names := range notBuilt {
		for _, name := range strings.Fields(names) {
			m[name] = feature
		}
	}
	return m
}

// Each of Kafka Streams' 215 scenarios has a topology or waits for one, so that none is forgotten.
func TestEveryScenarioIsAccountedFor(t *testing.T) {
	listed, later := 0, awaiting()
	for _, names := range notBuilt {
		listed += len(strings.Fields(names))
	}
	if listed != len(later) {
		t.Errorf("notBuilt names %d scenarios, of which %d are different", listed, len(later))
	}
	for name := range scenarios {
		if why := later[name] + notWanted[name]; why != "" {
			t.Errorf("scenario %s has a topology, and yet: %s", name, why)
		}
		for seed := 1; seed <= 3; seed++ {
			if _, err := os.Stat(filepath.Join("testdata", fmt.Sprintf("%s-%d.json", name, seed))); err != nil {
				t.Errorf("scenario %s: a vector is missing: %v", name, err)
			}
		}
	}
	if n := len(scenarios) + len(later) + len(notWanted); n != 215 {
		t.Errorf("%d scenarios in all, want 215", n)
	}
}
