package log_test

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/log"
)

// A transaction writes to two topics; readers see all of it, or nothing.
func Example() {
	ctx := context.Background()
	l, err := log.Open("data", log.Options{FS: vfs.NewMem()}) // without FS: files in ./data
	if err != nil {
		panic(err)
	}
	defer l.Close()
	err = l.CreateTopics(ctx, []log.TopicSpec{
		{Name: "orders", Partitions: 1},
		{Name: "totals", Partitions: 1, Config: map[string]string{"compression.type": "zstd"}},
	})
	if err != nil {
		panic(err)
	}

	p, err := l.NewProducer(log.ProducerSpec{Owner: "billing"})
	if err != nil {
		panic(err)
	}
	txn, err := p.Begin()
	if err != nil {
		panic(err)
	}
	for _, topic := range []string{"orders", "totals"} {
		b := log.NewBlock()
		b.Append(1700000000000, []byte("alice"), []byte("one of "+topic), nil)
		if _, err := txn.Append(log.TopicPartition{Topic: topic}, b); err != nil {
			panic(err)
		}
	}
	if err := txn.Commit(ctx); err != nil {
		panic(err)
	}

	r, err := l.NewReader(log.TopicPartition{Topic: "totals"}, log.Earliest, log.ReadCommitted)
	if err != nil {
		panic(err)
	}
	defer r.Close()
	records := make([]log.Record, 10)
	n, err := r.Read(ctx, records)
	if err != nil {
		panic(err)
	}
	for _, rec := range records[:n] {
		fmt.Printf("%s: %s\n", rec.Key, rec.Value)
	}
	// Output: alice: one of totals
}
