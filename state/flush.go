package state

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// flush is what one task hands to the background. It is complete when done is closed, whether it was
// written or the database failed.
type flush struct {
	rows      []*rows
	positions []storedPosition
	after     *flush // must be written before; nil if there is none
	bytes     int64
	done      chan struct{}
}

type storedPosition struct {
	store *storeBase
	id    uint32
	at    Position
}

// run writes the flush. One runs at a time, so that their batches do not add up in memory.
func (f *flush) run(db *DB) {
	defer close(f.done)
	defer db.flushing.Add(-f.bytes)
	if f.after != nil {
		<-f.after.done
		f.after = nil
	}
	db.flushTurn <- struct{}{}
	defer func() { <-db.flushTurn }()
	if db.Err() != nil {
		return
	}
	b, err := f.batch(db)
	f.rows = nil // the batch has its own copy
	if err != nil {
		db.fail(fmt.Errorf("gather batch: %w", err))
		return
	}
	_ = db.apply(b) // an error is the database's failure, which whoever waits will see
}

// batch returns the flush as one batch, store by store in the order of keys. Pebble panics if it gets larger
// than 4 GiB.
func (f *flush) batch(db *DB) (b *pebble.Batch, err error) {
	defer db.recovered(&err)
	size := 0
	for _, r := range f.rows {
		size += r.batchBytes()
	}
	b = db.pebble.NewBatchWithSize(size + len(f.positions)*2*positionLen)
	for _, r := range f.rows {
		if err := r.appendTo(b); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	for _, p := range f.positions {
		if err := b.Set(positionKey(p.id), appendPosition(nil, p.at), nil); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}
