package streamtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/state"
)

// Readers see commits, stay valid over whatever happens to the driver, and find keys in several partitions.
func TestQuery(t *testing.T) {
	d := New(t, abortTopology(t), Partitions(3))
	in := Input(d, texts)
	committed := Query(d, totalsIn)
	now := committed.Uncommitted()
	check := func(r state.KeyValueReader[string, int64], want string) {
		t.Helper()
		var rows []string
		for row, err := range r.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, fmt.Sprintf("%s=%d", row.Key, row.Value))
		}
		if got := strings.Join(rows, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for pair := range strings.FieldsSeq(want) {
			key, n, _ := strings.Cut(pair, "=")
			if v, err := r.Get(t.Context(), key); err != nil || fmt.Sprint(v.V) != n {
				t.Errorf("%s: %+v, %v, want %s", key, v, err, n)
			}
		}
	}
	in.Pipe("l1", "to be or not to be", time.Second)
	check(committed, "")
	check(now, "be=2 not=1 or=1 to=2")
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	check(committed, "be=2 not=1 or=1 to=2")
	in.Pipe("l2", "not so", 2*time.Second)
	check(committed, "be=2 not=1 or=1 to=2")
	check(now, "be=2 not=2 or=1 so=1 to=2")
	d.Abort()
	check(now, "be=2 not=1 or=1 to=2")
	for _, restart := range []func(){d.Restart, d.RestartWithoutState} {
		restart()
		check(committed, "be=2 not=1 or=1 to=2")
		check(now, "be=2 not=1 or=1 to=2")
	}
}
