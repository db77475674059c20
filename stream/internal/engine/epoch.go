package engine

// This file owns the order of the epoch: the one commit for everything an instance did since the last.
//
//	  step                                                   a crash after it
//	0 no task runs; each is between two records              the epoch is aborted and done again
//	1 tasks finish, sub-topology by sub-topology: held-back   same
//	  changes are sent on, outputs and changelogs appended
//	2 offsets of processed records are gathered              same
//	3 the broker commits: outputs, changelogs and offsets     everything holds, though state in Pebble is older:
//	  are durable and visible together                       what it lacks is in the changelogs
//	4 stores take their current values as committed; tasks   same
//	  go on
//	5 later: stores flush to Pebble, sorted, with the         same, or with less to restore
//	  changelog positions they reflect
//
// Records that reach a sub-topology after its turn in step 1 are input of the next epoch.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moldau-io/moldau/log"
)

// Commit ends the epoch and begins the next. No task may run. committed is false if the broker aborted the
// epoch: Restart is due. After an error the engine can only be closed.
func (e *Engine) Commit(ctx context.Context) (committed bool, err error) {
	if !e.Dirty() {
		return true, nil
	}
	if err := e.finish(); err != nil {
		return false, e.giveUp(ctx, err)
	}
	next := map[log.TopicPartition]log.CommittedOffset{}
	for _, s := range e.slots {
		s.Task.Next(next)
	}
	outcome, err := e.epoch.Commit(ctx, next)
	switch outcome {
	case log.OutcomeCommitted:
	case log.OutcomeAborted:
		e.aborts++
		if errors.Is(err, log.ErrDiskFull) {
			return false, fmt.Errorf("commit: %w", err)
		}
		if e.aborts >= maxAborts {
			return false, fmt.Errorf("commit: aborted by the broker %d times in a row: %w", e.aborts, err)
		}
		e.cfg.Logger.Warn("the epoch was aborted by the broker and is done again", "cause", err)
		return false, nil
	case log.OutcomeFenced:
		return false, fmt.Errorf("commit: another instance of the application took over: %w", err)
	default:
		return false, fmt.Errorf("commit: %w", err)
	}
	if err != nil {
		return false, fmt.Errorf("commit: %w", err)
	}
	e.aborts = 0
	now := e.cfg.Now()
	for _, s := range e.slots {
		e.drops.committed(s.Task, now)
		s.Task.Committed(now)
	}
	if err := e.maintain(); err != nil {
		return false, err
	}
	return true, e.begin()
}

// finish is step 1.
func (e *Engine) finish() error {
	all := e.Slots()
	for _, sub := range e.cfg.Plan.Graph.Order {
		var slots []*Slot
		for _, s := range all {
			if s.ID.Sub == sub {
				slots = append(slots, s)
			}
		}
		if err := parallel(e.cfg.Parallel, slots, func(s *Slot) error { return s.Task.Finish() }); err != nil {
			return err
		}
	}
	return nil
}

// maintain is step 5, and keeps the cache within its bound.
func (e *Engine) maintain() error {
	if err := e.db.Err(); err != nil {
		return err
	}
	for _, s := range e.slots {
		if s.state.FlushDue() {
			if err := s.state.StartFlush(); err != nil {
				return fmt.Errorf("flush state of task %s: %w", s.ID, err)
			}
		}
		s.state.Trim()
	}
	return nil
}

// Flush writes to Pebble what it lacks, until ctx is done: what is left is restored from the changelogs. It
// is for right after a commit, when the epoch is still empty.
func (e *Engine) Flush(ctx context.Context) error {
	for _, s := range e.slots {
		s.state.CommitEpoch()
	}
	defer e.beginState()
	for _, s := range e.Slots() {
		if ctx.Err() != nil {
			return nil
		}
		if err := s.state.StartFlush(); err != nil {
			return fmt.Errorf("flush state of task %s: %w", s.ID, err)
		}
	}
	for _, s := range e.Slots() {
		if err := s.state.WaitFlush(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("flush state of task %s: %w", s.ID, err)
		}
	}
	return nil
}

// Abort takes the epoch back and starts all tasks again from the last commit, on the conditions of Restart.
func (e *Engine) Abort(ctx context.Context) error {
	if err := e.epoch.Abort(ctx); err != nil {
		return fmt.Errorf("abort epoch: %w", err)
	}
	return e.Restart(ctx)
}

// Lose gives up the tasks of partitions that were taken away without a chance to commit, and starts the
// others again from the last commit, on the conditions of Restart.
func (e *Engine) Lose(ctx context.Context, tps []log.TopicPartition) error {
	if err := e.epoch.Abort(ctx); err != nil {
		return fmt.Errorf("abort epoch: %w", err)
	}
	if err := e.Drop(tps); err != nil {
		return err
	}
	return e.Restart(ctx)
}

// Drop closes the tasks of partitions that are given back. No task may run.
func (e *Engine) Drop(tps []log.TopicPartition) error {
	for _, tp := range tps {
		s := e.byPartition[tp]
		delete(e.byPartition, tp)
		delete(e.ends, tp)
		if s == nil || e.slots[s.ID] != s {
			continue // went with another partition of the same task
		}
		delete(e.slots, s.ID)
		if err := s.Task.Close(); err != nil {
			return err
		}
		s.Task.Discard()
		if err := s.state.Close(); err != nil {
			return fmt.Errorf("close state of task %s: %w", s.ID, err)
		}
	}
	return nil
}

// Restart begins an epoch and brings all tasks back to what is committed, once the last epoch is aborted.
// No task may run, and no call of Member's Next may be under way.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.CloseTasks(func(*Slot) bool { return false }); err != nil {
		return err
	}
	for _, s := range e.slots {
		s.Task.Discard()
		if e.cfg.Guarantee == log.ExactlyOnce {
			s.state.AbortEpoch()
			continue
		}
		// The changelog may already have what the epoch did: only its end is sure to be the state.
		if err := e.reopenState(s); err != nil {
			return err
		}
	}
	if err := e.start(ctx, e.Slots()); err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return err
	}
	at := map[log.TopicPartition]int64{}
	for _, s := range e.slots {
		s.Task.Positions(at)
	}
	e.member.Seek(at)
	return nil
}

// giveUp aborts the epoch, since err, which it returns, keeps it from being committed.
func (e *Engine) giveUp(ctx context.Context, err error) error {
	if e.gaveUp {
		return err
	}
	e.gaveUp = true
	// The context may be what failed; an abort is short.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if abortErr := e.epoch.Abort(ctx); abortErr != nil {
		return errors.Join(err, fmt.Errorf("abort epoch: %w", abortErr))
	}
	return err
}

// abortTimeout bounds an abort on the way out. What is not aborted then is aborted by whoever opens the log
// or joins the group next.
const abortTimeout = 10 * time.Second

// maxAborts is how often in a row an epoch may be aborted before there must be more to it than chance.
const maxAborts = 20

// parallel calls f for each item on up to n goroutines, and returns all their errors.
func parallel[T any](n int, items []T, f func(T) error) error {
	if n = min(n, len(items)); n <= 1 {
		for _, item := range items {
			if err := f(item); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			for i := w; i < len(items); i += n {
				errs[i] = f(items[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
