package streamtest

import (
	"sync"
	"time"
)

// Clock is a clock that the test moves: a stream.AlarmClock, for the Config of an application that runs, or a
// Driver's. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	alarms map[*alarm]struct{}
}

type alarm struct {
	at time.Time
	c  chan struct{}
}

// NewClock returns a clock that stands at start.
func NewClock(start time.Time) *Clock {
	return &Clock{now: start, alarms: map[*alarm]struct{}{}}
}

// Now is where the clock stands.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock, and wakes who waits for the time it comes to. What an application does then is done, and
// committed, when its WaitIdle returns.
func (c *Clock) Advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
	for a := range c.alarms {
		if !a.at.After(c.now) {
			close(a.c)
			delete(c.alarms, a)
		}
	}
}

// Alarm returns a channel that is closed when the clock is at or past the given time. stop gives it up.
func (c *Clock) Alarm(at time.Time) (rings <-chan struct{}, stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &alarm{at, make(chan struct{})}
	if at.After(c.now) {
		c.alarms[a] = struct{}{}
	} else {
		close(a.c)
	}
	return a.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.alarms, a)
	}
}
