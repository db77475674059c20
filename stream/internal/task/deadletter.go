package task

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// This file owns the record in a dead-letter topic: key, value, timestamp and headers are those of the input record
// that was being processed, and these headers, all text, come after its own. The first six are Kafka Streams'
// (KIP-1034). Without an input record, key and value are null, the timestamp is the task's stream time, and topic,
// partition and offset are "", "-1" and "-1".
const (
	headerException  = "__streams.errors.exception"  // the type of the innermost error, or "panic"
	headerMessage    = "__streams.errors.message"    // the error
	headerStack      = "__streams.errors.stacktrace" // of a panic; left out of a record that would be too large with it
	headerTopic      = "__streams.errors.topic"      // of the input record
	headerPartition  = "__streams.errors.partition"
	headerOffset     = "__streams.errors.offset"
	headerOperator   = "__moldau.errors.operator" // where it failed: kind, name, and file:line
	maxMessageHeader = 4 << 10
)

// writeDeadLetter writes the input record of a failure to a topic, in the epoch.
func (t *Task) writeDeadLetter(topic string, f *Failure) error {
	out := t.deadLetters[topic]
	if out == nil {
		partitions, err := t.Env.Lookup(topic)
		if err != nil {
			return fmt.Errorf("dead-letter topic %q: %w; what was to go there: %w", topic, err, f.Err)
		}
		out = t.Output(f.Node, topic, partitions)
		if t.deadLetters == nil {
			t.deadLetters = map[string]*Output{}
		}
		t.deadLetters[topic] = out
	}
	var r log.Record
	if f.Input != nil {
		r = *f.Input
	} else {
		r.Timestamp = t.streamTime
	}
	partition := out.AnyPartition()
	if r.Key != nil && out.Partitions > 1 {
		partition = t.Env.KeyPartition(r.Key, out.Partitions)
	}
	var headers []log.Header
	if r.HasHeaders() {
		headers = r.Headers()
	}
	headers = append(headers[:len(headers):len(headers)], f.headers()...)
	keyLen, valueLen := lengths(&r)
	if stack := f.stack(); stack != "" {
		if with := append(headers, text(headerStack, stack)); out.Fits(keyLen, valueLen, with) == nil {
			headers = with
		}
	}
	if err := out.Fits(keyLen, valueLen, headers); err != nil {
		return fmt.Errorf("the dead letter of the record: %w; what was to go there: %w", err, f.Err)
	}
	out.Block(partition).Append(r.Timestamp, r.Key, r.Value, headers)
	return out.Added(partition)
}

func text(key, value string) log.Header { return log.Header{Key: key, Value: []byte(value)} }

// headers say why, but for the stack.
func (f *Failure) headers() []log.Header {
	topic, partition, offset := "", int32(-1), int64(-1)
	if f.Input != nil {
		topic, partition, offset = f.Partition.Topic, f.Partition.Partition, f.Input.Offset
	}
	exception, message := fmt.Sprintf("%T", innermost(f.Err)), f.Err.Error()
	if p, ok := errors.AsType[*PanicError](f.Err); ok {
		exception, message = "panic", fmt.Sprintf("panic: %v", p.Value)
	}
	return []log.Header{
		text(headerException, exception),
		text(headerMessage, message[:min(len(message), maxMessageHeader)]),
		text(headerTopic, topic),
		text(headerPartition, strconv.Itoa(int(partition))),
		text(headerOffset, strconv.FormatInt(offset, 10)),
		text(headerOperator, place(f.Node)),
	}
}

func (f *Failure) stack() string {
	if p, ok := errors.AsType[*PanicError](f.Err); ok {
		return string(p.Stack)
	}
	return ""
}

func place(n *graph.Node) string { return fmt.Sprintf("%s %q at %s", n.Op, n.Name, n.At) }

// innermost is the error at the bottom of a chain.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// lengths are those of key and value, -1 for null.
func lengths(r *log.Record) (key, value int) {
	key, value = len(r.Key), len(r.Value)
	if r.Key == nil {
		key = -1
	}
	if r.Value == nil {
		value = -1
	}
	return key, value
}
