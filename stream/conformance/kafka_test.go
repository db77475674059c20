package conformance_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/benchmarks/peers/peerstest"
	"github.com/moldau-io/moldau/kafka"
	"github.com/moldau-io/moldau/log"
)

// beside is how many vectors run at a time on one broker: they mostly wait.
const beside = 8

// A third of the vectors, one of each scenario, end to end on a real Kafka broker.
func TestKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real broker")
	}
	files, err := vectorFiles("testdata")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return !oneOfThree(f) })
	seeds := peerstest.Kafka(t, peers.Options{}).Bootstrap()
	broker, err := kafka.Open(t.Context(), kafka.Options{Seeds: []string{seeds}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(seeds), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()

	run := func(v *vector, sc scenario) error {
		prefix := v.Scenario + "-" + uuid.NewString() + "-"
		return runLive(t.Context(), sc.topology(t), v, sc, place{
			"on a Kafka broker", renamed{broker, prefix},
			func(ctx context.Context, e event) error {
				r := kgo.Record{Topic: prefix + e.In, Key: raw(e.Key), Value: raw(e.Value), Timestamp: time.UnixMilli(e.TS)}
				for _, h := range e.Headers {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: text(h[0]), Value: raw(h[1])})
				}
				if err := producer.ProduceSync(ctx, &r).FirstErr(); err != nil {
					return err
				}
				// The application is idle as far as its Broker has heard of: let it hear.
				_, err := broker.Offsets(ctx, []log.TopicPartition{{Topic: r.Topic}})
				return err
			},
		}, "app")
	}
	var wg sync.WaitGroup
	var ran atomic.Int64
	next := make(chan string)
	for range beside {
		wg.Go(func() {
			for file := range next {
				v, sc, err := find(file)
				if errors.As(err, new(*notWantedError)) {
					continue
				}
				if err == nil {
					err = run(v, sc)
				}
				if err != nil {
					t.Error(err)
				}
				ran.Add(1)
			}
		})
	}
	for _, file := range files {
		next <- file
	}
	close(next)
	wg.Wait()
	t.Logf("%d vectors ran on the broker", ran.Load())

	// As everywhere, an oracle that sees nothing proves nothing.
	v, sc, err := find(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(v.Events, func(e event) bool { return len(e.Out) > 0 })
	v.Events[at].Out[0].TS++
	var m *mismatch
	if err := run(v, sc); !errors.As(err, &m) || m.step != at+1 {
		t.Errorf("a timestamp that is wrong in step %d: %v", at+1, err)
	}
}
