package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// progressEvery is how often a long restore says how far it is.
const progressEvery = 2 * time.Second

// place tells the task's stores where their changelogs are, for the positions they will store.
func (e *Engine) place(t *task.Task) {
	for _, s := range t.Stores() {
		s.Place(e.topics[s.Changelog.Topic].ID, e.leaderEpochs[s.Changelog])
	}
}

// restore brings a store to the end of its changelog: from where it stands, if that can be trusted, else
// from nothing.
//
// The committed offsets were read before (they are stable), so the changelog's high watermark is at or
// after everything that was committed with them. The last stable offset need not be: the markers of a
// committed transaction may still be on their way. Up to the high watermark, reading only what is
// committed, waits for them.
//
// Where an input's topic is the changelog, its end is the committed offset: what comes after that is to be processed
// yet.
func (e *Engine) restore(ctx context.Context, id task.ID, s *task.Store, committed map[log.TopicPartition]log.CommittedOffset) error {
	input, follows := committed[s.Changelog]
	if s.Change != nil && !follows {
		return nil // the topic has fewer partitions than others of the task
	}
	bounds, err := e.cfg.Broker.Offsets(ctx, []log.TopicPartition{s.Changelog})
	if err != nil {
		return err
	}
	end := bounds[s.Changelog]
	to := end.HighWatermark
	if s.Change != nil {
		to = input.Offset
	}
	topic := e.topics[s.Changelog.Topic].ID
	s.Place(topic, end.LeaderEpoch)
	e.leaderEpochs[s.Changelog] = end.LeaderEpoch

	stored, ok := s.Stored()
	facts := e.facts(topic, end)
	facts.End = to
	if s.Change != nil {
		facts.TombstonesFrom, facts.TombstoneRetention = e.tombstones(s.Changelog.Topic)
	}
	usable, reason := state.Usable(stored, ok, facts)
	from := stored.Offset
	if !usable {
		if ok {
			e.cfg.Logger.Info("the store on disk cannot be used and is restored from nothing",
				"store", s.Name(), "task", id.String(), "reason", reason)
		}
		if err := s.Discard(); err != nil {
			return err
		}
		from = end.Start
	}
	if from >= to {
		return nil
	}
	if err := e.replay(ctx, id, s, from, to); err != nil {
		return fmt.Errorf("changelog %s: %w", s.Changelog, err)
	}
	return s.Restored(state.Position{TopicID: topic, LeaderEpoch: end.LeaderEpoch, Offset: to, WallTime: e.cfg.Now()})
}

// facts is what is known of a partition that a store is made of.
func (e *Engine) facts(topic uuid.UUID, at log.PartitionOffsets) state.ChangelogFacts {
	return state.ChangelogFacts{
		TopicID: topic, LeaderEpoch: at.LeaderEpoch, Start: at.Start, End: at.HighWatermark,
		EpochEnd: -1, // the log does not tell
		Now:      e.cfg.Now(),
	}
}

// replay gives the changelog's committed records in [from, to) to the store.
func (e *Engine) replay(ctx context.Context, id task.ID, s *task.Store, from, to int64) error {
	r, err := e.cfg.Broker.Open(ctx, s.Changelog, from, log.ReadCommitted)
	if err != nil {
		return err
	}
	defer r.Close()
	recs := make([]log.Record, 512)
	said := time.Now()
	partitionTime := int64(-1)
	for r.Position() < to {
		n, err := r.Read(ctx, recs)
		if err != nil {
			return err
		}
		for i := range recs[:n] {
			if recs[i].Offset >= to {
				return nil
			}
			if err := restoreRecord(s, &recs[i], &partitionTime); err != nil {
				return fmt.Errorf("the record at offset %d: %w", recs[i].Offset, err)
			}
		}
		if time.Since(said) >= progressEvery {
			said = time.Now()
			e.cfg.Logger.Info("restoring", "store", s.Name(), "task", id.String(), "done", r.Position()-from, "of", to-from)
		}
	}
	return nil
}

// restoreRecord gives the store what a record of its changelog says.
func restoreRecord(s *task.Store, r *log.Record, partitionTime *int64) error {
	if s.Change == nil {
		if r.Key == nil {
			return errors.New("it has no key")
		}
		return s.Restore(r.Key, r.Value, r.Timestamp)
	}
	key, value, timestampMs, ok, err := s.Change(r, *partitionTime)
	if err != nil {
		return err
	}
	*partitionTime = max(*partitionTime, timestampMs)
	if !ok {
		return nil
	}
	return s.Restore(key, value, timestampMs)
}

// reopenState closes a task's state and opens it as it is on disk, to be restored again.
func (e *Engine) reopenState(s *Slot) error {
	if err := s.state.Close(); err != nil {
		return fmt.Errorf("close state of task %s: %w", s.ID, err)
	}
	st, err := e.openState(s.ID)
	if err != nil {
		return err
	}
	s.state, s.stores, s.restored = st, map[string]state.Store{}, false
	return nil
}

func (e *Engine) openState(id task.ID) (*state.Task, error) {
	// By the stable name, not the number: sub-topologies are numbered anew when one is added.
	st, err := e.db.Task(fmt.Sprintf("%s/%d", e.cfg.Plan.Graph.Subs[id.Sub].Name(), id.Partition))
	if err != nil {
		return nil, fmt.Errorf("open state of task %s: %w", id, err)
	}
	return st, nil
}
