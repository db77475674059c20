package stream

import "time"

// AlarmClock is a Clock that tells when it has come to a time. Punctuators on the wall clock run when it does. With a
// Clock that is none, the application waits on the system's clock for as long as the next is away by Now, and looks
// again; so a Clock that does not go with the system's, as that of a test (streamtest.Clock), should be one.
// App.WaitIdle looks at Now in any case: what was due when it was called is done when it returns.
type AlarmClock interface {
	Clock
	// Alarm returns a channel that is closed, or sent to, once Now is at or past the given time. stop gives that up.
	Alarm(at time.Time) (rings <-chan struct{}, stop func())
}

// alarms is how to be woken by a clock.
func alarms(c Clock) func(at time.Time) (<-chan struct{}, func()) {
	if a, ok := c.(AlarmClock); ok {
		return a.Alarm
	}
	return func(at time.Time) (<-chan struct{}, func()) {
		rings := make(chan struct{}, 1)
		timer := time.AfterFunc(max(at.Sub(c.Now()), time.Millisecond), func() { rings <- struct{}{} })
		return rings, func() { timer.Stop() }
	}
}
