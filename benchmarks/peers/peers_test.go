package peers_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/benchmarks/peers/peerstest"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Whether there can be a broker here: .ci/run asks, and says why not.
func TestAvailable(t *testing.T) {
	if err := peers.Available(); err != nil {
		t.Skip(err)
	}
}

// A record acknowledged before kill -9 is there after Restart, on the same port; Kafka's own tool reads it
// from the files; and Stop leaves nothing.
func TestKafka(t *testing.T) {
	k := peerstest.Kafka(t, peers.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Bootstrap()), kgo.DefaultProduceTopic("letters"),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"letters": {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "letters", 1, 1
	create.Topics = append(create.Topics, topic)
	resp, err := create.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("alpha")).FirstErr(); err != nil {
		t.Fatal(err)
	}

	first := k.PID()
	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := k.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if k.PID() == first {
		t.Error("the process is still the first one")
	}
	fetches := cl.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if recs := fetches.Records(); len(recs) != 1 || string(recs[0].Value) != "alpha" {
		t.Errorf("read %d records, want alpha alone", len(recs))
	}

	dump, err := peers.Tool(ctx, "DumpLogSegments", "--print-data-log", "--files",
		filepath.Join(k.DataDir(), "letters-0", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := dump.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("payload: alpha")) {
		t.Errorf("DumpLogSegments: %v\n%s", err, out)
	}

	for range 2 {
		if err := k.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(k.DataDir()); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", k.DataDir(), err)
	}
	if err := k.Restart(ctx); err == nil {
		t.Error("a stopped broker restarts")
	}
}
