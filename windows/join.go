package windows

import (
	"errors"
	"fmt"
	"time"
)

// Join says which records of two streams meet: a left one of timestamp t and those right ones whose timestamps
// lie in [t-before, t+after], both included.
type Join struct {
	before, after, grace int64
	name                 string
	err                  error
}

// Within has records meet that are no more than d apart: a whole number of milliseconds, not negative.
func Within(d time.Duration) Join {
	j := Join{name: fmt.Sprintf("windows.Within(%s)", d)}
	j.before = millis(&j.err, "the time difference", d, 0)
	j.after = j.before
	return j
}

// Before says how much older than the left one a right record may be. If negative, it has to be so much newer.
func (j Join) Before(d time.Duration) Join {
	j.name += fmt.Sprintf(".Before(%s)", d)
	j.before = whole(&j.err, "Before", d)
	return j
}

// After says how much newer than the left one a right record may be. If negative, it has to be so much older.
func (j Join) After(d time.Duration) Join {
	j.name += fmt.Sprintf(".After(%s)", d)
	j.after = whole(&j.err, "After", d)
	return j
}

// WithGrace has records that come late meet others, until stream time is so far past the end of their windows.
// It is a whole number of milliseconds and not negative.
func (j Join) WithGrace(d time.Duration) Join {
	j.grace = millis(&j.err, "the grace", d, 0)
	return j
}

// Err is what is wrong with the window, nil if nothing is.
func (j Join) Err() error {
	switch {
	case j.name == "":
		return errors.New("the zero windows.Join is no window: use Within")
	case j.err != nil:
		return fmt.Errorf("%s: %w", j.name, j.err)
	case j.before+j.after < 0:
		return fmt.Errorf("%s: the window ends before it begins: Before and After may not be less than 0 together", j.name)
	}
	return nil
}

// String is the calls that make such a window.
func (j Join) String() string {
	switch {
	case j.name == "":
		return "windows.Join{}"
	case j.grace > 0:
		return fmt.Sprintf("%s.WithGrace(%s)", j.name, j.Grace())
	}
	return j.name
}

// Bounds are how much older and how much newer than the left one a right record may be.
func (j Join) Bounds() (before, after time.Duration) {
	return time.Duration(j.before) * time.Millisecond, time.Duration(j.after) * time.Millisecond
}

// Grace is how long after its end a window takes records.
func (j Join) Grace() time.Duration { return time.Duration(j.grace) * time.Millisecond }

// Lifetime is how long a store must keep a record, at the least.
func (j Join) Lifetime() time.Duration {
	before, after := j.Bounds()
	return sum(before+after, j.Grace())
}

// whole is d in milliseconds, or an error.
func whole(err *error, what string, d time.Duration) int64 {
	if *err == nil && d%time.Millisecond != 0 {
		*err = fmt.Errorf("%s(%s) is not a whole number of milliseconds, which is as fine as timestamps are", what, d)
	}
	return d.Milliseconds()
}
