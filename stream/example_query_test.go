package stream_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// A store can be read while the application runs, here to say how often each page was viewed. Errors are left out for
// brevity.
func ExampleQuery() {
	ctx := context.Background()
	views := stream.NewTopic("views", serde.String, serde.String)
	perPage := state.NewKeyValue("views-per-page", serde.String, serde.Int64)

	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	lg, _ := log.Open(dir, log.Options{Logger: slog.New(slog.DiscardHandler)})
	defer lg.Close()
	_ = lg.CreateTopics(ctx, []log.TopicSpec{{Name: "views", Partitions: 2}})
	producer, _ := lg.NewProducer(log.ProducerSpec{})
	for i, page := range []string{"/", "/shop", "/", "/about", "/shop/cart", "/"} {
		b := log.NewBlock()
		b.Append(int64(i), []byte("ann"), []byte(page), nil)
		_, _ = producer.Append(ctx, log.TopicPartition{Topic: "views", Partition: int32(i % 2)}, b)
	}

	b := stream.NewBuilder()
	stream.GroupBy(stream.From(b, views), func(_, page string) string { return page }).
		Count().As(perPage)
	topology, _ := b.Build()
	app, _ := stream.New(topology, stream.Config{ApplicationID: "pages", Broker: lg, Logger: slog.New(slog.DiscardHandler)})
	reader, err := stream.Query(app, perPage) // before or while the application runs
	if err != nil {
		fmt.Println(err)
		return
	}

	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error)
	go func() { ended <- app.Run(runCtx) }()
	_ = app.WaitIdle(ctx)

	home, err := reader.Get(ctx, "/")
	fmt.Println("home:", home.V, err)
	for row, err := range reader.Prefix(ctx, []byte("/shop")) {
		if err != nil {
			fmt.Println(err) // it comes last
			return
		}
		fmt.Println(row.Key, row.Value)
	}
	stop()
	fmt.Println(<-ended)
	_, err = reader.Get(ctx, "/")
	fmt.Println(err)
	// Output:
	// home: 3 <nil>
	// /shop 1
	// /shop/cart 1
	// <nil>
	// stream: query store "views-per-page": the application is not running: it has stopped
}
