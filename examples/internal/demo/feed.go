package demo

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// Event is a record on its way into a topic.
type Event struct {
	Topic   string
	Key     []byte
	Value   []byte
	At      time.Time // when it happened, which is the record's timestamp
	Arrives time.Time // when it gets to the log
}

// On makes the event of something that happened, and that gets into the topic at once. It panics if the topic's
// serdes refuse it.
func On[K, V any](topic stream.Topic[K, V], key K, value V, at time.Time) Event {
	keys, values := topic.Serdes()
	k, err := keys.Append(nil, key)
	if err != nil {
		panic(err)
	}
	v, err := values.Append(nil, value)
	if err != nil {
		panic(err)
	}
	return Event{topic.Name(), k, v, at, at}
}

// Delayed is the event on a slower way to the log.
func (e Event) Delayed(d time.Duration) Event {
	e.Arrives = e.Arrives.Add(d)
	return e
}

// AtEnd has f called, by Play, when all that comes of the events is committed, while the application still runs.
func (d *Demo) AtEnd(f func(context.Context) error) { d.atEnd = f }

// Play runs the application while the events come in, until all that comes of them is committed and was seen by
// those who follow it. Events that are in the log already, of a run before, do not come again: they have to be those
// of the same seed.
func (d *Demo) Play(ctx context.Context, app *stream.App, events []Event) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rest, err := d.follow(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- app.Run(ctx)
		cancel() // if it failed, what is to come is in vain
	}()
	err = d.feed(ctx, events)
	if err == nil {
		err = app.WaitIdle(ctx)
	}
	if err == nil && d.atEnd != nil {
		err = d.atEnd(ctx)
	}
	cancel()
	if runErr := <-ended; runErr != nil {
		err = runErr
	}
	err = errors.Join(err, rest())
	d.Status()
	return err
}

// tick is how often events are written, in one transaction each time.
const tick = 50 * time.Millisecond

// feed writes the events that are not in the log yet, in the order in which they arrive.
func (d *Demo) feed(ctx context.Context, events []Event) error {
	slices.SortStableFunc(events, func(a, b Event) int { return a.Arrives.Compare(b.Arrives) })
	all := len(events)
	events, err := d.missing(ctx, events)
	if err != nil || len(events) == 0 {
		return err
	}
	p, err := d.Log.NewProducer(log.ProducerSpec{Owner: "demo"})
	if err != nil {
		return err
	}
	defer p.Close()
	step := time.Second // of the events' time
	var ticks <-chan time.Time
	if d.speed > 0 {
		step = time.Duration(float64(tick) * d.speed)
		t := time.NewTicker(tick)
		defer t.Stop()
		ticks = t.C
	}
	for now := events[0].Arrives; len(events) > 0; {
		now = now.Add(step)
		n := 0
		for n < len(events) && !events[n].Arrives.After(now) {
			n++
		}
		if err := d.write(ctx, p, events[:n]); err != nil {
			return err
		}
		events = events[n:]
		d.progress(now, all-len(events), all)
		if ticks == nil {
			continue
		}
		select {
		case <-ticks:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// write appends events in one transaction: who reads them sees all of them at once, or none.
func (d *Demo) write(ctx context.Context, p *log.Producer, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	txn, err := p.Begin()
	if err != nil {
		return err
	}
	blocks := map[log.TopicPartition]*log.Block{}
	for _, e := range events {
		tp, err := d.partition(ctx, e)
		if err != nil {
			return err
		}
		if blocks[tp] == nil {
			blocks[tp] = log.NewBlock()
		}
		blocks[tp].Append(e.At.UnixMilli(), e.Key, e.Value, nil)
	}
	for tp, block := range blocks {
		if _, err := txn.Append(tp, block); err != nil {
			return err
		}
	}
	return txn.Commit(ctx)
}

// partition is where an event goes: the same partition for the same key in all topics, as with any producer of
// Kafka's.
func (d *Demo) partition(ctx context.Context, e Event) (log.TopicPartition, error) {
	infos, err := d.Log.Topics(ctx, []string{e.Topic})
	if err != nil {
		return log.TopicPartition{}, err
	}
	by := kgo.StickyKeyPartitioner(nil).ForTopic(e.Topic)
	p := by.Partition(&kgo.Record{Key: e.Key}, int(infos[0].Partitions))
	return log.TopicPartition{Topic: e.Topic, Partition: int32(p)}, infos[0].Err
}

// missing is the events without those that a run before has written: of each topic the first ones.
func (d *Demo) missing(ctx context.Context, events []Event) ([]Event, error) {
	written := map[string]int{}
	for _, e := range events {
		if _, ok := written[e.Topic]; ok {
			continue
		}
		written[e.Topic] = 0
		err := d.each(ctx, e.Topic, func(*log.Record) error {
			written[e.Topic]++
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool {
		written[e.Topic]--
		return written[e.Topic] >= 0
	}), nil
}
