package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/benchmarks/peers/peerstest"
	"github.com/moldau-io/moldau/kafka"
	"github.com/moldau-io/moldau/log"
)

// A topic that takes only small batches gets them small.
func TestBatchesAreAsTheTopicTakesThem(t *testing.T) {
	b := open(t, cluster(t).Bootstrap())
	topic := "small-" + uuid.NewString()
	tp := log.TopicPartition{Topic: topic}
	must(t, b.CreateTopics(t.Context(), []log.TopicSpec{{Name: topic, Partitions: 1, Config: map[string]string{"max.message.bytes": "5000"}}}))
	_, err := b.Topics(t.Context(), []string{topic}) // as an application that starts asks for its topics
	must(t, err)
	m, err := b.Join(t.Context(), log.MemberSpec{Group: topic})
	must(t, err)
	defer m.Close()
	var values []string
	for range 100 {
		values = append(values, strings.Repeat("x", 1000))
	}
	e, err := m.Begin()
	must(t, err)
	_, err = e.Append(tp, block(values...))
	must(t, err)
	if o, err := e.Commit(t.Context(), nil); o != log.OutcomeCommitted {
		t.Fatal(o, err)
	}
	if got := read(t, b, tp, log.ReadCommitted); !slices.Equal(got, values) {
		t.Errorf("%d records", len(got))
	}
	e, err = m.Begin()
	must(t, err)
	_, err = e.Append(tp, block(strings.Repeat("y", 6000)))
	if o, commitErr := e.Commit(t.Context(), nil); o != log.OutcomeAborted || !errors.Is(errors.Join(err, commitErr), log.ErrRecordTooLarge) {
		t.Errorf("of a record too large: outcome %d, %v, %v", o, err, commitErr)
	}
}

// An epoch that is open for longer than its transaction may be is aborted by the cluster. That is no other instance:
// the member goes on.
func TestTransactionTimesOut(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real broker")
	}
	t.Parallel()
	k := peerstest.Kafka(t, peers.Options{Props: []string{
		"transaction.max.timeout.ms=5000", "transaction.abort.timed.out.transaction.cleanup.interval.ms=200",
	}})
	s := newScene(t, open(t, k.Bootstrap()))
	if got := s.b.Capabilities().TransactionTimeout; got != 5*time.Second {
		t.Errorf("the time-out is %v, want the cluster's limit", got)
	}
	if o, err := s.commit("before", 1); o != log.OutcomeCommitted {
		t.Fatal(o, err)
	}
	e, err := s.m.Begin()
	must(t, err)
	began, before := time.Now(), offsets(t, s.b, s.out)
	_, err = e.Append(s.out, block("too late"))
	must(t, err)
	for o := before; o.LastStable < before.LastStable+2; o = offsets(t, s.b, s.out) { // the record and its marker
		if time.Since(began) > time.Minute {
			t.Fatal("the cluster does not abort it")
		}
	}
	o, err := e.Commit(t.Context(), map[log.TopicPartition]log.CommittedOffset{s.in: {Offset: 2}})
	if o != log.OutcomeAborted || err == nil {
		t.Fatalf("outcome %d, %v", o, err)
	}
	s.want([]string{"before"}, 1)
	if o, err := s.commit("after", 3); o != log.OutcomeCommitted {
		t.Fatal(o, err)
	}
	s.want([]string{"before", "after"}, 3)
}

// lockedBuffer is a buffer that a logger writes and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A broker that goes away while members write and read is waited for, not without a word, and nothing is lost or
// doubled when it is back.
func TestBrokerGoesAway(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real broker")
	}
	t.Parallel()
	k := peerstest.Kafka(t, peers.Options{})
	var said lockedBuffer
	b, err := kafka.Open(t.Context(), kafka.Options{Seeds: []string{k.Bootstrap()}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	must(t, err)
	defer b.Close()
	s := newScene(t, b)
	r, err := b.Open(t.Context(), s.out, log.Earliest, log.ReadCommitted)
	must(t, err)
	defer r.Close()
	const epochs = 20
	killed := make(chan error, 1)
	var want []string
	for i := range int64(epochs) {
		if i == epochs/2 {
			must(t, k.Kill())
			go func() { killed <- k.Restart(t.Context()) }()
		}
		value := strings.Repeat("v", int(i)+1)
		want = append(want, value)
		for {
			o, err := s.commit(value, i)
			if o == log.OutcomeCommitted {
				break
			}
			// The group may have lost the member meanwhile, which is no member again before the broker is back.
			if o != log.OutcomeAborted {
				t.Fatalf("epoch %d: outcome %d, %v", i, o, err)
			}
			t.Logf("epoch %d is done again: %v", i, err)
		}
	}
	must(t, <-killed)
	s.want(want, epochs-1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for recs := make([]log.Record, 5); len(got) < epochs; {
		n, err := r.Read(ctx, recs)
		must(t, err)
		for _, rec := range recs[:n] {
			got = append(got, string(rec.Value))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the reader read %q, want %q", got, want)
	}
	if !strings.Contains(said.String(), "level=WARN") {
		t.Errorf("nothing was said: %s", said.String())
	}
}
