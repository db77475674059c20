package windows

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// kind is what a Time is.
type kind int8

const (
	none kind = iota // the zero Time
	fixed
	sliding
	unlimited
	calendar
)

// Time is a kind of windows whose bounds follow from timestamps alone, each on its own: tumbling, hopping,
// sliding, unlimited and calendar windows. It is a value; make one with Tumbling, Hopping, Sliding, Unlimited,
// Day, Week or Month.
type Time struct {
	kind    kind
	name    string
	size    int64 // of fixed windows; of sliding ones the time difference
	advance int64
	start   int64 // of unlimited windows
	grace   int64
	unit    unit
	zone    *time.Location
	err     error
}

// Tumbling windows lie side by side, each of the given size, from time 0 on. The size is a whole number of
// milliseconds, at least one.
func Tumbling(size time.Duration) Time {
	t := Hopping(size, size)
	t.name = fmt.Sprintf("windows.Tumbling(%s)", size)
	return t
}

// Hopping windows of the given size begin every advance, from time 0 on, so that each timestamp is in
// size/advance of them. Both are whole numbers of milliseconds, at least one, and advance is not above size: or
// some timestamps would be in no window.
func Hopping(size, advance time.Duration) Time {
	t := Time{kind: fixed, name: fmt.Sprintf("windows.Hopping(%s, %s)", size, advance)}
	t.size = millis(&t.err, "the size", size, time.Millisecond)
	t.advance = millis(&t.err, "the advance", advance, time.Millisecond)
	if t.err == nil && advance > size {
		t.err = fmt.Errorf("the advance of %s is above the size of %s: what lies between two windows would be in none", advance, size)
	}
	return t
}

// Sliding windows are those that two records of one key can be in together: the windows [t-difference, t] and
// [t+1, t+1+difference] of every record's timestamp t, both ends included, as far as they hold records and those
// differ (KIP-450). The difference is a whole number of milliseconds and not negative.
func Sliding(difference time.Duration) Time {
	t := Time{kind: sliding, name: fmt.Sprintf("windows.Sliding(%s)", difference)}
	t.size = millis(&t.err, "the time difference", difference, 0)
	return t
}

// Unlimited is one window, from time 0 on, that never closes.
func Unlimited() Time { return Time{kind: unlimited, name: "windows.Unlimited()"} }

// StartingAt has the window of Unlimited begin at a time, at or after the epoch. What is older is in no window.
func (t Time) StartingAt(at time.Time) Time {
	switch {
	case t.kind != unlimited:
		t.fail(errors.New("StartingAt is for Unlimited windows"))
	case at.UnixMilli() < 0:
		t.fail(fmt.Errorf("StartingAt(%s) is before the epoch", at))
	default:
		t.start = at.UnixMilli()
	}
	return t
}

// WithGrace has windows take records that come late, until stream time is so far past their end. It is a whole
// number of milliseconds and not negative.
func (t Time) WithGrace(d time.Duration) Time {
	grace := millis(&t.err, "the grace", d, 0)
	if t.kind == unlimited {
		t.fail(errors.New("an unlimited window has no end that a grace could follow"))
		return t
	}
	t.grace = grace
	return t
}

func (t *Time) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Err is what is wrong with the windows, nil if nothing is.
func (t Time) Err() error {
	switch {
	case t.kind == none:
		return errors.New("the zero windows.Time is no kind of windows: use Tumbling, Hopping, Sliding, Unlimited, Day, Week or Month")
	case t.err != nil:
		return fmt.Errorf("%s: %w", t.name, t.err)
	}
	return nil
}

// String is the call that makes such windows.
func (t Time) String() string {
	if t.kind == none {
		return "windows.Time{}"
	}
	if t.grace > 0 {
		return fmt.Sprintf("%s.WithGrace(%s)", t.name, t.Grace())
	}
	return t.name
}

// Grace is how long after its end a window takes records.
func (t Time) Grace() time.Duration { return time.Duration(t.grace) * time.Millisecond }

// IsSliding reports whether the windows are sliding ones, whose bounds depend on the records there are.
func (t Time) IsSliding() bool { return t.kind == sliding }

// Size is the length of each window, the longest of calendar windows, the time difference of sliding ones, and 0
// of unlimited ones.
func (t Time) Size() time.Duration {
	switch t.kind {
	case calendar:
		return t.unit.longest()
	default:
		return time.Duration(t.size) * time.Millisecond
	}
}

// Advance is the shortest distance between the starts of two windows, 0 of unlimited and sliding ones.
func (t Time) Advance() time.Duration {
	switch t.kind {
	case fixed:
		return time.Duration(t.advance) * time.Millisecond
	case calendar:
		return t.unit.shortest()
	default:
		return 0
	}
}

// Lifetime is how long a store must keep a window from its start on, at the least: until it closes.
func (t Time) Lifetime() time.Duration {
	switch t.kind {
	case unlimited:
		return math.MaxInt64
	case sliding: // a record looks back over two windows
		return sum(sum(t.Size(), t.Size()), t.Grace())
	default:
		return sum(t.Size(), t.Grace())
	}
}

func sum(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// End is the end of the window that begins at startMs.
func (t Time) End(startMs int64) int64 {
	switch t.kind {
	case unlimited:
		return Forever
	case calendar:
		return t.unit.next(startMs, t.zone)
	default:
		if startMs > math.MaxInt64-t.size {
			return Forever
		}
		return startMs + t.size
	}
}

// Closes is the stream time at which the window that ends at endMs takes no more records.
func (t Time) Closes(endMs int64) int64 {
	if endMs > math.MaxInt64-t.grace {
		return Forever
	}
	return endMs + t.grace
}

// First is the start of the earliest window that a timestamp is in; ok is false if it is in none. The others
// follow by Next. It is not for sliding windows.
func (t Time) First(timestampMs int64) (startMs int64, ok bool) {
	switch t.kind {
	case fixed:
		if timestampMs < 0 {
			return 0, false
		}
		return max(0, timestampMs-t.size+t.advance) / t.advance * t.advance, true
	case unlimited:
		return t.start, timestampMs >= t.start
	case calendar:
		return t.unit.start(timestampMs, t.zone), timestampMs >= 0
	}
	return 0, false
}

// Next is the start of the window after the one that begins at startMs, if the timestamp is in that too.
func (t Time) Next(startMs, timestampMs int64) (nextMs int64, ok bool) {
	if t.kind != fixed {
		return 0, false
	}
	return startMs + t.advance, startMs <= timestampMs-t.advance
}

// millis is d in milliseconds, or an error.
func millis(err *error, what string, d, least time.Duration) int64 {
	if *err == nil {
		switch {
		case d < least && least == 0:
			*err = fmt.Errorf("%s of %s is negative", what, d)
		case d < least:
			*err = fmt.Errorf("%s of %s is below a millisecond", what, d)
		case d%time.Millisecond != 0:
			*err = fmt.Errorf("%s of %s is not a whole number of milliseconds, which is as fine as timestamps are", what, d)
		}
	}
	return d.Milliseconds()
}
