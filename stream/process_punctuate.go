package stream

import (
	"fmt"
	"time"

	"github.com/moldau-io/moldau/stream/internal/task"
)

// PunctuationType is the time that a punctuator goes by.
type PunctuationType int8

const (
	// StreamTime is the highest timestamp of the records that the task has processed. It is looked at after each
	// record: without records it stands still.
	StreamTime PunctuationType = iota
	// WallClock is the time of Config.Clock.
	WallClock
)

// PunctuationOption is an option of Every. See StartingAt.
type PunctuationOption interface{ punctuation(*task.Schedule) }

// Anchor is an option of Every. See StartingAt.
type Anchor struct{ at time.Time }

// StartingAt has a punctuator due at the given time and whole intervals after it; if the clock is past that time
// already, at the first of these that is still to come.
func StartingAt(at time.Time) Anchor { return Anchor{at} }

func (a Anchor) punctuation(s *task.Schedule) { s.Anchored, s.Start = true, a.at.UnixMilli() }

// Every has f called each time that d, at least a millisecond, has gone by, until cancel is called, which f itself may
// do. On StreamTime it is first due at 0, that is after the first record, and then at each multiple of d; on the
// WallClock first when d has gone by. When the clock comes to a time that is due, or past it, f is called once, with
// the clock's time, in milliseconds since the epoch; times that were passed over are not made up for.
//
// f runs as a part of the task, between two records, and in the epoch: what it sends on and puts into stores is
// committed like everything else. It may use the processor's context; there is no record at hand, so Metadata has
// nothing, and rows of stores get f's time as their timestamp. Its error ends the epoch and the run.
//
// What Init schedules goes on after a restart, an abort or a rebalance where it was: when it is due next is committed
// with the epoch, by the processor's name and the number of the call in Init among those of its clock. (In Kafka
// Streams it begins anew.) A cancel is not kept: Init has to decide anew. What is scheduled later than in Init is gone
// when the task starts again.
//
// In a GlobalProcess there is StreamTime only.
func (p *processing) Every(d time.Duration, clock PunctuationType, f func(atMs int64) error, opts ...PunctuationOption) (cancel func()) {
	s := task.Schedule{Wall: clock == WallClock, Every: d.Milliseconds()}
	for _, o := range opts {
		o.punctuation(&s)
	}
	var err error
	switch {
	case p.closed:
		err = errClosed
	case s.Every < 1:
		err = fmt.Errorf("%v is less than a millisecond", d)
	case clock != StreamTime && clock != WallClock:
		err = fmt.Errorf("the clock is %d; it is StreamTime or WallClock", clock)
	case f == nil:
		err = fmt.Errorf("the function is nil")
	case clock == WallClock && p.global:
		err = fmt.Errorf("a processor that maintains a global store does something for records only, so that nothing would be called by the WallClock; there is StreamTime")
	case s.Start < 0:
		err = fmt.Errorf("StartingAt: the time is before 1970")
	}
	if err != nil {
		panic(task.Abandon{Err: fmt.Errorf("Every at %s: %w", caller(), err)})
	}
	if p.beginning {
		p.schedules[clock]++
		s.Remember = p.schedules[clock]
	}
	return p.t.Punctuate(p.n.Index, s, func(atMs int64) error {
		p.enter(atMs)
		return p.done(f(atMs))
	})
}
