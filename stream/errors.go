package stream

import (
	"errors"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// ErrFenced is matched by Run's error when another instance of the application took over.
var ErrFenced = log.ErrFenced

// ProcessingError is where and why an application stopped. Run's error matches it with errors.As if the
// cause lies with a record or an operator: bytes that cannot be decoded, a function that panicked, a
// record that could not be written.
type ProcessingError struct {
	// Operator is its kind, such as "MapValues"; Name its name in the topology, and At the file:line of the
	// call that made it.
	Operator, Name, At string
	// Topic, Partition and Offset are of the input record being processed. Topic is "" if there was none,
	// as when held-back changes are sent on at commit.
	Topic     string
	Partition int32
	Offset    int64
	// Err is the cause. A panic is a *PanicError.
	Err error

	message string
}

func (e *ProcessingError) Error() string { return e.message }
func (e *ProcessingError) Unwrap() error { return e.Err }

// PanicError is a panic in a function given to an operator, with the stack it happened on.
type PanicError = task.PanicError

// public turns the runtime's errors into those of this package.
func public(err error) error {
	f, ok := errors.AsType[*task.Fault](err)
	if !ok {
		return err
	}
	return &ProcessingError{
		Operator: f.Node.Op, Name: f.Node.Name, At: f.Node.At,
		Topic: f.Partition.Topic, Partition: f.Partition.Partition, Offset: f.Offset,
		Err: f.Err, message: err.Error(),
	}
}
