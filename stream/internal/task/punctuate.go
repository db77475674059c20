package task

import (
	"fmt"
	"math"
	"slices"
)

// never is when nothing is due.
const never = math.MaxInt64

// clockwork is the functions that a clock calls: stream time, or the wall clock.
type clockwork struct {
	all []*punctuation // in the order they were scheduled
	due int64          // the earliest of theirs
}

// punctuation is a function that is called whenever the clock has come to a time.
type punctuation struct {
	node  int
	every int64
	due   int64 // in ms; what is remembered
	f     func(atMs int64) error
}

// Schedule says when a function is called, in milliseconds: of stream time or, if Wall is set, of the wall clock.
type Schedule struct {
	Wall  bool
	Every int64
	// Anchored: the times are Start and whole intervals after it. Else they are those after 0 in stream time, and
	// those after now on the wall clock.
	Anchored bool
	Start    int64
	// Remember: under the node's name and this number, when it is due next survives restarts and aborts. 0: it does
	// not.
	Remember int
}

// Punctuate has f called by the schedule: once when the clock is at or past the time that is due, with the clock's
// time; then the next that is due is after it. Stream time is looked at after each record, the wall clock by Run and
// RunDue. Used once the task has started.
func (t *Task) Punctuate(node int, s Schedule, f func(atMs int64) error) (cancel func()) {
	c, now := &t.stream, t.streamTime
	if s.Wall {
		c, now = &t.wall, t.Env.Now().UnixMilli()
	}
	p := &punctuation{node: node, every: s.Every, f: f}
	switch {
	case s.Anchored && s.Start < now:
		p.due = after(s.Start, s.Every, now)
	case s.Anchored:
		p.due = s.Start
	case s.Wall:
		p.due = now + s.Every
	}
	if s.Remember > 0 {
		t.rememberDue(p, s)
	}
	c.all = append(c.all, p)
	c.look()
	return func() {
		c.all = slices.DeleteFunc(c.all, func(x *punctuation) bool { return x == p })
		t.remembered = slices.DeleteFunc(t.remembered, func(r remembered) bool { return r.value == &p.due })
		c.look()
	}
}

// rememberDue has when it is due restored, unless that is not a time of the schedule, which may be another than when
// it was committed.
func (t *Task) rememberDue(p *punctuation, s Schedule) {
	kind := "stream"
	if s.Wall {
		kind = "wall"
	}
	name := fmt.Sprintf("@%s%d/%s", kind, s.Remember, t.plan.Graph.Nodes[p.node].Name)
	fresh, known := p.due, t.recalled(name)
	t.Remember(name, &p.due)
	switch {
	case !known:
		t.acted = t.acted || s.Wall // what it counts from is committed, or a restart would count anew
	case s.Wall && !s.Anchored:
		p.due = min(p.due, fresh) // the clock may have been set back
	case (p.due-s.Start)%s.Every != 0 || p.due < s.Start:
		p.due = fresh
	}
}

// after is the first time after now that is whole intervals after start, which is not after now.
func after(start, every, now int64) int64 { return start + ((now-start)/every+1)*every }

// look finds the earliest time that is due.
func (c *clockwork) look() {
	c.due = never
	for _, p := range c.all {
		c.due = min(c.due, p.due)
	}
}

// punctuate calls what is due, earliest first, those of one time in the order they were scheduled.
func (t *Task) punctuate(c *clockwork, now int64) error {
	for c.due <= now && len(c.all) > 0 {
		i := slices.IndexFunc(c.all, func(p *punctuation) bool { return p.due == c.due })
		p := c.all[i]
		if err := t.Try(p.node, func() error { return p.f(now) }); err != nil {
			return t.fault(t.Running(), err)
		}
		p.due = after(p.due, p.every, now)
		c.look()
	}
	return nil
}

// WallDue is when, by the wall clock, the task has something to do without a record, in milliseconds since the epoch.
// ok is false if it has not.
func (t *Task) WallDue() (ms int64, ok bool) { return t.wall.due, len(t.wall.all) > 0 }

// RunDue calls the punctuators that the wall clock has come to, and reports whether there were any. Run does so too.
func (t *Task) RunDue() (ran bool, err error) {
	defer t.recovered(&err)
	return t.runDue()
}

func (t *Task) runDue() (ran bool, err error) {
	if len(t.wall.all) == 0 {
		return false, nil
	}
	now := t.Env.Now().UnixMilli()
	if now < t.wall.due {
		return false, nil
	}
	t.acted = true
	return true, t.punctuate(&t.wall, now)
}
