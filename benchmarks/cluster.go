//go:build unix

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/benchmarks/peers"
)

// cluster is the broker that the peer, and ours on Kafka, run on.
type cluster struct {
	broker *peers.Kafka
	client *kgo.Client
	admin  *kadm.Client
	runs   int // so far: each has topics of its own
}

func newCluster(broker *peers.Kafka) (*cluster, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Bootstrap()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(1_000_000), kgo.ProducerLinger(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return &cluster{broker: broker, client: client, admin: kadm.NewClient(client)}, nil
}

func (c *cluster) close() { c.client.Close() }

// newApplication returns an application's id and its output topic; that id begins the names of all its topics.
func (c *cluster) newApplication() (id, out string) {
	c.runs++
	id = fmt.Sprintf("run-%d", c.runs)
	return id, id + "-" + output
}

func (c *cluster) create(ctx context.Context, topics ...string) error {
	created, err := c.admin.CreateTopics(ctx, partitions, 1, nil, topics...)
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		return fmt.Errorf("create %q: %w", topics, err)
	}
	return nil
}

// deleteAll deletes the topics whose names begin so.
func (c *cluster) deleteAll(ctx context.Context, prefix string) error {
	all, err := c.admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	var topics []string
	for _, t := range all.Names() {
		if strings.HasPrefix(t, prefix) {
			topics = append(topics, t)
		}
	}
	deleted, err := c.admin.DeleteTopics(ctx, topics...)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return fmt.Errorf("delete %q: %w", topics, err)
	}
	return nil
}

// load makes an input's topic and fills it.
func (c *cluster) load(ctx context.Context, in input) error {
	if err := c.create(ctx, in.topic); err != nil {
		return err
	}
	var once sync.Once
	var failed error
	n := int64(0)
	for r := range in.records {
		c.client.Produce(ctx, &kgo.Record{
			Topic: in.topic, Partition: r.partition, Timestamp: time.UnixMilli(n),
			Key: clone(r.key), Value: clone(r.value),
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { failed = err })
			}
		})
		n++
	}
	if err := c.client.Flush(ctx); err != nil {
		return err
	}
	return failed
}

// clone keeps nil, which is no key, apart from empty.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// read passes the committed records of a topic on, each partition's in order.
func (c *cluster) read(ctx context.Context, topic string, add func(key, value []byte) error) error {
	listed, err := c.admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return fmt.Errorf("where %s ends: %w", topic, err)
	}
	ends := map[int32]int64{}
	start := map[int32]kgo.Offset{}
	listed.Each(func(o kadm.ListedOffset) {
		start[o.Partition] = kgo.NewOffset().AtStart()
		if o.Offset > 0 {
			ends[o.Partition] = o.Offset
		}
	})
	// The last offset before the end may be a transaction's marker: it must be seen, too.
	client, err := kgo.NewClient(kgo.SeedBrokers(c.broker.Bootstrap()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}))
	if err != nil {
		return err
	}
	defer client.Close()
	for len(ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
			if r.Attrs.IsControl() {
				continue
			}
			if err := add(r.Key, r.Value); err != nil {
				return fmt.Errorf("%s-%d, offset %d: %w", topic, r.Partition, r.Offset, err)
			}
		}
	}
	return nil
}
