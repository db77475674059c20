package engine

import "time"

// pace decides when an epoch ends by time. It is arithmetic only.
type pace struct {
	interval time.Duration
	start    time.Time     // of the epoch
	last     time.Duration // how long the last commit took
}

func (p *pace) committed(began, now time.Time) { p.start, p.last = now, now.Sub(began) }

// end is when the epoch ends. One that has nothing left to do ends early, but not so early that commits
// take more than a fifth of the time.
func (p *pace) end(idle bool) time.Time {
	d := p.interval
	if idle {
		d = min(4*p.last, d)
	}
	return p.start.Add(d)
}

func (p *pace) due(now time.Time, idle, dirty bool) bool {
	return (dirty || !idle) && !now.Before(p.end(idle))
}

// wait is how long until the epoch is to be looked at again; finished: it has something to commit, and
// nothing left to do.
func (p *pace) wait(now time.Time, finished bool) time.Duration {
	return max(p.end(finished).Sub(now), time.Millisecond)
}
