package kafka_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/kafka"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/brokertest"
)

// A real Kafka cluster behind this package keeps the contract of Broker.
func TestBrokerContract(t *testing.T) {
	b := open(t, cluster(t).Bootstrap())
	brokertest.Run(t, func(t *testing.T) log.Broker { return b }, brokertest.Timeout(time.Minute))
}

// sole says that it is the only writer, which on a cluster holds as long as there is one instance.
type sole struct{ log.Broker }

func (s sole) Capabilities() log.Capabilities {
	c := s.Broker.Capabilities()
	c.SoleWriter = true
	return c
}

// As long as a group has one member, that one takes the place of the one before, as on the embedded log.
func TestJoinFencesTheInstanceBefore(t *testing.T) {
	b := sole{open(t, cluster(t).Bootstrap())}
	cases := brokertest.Cases()
	i := slices.IndexFunc(cases, func(c brokertest.Case) bool { return c.Name == "JoinFences" })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := cases[i].Check(ctx, b); err != nil {
		t.Fatal(err)
	}
}

// Aborted records that did reach the log are passed over by members and readers, whose positions count them; a
// reader under ReadUncommitted shows them.
func TestAbortedRecordsAreSkipped(t *testing.T) {
	b := open(t, cluster(t).Bootstrap())
	ctx := t.Context()
	topic := "aborted-" + uuid.NewString()
	tp := log.TopicPartition{Topic: topic}
	must(t, b.CreateTopics(ctx, []log.TopicSpec{{Name: topic, Partitions: 1}}))
	m, err := b.Join(ctx, log.MemberSpec{Group: topic, Topics: []string{topic}})
	must(t, err)
	defer m.Close()
	for i, value := range []string{"a", "aborted", "b", "aborted too", "c"} {
		e, err := m.Begin()
		must(t, err)
		before := offsets(t, b, tp)
		_, err = e.Append(tp, block(value))
		must(t, err)
		if i%2 == 0 {
			if o, err := e.Commit(ctx, nil); o != log.OutcomeCommitted || err != nil {
				t.Fatal(o, err)
			}
			continue
		}
		for offsets(t, b, tp).HighWatermark == before.HighWatermark {
			// The record is on its way; an abort now could overtake it.
		}
		must(t, e.Abort(ctx))
	}
	end := offsets(t, b, tp).LastStable
	if end != 10 {
		t.Errorf("five records and five markers end at %d", end)
	}
	var got []string
	for at := int64(0); at < end; {
		event, err := m.Next(ctx)
		must(t, err)
		if f, ok := event.(log.Fetched); ok {
			recs := make([]log.Record, 10)
			for n := 1; n > 0; {
				n, err = f.Records.Next(recs)
				must(t, err)
				for _, r := range recs[:n] {
					got = append(got, string(r.Value))
				}
			}
			at = f.Records.End()
		}
	}
	if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("the member read %q, want %q", got, want)
	}
	if got, want := read(t, b, tp, log.ReadCommitted), []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("a reader under ReadCommitted read %q, want %q", got, want)
	}
	if got, want := read(t, b, tp, log.ReadUncommitted), []string{"a", "aborted", "b", "aborted too", "c"}; !slices.Equal(got, want) {
		t.Errorf("a reader under ReadUncommitted read %q, want %q", got, want)
	}
}

// Where no broker answers, Open says so in time, with the address and what to do.
func TestOpenWithoutABroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	silent := l.Addr().String() // accepts, and never says a word
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	refusing := gone.Addr().String()
	must(t, gone.Close())
	for _, c := range []struct {
		name, seed string
		timeout    time.Duration
	}{
		{"nobody listens", refusing, time.Minute},
		{"nobody answers", silent, 300 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			began := time.Now()
			_, err := kafka.Open(ctx, kafka.Options{Seeds: []string{c.seed}})
			if err == nil || !strings.Contains(err.Error(), c.seed) || !strings.Contains(err.Error(), "start one") {
				t.Errorf("error %v, want one with %s and what to do", err, c.seed)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if _, err := kafka.Open(t.Context(), kafka.Options{}); err == nil {
		t.Error("no seeds are no error")
	}
}

// What is closed says so, and closing again is fine.
func TestClosed(t *testing.T) {
	b := open(t, cluster(t).Bootstrap())
	topic := "closed-" + uuid.NewString()
	must(t, b.CreateTopics(t.Context(), []log.TopicSpec{{Name: topic, Partitions: 1}}))
	r, err := b.Open(t.Context(), log.TopicPartition{Topic: topic}, log.Earliest, log.ReadCommitted)
	must(t, err)
	m, err := b.Join(t.Context(), log.MemberSpec{Group: topic, Topics: []string{topic}})
	must(t, err)
	must(t, b.Close())
	must(t, b.Close())
	must(t, m.Close())
	must(t, r.Close())
	if _, err := r.Read(t.Context(), make([]log.Record, 1)); !errors.Is(err, log.ErrClosed) {
		t.Errorf("a read: %v", err)
	}
	if _, err := m.Begin(); !errors.Is(err, log.ErrClosed) {
		t.Errorf("a Begin: %v", err)
	}
	if _, err := b.Join(t.Context(), log.MemberSpec{Group: topic}); !errors.Is(err, log.ErrClosed) {
		t.Errorf("a Join: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func block(values ...string) *log.Block {
	b := log.NewBlock()
	for i, v := range values {
		b.Append(int64(1000+i), nil, []byte(v), nil)
	}
	return b
}

func offsets(t *testing.T, b log.Broker, tp log.TopicPartition) log.PartitionOffsets {
	t.Helper()
	all, err := b.Offsets(t.Context(), []log.TopicPartition{tp})
	must(t, err)
	return all[tp]
}

// read reads the values of a partition to the end that there is now.
func read(t *testing.T, b log.Broker, tp log.TopicPartition, iso log.Isolation) []string {
	t.Helper()
	end := offsets(t, b, tp).LastStable
	r, err := b.Open(t.Context(), tp, log.Earliest, iso)
	must(t, err)
	defer r.Close()
	var got []string
	for recs := make([]log.Record, 10); r.Position() < end; {
		n, err := r.Read(t.Context(), recs)
		must(t, err)
		for _, r := range recs[:n] {
			got = append(got, string(r.Value))
		}
	}
	return got
}
