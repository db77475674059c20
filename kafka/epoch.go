package kafka

// This file owns how an epoch ends, and what is known of it after each step.
//
//	  step of Commit                                      if it fails
//	0 all records are acknowledged                       aborted: a record that is not there must not be missed
//	1 offsets: of a transaction that has records          aborted, if the partitions are not ours any more or the
//	  (TxnOffsetCommit), under our place in the group     cluster refuses; asked again with the place as it is
//	                                                      now as long as they are ours
//	2 the transaction's end is asked for (EndTxn)         an answer that is lost is asked for again, for ever: once
//	                                                      the request may have arrived, nothing but its answer
//	                                                      tells the outcome, and nothing but it is sent
//	3 the coordinator has written all markers            it has decided; only the wait is given up
//
// An epoch without records has no transaction: its offsets are committed as they are (OffsetCommit), which is
// one write to one partition, and under the same guard of member and generation. kgo would not end a
// transaction that has only offsets.
//
// A producer that is fenced was so by another instance, or by the coordinator, which gives up a transaction
// that is open for too long. The group tells which: it knows one instance as its member. In the second case the
// transaction was aborted, and a new producer goes on.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/log"
)

// epoch is one epoch of a member: a transaction under ExactlyOnce, or else plain appends.
type epoch struct {
	m        *member
	client   *kgo.Client // the producer's when the epoch began
	standing int         // of the group then

	mu      sync.Mutex
	records bool                         // some were appended
	failed  error                        // of an append
	last    map[log.TopicPartition]int64 // offsets of the last records acknowledged
	ended   bool
}

func newEpoch(m *member) *epoch {
	return &epoch{m: m, client: m.producer.get(), standing: m.group.standing(), last: map[log.TopicPartition]int64{}}
}

// fail notes the first failure of an append.
func (e *epoch) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed == nil {
		e.failed = err
	}
}

// failure is the first failure of an append.
func (e *epoch) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

func (e *epoch) wrote(tp log.TopicPartition, last int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last[tp] = max(e.last[tp], last)
}

// Append hands b to the producer. The offset is not known yet, and an error may come as late as at the Commit.
func (e *epoch) Append(tp log.TopicPartition, b *log.Block) (base int64, err error) {
	if err := e.append(tp, b); err != nil {
		b.Release()
		err = fmt.Errorf("append to %s: %w", tp, err)
		e.fail(err)
		return -1, err
	}
	return -1, nil
}

func (e *epoch) append(tp log.TopicPartition, b *log.Block) error {
	if err := e.m.checkPartition(e.m.ctx, tp); err != nil {
		return err
	}
	e.mu.Lock()
	ended, failed := e.ended, e.failed
	e.records = e.records || !ended && b.Len() > 0
	e.mu.Unlock()
	switch {
	case ended:
		return fmt.Errorf("%w: the epoch has ended", log.ErrInvalidTransactionState)
	case failed != nil:
		return fmt.Errorf("after an append failed: %w", failed)
	}
	e.produce(e.client, tp, b)
	return nil
}

// finish ends the epoch for Append, Commit and Abort; false if it has ended.
func (e *epoch) finish() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return false
	}
	e.ended = true
	return true
}

// end lets the member begin another epoch.
func (e *epoch) end() {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	if e.m.epoch == e {
		e.m.epoch = nil
	}
}

// Commit returns when the outcome is known, however long the cluster is away; it says so in the log meanwhile.
// Before the outcome is the cluster's to say, an epoch is given up after the transaction's time-out.
func (e *epoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	if !e.finish() {
		return log.OutcomeFenced, fmt.Errorf("group %s: %w: the epoch has ended", e.m.spec.Group, log.ErrInvalidTransactionState)
	}
	defer e.end()
	outcome, err := e.commit(ctx, next)
	switch outcome {
	case log.OutcomeCommitted:
		e.publish()
	case log.OutcomeFenced:
		return outcome, e.m.fence(err)
	}
	if err != nil {
		err = fmt.Errorf("group %s: %w", e.m.spec.Group, err)
	}
	return outcome, err
}

// publish notes where the partitions end now, at the least: after the last record and the transaction's marker.
func (e *epoch) publish() {
	marker := int64(0)
	if e.m.producer.exactlyOnce() {
		marker = 1
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for tp, last := range e.last {
		e.m.b.seen(tp, last+1+marker)
	}
}

func (e *epoch) commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	err := ctx.Err()
	if err == nil {
		err = e.flush(ctx)
	}
	if err == nil {
		err = e.failure()
	}
	if err != nil {
		return e.giveUp(ctx, err)
	}
	// From here on the context ends nothing: half a commit is none.
	ctx = context.WithoutCancel(ctx)
	e.mu.Lock()
	transaction := e.records && e.m.producer.exactlyOnce()
	e.mu.Unlock()
	if len(next) > 0 {
		if err := e.commitOffsets(ctx, next, transaction); err != nil {
			return e.giveUp(ctx, err)
		}
	}
	if !e.m.producer.exactlyOnce() {
		return log.OutcomeCommitted, nil
	}
	return e.endTransaction(ctx, transaction)
}

// flush waits until all records are acknowledged.
func (e *epoch) flush(ctx context.Context) error {
	acknowledged := e.m.b.sayWaiting("acknowledgement of the records of group " + e.m.spec.Group)
	defer acknowledged()
	timeout := e.m.b.txnTimeout
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := e.client.Flush(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return fmt.Errorf("the cluster has not acknowledged all records within %v", timeout)
	}
	return err
}

// giveUp aborts the epoch because of cause.
func (e *epoch) giveUp(ctx context.Context, cause error) (log.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := e.abort(ctx, cause); err != nil {
		return log.OutcomeFenced, errors.Join(err, cause)
	}
	if errors.Is(cause, kerr.FencedInstanceID) {
		return log.OutcomeFenced, cause
	}
	return log.OutcomeAborted, cause
}

// abortTimeout bounds an abort. A transaction that could not be aborted then is so when the next producer is made,
// before the next epoch begins.
const abortTimeout = 10 * time.Second

// Abort takes back what was appended. What cannot be aborted now, since the cluster is away, never becomes
// visible: the next epoch, the next member, or the transaction's time-out aborts it.
func (e *epoch) Abort(ctx context.Context) error {
	if !e.finish() {
		return nil
	}
	defer e.end()
	if err := e.abort(ctx, e.failure()); err != nil {
		return e.m.fence(err)
	}
	return nil
}

// abort returns an error only if another instance has fenced us. cause is why the epoch is aborted, nil if nothing
// is wrong with it.
func (e *epoch) abort(ctx context.Context, cause error) error {
	if !e.m.producer.exactlyOnce() {
		// Nothing can be taken back. What is not sent yet need not be.
		if err := e.client.AbortBufferedRecords(ctx); err != nil {
			e.m.producer.discard()
		}
		return nil
	}
	err := e.client.AbortBufferedRecords(ctx)
	if err == nil {
		err = e.client.EndTransaction(ctx, kgo.TryAbort)
	}
	if err == nil && !fencing(cause) {
		e.mu.Lock()
		records := e.records
		e.mu.Unlock()
		if records {
			e.awaitMarkers(ctx)
		}
		return nil
	}
	// The next producer aborts what this one could not.
	e.m.producer.discard()
	if fencing(err) || fencing(cause) {
		if err == nil {
			err = cause
		}
		if e.m.group.takenOver(ctx) {
			return mapped(err)
		}
	}
	if err != nil {
		e.m.b.logger.Warn("the transaction could not be aborted; the next one's producer does that", "group", e.m.spec.Group, "cause", err)
	}
	return nil
}

// endTransaction commits what there is to commit. kgo asks again for as long as it gets no answer; what it does not
// know how to take is asked here.
func (e *epoch) endTransaction(ctx context.Context, transaction bool) (log.Outcome, error) {
	id, producerEpoch, idErr := e.client.ProducerID(ctx)
	known := e.m.b.sayWaiting("the outcome of a commit of group " + e.m.spec.Group)
	err := e.client.EndTransaction(ctx, kgo.TryCommit)
	known()
	if err == nil {
		if transaction {
			e.awaitMarkers(ctx)
		}
		return log.OutcomeCommitted, nil
	}
	if errors.Is(err, kerr.OperationNotAttempted) || idErr != nil {
		return e.giveUp(ctx, fmt.Errorf("commit: %w", mapped(err)))
	}
	// kgo's transaction is of no use any more, whatever became of it.
	wait := backoff{logger: e.m.b.logger}
	for {
		switch {
		case err == nil:
			e.awaitMarkers(ctx)
			e.m.producer.discard()
			return log.OutcomeCommitted, nil
		case fencing(err):
			e.m.producer.discard()
			if e.m.group.takenOver(ctx) {
				return log.OutcomeFenced, mapped(err)
			}
			return log.OutcomeAborted, fmt.Errorf("commit: the coordinator gave the transaction up: %w", err)
		case refused(err):
			e.m.producer.discard()
			return log.OutcomeAborted, fmt.Errorf("commit: %w", mapped(err))
		}
		if !passing(err) {
			// The coordinator has forgotten the transactional id or does not speak to us any more, or the caller has
			// closed the member: nobody can tell. This member must stop; the next goes on from the offsets.
			e.m.producer.discard()
			return log.OutcomeFenced, mapped(err)
		}
		_ = wait.wait(ctx, nil, "the outcome of a commit", err)
		err = e.askOutcome(ctx, id, producerEpoch)
	}
}

// refused reports whether a commit was answered with an error that means that it is not, and will not be, one.
func refused(err error) bool {
	return errors.Is(err, kerr.InvalidTxnState) || errors.Is(err, kerr.TransactionAbortable)
}

// askOutcome asks for the commit again. The coordinator knows a commit that it has seen from the producer id
// and epoch.
func (e *epoch) askOutcome(ctx context.Context, id int64, producerEpoch int16) error {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = e.m.spec.Group, id, producerEpoch, true
	resp, err := req.RequestWith(ctx, e.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// awaitMarkers waits until the coordinator has written all markers: from then on readers see the transaction's
// outcome, and the next one may begin. The outcome is known already, so trouble ends the wait.
func (e *epoch) awaitMarkers(ctx context.Context) {
	if !e.m.producer.tells() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.m.b.txnTimeout)
	defer cancel()
	wait := backoff{logger: e.m.b.logger, least: time.Millisecond}
	for {
		state, err := transactionState(ctx, e.client, e.m.spec.Group)
		if err == nil && state != "PrepareCommit" && state != "PrepareAbort" || err != nil && !passing(err) {
			return
		}
		if wait.wait(ctx, nil, "markers of a transaction", err) != nil {
			return
		}
	}
}

// transactionState asks a transaction's coordinator for its state.
func transactionState(ctx context.Context, client *kgo.Client, id string) (string, error) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return "", err
	}
	for _, t := range resp.TransactionStates {
		return t.State, kerr.ErrorForCode(t.ErrorCode)
	}
	return "", kerr.TransactionalIDNotFound
}
