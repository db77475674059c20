package engine

import "time"

// alarm wakes the coordinator when, by the clock, the next task has something to do without a record. It is the
// coordinator's.
type alarm struct {
	at   int64 // ms since the epoch; what it is set to, if c is not nil
	c    <-chan struct{}
	stop func()
}

// clear gives up what the alarm is set to, if anything.
func (a *alarm) clear() {
	if a.c != nil {
		a.stop()
		a.c = nil
	}
}

// wakeDue has workers run the tasks that have something to do by the clock, and sets the alarm to the next that will.
func (r *Runner) wakeDue() {
	var now int64
	next, some := int64(0), false
	r.mu.Lock()
	for _, s := range r.e.slots {
		if !s.queue.timed || s.queue.working {
			continue
		}
		if now == 0 {
			now = r.e.cfg.Now().UnixMilli()
		}
		if s.queue.due <= now {
			r.list(s)
		} else if !some || s.queue.due < next {
			next, some = s.queue.due, true
		}
	}
	r.mu.Unlock()
	switch {
	case !some:
		r.alarm.clear()
	case r.alarm.c == nil || r.alarm.at != next:
		r.alarm.clear()
		r.alarm.at = next
		r.alarm.c, r.alarm.stop = r.cfg.Alarm(time.UnixMilli(next))
	}
}
