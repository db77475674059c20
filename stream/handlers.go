package stream

import (
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// ErrorHandler says what becomes of a record that failed. It is called by the task that has the record, and by
// several tasks at once; and again for a record whose epoch is aborted and done again. If it panics the application
// stops.
type ErrorHandler func(FailedRecord) Answer

// Answer is what becomes of a record that failed: Fail, Skip, DeadLetter or DeadLetterTo. The zero value is Fail.
type Answer struct {
	action task.Action
	topic  string
}

var (
	// Fail stops the application, with nothing of the epoch visible. The next run comes to the record again.
	Fail = Answer{}
	// Skip goes on without the record, which is counted as dropped.
	Skip = Answer{action: task.Skip}
	// DeadLetter is Skip, and writes the input record to Config.DeadLetterTopic. See DeadLetterTo.
	DeadLetter = Answer{action: task.DeadLetter}
)

// DeadLetterTo is Skip, and writes the input record that was being processed to a topic, which must exist: key,
// value, timestamp and headers as they are in its own topic, and the reason in further headers, whose names are those
// of Kafka Streams (KIP-1034): __streams.errors.exception, .message, .stacktrace (of a panic), .topic, .partition and
// .offset; the operator is in __moldau.errors.operator. It is written in the epoch's transaction, so exactly once.
//
// Where no record was being processed, key and value are null.
func DeadLetterTo(topic string) Answer { return Answer{task.DeadLetter, topic} }

// Always is the handler that has one answer.
func Always(a Answer) ErrorHandler { return func(FailedRecord) Answer { return a } }

// FailedRecord is what an ErrorHandler is told. What it refers to is shared: it may be kept, and not be changed.
type FailedRecord struct {
	// Topic, Partition and Offset are of the input record that was being processed; Key, Value, Timestamp (in
	// milliseconds since the epoch) and Headers are what it is in that topic. A nil Key or Value is null. Topic is ""
	// if no record was being processed, as when changes that were held back are sent on at commit, or when a
	// punctuator runs. Where an operator had kept a record, it is the record that set off what is done with it now.
	Topic      string
	Partition  int32
	Offset     int64
	Key, Value []byte
	Timestamp  int64
	Headers    Headers

	// Operator is the kind of the operator that failed, such as "MapValues"; Name its name in the topology, and At
	// the file:line of the call that made it.
	Operator, Name, At string
	// Err is the cause. A panic is a *PanicError.
	Err error

	// Output is the record that could not be written; nil unless the handler is Config.OnProductionError.
	Output *UnwrittenRecord
}

// UnwrittenRecord is a record that could not be written. What could not be encoded of it is nil.
type UnwrittenRecord struct {
	Topic      string
	Partition  int32 // -1: not known
	Key, Value []byte
	Timestamp  int64 // milliseconds since the epoch
	Headers    Headers
}

// handlers are those of the configuration, as tasks know them.
func (c Config) handlers() *task.Handlers {
	h := &task.Handlers{DeadLetterTopic: c.DeadLetterTopic}
	for kind, f := range map[task.Kind]ErrorHandler{
		task.Deserialization: c.OnDeserializationError,
		task.Processing:      c.OnProcessingError,
		task.Production:      c.OnProductionError,
	} {
		if f != nil {
			h.On[kind] = func(x *task.Failure) task.Answer {
				a := f(failedRecord(x))
				return task.Answer{Action: a.action, Topic: a.topic}
			}
		}
	}
	return h
}

func failedRecord(f *task.Failure) FailedRecord {
	r := FailedRecord{Operator: f.Node.Op, Name: f.Node.Name, At: f.Node.At, Err: f.Err}
	if in := f.Input; in != nil {
		r.Topic, r.Partition, r.Offset = f.Partition.Topic, f.Partition.Partition, in.Offset
		r.Key, r.Value, r.Timestamp = in.Key, in.Value, in.Timestamp
		if in.HasHeaders() {
			r.Headers = in.Headers()
		}
	}
	if o := f.Output; o != nil {
		r.Output = &UnwrittenRecord{o.Topic, o.Partition, o.Key, o.Value, o.Timestamp, o.Headers}
	}
	return r
}

func init() {
	bridge.Handlers = func(c any) *task.Handlers { return c.(Config).handlers() }
}

// guarded has an operator's panics and errors answered, if there is a handler for them; else it costs nothing.
func guarded[K, V any](t *task.Task, n *graph.Node, e edge[K, V]) edge[K, V] {
	if !t.Handles(task.Processing) {
		return e
	}
	return func(r Record[K, V]) (err error) {
		before := t.At()
		t.Enter(n.Index)
		defer t.Guard(before, &err)
		return e(r)
	}
}
