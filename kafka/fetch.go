package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/log"
)

// This file makes one fetch request, and cuts its answers into whole record batches. What they hold is decoded
// by package log, where the format is drawn (batch.go); here only these fields are read:
const (
	lengthAt          = 8 // of what follows it
	magicAt           = 16
	attributesAt      = 21
	lastOffsetDeltaAt = 23
	producerIDAt      = 43

	attrTransactional = 0x10
	attrControl       = 0x20
)

// wanted is what a fetch asks of a partition.
type wanted struct {
	tp       log.TopicPartition
	topicID  [16]byte
	offset   int64
	maxBytes int
}

// answer is what a fetch brought of a partition.
type answer struct {
	err        error // in which case there is nothing else
	batches    log.Batches
	lastStable int64
	end        int64 // the high watermark
}

// fetch asks a leader for records. It waits up to maxWait until there are some.
func fetch(ctx context.Context, client *kgo.Client, leader int32, iso log.Isolation, maxBytes int, maxWait time.Duration, want []wanted) (map[log.TopicPartition]answer, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(maxWait.Milliseconds())
	req.MinBytes = 1
	req.MaxBytes = int32(maxBytes)
	if iso == log.ReadCommitted {
		req.IsolationLevel = 1
	}
	topics := map[string]int{} // where a topic is in req.Topics
	names := map[[16]byte]string{}
	offsets := make(map[log.TopicPartition]int64, len(want))
	for _, w := range want {
		i, ok := topics[w.tp.Topic]
		if !ok {
			i = len(req.Topics)
			topics[w.tp.Topic] = i
			names[w.topicID] = w.tp.Topic
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = w.tp.Topic, w.topicID
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = w.tp.Partition, w.offset, int32(w.maxBytes)
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
		offsets[w.tp] = w.offset
	}
	r, err := client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := r.(*kmsg.FetchResponse)
	if err := code(resp.ErrorCode); err != nil {
		return nil, err
	}
	out := make(map[log.TopicPartition]answer, len(want))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		name := t.Topic
		if name == "" {
			name = names[t.TopicID]
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			tp := log.TopicPartition{Topic: name, Partition: p.Partition}
			a := answer{err: code(p.ErrorCode), lastStable: p.LastStableOffset, end: p.HighWatermark}
			if a.err == nil {
				a.batches, a.err = whole(p.RecordBatches, offsets[tp], p.AbortedTransactions)
			}
			out[tp] = a
		}
	}
	return out, nil
}

// whole cuts off what follows the last whole batch, which the broker does not promise to do, and finds the
// offset to go on from. offset is the one that was asked for.
func whole(buf []byte, offset int64, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction) (log.Batches, error) {
	b := log.Batches{Next: offset}
	for _, a := range aborted {
		b.Aborted = append(b.Aborted, log.AbortedTransaction{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset, LastOffset: math.MaxInt64})
	}
	at := 0
	for len(buf)-at > magicAt {
		batch := buf[at:]
		length := int64(int32(binary.BigEndian.Uint32(batch[lengthAt:])))
		size := length + lengthAt + 4
		if batch[magicAt] != 2 {
			return b, fmt.Errorf("%w: the batch at offset %d has format %d, and formats before 2 are not read: they are older than Kafka 0.11",
				log.ErrCorrupt, binary.BigEndian.Uint64(batch), batch[magicAt])
		}
		if length < batchOverhead-lengthAt-4 {
			return b, fmt.Errorf("%w: the batch at offset %d has a length of %d", log.ErrCorrupt, binary.BigEndian.Uint64(batch), length)
		}
		if size > int64(len(batch)) {
			break
		}
		base := int64(binary.BigEndian.Uint64(batch))
		next := base + int64(int32(binary.BigEndian.Uint32(batch[lastOffsetDeltaAt:]))) + 1
		if next <= b.Next && at > 0 || next <= base {
			return b, fmt.Errorf("%w: the batch at offset %d ends at %d, and the one before it at %d", log.ErrCorrupt, base, next, b.Next)
		}
		b.Next = max(b.Next, next)
		if attrs := binary.BigEndian.Uint16(batch[attributesAt:]); attrs&attrControl != 0 && attrs&attrTransactional != 0 {
			end(b.Aborted, int64(binary.BigEndian.Uint64(batch[producerIDAt:])), base)
		}
		at += int(size)
	}
	b.Buf = buf[:at:at]
	return b, nil
}

// end notes that the marker at offset ends a producer's transaction. The broker tells where aborted ones begin,
// and not where they end: at their producer's next marker.
func end(aborted []log.AbortedTransaction, producerID, offset int64) {
	for i := range aborted {
		if a := &aborted[i]; a.ProducerID == producerID && a.FirstOffset < offset {
			a.LastOffset = min(a.LastOffset, offset)
		}
	}
}
