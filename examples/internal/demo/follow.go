package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// follower is who wants to see what gets into a topic.
type follower struct {
	topic string
	see   func(*log.Record) error
}

// Follow has f called, while Play runs, with each record of a topic once it is committed; those of runs before come
// first. No two calls overlap, whatever the topics.
func Follow[K, V any](d *Demo, topic stream.Topic[K, V], f func(stream.Record[K, V])) {
	keys, values := topic.Serdes()
	d.followers = append(d.followers, follower{topic.Name(), func(in *log.Record) error {
		r := stream.Record[K, V]{Timestamp: in.Timestamp, Headers: in.Headers()}.WithNullKey().WithNullValue()
		if in.Key != nil {
			k, err := keys.Decode(in.Key)
			if err != nil {
				return fmt.Errorf("decode key: %w", err)
			}
			r = r.WithKey(k)
		}
		if in.Value != nil {
			v, err := values.Decode(in.Value)
			if err != nil {
				return fmt.Errorf("decode value: %w", err)
			}
			r = r.WithValue(v)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		f(r)
		return nil
	}})
}

// follow has the followers see their topics until ctx is done. rest shows them what is left then.
func (d *Demo) follow(ctx context.Context) (rest func() error, err error) {
	var tails []*tail
	closeAll := func() {
		for _, t := range tails {
			t.Close()
		}
	}
	for _, f := range d.followers {
		of, err := d.tails(ctx, f.topic, f.see)
		tails = append(tails, of...)
		if err != nil {
			closeAll()
			return nil, err
		}
	}
	var readers sync.WaitGroup
	errs := make([]error, len(tails))
	for i, t := range tails {
		readers.Go(func() {
			if err := t.until(ctx, math.MaxInt64); ctx.Err() == nil {
				errs[i] = err
			}
		})
	}
	return func() error {
		defer closeAll()
		readers.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return d.finish(tails)
	}, nil
}

// each calls see with every committed record that is in a topic now.
func (d *Demo) each(ctx context.Context, topic string, see func(*log.Record) error) error {
	tails, err := d.tails(ctx, topic, see)
	defer func() {
		for _, t := range tails {
			t.Close()
		}
	}()
	if err != nil {
		return err
	}
	return d.finish(tails)
}

// finish reads what is there.
func (d *Demo) finish(tails []*tail) error {
	for _, t := range tails {
		p, err := d.Log.Partition(t.tp)
		if err != nil {
			return err
		}
		if err := t.until(context.Background(), p.Offsets().LastStable); err != nil {
			return err
		}
	}
	return nil
}

// tail reads one partition of a topic.
type tail struct {
	log.Reader
	tp  log.TopicPartition
	see func(*log.Record) error
}

// tails opens one for each partition of a topic.
func (d *Demo) tails(ctx context.Context, topic string, see func(*log.Record) error) ([]*tail, error) {
	infos, err := d.Log.Topics(ctx, []string{topic})
	if err != nil {
		return nil, err
	}
	if err := infos[0].Err; err != nil {
		return nil, err
	}
	var tails []*tail
	for p := range infos[0].Partitions {
		tp := log.TopicPartition{Topic: topic, Partition: p}
		r, err := d.Log.Open(ctx, tp, log.Earliest, log.ReadCommitted)
		if err != nil {
			return tails, err
		}
		tails = append(tails, &tail{r, tp, see})
	}
	return tails, nil
}

// until reads as far as an offset, and waits for what is not there yet.
func (t *tail) until(ctx context.Context, end int64) error {
	recs := make([]log.Record, 256)
	for t.Position() < end {
		n, err := t.Read(ctx, recs)
		if err != nil {
			return err
		}
		for i := range recs[:n] {
			if err := t.see(&recs[i]); err != nil {
				return fmt.Errorf("%s offset %d: %w", t.tp, recs[i].Offset, err)
			}
		}
	}
	return nil
}
