package windows

import (
	"errors"
	"fmt"
	"time"
)

// Session is a kind of windows made by activity: records of one key belong to one session as long as no more
// than a gap lies between two of them. A session's bounds are the timestamps of its first and last record, both
// included; a record that comes late may make one of two sessions (KIP-94).
type Session struct {
	gap, grace int64
	name       string
	err        error
}

// Sessions end when nothing came for longer than gap: a whole number of milliseconds, at least one.
func Sessions(gap time.Duration) Session {
	s := Session{name: fmt.Sprintf("windows.Sessions(%s)", gap)}
	s.gap = millis(&s.err, "the gap", gap, time.Millisecond)
	return s
}

// WithGrace has sessions take records that come late, until stream time is a gap and so much more past their
// end. It is a whole number of milliseconds and not negative.
func (s Session) WithGrace(d time.Duration) Session {
	s.grace = millis(&s.err, "the grace", d, 0)
	return s
}

// Err is what is wrong with the sessions, nil if nothing is.
func (s Session) Err() error {
	switch {
	case s.name == "":
		return errors.New("the zero windows.Session is no kind of windows: use Sessions")
	case s.err != nil:
		return fmt.Errorf("%s: %w", s.name, s.err)
	}
	return nil
}

// String is the call that makes such sessions.
func (s Session) String() string {
	switch {
	case s.name == "":
		return "windows.Session{}"
	case s.grace > 0:
		return fmt.Sprintf("%s.WithGrace(%s)", s.name, s.Grace())
	}
	return s.name
}

// Gap is the longest time between two records of a session.
func (s Session) Gap() time.Duration { return time.Duration(s.gap) * time.Millisecond }

// Grace is how long, after its end and a gap, a session takes records.
func (s Session) Grace() time.Duration { return time.Duration(s.grace) * time.Millisecond }

// Lifetime is how long a store must keep a session from its end on, at the least.
func (s Session) Lifetime() time.Duration { return sum(s.Gap(), s.Grace()) }

// Closes is the last stream time at which the session that ends at endMs takes records.
func (s Session) Closes(endMs int64) int64 {
	if closes := endMs + s.gap + s.grace; closes >= endMs {
		return closes
	}
	return Forever
}
