package log

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// The errors to branch on, with errors.Is. Beside each stands Kafka's error code, for a server that speaks
// its protocol.
var (
	// ErrUnknownTopic: there is no such topic, or it has no such partition (UNKNOWN_TOPIC_OR_PARTITION, 3).
	ErrUnknownTopic = errors.New("log: unknown topic or partition")
	// ErrInvalidTopic: the topic's name breaks Kafka's rules (INVALID_TOPIC_EXCEPTION, 17).
	ErrInvalidTopic = errors.New("log: invalid topic name")
	// ErrTopicMismatch: the topic exists, and is not as it was asked for (TOPIC_ALREADY_EXISTS, 36).
	ErrTopicMismatch = errors.New("log: topic exists with other settings")
	// ErrInvalidPartitions: a topic needs at least one partition (INVALID_PARTITIONS, 37).
	ErrInvalidPartitions = errors.New("log: invalid number of partitions")
	// ErrInvalidConfig: a topic setting is unknown, or its value is out of range (INVALID_CONFIG, 40).
	ErrInvalidConfig = errors.New("log: invalid topic setting")
	// ErrOffsetOutOfRange: the offset is before the log start or after the high watermark
	// (OFFSET_OUT_OF_RANGE, 1).
	ErrOffsetOutOfRange = errors.New("log: offset out of range")
	// ErrRecordTooLarge: one record alone makes a batch larger than max.message.bytes
	// (MESSAGE_TOO_LARGE, 10).
	ErrRecordTooLarge = errors.New("log: record too large")
	// ErrFenced: a newer producer has taken the place of this one; it must stop (INVALID_PRODUCER_EPOCH, 47).
	ErrFenced = errors.New("log: producer fenced")
	// ErrOutOfOrderSequence: a batch's sequence does not follow the last one of its producer, so that a
	// batch between them is missing (OUT_OF_ORDER_SEQUENCE_NUMBER, 45).
	ErrOutOfOrderSequence = errors.New("log: out of order sequence")
	// ErrInvalidTransactionState: the operation does not fit the transaction's state (INVALID_TXN_STATE, 48).
	ErrInvalidTransactionState = errors.New("log: invalid transaction state")
	// ErrClosed: the log, producer, reader or member was closed.
	ErrClosed = errors.New("log: closed")
	// ErrDiskFull: there is no room to write. What was there stays as it was; once there is room, go on, or
	// open the log again (KAFKA_STORAGE_ERROR, 56).
	ErrDiskFull = errors.New("log: disk full")
	// ErrSyncFailed: a sync failed, so that nobody knows what of the last writes is on disk. The log takes
	// no more writes until it is opened again (KAFKA_STORAGE_ERROR, 56).
	ErrSyncFailed = errors.New("log: sync failed")
	// ErrLocked: another process, or another Log of this one, has the directory open.
	ErrLocked = errors.New("log: directory is in use")
	// ErrCorrupt is matched by every error that means stored bytes cannot be trusted. Stop and restore; never
	// retry (CORRUPT_MESSAGE, 2).
	ErrCorrupt = errors.New("log: corrupt")
)

// CorruptError says which bytes of which file were refused, and why.
type CorruptError struct {
	Path   string // segment, journal, index or checkpoint file
	Offset int64  // byte position in Path where the refused batch, frame or entry starts
	Err    error  // for example a CRC mismatch, with both sums
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log: corrupt bytes at %s:%d: %v", e.Path, e.Offset, e.Err)
}
func (e *CorruptError) Unwrap() error        { return e.Err }
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// LockedError says who holds a log's directory. Program, PID and Since are as the holder wrote them when it
// opened the log, and empty if it has not come that far yet.
type LockedError struct {
	Dir     string
	PID     int
	Program string
	Since   time.Time
	Err     error // what the lock said
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("log: directory %s is in use by another process: %v", e.Dir, e.Err)
	}
	who := "process"
	if e.PID == os.Getpid() {
		who = "this process,"
	}
	return fmt.Sprintf("log: directory %s is in use by %s %d (%s, since %s); stop it, or take another directory",
		e.Dir, who, e.PID, e.Program, e.Since.Format(time.RFC3339))
}
func (e *LockedError) Unwrap() error        { return e.Err }
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// fileError says what was done to which file when err came up. A full disk is made to match ErrDiskFull.
func fileError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	// The path is in the message already, and the file system's own operation name adds nothing.
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %s %s: %w", ErrDiskFull, op, path, err)
	}
	return fmt.Errorf("log: %s %s: %w", op, path, err)
}
