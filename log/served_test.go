package log

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/benchmarks/peers/peerstest"
)

// A Kafka broker on directories of ours: it takes them for its own, as they are after a clean stop, serves their
// records and goes on writing them.
func TestKafkaServesOurSegments(t *testing.T) {
	needPeers(t)
	written := writeForDump(t)
	topics := slices.Sorted(maps.Keys(written))
	dir := filepath.Join(t.TempDir(), "data")
	const lying = "lying" // the topic with transactions, with time indexes that lead astray
	withKafka(t, dir, func(ctx context.Context, cl *kgo.Client) {
		if err := createAtKafka(ctx, cl, append([]string{lying}, topics...)); err != nil {
			t.Fatal(err)
		}
	})
	for _, topic := range topics {
		mount(t, filepath.Join(dir, topic+"-0"), written[topic].dir)
	}
	mount(t, filepath.Join(dir, lying+"-0"), written["transactions"].dir)
	for _, path := range segmentFiles(t, filepath.Join(dir, lying+"-0"), timeSuffix) {
		if err := os.WriteFile(path, appendTimes(nil, []timeEntry{{kafkaNow, 1}}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := openTest(t, filepath.Dir(filepath.Dir(written[topics[0]].dir)), Options{Logger: quiet})
	times := []int64{LatestTime, EarliestTime, MaxTime, 0, 1 << 50}
	for i := range int64(200) {
		times = append(times, kafkaNow-60+i*i/2)
	}
	withKafka(t, dir, func(ctx context.Context, cl *kgo.Client) {
		answers, err := askTimes(ctx, cl, topics, times)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range topics {
			p, err := l.Partition(TopicPartition{topic, 0})
			if err != nil {
				t.Fatal(err)
			}
			for a, at := range answers {
				if a.timestamp == LatestTime {
					at.LeaderEpoch = p.leaderEpoch // the broker has started anew
					answers[a] = at
				}
			}
			checkAnswers(t, topic, p, times, answers)
			if want, got := servedOurs(t, l, topic), servedByKafka(t, ctx, cl, topic, p.end); !slices.Equal(got, want) {
				t.Errorf("%s: Kafka serves %d records, ours are %d", topic, len(got), len(want))
			}
			// It knows where it ends, and goes on from there.
			r := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("Kafka's")})
			if err := r.FirstErr(); err != nil || r[0].Record.Offset != p.end {
				t.Errorf("%s: a record is appended at %d, want %d: %v", topic, r[0].Record.Offset, p.end, err)
			}
		}
		// The answers are those of our indexes: others give others.
		astray, err := askTimes(ctx, cl, []string{lying}, times)
		if err != nil {
			t.Fatal(err)
		}
		differ := 0
		for _, ts := range times {
			if astray[asked{lying, ReadCommitted, ts}] != answers[asked{"transactions", ReadCommitted, ts}] {
				differ++
			}
		}
		if differ < 10 {
			t.Errorf("with other time indexes the broker gives %d other answers", differ)
		}
	})
}

// withKafka runs f while there is a broker on dir, which is stopped in order.
func withKafka(t *testing.T, dir string, f func(ctx context.Context, cl *kgo.Client)) {
	t.Helper()
	k := peerstest.Kafka(t, peers.Options{Dir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Bootstrap()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	f(ctx, cl)
	cl.Close()
	if t.Failed() {
		t.Logf("the broker says:\n%s", k.LogTail())
	}
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
}

// mount puts our files in the place of a broker's.
func mount(t *testing.T, theirs, ours string) {
	t.Helper()
	old := segmentFiles(t, theirs, append(segmentSuffixes, ".snapshot")...)
	if len(old) == 0 {
		t.Fatalf("%s has no segment", theirs)
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range segmentFiles(t, ours, segmentSuffixes...) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(theirs, filepath.Base(path)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// servedOurs are the records that our readers under ReadCommitted get.
func servedOurs(t *testing.T, l *Log, topic string) (all []string) {
	t.Helper()
	r, err := l.NewReader(TopicPartition{topic, 0}, Earliest, ReadCommitted)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, _ := l.Partition(TopicPartition{topic, 0})
	some := make([]Record, 100)
	for r.Position() < p.bound(ReadCommitted) {
		n, err := r.Read(testContext(t), some)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range some[:n] {
			s := fmt.Sprintf("%d %d %s %s", r.Offset, r.Timestamp, hexOrNull(r.Key), hexOrNull(r.Value))
			for _, h := range r.Headers() {
				s += fmt.Sprintf(" %s=%s", h.Key, hexOrNull(h.Value))
			}
			all = append(all, s)
		}
	}
	return all
}

// servedByKafka are the records that the broker gives read_committed consumers, up to offset end.
func servedByKafka(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, end int64) (all []string) {
	t.Helper()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cl.OptValue("SeedBrokers").([]string)...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for next := int64(0); next < end; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%s at offset %d: %v", topic, next, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			s := fmt.Sprintf("%d %d %s %s", r.Offset, r.Timestamp.UnixMilli(), hexOrNull(r.Key), hexOrNull(r.Value))
			for _, h := range r.Headers {
				s += fmt.Sprintf(" %s=%s", h.Key, hexOrNull(h.Value))
			}
			all = append(all, s)
		})
	}
	return all
}
