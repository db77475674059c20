package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/log"
)

// markers are package log's words for Kafka's errors.
var markers = []struct {
	code   *kerr.Error
	marker error
}{
	{kerr.UnknownTopicOrPartition, log.ErrUnknownTopic},
	{kerr.UnknownTopicID, log.ErrUnknownTopic},
	{kerr.InvalidTopicException, log.ErrInvalidTopic},
	{kerr.TopicAlreadyExists, log.ErrTopicMismatch},
	{kerr.InvalidPartitions, log.ErrInvalidPartitions},
	{kerr.InvalidConfig, log.ErrInvalidConfig},
	{kerr.OffsetOutOfRange, log.ErrOffsetOutOfRange},
	{kerr.MessageTooLarge, log.ErrRecordTooLarge},
	{kerr.RecordListTooLarge, log.ErrRecordTooLarge},
	{kerr.InvalidProducerEpoch, log.ErrFenced},
	{kerr.ProducerFenced, log.ErrFenced},
	{kerr.FencedInstanceID, log.ErrFenced},
	{kerr.OutOfOrderSequenceNumber, log.ErrOutOfOrderSequence},
	{kerr.InvalidTxnState, log.ErrInvalidTransactionState},
	{kerr.CorruptMessage, log.ErrCorrupt},
}

// mapped makes err match the error of package log that says the same, if there is one.
func mapped(err error) error {
	for _, m := range markers {
		if errors.Is(err, m.code) {
			return fmt.Errorf("%w: %w", m.marker, err)
		}
	}
	if errors.Is(err, kgo.ErrClientClosed) {
		return fmt.Errorf("%w: %w", log.ErrClosed, err)
	}
	return err
}

// code is the error of a response's error code; nil for 0.
func code(c int16) error { return mapped(kerr.ErrorForCode(c)) }

// fencing reports whether err says that the producer's epoch is over: somebody else has taken it, or the
// coordinator did because the transaction was open for too long.
func fencing(err error) bool {
	return errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.ProducerFenced)
}

// passing reports whether the same request may succeed later, perhaps at another broker: the cluster says so, or it
// said nothing. Errors of no answer at all count, also those that kgo takes for a sign of missing credentials.
func passing(err error) bool {
	var ke *kerr.Error
	switch {
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &ke):
		return ke.Retriable || ke == kerr.ConcurrentTransactions || ke == kerr.UnknownServerError
	}
	return true
}
