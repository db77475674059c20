package kafka

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/moldau-io/moldau/log"
)

// Open starts reading one partition outside any group. The Reader must be closed; it reads ahead until then.
func (b *Broker) Open(ctx context.Context, tp log.TopicPartition, offset int64, iso log.Isolation) (log.Reader, error) {
	all, err := b.Offsets(ctx, []log.TopicPartition{tp})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tp, err)
	}
	bounds := all[tp]
	end := bounds.HighWatermark
	if iso == log.ReadCommitted {
		end = bounds.LastStable
	}
	switch offset {
	case log.Earliest:
		offset = bounds.Start
	case log.Latest:
		offset = end
	}
	if offset < bounds.Start || offset > bounds.HighWatermark {
		return nil, fmt.Errorf("open: %w: %s has offsets from %d to %d, and %d is not one", log.ErrOffsetOutOfRange, tp, bounds.Start, bounds.HighWatermark, offset)
	}
	r := &reader{b: b, tp: tp, wake: make(chan struct{}, 1), closed: make(chan struct{}), offset: offset}
	if r.f, err = b.newFetcher(iso, defaultFetchBytes, r.signal); err != nil {
		return nil, fmt.Errorf("open %s: %w", tp, err)
	}
	if err := b.enlist(r); err != nil {
		r.f.close()
		return nil, fmt.Errorf("open %s: %w", tp, err)
	}
	r.f.add(map[log.TopicPartition]int64{tp: offset}, nil)
	return r, nil
}

// reader reads one partition.
type reader struct {
	b      *Broker
	tp     log.TopicPartition
	f      *fetcher
	wake   chan struct{} // holds one
	closed chan struct{}
	gone   atomic.Bool

	cursor log.Cursor // nil: nothing is fetched
	offset int64
}

func (r *reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reader) Position() int64 { return r.offset }

func (r *reader) Read(ctx context.Context, dst []log.Record) (int, error) {
	for {
		select {
		case <-r.closed:
			return 0, fmt.Errorf("read %s: reader: %w", r.tp, log.ErrClosed)
		default:
		}
		if len(dst) == 0 {
			return 0, nil
		}
		if r.cursor != nil {
			n, err := r.cursor.Next(dst)
			if n > 0 || err != nil {
				if n > 0 {
					r.offset = dst[n-1].Offset + 1
				}
				return n, err
			}
			passed := r.offset < r.cursor.End()
			r.offset, r.cursor = max(r.offset, r.cursor.End()), nil
			if passed {
				return 0, nil
			}
		}
		f, ok, err := r.f.take()
		if ok {
			r.cursor = f.Records
			continue
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-r.wake:
		case <-r.closed:
		case <-ctx.Done():
			return 0, fmt.Errorf("read %s: %w", r.tp, ctx.Err())
		}
	}
}

// Close may be called while a Read waits, which then ends with ErrClosed.
func (r *reader) Close() error {
	if !r.gone.Swap(true) {
		close(r.closed)
		r.f.close()
		r.b.delist(r)
	}
	return nil
}
