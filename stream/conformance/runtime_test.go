package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
)

// This file runs a vector end to end: by stream.App as it runs in production, with its workers, its poller and its
// timer, exactly once. A step is appended as any producer would, the application comes to rest, and what others can
// read of it then, which is what is committed, must be Kafka Streams' answer. The file systems are in memory and the
// wall clock is the vector's; nothing else is different.

// place is where vectors are run end to end.
type place struct {
	name   string
	broker log.Broker
	// append writes a step's record to its topic's only partition, and returns when it is there.
	append func(ctx context.Context, e event) error
}

// patience is how long an application may take to come to rest. It is reached only by one that hangs.
const patience = time.Minute

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// embedded opens a log in memory, for one vector.
func embedded(t testing.TB) place {
	t.Helper()
	lg, err := log.Open("log", log.Options{Sync: log.SyncOS, FS: vfs.NewMem(), Logger: quiet, JournalBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lg.Close(); err != nil {
			t.Error(err)
		}
	})
	producer, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		t.Fatal(err)
	}
	return place{"end to end", lg, func(ctx context.Context, e event) error {
		var headers []log.Header
		for _, h := range e.Headers {
			headers = append(headers, log.Header{Key: text(h[0]), Value: raw(h[1])})
		}
		b := log.NewBlock()
		b.Append(e.TS, raw(e.Key), raw(e.Value), headers)
		_, err := producer.Append(ctx, log.TopicPartition{Topic: e.In}, b)
		return err
	}}
}

// wall is a clock that steps move on. It begins at the epoch.
type wall struct{ ns atomic.Int64 }

func (w *wall) Now() time.Time { return time.Unix(0, w.ns.Load()) }

// live is one run of a vector end to end.
type live struct {
	v     *vector
	sc    scenario
	at    place
	app   *stream.App
	clock *wall
	out   []log.Reader // of sc.out
	ended chan error   // has what Run returned
}

// runLive runs a vector end to end. id names the application.
func runLive(ctx context.Context, topology *stream.Topology, v *vector, sc scenario, at place, id string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &live{v: v, sc: sc, at: at, clock: new(wall), ended: make(chan error, 1)}
	if err := l.createTopics(ctx, topology); err != nil {
		return err
	}
	defer func() {
		for _, r := range l.out {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, name := range sc.out {
		r, err := at.broker.Open(ctx, log.TopicPartition{Topic: name}, log.Earliest, log.ReadCommitted)
		if err != nil {
			return err
		}
		l.out = append(l.out, r)
	}
	l.app, err = stream.New(topology, stream.Config{
		ApplicationID:  id,
		Broker:         at.broker,
		StateDir:       "state",
		CommitInterval: 5 * time.Millisecond, // the longest; an epoch ends when there is nothing left to do
		CacheBytes:     16 << 20,
		Clock:          l.clock,

		OnDeserializationError: sc.config.OnDeserializationError,
		OnProcessingError:      sc.config.OnProcessingError,

		Logger: quiet,
	})
	if err != nil {
		return err
	}
	bridge.StateFS(l.app, vfs.NewMem())
	go func() { l.ended <- l.app.Run(ctx) }()
	err = l.steps(ctx)
	if err == nil {
		err = v.compareStores(sc, at.name, bridge.Stores(l.app), bridge.Globals(l.app))
	}
	cancel()
	if runErr := <-l.ended; runErr != nil && err == nil {
		return fmt.Errorf("scenario %s, %s, run %s: stop: %w", v.Scenario, v.file, at.name, runErr)
	}
	return err
}

// createTopics creates the topics of the topology and of the vector, with one partition each.
func (l *live) createTopics(ctx context.Context, topology *stream.Topology) error {
	names := slices.Clone(l.sc.out)
	for _, n := range bridge.Plan(topology, false).Graph.Nodes {
		if n.Topic != nil && !n.Topic.Repartition {
			names = append(names, n.Topic.Name)
		}
	}
	slices.Sort(names)
	var specs []log.TopicSpec
	for _, name := range slices.Compact(names) {
		specs = append(specs, log.TopicSpec{Name: name, Partitions: 1})
	}
	return l.at.broker.CreateTopics(ctx, specs)
}

// steps takes the vector's steps, and compares after each.
func (l *live) steps(ctx context.Context) error {
	if err := l.app.WaitIdle(ctx); err != nil { // until it has begun: punctuators count from that time
		return err
	}
	for i, e := range l.v.Events {
		got, err := l.step(ctx, e)
		if err != nil {
			return fmt.Errorf("scenario %s, %s, step %d of %d (%v), run %s: %w", l.v.Scenario, l.v.file, i+1, len(l.v.Events), e, l.at.name, err)
		}
		if want := show1(e.Out); !slices.Equal(got, want) {
			return &mismatch{l.v, l.at.name, i + 1, "topics " + strings.Join(l.sc.out, ", "), got, want}
		}
	}
	return nil
}

// step takes one step and returns what comes of it.
func (l *live) step(ctx context.Context, e event) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if e.In == "" {
		l.clock.ns.Add(e.Advance * int64(time.Millisecond))
	} else if err := l.at.append(ctx, e); err != nil {
		return nil, err
	}
	if err := l.app.WaitIdle(ctx); err != nil {
		if ctx.Err() != nil { // our patience is at its end, and Run may not be
			return nil, err
		}
		runErr := <-l.ended
		l.ended <- runErr
		return nil, errors.Join(err, runErr)
	}
	var got []string
	for i, r := range l.out {
		recs, err := l.read(ctx, l.sc.out[i], r)
		if err != nil {
			return nil, err
		}
		got = append(got, show1(recs)...)
	}
	return got, nil
}

// read reads what is new in a topic.
func (l *live) read(ctx context.Context, topic string, r log.Reader) ([]record, error) {
	tp := log.TopicPartition{Topic: topic}
	bounds, err := l.at.broker.Offsets(ctx, []log.TopicPartition{tp})
	if err != nil {
		return nil, err
	}
	var out []record
	buf := make([]log.Record, 64)
	for r.Position() < bounds[tp].HighWatermark {
		n, err := r.Read(ctx, buf)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", tp, err)
		}
		for i := range buf[:n] {
			rec := record{Topic: topic, Key: nullable(buf[i].Key), Value: nullable(buf[i].Value), TS: buf[i].Timestamp}
			for _, h := range buf[i].Headers() {
				rec.Headers = append(rec.Headers, [2]*string{new(h.Key), nullable(h.Value)})
			}
			out = append(out, rec)
		}
	}
	return out, nil
}

// nullable is bytes as a text, null if they are nil.
func nullable(b []byte) S {
	if b == nil {
		return nil
	}
	return new(string(b))
}

// raw is a text as bytes, nil if it is null.
func raw(s S) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}
