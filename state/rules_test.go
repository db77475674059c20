package state

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestUsable(t *testing.T) {
	var (
		id    = uuid.New()
		now   = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
		week  = 7 * 24 * time.Hour
		at    = Position{TopicID: id, LeaderEpoch: 4, Offset: 100, WallTime: now.Add(-time.Hour)}
		facts = ChangelogFacts{TopicID: id, LeaderEpoch: 4, Start: 0, End: 200, Now: now}
	)
	for _, c := range []struct {
		name   string
		change func(*Position, *ChangelogFacts)
		want   string // part of the reason; "": usable
	}{
		{"as it is", func(*Position, *ChangelogFacts) {}, ""},
		{"at the end", func(p *Position, _ *ChangelogFacts) { p.Offset = 200 }, ""},
		{"at the start", func(_ *Position, l *ChangelogFacts) { l.Start = 100 }, ""},
		{"another topic of that name", func(p *Position, _ *ChangelogFacts) { p.TopicID = uuid.New() }, "another topic"},
		{"the log was replaced by a copy", func(p *Position, _ *ChangelogFacts) { p.LeaderEpoch = 5 }, "older than the store"},
		{"beyond the end", func(p *Position, _ *ChangelogFacts) { p.Offset = 201 }, "ends at 200"},
		{"before the start", func(_ *Position, l *ChangelogFacts) { l.Start = 101 }, "starts at 101"},

		{"new epoch, nothing cut", func(_ *Position, l *ChangelogFacts) { l.LeaderEpoch, l.EpochEnd = 5, 100 }, ""},
		{"new epoch, cut before the position", func(_ *Position, l *ChangelogFacts) { l.LeaderEpoch, l.EpochEnd = 5, 99 }, "was cut"},
		{"new epoch, end not given", func(_ *Position, l *ChangelogFacts) { l.LeaderEpoch = 5 }, "was cut"},
		{"new epoch, end unknown", func(_ *Position, l *ChangelogFacts) { l.LeaderEpoch, l.EpochEnd = 5, -1 }, "cannot tell"},
		{"same epoch, its end does not matter", func(_ *Position, l *ChangelogFacts) { l.EpochEnd = 7 }, ""},

		{"tombstones dropped up to it", func(_ *Position, l *ChangelogFacts) { l.TombstonesFrom = 100 }, ""},
		{"tombstones dropped after it", func(_ *Position, l *ChangelogFacts) { l.TombstonesFrom = 101 }, "dropped deletes before 101"},
		{"by age: young", func(_ *Position, l *ChangelogFacts) { l.TombstonesFrom, l.TombstoneRetention = -1, week }, ""},
		{"by age: half of the retention", func(p *Position, l *ChangelogFacts) {
			l.TombstonesFrom, l.TombstoneRetention = -1, week
			p.WallTime = now.Add(-week / 2)
		}, "84h0m0s old"},
		{"by age: almost", func(p *Position, l *ChangelogFacts) {
			l.TombstonesFrom, l.TombstoneRetention = -1, week
			p.WallTime = now.Add(-week/2 + time.Second)
		}, ""},
		{"by age: from the future, a little", func(p *Position, l *ChangelogFacts) {
			l.TombstonesFrom, l.TombstoneRetention = -1, week
			p.WallTime = now.Add(time.Minute)
		}, ""},
		{"by age: from the future", func(p *Position, l *ChangelogFacts) {
			l.TombstonesFrom, l.TombstoneRetention = -1, week
			p.WallTime = now.Add(week)
		}, "deletes may be gone"},
		{"by age: not told how long", func(_ *Position, l *ChangelogFacts) { l.TombstonesFrom = -1 }, "deletes may be gone"},
		{"exactly known: age does not matter", func(p *Position, l *ChangelogFacts) {
			l.TombstoneRetention = week
			p.WallTime = time.Time{}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, l := at, facts
			c.change(&p, &l)
			ok, reason := Usable(p, true, l)
			if ok != (c.want == "") || !strings.Contains(reason, c.want) || ok != (reason == "") {
				t.Errorf("usable %v, reason %q; want %q", ok, reason, c.want)
			}
		})
	}
	if ok, reason := Usable(at, false, facts); ok || reason == "" {
		t.Errorf("without a position: %v, %q", ok, reason)
	}
}
