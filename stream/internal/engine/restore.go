package engine

import (
	"context"
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
func (e *Engine) restore(ctx context.Context, id task.ID, s *task.Store) error {
	bounds, err := e.cfg.Broker.Offsets(ctx, []log.TopicPartition{s.Changelog})
	if err != nil {
		return err
	}
	end := bounds[s.Changelog]
	topic := e.topics[s.Changelog.Topic].ID
	s.Place(topic, end.LeaderEpoch)
	e.leaderEpochs[s.Changelog] = end.LeaderEpoch

	stored, ok := s.Stored()
	usable, reason := state.Usable(stored, ok, e.facts(topic, end))
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
	if from >= end.HighWatermark {
		return nil
	}
	if err := e.replay(ctx, id, s, from, end.HighWatermark); err != nil {
		return fmt.Errorf("changelog %s: %w", s.Changelog, err)
	}
	return s.Restored(state.Position{
		TopicID: topic, LeaderEpoch: end.LeaderEpoch, Offset: end.HighWatermark, WallTime: e.cfg.Now(),
	})
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
	for r.Position() < to {
		n, err := r.Read(ctx, recs)
		if err != nil {
			return err
		}
		for i := range recs[:n] {
			if recs[i].Key == nil {
				return fmt.Errorf("the record at offset %d has no key", recs[i].Offset)
			}
			if err := s.Restore(recs[i].Key, recs[i].Value, recs[i].Timestamp); err != nil {
				return err
			}
		}
		if time.Since(said) >= progressEvery {
			said = time.Now()
			e.cfg.Logger.Info("restoring", "store", s.Name(), "task", id.String(), "done", r.Position()-from, "of", to-from)
		}
	}
	return nil
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
