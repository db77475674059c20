package windows_test

import (
	"math"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/windows"
)

const ms = time.Millisecond

// all lists the starts of the windows that a timestamp is in.
func all(w windows.Time, timestampMs int64) []int64 {
	var starts []int64
	for start, ok := w.First(timestampMs); ok; start, ok = w.Next(start, timestampMs) {
		starts = append(starts, start)
	}
	return starts
}

// Hopping windows are those that begin at a multiple of the advance, from 0 on, and hold the timestamp.
func TestFixedWindowsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 40).Draw(t, "size")
		advance := rapid.Int64Range(1, size).Draw(t, "advance")
		at := rapid.Int64Range(0, 100).Draw(t, "timestamp")
		w := windows.Hopping(time.Duration(size)*ms, time.Duration(advance)*ms)
		if err := w.Err(); err != nil {
			t.Fatal(err)
		}
		var want []int64
		for start := int64(0); start <= at; start += advance {
			if at < start+size {
				want = append(want, start)
			}
		}
		got := all(w, at)
		if len(got) != len(want) {
			t.Fatalf("%v at %d: %v, want %v", w, at, got, want)
		}
		for i := range got {
			if got[i] != want[i] || w.End(got[i]) != got[i]+size {
				t.Fatalf("%v at %d: %v, want %v", w, at, got, want)
			}
		}
	})
}

func TestUnlimited(t *testing.T) {
	w := windows.Unlimited().StartingAt(time.UnixMilli(100))
	if got := all(w, 99); got != nil {
		t.Errorf("99 is in %v", got)
	}
	if got := all(w, 100); len(got) != 1 || got[0] != 100 || w.End(100) != math.MaxInt64 {
		t.Errorf("100 is in %v", got)
	}
}

// Calendar windows are a partition of time: each timestamp is in one, and the next begins where one ends. Its
// bounds are where the date changes, and nowhere else, but for the hour that comes twice.
func TestCalendarModel(t *testing.T) {
	zones := []string{
		"UTC", "Europe/Prague", "America/New_York", "America/St_Johns", "America/Sao_Paulo", "Asia/Kathmandu",
		"Pacific/Apia", "Africa/Cairo", "America/Havana", "Australia/Lord_Howe", "Asia/Beirut", "America/Asuncion",
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.Int64Range(0, time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()).Draw(t, "timestamp")
		if rapid.Bool().Draw(t, "near a change") {
			if _, end := time.UnixMilli(at).In(zone).ZoneBounds(); !end.IsZero() {
				at = end.UnixMilli() + rapid.Int64Range(-2*3600_000, 2*3600_000).Draw(t, "off")
			}
		}
		for _, w := range []windows.Time{windows.Day(zone), windows.Week(zone), windows.Month(zone)} {
			starts := all(w, at)
			if len(starts) != 1 {
				t.Fatalf("%v: %d is in %v", w, at, starts)
			}
			start, end := starts[0], w.End(starts[0])
			if start > at || end <= at {
				t.Fatalf("%v: %d is said to be in [%d, %d)", w, at, start, end)
			}
			if next := all(w, end)[0]; next != end {
				t.Fatalf("%v: after [%d, %d) comes %d", w, start, end, next)
			}
			if first := all(w, start)[0]; first != start {
				t.Fatalf("%v: [%d, %d) begins in %d", w, start, end, first)
			}
			if length := time.Duration(end-start) * ms; length > w.Size() || start > 0 && length < w.Advance() {
				t.Fatalf("%v: [%d, %d) is %s long", w, start, end, length)
			}
			before, after := time.UnixMilli(end-1).In(zone), time.UnixMilli(end).In(zone)
			if before.Day() == after.Day() {
				t.Fatalf("%v ends between %v and %v", w, before, after)
			}
		}
	})
}

func TestCalendarAcrossDaylightSaving(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	apia, err := time.LoadLocation("Pacific/Apia")
	if err != nil {
		t.Fatal(err)
	}
	at := func(zone *time.Location, y int, m time.Month, d, h int) time.Time {
		return time.Date(y, m, d, h, 0, 0, 0, zone)
	}
	for _, c := range []struct {
		w          windows.Time
		at         time.Time
		start, end time.Time
	}{
		{windows.Day(prague), at(prague, 2026, 3, 29, 12), at(prague, 2026, 3, 29, 0), at(prague, 2026, 3, 30, 0)},    // 23 hours
		{windows.Day(prague), at(prague, 2026, 10, 25, 12), at(prague, 2026, 10, 25, 0), at(prague, 2026, 10, 26, 0)}, // 25 hours
		{windows.Week(prague), at(prague, 2026, 11, 22, 23), at(prague, 2026, 11, 16, 0), at(prague, 2026, 11, 23, 0)},
		{windows.Month(prague), at(prague, 2026, 2, 28, 23), at(prague, 2026, 2, 1, 0), at(prague, 2026, 3, 1, 0)},
		{windows.Day(apia), at(apia, 2011, 12, 29, 12), at(apia, 2011, 12, 29, 0), at(apia, 2011, 12, 31, 0)}, // no 30th
	} {
		start := all(c.w, c.at.UnixMilli())[0]
		if end := c.w.End(start); start != c.start.UnixMilli() || end != c.end.UnixMilli() {
			t.Errorf("%v at %v: [%v, %v), want [%v, %v)", c.w, c.at, time.UnixMilli(start), time.UnixMilli(end), c.start, c.end)
		}
	}
	if got := all(windows.Day(prague), at(prague, 2026, 3, 29, 12).UnixMilli())[0]; windows.Day(prague).End(got)-got != 23*3600_000 {
		t.Error("the day on which clocks are set forth has not 23 hours")
	}
}

// What cannot be is said, and does not panic.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{windows.Tumbling(0).Err(), "windows.Tumbling(0s): the size of 0s is below a millisecond"},
		{windows.Tumbling(-time.Second).Err(), "is below a millisecond"},
		{windows.Tumbling(1500 * time.Microsecond).Err(), "not a whole number of milliseconds"},
		{windows.Hopping(time.Second, 0).Err(), "the advance of 0s is below"},
		{windows.Hopping(time.Second, time.Minute).Err(), "would be in none"},
		{windows.Tumbling(time.Second).WithGrace(-1 * ms).Err(), "the grace of -1ms is negative"},
		{windows.Sliding(-1).Err(), "is negative"},
		{windows.Unlimited().WithGrace(ms).Err(), "has no end"},
		{windows.Unlimited().StartingAt(time.UnixMilli(-1)).Err(), "before the epoch"},
		{windows.Tumbling(ms).StartingAt(time.UnixMilli(1)).Err(), "StartingAt is for Unlimited"},
		{windows.Day(nil).Err(), "windows.Day(nil): the time zone is nil"},
		{windows.Time{}.Err(), "the zero windows.Time"},
		{windows.Sessions(0).Err(), "the gap of 0s"},
		{windows.Sessions(ms).WithGrace(-ms).Err(), "the grace of -1ms is negative"},
		{windows.Session{}.Err(), "the zero windows.Session"},
		{windows.Within(-ms).Err(), "is negative"},
		{windows.Within(ms).WithGrace(-ms).Err(), "the grace"},
		{windows.Within(ms).After(-2 * ms).Err(), "windows.Within(1ms).After(-2ms): the window ends before it begins"},
		{windows.Within(ms).Before(time.Nanosecond).Err(), "Before(1ns) is not a whole number"},
		{windows.Join{}.Err(), "the zero windows.Join"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
	for _, err := range []error{
		windows.Tumbling(ms).WithGrace(0).Err(), windows.Sliding(0).Err(), windows.Unlimited().Err(), windows.Day(time.UTC).Err(),
		windows.Sessions(ms).Err(), windows.Within(0).Err(), windows.Within(ms).After(-ms).Err(),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestSerdes(t *testing.T) {
	w := windows.Windowed[string]{Key: "k", Start: 60_000, End: 120_000}
	for name, c := range map[string]struct {
		serde serde.Serde[windows.Windowed[string]]
		bytes string
	}{
		"time":    {windows.TimeSerde(serde.String, windows.Tumbling(time.Minute)), "k\x00\x00\x00\x00\x00\x00\xea\x60"},
		"session": {windows.SessionSerde(serde.String), "k\x00\x00\x00\x00\x00\x01\xd4\xc0\x00\x00\x00\x00\x00\x00\xea\x60"},
		"bounds":  {windows.BoundsSerde(serde.String), "k\x00\x00\x00\x00\x00\x00\xea\x60\x00\x00\x00\x00\x00\x01\xd4\xc0"},
	} {
		b, err := c.serde.Append(nil, w)
		if err != nil || string(b) != c.bytes {
			t.Errorf("%s: %x, %v; want %x", name, b, err, c.bytes)
		}
		if got, err := c.serde.Decode(b); err != nil || got != w {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if got, err := c.serde.Decode([]byte("short")); err == nil {
			t.Errorf("%s: a short key is %v", name, got)
		}
	}
}
