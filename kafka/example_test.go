package kafka_test

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/kafka"
	"github.com/moldau-io/moldau/stream"
)

// A topology that runs on the embedded log runs on a cluster with another Broker, and a place for its state.
func ExampleOpen() {
	run := func(ctx context.Context, topology *stream.Topology) error {
		b, err := kafka.Open(ctx, kafka.Options{
			Seeds:  []string{"kafka-1:9092", "kafka-2:9092"},
			Client: []kgo.Opt{kgo.DialTLS(), kgo.ProducerBatchCompression(kgo.Lz4Compression())},
		})
		if err != nil {
			return err
		}
		defer b.Close()
		app, err := stream.New(topology, stream.Config{ApplicationID: "word-count", Broker: b, StateDir: "state"})
		if err != nil {
			return err
		}
		return app.Run(ctx)
	}
	_ = run
}
