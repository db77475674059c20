package stream_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

// Each internal topic is created with the cleanup policy of its kind, as Kafka Streams 4.3 does
// (WindowedChangelogTopicConfig, VersionedChangelogTopicConfig, UnwindowedUnversionedChangelogTopicConfig,
// RepartitionTopicConfig): a changelog may lose a record only when no store can need it, and the log deletes by the
// wall clock, so a day is added to what the store needs.
func TestInternalTopics(t *testing.T) {
	lg, err := log.Open(filepath.Join(t.TempDir(), "log"), log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer lg.Close()
	if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "pairs", Partitions: 2}, {Name: "left", Partitions: 2}, {Name: "right", Partitions: 2}}); err != nil {
		t.Fatal(err)
	}
	minute := time.Minute
	topology := build(t, func(b *stream.Builder) {
		in := stream.From(b, pairs)
		g := stream.GroupByKey(in)
		per := func(w windows.Time, name string) *stream.Table[windows.Windowed[string], int64] {
			return g.WindowedBy(w).Count(stream.Named(name))
		}
		g.Count(stream.Named("unwindowed"))
		per(windows.Tumbling(minute).WithGrace(10*time.Second), "tumbling").Suppress(stream.UntilWindowCloses(), stream.Named("suppressed"))
		per(windows.Hopping(10*minute, minute), "hopping")
		per(windows.Sliding(minute).WithGrace(time.Second), "sliding")
		per(windows.Unlimited(), "unlimited")
		per(windows.Day(time.UTC), "calendar")
		g.SessionWindowedBy(windows.Sessions(5 * minute).WithGrace(minute)).Count(stream.Named("session"))
		g.WindowedBy(windows.Tumbling(minute)).Count().As(state.NewWindow("kept", serde.String, serde.Int64).WithRetention(time.Hour))
		in.ToTable(stream.Named("versioned")).As(state.NewVersioned("history", serde.String, serde.String, 2*time.Hour))
		stream.OuterJoinStreams(stream.From(b, left), stream.From(b, right), windows.Within(minute).After(2*minute).WithGrace(10*time.Second),
			func(l, r string, _ stream.Sides) string { return l + r }, stream.Named("join")).ForEach(func(string, string) {})
		stream.GroupBy(in, func(_, v string) string { return v }, stream.Named("by-value")).Count(stream.Named("values"))
	})
	if err := run(t, topology, stream.Config{Broker: lg}, waitIdle(t)); err != nil {
		t.Fatal(err)
	}

	const day = 24 * time.Hour
	kept := func(policy string, retention time.Duration) map[string]string {
		return map[string]string{"cleanup.policy": policy, "retention.ms": fmt.Sprint((retention + day).Milliseconds())}
	}
	compact := map[string]string{"cleanup.policy": "compact"}
	want := map[string]map[string]string{
		"unwindowed-changelog":         compact,
		"suppressed-changelog":         compact,
		"tumbling-changelog":           kept("compact,delete", minute+10*time.Second),
		"hopping-changelog":            kept("compact,delete", 10*minute),
		"sliding-changelog":            kept("compact,delete", 2*minute+time.Second),
		"unlimited-changelog":          compact, // nothing of it is ever too old
		"calendar-changelog":           kept("compact,delete", 48*time.Hour),
		"session-changelog":            kept("compact,delete", 6*minute),
		"kept-changelog":               kept("compact,delete", time.Hour),
		"history-changelog":            {"cleanup.policy": "compact", "min.compaction.lag.ms": fmt.Sprint((2*time.Hour + day).Milliseconds())},
		"join-left-records-changelog":  kept("delete", 3*minute+10*time.Second), // each record has a key of its own
		"join-right-records-changelog": kept("delete", 3*minute+10*time.Second),
		"join-left-waiting-changelog":  compact,
		"join-right-waiting-changelog": compact,
		"by-value-repartition":         {"cleanup.policy": "delete", "retention.ms": "-1"},
		"values-changelog":             compact,
	}
	for name, config := range want {
		infos, err := lg.Topics(t.Context(), []string{"app-" + name})
		if err != nil {
			t.Fatal(err)
		}
		config := maps.Clone(config)
		config["message.timestamp.type"] = "CreateTime"
		if got := infos[0]; got.Err != nil || got.Partitions != 2 || !maps.Equal(got.Config, config) {
			t.Errorf("%s: %v, want %v; %d partitions, %v", name, got.Config, config, got.Partitions, got.Err)
		}
	}
}
