package log

import (
	"context"
	"fmt"
	"sync/atomic"
)

// NewReader reads one partition from offset on, which may be Earliest or Latest, outside of any group. The
// reader must be closed.
//
// Errors: ErrUnknownTopic; ErrOffsetOutOfRange.
func (l *Log) NewReader(tp TopicPartition, offset int64, iso Isolation) (Reader, error) {
	if err := l.life.enter(); err != nil {
		return nil, fmt.Errorf("read %s: %w", tp, err)
	}
	defer l.life.leave()
	p, err := l.partition(tp)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	switch offset {
	case Earliest:
		offset = p.start.Load()
	case Latest:
		offset = p.bound(iso)
	}
	if end := p.highWatermark.Load(); offset < p.start.Load() || offset > end {
		return nil, fmt.Errorf("read: %w", p.outOfRange(offset, end))
	}
	r := &partitionReader{l: l, p: p, iso: iso, offset: offset, at: position{offset: offset}, w: newWatcher(false)}
	p.watch(r.w)
	return r, nil
}

// partitionReader is the Reader of one partition.
type partitionReader struct {
	l      *Log
	p      *Partition
	iso    Isolation
	w      *watcher
	cursor *partitionCursor // nil: nothing is fetched
	at     position         // of the next fetch
	offset int64
	closed atomic.Bool
}

func (r *partitionReader) Position() int64 { return r.offset }

func (r *partitionReader) Read(ctx context.Context, dst []Record) (int, error) {
	for {
		if r.closed.Load() {
			return 0, fmt.Errorf("read %s: reader: %w", r.p.tp, ErrClosed)
		}
		if len(dst) == 0 {
			return 0, nil
		}
		if r.cursor != nil {
			n, err := r.cursor.Next(dst)
			if err != nil {
				return 0, err
			}
			if n > 0 {
				r.offset = dst[n-1].Offset + 1
				return n, nil
			}
			passed := r.offset < r.cursor.End()
			r.offset, r.cursor = r.cursor.End(), nil
			if passed {
				return 0, nil
			}
		}
		got, err := r.fetch()
		if err != nil {
			return 0, err
		}
		if got {
			continue
		}
		select {
		case <-r.w.c:
		case <-ctx.Done():
			return 0, fmt.Errorf("read %s: %w", r.p.tp, ctx.Err())
		case <-r.l.life.done:
			return 0, fmt.Errorf("read %s: %w", r.p.tp, ErrClosed)
		}
	}
}

// fetch gets the next batches, if there are any.
func (r *partitionReader) fetch() (got bool, err error) {
	if err := r.l.life.enter(); err != nil {
		return false, fmt.Errorf("read %s: %w", r.p.tp, err)
	}
	defer r.l.life.leave()
	f, err := r.p.fetch(r.at, r.p.bound(r.iso), defaultFetchBytes)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", r.p.tp, err)
	}
	if len(f.Buf) == 0 {
		return false, nil
	}
	if r.iso == ReadCommitted {
		if f.Aborted, err = r.p.aborted(r.offset, f.Next); err != nil {
			return false, err
		}
	}
	r.cursor, r.at = r.p.cursor(&f, r.offset), f.next
	return true, nil
}

func (r *partitionReader) Close() error {
	if !r.closed.Swap(true) {
		r.p.unwatch(r.w)
		r.w.wake()
	}
	return nil
}
