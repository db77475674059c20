package kafka_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/log"
)

// What the cluster may answer to each step of a commit, and what becomes of the epoch: it is all there or not at
// all, as its outcome says, and, unless the member is fenced, the next epoch is as if nothing had been.
func TestCommitOutcomes(t *testing.T) {
	const once, often = 1, 3
	for _, c := range []struct {
		key      kmsg.Key
		err      *kerr.Error
		topLevel bool
		count    int
		want     log.Outcome
		marker   error // that the error matches
	}{
		// A record that is not written, for whatever reason, aborts the epoch.
		{kmsg.Produce, kerr.NotLeaderForPartition, false, often, log.OutcomeCommitted, nil},
		{kmsg.Produce, kerr.NotEnoughReplicas, false, often, log.OutcomeCommitted, nil},
		{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend, false, often, log.OutcomeCommitted, nil},
		{kmsg.Produce, kerr.RequestTimedOut, false, often, log.OutcomeCommitted, nil},
		{kmsg.Produce, kerr.InvalidRecord, false, once, log.OutcomeAborted, nil},
		{kmsg.Produce, kerr.MessageTooLarge, false, once, log.OutcomeAborted, log.ErrRecordTooLarge},
		{kmsg.Produce, kerr.TopicAuthorizationFailed, false, once, log.OutcomeAborted, nil},
		{kmsg.Produce, kerr.InvalidTxnState, false, once, log.OutcomeAborted, log.ErrInvalidTransactionState},
		{kmsg.Produce, kerr.InvalidProducerEpoch, false, once, log.OutcomeAborted, log.ErrFenced},

		// Offsets are asked for again under the place in the group that is valid by then.
		{kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress, false, often, log.OutcomeCommitted, nil},
		{kmsg.TxnOffsetCommit, kerr.NotCoordinator, false, often, log.OutcomeCommitted, nil},
		{kmsg.TxnOffsetCommit, kerr.ConcurrentTransactions, false, often, log.OutcomeCommitted, nil},
		{kmsg.TxnOffsetCommit, kerr.IllegalGeneration, false, often, log.OutcomeCommitted, nil},
		{kmsg.TxnOffsetCommit, kerr.RebalanceInProgress, false, often, log.OutcomeCommitted, nil},
		{kmsg.TxnOffsetCommit, kerr.GroupAuthorizationFailed, false, once, log.OutcomeAborted, nil},
		{kmsg.TxnOffsetCommit, kerr.OffsetMetadataTooLarge, false, once, log.OutcomeAborted, nil},
		{kmsg.TxnOffsetCommit, kerr.TransactionAbortable, false, once, log.OutcomeAborted, nil},
		{kmsg.TxnOffsetCommit, kerr.InvalidProducerEpoch, false, once, log.OutcomeAborted, log.ErrFenced},
		{kmsg.TxnOffsetCommit, kerr.FencedInstanceID, false, once, log.OutcomeFenced, log.ErrFenced},

		// Once the end was asked for, only its answer tells.
		{kmsg.EndTxn, kerr.CoordinatorNotAvailable, true, often, log.OutcomeCommitted, nil},
		{kmsg.EndTxn, kerr.NotCoordinator, true, often, log.OutcomeCommitted, nil},
		{kmsg.EndTxn, kerr.ConcurrentTransactions, true, often, log.OutcomeCommitted, nil},
		{kmsg.EndTxn, kerr.UnknownServerError, true, once, log.OutcomeCommitted, nil},
		{kmsg.EndTxn, kerr.UnknownServerError, true, often, log.OutcomeCommitted, nil},
		{kmsg.EndTxn, kerr.ProducerFenced, true, once, log.OutcomeAborted, nil},
		{kmsg.EndTxn, kerr.InvalidProducerEpoch, true, once, log.OutcomeAborted, nil},
		{kmsg.EndTxn, kerr.InvalidTxnState, true, once, log.OutcomeAborted, log.ErrInvalidTransactionState},
		{kmsg.EndTxn, kerr.TransactionAbortable, true, once, log.OutcomeAborted, nil},
		{kmsg.EndTxn, kerr.InvalidProducerIDMapping, true, once, log.OutcomeFenced, log.ErrFenced},
	} {
		t.Run(c.key.Name()+" "+c.err.Message, func(t *testing.T) {
			t.Parallel()
			fc := fake(t, kfake.NumBrokers(1))
			s := newScene(t, open(t, fc.ListenAddrs()...))
			if o, err := s.commit("before", 1); o != log.OutcomeCommitted {
				t.Fatal(o, err)
			}
			h := fc.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, TopLevel: c.topLevel, Count: c.count})
			o, err := s.commit("the epoch", 2)
			if h.Hits() < c.count {
				t.Errorf("the fault was met %d times, want %d", h.Hits(), c.count)
			}
			h.Remove()
			if o != c.want || (err == nil) != (o == log.OutcomeCommitted) {
				t.Fatalf("outcome %d, %v; want %d", o, err, c.want)
			}
			if c.marker != nil && !errors.Is(err, c.marker) {
				t.Errorf("the error is %v, which is not %v", err, c.marker)
			}
			values, offset := []string{"before"}, int64(1)
			if o == log.OutcomeCommitted {
				values, offset = append(values, "the epoch"), 2
			}
			if o == log.OutcomeFenced {
				if _, err := s.m.Begin(); !errors.Is(err, log.ErrFenced) {
					t.Errorf("the next Begin: %v", err)
				}
				return
			}
			if next, err := s.commit("after", 3); next != log.OutcomeCommitted || err != nil {
				t.Fatalf("the next epoch: outcome %d, %v", next, err)
			}
			values, offset = append(values, "after"), 3
			s.want(values, offset)
		})
	}
}

// Offsets alone are no transaction: they are asked for again as those of one, and refused as they are.
func TestOutcomesOfOffsets(t *testing.T) {
	for _, c := range []struct {
		err   *kerr.Error
		count int
		want  log.Outcome
	}{
		{kerr.RebalanceInProgress, 3, log.OutcomeCommitted},
		{kerr.IllegalGeneration, 3, log.OutcomeCommitted},
		{kerr.CoordinatorLoadInProgress, 3, log.OutcomeCommitted},
		{kerr.GroupAuthorizationFailed, 1, log.OutcomeAborted},
		{kerr.OffsetMetadataTooLarge, 1, log.OutcomeAborted},
		{kerr.FencedInstanceID, 1, log.OutcomeFenced},
	} {
		t.Run(c.err.Message, func(t *testing.T) {
			t.Parallel()
			fc := fake(t, kfake.NumBrokers(1))
			s := newScene(t, open(t, fc.ListenAddrs()...))
			h := fc.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: c.err, Count: c.count})
			o, err := s.commit("", 5)
			if o != c.want || (err == nil) != (o == log.OutcomeCommitted) || h.Hits() != c.count {
				t.Fatalf("outcome %d, %v after %d faults; want %d", o, err, h.Hits(), c.want)
			}
			if o == log.OutcomeAborted {
				s.want(nil, -1)
				if o, err := s.commit("", 6); o != log.OutcomeCommitted {
					t.Fatal(o, err)
				}
			}
		})
	}
}

// Committed offsets that are not decided yet are waited for.
func TestUndecidedOffsetsAreWaitedFor(t *testing.T) {
	fc := fake(t, kfake.NumBrokers(1))
	s := newScene(t, open(t, fc.ListenAddrs()...))
	if o, err := s.commit("a", 7); o != log.OutcomeCommitted {
		t.Fatal(o, err)
	}
	h := fc.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.UnstableOffsetCommit, Count: 4})
	s.want([]string{"a"}, 7)
	if h.Hits() != 4 {
		t.Errorf("the fault was met %d times", h.Hits())
	}
	forever := fc.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.UnstableOffsetCommit, Count: -1})
	defer forever.Remove()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.m.Committed(ctx, []log.TopicPartition{s.in}); !errors.Is(err, kerr.UnstableOffsetCommit) {
		t.Errorf("when the context is done: %v", err)
	}
}

// A session that the group has ended loses the partitions: the epoch that was open is not committed, also if they
// have come back by then. The next is.
func TestLostPartitionsAreNotCommitted(t *testing.T) {
	fc := fake(t, kfake.NumBrokers(1))
	s := newScene(t, open(t, fc.ListenAddrs()...))
	wantEvent[log.Assigned](t, s.m)
	e, err := s.m.Begin()
	must(t, err)
	_, err = e.Append(s.out, block("lost"))
	must(t, err)
	fc.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, TopLevel: true})
	wantEvent[log.Lost](t, s.m)
	wantEvent[log.Assigned](t, s.m)
	o, err := e.Commit(t.Context(), map[log.TopicPartition]log.CommittedOffset{s.in: {Offset: 5}})
	if o != log.OutcomeAborted || err == nil {
		t.Fatalf("outcome %d, %v", o, err)
	}
	s.want(nil, -1)
	if o, err := s.commit("kept", 6); o != log.OutcomeCommitted {
		t.Fatal(o, err)
	}
	s.want([]string{"kept"}, 6)
}

// Whoever finds another instance in its place says so, and stops.
func TestFencedInTheGroup(t *testing.T) {
	fc := fake(t, kfake.NumBrokers(1))
	s := newScene(t, open(t, fc.ListenAddrs()...))
	wantEvent[log.Assigned](t, s.m)
	fc.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.JoinGroup}, Err: kerr.FencedInstanceID, TopLevel: true, Count: -1})
	wantEvent[log.Lost](t, s.m)
	if _, err := s.m.Next(t.Context()); !errors.Is(err, log.ErrFenced) {
		t.Errorf("the next event: %v", err)
	}
	if _, err := s.m.Begin(); !errors.Is(err, log.ErrFenced) {
		t.Errorf("a Begin: %v", err)
	}
}

// wantEvent waits for an event, which has to be of the given kind.
func wantEvent[E log.Event](t *testing.T, m log.Member) E {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := m.Next(ctx)
	must(t, err)
	e, ok := got.(E)
	if !ok {
		t.Fatalf("the next event is %T, want %T", got, e)
	}
	return e
}

// What a leader may answer to a fetch: either it passes, and all records come, or it is the reader's error.
func TestFetchErrors(t *testing.T) {
	for _, c := range []struct {
		err    *kerr.Error
		passes bool
		marker error
	}{
		{kerr.NotLeaderForPartition, true, nil},
		{kerr.FencedLeaderEpoch, true, nil},
		{kerr.UnknownTopicOrPartition, true, nil},
		{kerr.KafkaStorageError, true, nil},
		{kerr.OffsetNotAvailable, true, nil},
		{kerr.OffsetOutOfRange, false, log.ErrOffsetOutOfRange},
		{kerr.TopicAuthorizationFailed, false, kerr.TopicAuthorizationFailed},
		{kerr.CorruptMessage, false, log.ErrCorrupt},
	} {
		t.Run(c.err.Message, func(t *testing.T) {
			t.Parallel()
			fc := fake(t, kfake.NumBrokers(2))
			s := newScene(t, open(t, fc.ListenAddrs()...))
			if o, err := s.commit("a", 1); o != log.OutcomeCommitted {
				t.Fatal(o, err)
			}
			h := fc.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: s.out.Topic, Err: c.err, Count: 2})
			r, err := s.b.Open(t.Context(), s.out, 0, log.ReadCommitted)
			must(t, err)
			defer r.Close()
			recs := make([]log.Record, 2)
			n, err := r.Read(t.Context(), recs)
			if c.passes {
				if n != 1 || err != nil || h.Hits() != 2 {
					t.Errorf("%d records, %v, after %d faults", n, err, h.Hits())
				}
			} else if n != 0 || !errors.Is(err, c.marker) {
				t.Errorf("%d records, %v; want %v", n, err, c.marker)
			}
		})
	}
}

// Partitions that move to another leader are read and written on there.
func TestLeadersMove(t *testing.T) {
	fc := fake(t, kfake.NumBrokers(3))
	s := newScene(t, open(t, fc.ListenAddrs()...))
	r, err := s.b.Open(t.Context(), s.out, 0, log.ReadCommitted)
	must(t, err)
	defer r.Close()
	recs := make([]log.Record, 10)
	for i := range int64(9) {
		must(t, fc.MoveTopicPartition(s.out.Topic, 0, int32(i%3)))
		if o, err := s.commit("a", i); o != log.OutcomeCommitted {
			t.Fatal(o, err)
		}
		for got := 0; got == 0; {
			got, err = r.Read(t.Context(), recs)
			must(t, err)
		}
	}
}
