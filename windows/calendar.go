package windows

import (
	"errors"
	"fmt"
	"time"
)

// Windows that follow a calendar are beyond Kafka Streams, whose windows all have one length: the day on which
// clocks are set has 23 or 25 hours, and months differ.

// unit is what a calendar window is.
type unit int8

const (
	day unit = iota
	week
	month
)

// Day windows are the days of a time zone, from midnight to midnight, or from the first moment of a day that has no
// midnight.
func Day(zone *time.Location) Time { return byCalendar("Day", day, zone) }

// Week windows are the weeks of a time zone, from Monday on (ISO 8601).
func Week(zone *time.Location) Time { return byCalendar("Week", week, zone) }

// Month windows are the months of a time zone.
func Month(zone *time.Location) Time { return byCalendar("Month", month, zone) }

func byCalendar(name string, u unit, zone *time.Location) Time {
	t := Time{kind: calendar, unit: u, zone: zone}
	if zone == nil {
		t.name = fmt.Sprintf("windows.%s(nil)", name)
		t.err = errors.New("the time zone is nil: time.UTC, or one of time.LoadLocation")
		return t
	}
	t.name = fmt.Sprintf("windows.%s(%s)", name, zone)
	return t
}

// longest and shortest allow for a clock that is set by a day, as at the date line.
func (u unit) longest() time.Duration {
	return [...]time.Duration{day: 2, week: 8, month: 32}[u] * 24 * time.Hour
}

func (u unit) shortest() time.Duration {
	return [...]time.Duration{day: 20, week: 6 * 24, month: 27 * 24}[u] * time.Hour
}

// start is the start of the window that a timestamp is in. That of the first, west of Greenwich, is cut off at
// time 0.
func (u unit) start(timestampMs int64, zone *time.Location) int64 {
	at := time.UnixMilli(timestampMs).In(zone)
	start := u.begin(at, 1) // where clocks are set back over midnight, the next one may have begun
	if start > timestampMs {
		start = u.begin(at, 0)
	}
	return max(start, 0)
}

// next is the start of the window after the one that begins at startMs.
func (u unit) next(startMs int64, zone *time.Location) int64 {
	return u.begin(time.UnixMilli(startMs).In(zone), 1)
}

// begin is the first millisecond of the unit that is so many after the one that at's date is in.
func (u unit) begin(at time.Time, later int) int64 {
	y, m, d := at.Date()
	switch u {
	case day:
		d += later
	case week:
		d += 7*later - (int(at.Weekday())+6)%7
	case month:
		m, d = m+time.Month(later), 1
	}
	return firstMoment(time.Date(y, m, d, 0, 0, 0, 0, time.UTC), at.Location()).UnixMilli()
}

// firstMoment is the first moment at which clocks of a zone show the date of midnight, which is in UTC, or a later
// one: mostly midnight there, but clocks may be set over it, forth and back, and over whole days.
func firstMoment(midnight time.Time, zone *time.Location) time.Time {
	const farthest = 26 * time.Hour // that a zone is from UTC
	for t := midnight.Add(-farthest).In(zone); ; {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		shown := midnight.Add(-time.Duration(offset) * time.Second)
		switch {
		case shown.Before(t):
			return t // the clocks were set forth over it
		case end.IsZero() || shown.Before(end):
			return shown.In(zone)
		}
		t = end.In(zone)
	}
}
