package engine

import (
	"testing"
	"time"
)

// An epoch ends at its interval; one that has nothing left to do ends sooner, but leaves four times the last
// commit's duration between two commits.
func TestPace(t *testing.T) {
	start := time.Unix(0, 0)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		name        string
		last        time.Duration // the last commit's duration
		after       time.Duration // since the epoch began
		idle, dirty bool
		due         bool
		wait        time.Duration
	}{
		{"busy, early", ms(1), ms(50), false, true, false, ms(50)},
		{"busy, interval over", ms(1), ms(100), false, true, true, ms(1)},
		{"busy, nobody knows yet what is dirty", ms(1), ms(100), false, false, true, ms(1)},
		{"idle, after a short commit", ms(2), ms(8), true, true, true, ms(1)},
		{"idle, too soon after a commit", ms(20), ms(50), true, true, false, ms(30)},
		{"idle, commits longer than the interval", ms(500), ms(99), true, true, false, ms(1)},
		{"idle, nothing to commit", ms(1), ms(10), true, false, false, ms(90)},
		{"first epoch, idle", 0, 0, true, true, true, ms(1)},
	} {
		p := pace{interval: ms(100)}
		p.committed(start.Add(-c.last), start)
		now := start.Add(c.after)
		if got := p.due(now, c.idle, c.dirty); got != c.due {
			t.Errorf("%s: due %v, want %v", c.name, got, c.due)
		}
		if got := p.wait(now, c.idle && c.dirty); got != c.wait {
			t.Errorf("%s: wait %v, want %v", c.name, got, c.wait)
		}
	}
}
