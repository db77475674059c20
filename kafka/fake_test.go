package kafka_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/moldau-io/moldau/kafka"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/brokertest"
)

// The tests of this file's kind use franz-go's fake cluster, which answers what it is told to. What holds on it has
// to be seen on a real one too, but for the faults.

// fakes are the kinds of cluster: with three brokers, and before transactions of version 2 (KIP-890).
var fakes = map[string][]kfake.Opt{
	"3 brokers":              {kfake.NumBrokers(3)},
	"transactions version 1": {kfake.NumBrokers(1), kfake.MaxVersions(kversion.V3_6_0())},
}

func fake(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// The contract holds on several brokers, and on old ones.
func TestBrokerContractOnFakes(t *testing.T) {
	for name, opts := range fakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, fake(t, opts...).ListenAddrs()...)
			for _, c := range brokertest.Cases() {
				if c.Name == "CreateTopicsRefuses" {
					continue // the fake takes settings that it does not know
				}
				t.Run(c.Name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if err := c.Check(ctx, b); err != nil {
						t.Fatal(err)
					}
				})
			}
		})
	}
}

// losses has connections lose requests, or the answers to them, and breaks them then.
type losses struct {
	key      int16
	answered bool         // the request arrives, and its answer is lost; else the request is
	left     atomic.Int64 // how many are to come
	lost     atomic.Int64
}

func (l *losses) dial(ctx context.Context, network, host string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return &losing{Conn: conn, l: l}, nil
}

func (l *losses) take() bool {
	if l.left.Add(-1) < 0 {
		return false
	}
	l.lost.Add(1)
	return true
}

// losing is a connection that loses.
type losing struct {
	net.Conn
	l *losses

	mu      sync.Mutex
	pending bool // the next answer is to be lost
}

// Write is called with whole requests: length, then the key.
func (c *losing) Write(b []byte) (int, error) {
	if len(b) > 6 && int16(binary.BigEndian.Uint16(b[4:])) == c.l.key && c.l.take() {
		if !c.l.answered {
			_ = c.Close()
			return 0, io.ErrUnexpectedEOF
		}
		c.mu.Lock()
		c.pending = true
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *losing) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// A commit whose request or answer is lost is committed once, and what says so is so. An abort is never asked for
// once a commit was: that would be one of a transaction that may have been committed.
func TestCommitSurvivesLostAnswers(t *testing.T) {
	for name, opts := range fakes {
		for _, answered := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", answered: ", answered), func(t *testing.T) {
				t.Parallel()
				c := fake(t, opts...)
				var aborts atomic.Int64
				c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
					c.KeepControl()
					if !req.(*kmsg.EndTxnRequest).Commit {
						aborts.Add(1)
					}
					return nil, nil, false
				})
				checkLostCommits(t, c.ListenAddrs(), answered)
				if n := aborts.Load(); n > 0 {
					t.Errorf("%d aborts were asked for", n)
				}
			})
		}
	}
}

func TestCommitSurvivesLostAnswersOnARealBroker(t *testing.T) {
	for _, answered := range []bool{true, false} {
		t.Run(fmt.Sprint("answered: ", answered), func(t *testing.T) {
			checkLostCommits(t, []string{cluster(t).Bootstrap()}, answered)
		})
	}
}

func checkLostCommits(t *testing.T, seeds []string, answered bool) {
	for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.Produce, kmsg.OffsetCommit} {
		l := &losses{key: int16(key), answered: answered}
		b, err := kafka.Open(t.Context(), kafka.Options{
			Seeds: seeds, Client: []kgo.Opt{kgo.Dialer(l.dial)}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		must(t, err)
		defer b.Close()
		s := newScene(t, b)
		var want []string
		for i := range int64(3) {
			l.left.Store(2)
			value := fmt.Sprint(key.Name(), i)
			want = append(want, value)
			outcome, err := s.commit(value, i)
			if outcome != log.OutcomeCommitted || err != nil {
				t.Fatalf("%s: outcome %d, %v", key.Name(), outcome, err)
			}
			s.want(want, i)
			// Offsets alone.
			outcome, err = s.commit("", i+10)
			if outcome != log.OutcomeCommitted || err != nil {
				t.Fatalf("%s: of offsets: outcome %d, %v", key.Name(), outcome, err)
			}
			s.want(want, i+10)
		}
		if l.lost.Load() < 2 {
			t.Errorf("%s: %d were lost: the test does not do what it says", key.Name(), l.lost.Load())
		}
		must(t, s.m.Close())
	}
}

// scene is a member that reads one topic and writes another.
type scene struct {
	t       *testing.T
	b       log.Broker
	m       log.Member
	in, out log.TopicPartition
}

var scenes atomic.Int64

func newScene(t *testing.T, b log.Broker) *scene {
	t.Helper()
	name := fmt.Sprintf("scene-%d-%d", time.Now().UnixNano(), scenes.Add(1))
	s := &scene{t: t, b: b, in: log.TopicPartition{Topic: name + "-in"}, out: log.TopicPartition{Topic: name + "-out"}}
	must(t, b.CreateTopics(t.Context(), []log.TopicSpec{{Name: s.in.Topic, Partitions: 1}, {Name: s.out.Topic, Partitions: 1}}))
	var err error
	s.m, err = b.Join(t.Context(), log.MemberSpec{Group: name, Topics: []string{s.in.Topic}})
	must(t, err)
	return s
}

// commit commits an epoch with one value, none if it is "", and an offset.
func (s *scene) commit(value string, offset int64) (log.Outcome, error) {
	s.t.Helper()
	e, err := s.m.Begin()
	if err != nil {
		return 0, err
	}
	if value != "" {
		if _, err := e.Append(s.out, block(value)); err != nil {
			return log.OutcomeAborted, e.Abort(s.t.Context())
		}
	}
	return e.Commit(s.t.Context(), map[log.TopicPartition]log.CommittedOffset{s.in: {Offset: offset, Metadata: value}})
}

// want holds what is visible and committed against what should be; -1 for no offset.
func (s *scene) want(values []string, offset int64) {
	s.t.Helper()
	if got := read(s.t, s.b, s.out, log.ReadCommitted); !slices.Equal(got, values) {
		s.t.Fatalf("visible are %q, want %q", got, values)
	}
	all, err := s.m.Committed(s.t.Context(), []log.TopicPartition{s.in})
	must(s.t, err)
	if o, ok := all[s.in]; ok != (offset >= 0) || ok && o.Offset != offset {
		s.t.Fatalf("the committed offset is %v, want %d", all, offset)
	}
}
