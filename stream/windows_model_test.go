package stream_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

// Here aggregations by windows are held to models that know all records so far, and look at everything: what tables
// send on update and on close, and which records are late. Records come out of order, and there are commits, aborts
// and restarts among them.

// inWindow is a row of a model: a key's window, and the values in it.
type inWindow struct {
	key        string
	start, end int64
	closed     int64 // the stream time from which on it takes no more
	values     string
	at         int64 // timestamp
	sent       bool
}

func (w inWindow) name() string { return fmt.Sprintf("%s@%d/%d", w.key, w.start, w.end) }

// windowModel is what an aggregation by windows should give.
type windowModel struct {
	onClose bool
	time    int64
	out     []string // what the table sends
	late    []string
	rows    []inWindow
	byEnd   bool // results on close come in the order of ends, not of starts
}

func (m *windowModel) send(w inWindow, value string) {
	m.out = append(m.out, fmt.Sprintf("%s=%s@%d", w.name(), value, w.at))
}

func (m *windowModel) tooLate(r stream.Record[string, string], w inWindow, why stream.LateReason) {
	m.late = append(m.late, fmt.Sprint(r.Key, " ", stream.Late[string]{
		Value: r.Value, Start: w.start, End: w.end, StreamTime: m.time, Closed: w.closed, Reason: why,
	}))
}

// advance takes note of a record's time, and sends what closes.
func (m *windowModel) advance(r stream.Record[string, string]) {
	m.time = max(m.time, r.Timestamp)
	if !m.onClose {
		return
	}
	var due []*inWindow
	for i, w := range m.rows {
		if !w.sent && w.closed <= m.time {
			due = append(due, &m.rows[i])
		}
	}
	slices.SortFunc(due, func(a, b *inWindow) int {
		byTime := cmp.Compare(a.start, b.start)
		if m.byEnd {
			byTime = cmp.Or(cmp.Compare(a.end, b.end), byTime)
		}
		return cmp.Or(byTime, cmp.Compare(a.key, b.key))
	})
	for _, w := range due {
		w.sent = true
		m.send(*w, w.values)
	}
}

// byTime takes a record of windows whose bounds follow from timestamps: all that there are around it are given.
func (m *windowModel) byTime(r stream.Record[string, string], around []inWindow) {
	m.advance(r)
	for _, w := range around {
		if r.Timestamp < w.start || r.Timestamp >= w.end {
			continue
		}
		w.key = r.Key
		if w.closed <= m.time {
			m.tooLate(r, w, stream.WindowClosed)
			continue
		}
		i := slices.IndexFunc(m.rows, func(x inWindow) bool { return x.name() == w.name() })
		if i < 0 {
			i = len(m.rows)
			m.rows = append(m.rows, w)
		}
		m.rows[i].values += r.Value
		m.rows[i].at = max(m.rows[i].at, r.Timestamp)
		if !m.onClose {
			m.send(m.rows[i], m.rows[i].values)
		}
	}
}

// bySession takes a record of sessions.
func (m *windowModel) bySession(r stream.Record[string, string], gap, grace int64) {
	m.advance(r)
	closes := func(w *inWindow) { w.closed, w.at = w.end+gap+grace+1, w.end }
	s := inWindow{key: r.Key, start: r.Timestamp, end: r.Timestamp}
	var parts, rest []inWindow
	slices.SortFunc(m.rows, func(a, b inWindow) int { return cmp.Compare(a.end, b.end) })
	for _, w := range m.rows {
		if w.key != r.Key || w.end < r.Timestamp-gap || w.start > r.Timestamp+gap || w.closed <= m.time {
			rest = append(rest, w)
			continue
		}
		parts = append(parts, w)
		s.start, s.end = min(s.start, w.start), max(s.end, w.end)
		s.values += w.values
	}
	closes(&s)
	if s.closed <= m.time {
		m.tooLate(r, s, stream.SessionClosed)
		return
	}
	s.values += r.Value
	if !m.onClose && (s.start != r.Timestamp || s.end != r.Timestamp) {
		for _, w := range parts {
			m.send(w, "null")
		}
	}
	m.rows = append(rest, s)
	if !m.onClose {
		m.send(s, s.values)
	}
}

// days are the windows between the moments at which a date is shown that was not shown before, found by looking at
// every minute. first says whether a window begins on a date.
func days(zone *time.Location, from, to time.Time, first func(time.Time) bool) (ws []inWindow) {
	newest := ""
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		local := t.In(zone)
		date := local.Format(time.DateOnly)
		if date <= newest {
			continue
		}
		begins := newest != "" && first(local)
		newest = date
		if !begins {
			continue
		}
		if n := len(ws); n > 0 {
			ws[n-1].end = t.UnixMilli()
		}
		ws = append(ws, inWindow{start: t.UnixMilli()})
	}
	return ws[:len(ws)-1]
}

func everyDay(time.Time) bool       { return true }
func mondays(t time.Time) bool      { return t.Weekday() == time.Monday }
func firstOfMonth(t time.Time) bool { return t.Day() == 1 }

// windowCase is a kind of windows, and its model.
type windowCase struct {
	name     string
	from, to int64 // of the records' timestamps
	step     int64 // how far apart two are, at most, but for leaps
	w        windows.Time
	session  windows.Session
	take     func(m *windowModel, r stream.Record[string, string])
}

func windowCases(t *testing.T) []windowCase {
	fixed := func(name string, size, advance, grace int64) windowCase {
		var all []inWindow
		for s := int64(0); s < 2000; s += advance {
			all = append(all, inWindow{start: s, end: s + size, closed: s + size + grace})
		}
		w := windows.Hopping(ms(size), ms(advance)).WithGrace(ms(grace))
		return windowCase{name: name, to: 1500, step: 20, w: w, take: func(m *windowModel, r stream.Record[string, string]) { m.byTime(r, all) }}
	}
	calendar := func(zone, from, to string, w func(*time.Location) windows.Time, first func(time.Time) bool, grace time.Duration) windowCase {
		z, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		parse := func(s string) time.Time {
			at, err := time.ParseInLocation(time.DateOnly, s, z)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		start, end := parse(from), parse(to)
		all := days(z, start.AddDate(0, -2, 0), end.AddDate(0, 2, 0), first)
		for i := range all {
			all[i].closed = all[i].end + grace.Milliseconds()
		}
		kind := w(z).WithGrace(grace)
		length := all[0].end - all[0].start
		return windowCase{name: fmt.Sprint(kind, " from ", from), from: start.UnixMilli(), to: end.UnixMilli(), step: length / 4, w: kind,
			take: func(m *windowModel, r stream.Record[string, string]) { m.byTime(r, all) }}
	}
	session := func(gap, grace int64) windowCase {
		s := windows.Sessions(ms(gap)).WithGrace(ms(grace))
		return windowCase{name: s.String(), to: 1500, step: 20, session: s,
			take: func(m *windowModel, r stream.Record[string, string]) { m.bySession(r, gap, grace) }}
	}
	return []windowCase{
		fixed("tumbling, no grace", 50, 50, 0),
		fixed("tumbling", 50, 50, 30),
		fixed("hopping", 50, 20, 15),
		fixed("hopping by 1", 7, 1, 3),
		calendar("Europe/Prague", "2026-03-25", "2026-04-03", windows.Day, everyDay, 0),             // a day of 23 hours
		calendar("Europe/Prague", "2026-10-20", "2026-10-30", windows.Day, everyDay, 6*time.Hour),   // a day of 25 hours
		calendar("America/Sao_Paulo", "2018-10-30", "2018-11-10", windows.Day, everyDay, time.Hour), // midnight is skipped
		calendar("America/Sao_Paulo", "2018-02-12", "2018-02-24", windows.Day, everyDay, time.Hour), // its last hour twice
		calendar("America/St_Johns", "2010-11-03", "2010-11-11", windows.Day, everyDay, time.Hour),  // back over midnight
		calendar("Pacific/Apia", "2011-12-25", "2012-01-05", windows.Day, everyDay, time.Hour),      // a day is skipped
		calendar("Europe/Prague", "2026-02-20", "2026-05-10", windows.Week, mondays, 24*time.Hour),
		calendar("Asia/Beirut", "2022-02-15", "2022-06-10", windows.Week, mondays, 0),
		calendar("America/New_York", "2026-01-10", "2027-01-20", windows.Month, firstOfMonth, 72*time.Hour),
		session(30, 0),
		session(10, 25),
	}
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// table is the case's table, and the records that are late for it.
func (c windowCase) table(s *stream.Stream[string, string], onClose bool) (*stream.Table[windows.Windowed[string], string], *stream.Stream[string, stream.Late[string]]) {
	add := func(_, v, a string) string { return a + v }
	g := stream.GroupByKey(s)
	if c.take != nil && c.session == (windows.Session{}) {
		w := g.WindowedBy(c.w)
		if onClose {
			w.EmitOnClose()
		}
		return stream.AggregateWindows(w, stream.Zero[string], add), stream.OnLate(w)
	}
	w := g.SessionWindowedBy(c.session)
	if onClose {
		w.EmitOnClose()
	}
	merge := func(_, a, b string) string { return a + b }
	return stream.AggregateSessions(w, stream.Zero[string], add, merge), stream.OnLate(w)
}

func TestWindowsAgreeWithModel(t *testing.T) {
	windowed := stream.NewTopic("windowed", windows.BoundsSerde(serde.String), serde.String)
	late := stream.NewTopic("late", serde.String, serde.JSON[stream.Late[string]]())
	for _, c := range windowCases(t) {
		for _, onClose := range []bool{false, true} {
			topology := build(t, func(b *stream.Builder) {
				table, tooLate := c.table(stream.From(b, pairs), onClose)
				table.ToStream().To(windowed)
				tooLate.To(late)
			})
			t.Run(fmt.Sprintf("%s, on close %t", c.name, onClose), func(t *testing.T) {
				for seed := range uint64(4) {
					d := streamtest.New(t, topology)
					in, o, l := streamtest.Input(d, pairs), streamtest.Output(d, windowed), streamtest.Output(d, late)
					m := windowModel{onClose: onClose, time: -1, byEnd: c.session != (windows.Session{})}
					disturbed(t, d, rand.New(rand.NewPCG(seed, 3)), c, func(r stream.Record[string, string]) {
						in.Append(r)
						c.take(&m, r)
					})
					if got := showAll(o.Committed()); !slices.Equal(got, m.out) {
						t.Errorf("seed %d: %s", seed, firstDifference(got, m.out))
					}
					var lates []string
					for _, r := range l.Committed() {
						lates = append(lates, fmt.Sprint(r.Key, " ", r.Value))
					}
					if !slices.Equal(lates, m.late) {
						t.Errorf("seed %d, late: %s", seed, firstDifference(lates, m.late))
					}
					if n := int64(len(m.late)); n == 0 && seed == 0 {
						t.Error("nothing was late, so this shows little")
					}
				}
			})
		}
	}
}

// disturbed runs random records, with commits, aborts and restarts among them.
func disturbed(t *testing.T, d *streamtest.Driver, rng *rand.Rand, c windowCase, take func(stream.Record[string, string])) {
	t.Helper()
	at := c.from
	for i := range 90 {
		switch rng.IntN(10) {
		case 0:
		case 1:
			at += rng.Int64N(10 * c.step)
		default:
			at += rng.Int64N(c.step)
		}
		ts := at
		if rng.IntN(3) == 0 {
			ts = max(0, c.from, at-rng.Int64N(8*c.step))
		}
		if ts >= c.to {
			break
		}
		take(rec(fmt.Sprint("k", rng.IntN(3)), fmt.Sprintf("+%d", i), ts))
		if rng.IntN(3) == 0 {
			continue
		}
		err := d.Settle()
		switch rng.IntN(20) {
		case 0, 1, 2, 3:
			err = errors.Join(err, d.Commit())
		case 4, 5:
			d.Abort()
		case 6:
			d.Restart()
		case 7:
			d.RestartWithoutState()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.Settle(), d.Commit()); err != nil {
		t.Fatal(err)
	}
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("result %d is %s, want %s", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d results, want %d; the first of the rest: %v", len(got), len(want), slices.Concat(got, want)[min(len(got), len(want)):][0])
}

// With Emit: OnCommit, and a commit after each step, there is the last of what each step sends without it; with two
// commits, what is known in the end is the same.
func TestWindowsOnCommit(t *testing.T) {
	windowed := stream.NewTopic("windowed", windows.BoundsSerde(serde.String), serde.String)
	cases := append(windowCases(t)[:3], windowCase{name: "sliding", to: 1500, step: 20, w: windows.Sliding(20 * time.Millisecond).WithGrace(15 * time.Millisecond), take: windowCases(t)[0].take})
	cases = append(cases, windowCases(t)[13:]...)
	for _, c := range cases {
		for _, onClose := range []bool{false, true} {
			topology := build(t, func(b *stream.Builder) {
				table, _ := c.table(stream.From(b, pairs), onClose)
				table.ToStream().To(windowed)
			})
			// run gives the last change of each window in each epoch, and the last of all.
			run := func(t *testing.T, emit stream.Emit, commits int) (all []string, last map[string]string) {
				d := streamtest.New(t, topology, streamtest.Emit(emit))
				in, o := streamtest.Input(d, pairs), streamtest.Output(d, windowed)
				rng := rand.New(rand.NewPCG(1, 9))
				last = map[string]string{}
				at := int64(0)
				for i := range 80 { // commits after the first, and after the last
					at += rng.Int64N(c.step)
					in.Append(rec(fmt.Sprint("k", rng.IntN(2)), fmt.Sprintf("+%d", i), max(0, at-rng.Int64N(3*c.step))))
					if i%commits > 0 {
						continue
					}
					if err := errors.Join(d.Settle(), d.Commit()); err != nil {
						t.Fatal(err)
					}
					epoch := map[string]string{}
					for _, r := range o.All() {
						epoch[r.Key.String()] = show(r)
					}
					all = append(all, slices.Sorted(maps.Values(epoch))...)
					maps.Copy(last, epoch)
				}
				maps.DeleteFunc(last, func(k, v string) bool { return strings.HasPrefix(v, k+"=null") })
				return all, last
			}
			t.Run(fmt.Sprintf("%s, on close %t", c.name, onClose), func(t *testing.T) {
				all, rows := run(t, stream.EachUpdate, 1)
				if stepwise, _ := run(t, stream.OnCommit, 1); !slices.Equal(stepwise, all) {
					t.Errorf("with a commit after each step: %s", firstDifference(stepwise, all))
				}
				if _, got := run(t, stream.OnCommit, 79); !maps.Equal(got, rows) {
					t.Errorf("with two commits: %v, want %v", got, rows)
				}
			})
		}
	}
}

// A window store of a windowed key that is read back has the bounds that the calendar gives.
func TestCalendarWindowsAreKept(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	perDay := state.NewWindow("per-day", serde.String, serde.Int64)
	day := windows.Day(prague)
	daily := stream.NewTopic("daily", windows.TimeSerde(serde.String, day), serde.Int64)
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		stream.GroupByKey(stream.From(b, pairs)).WindowedBy(day).Count().As(perDay).ToStream().To(daily)
	}))
	in := streamtest.Input(d, pairs)
	for _, hour := range []int{-2, 1, 3, 12, 23, 24} {
		in.Pipe("a", "v", time.Duration(time.Date(2026, 3, 29, hour, 30, 0, 0, prague).UnixMilli())*time.Millisecond)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	want := []string{"03-28 00:00 24h0m0s 1", "03-29 00:00 23h0m0s 4", "03-30 00:00 24h0m0s 1"}
	for _, restart := range []func(){func() {}, d.Restart, d.RestartWithoutState} {
		restart()
		var got []string
		for _, r := range streamtest.WindowRows(d, perDay) {
			got = append(got, fmt.Sprint(time.UnixMilli(r.Start).In(prague).Format("01-02 15:04 "), ms(r.End-r.Start), " ", r.Value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("rows %q, want %q", got, want)
		}
	}
	for _, r := range streamtest.Output(d, daily).Committed() {
		if r.Key.End != day.End(r.Key.Start) {
			t.Errorf("%v does not end at %d", r.Key, day.End(r.Key.Start))
		}
	}
}
