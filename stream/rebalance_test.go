package stream_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// unruly is a Broker on a log that behaves like a cluster on a bad day: epochs are aborted, partitions are
// lost or revoked, and come back.
type unruly struct {
	*log.Log
	mu     sync.Mutex
	rng    *rand.Rand
	never  bool                                 // no epoch is ever committed, and that is all
	whole  bool                                 // all partitions of a number go together, since a task may read several
	counts struct{ aborted, lost, revoked int } // aborted is the coordinator's, the others the poller's
}

// Capabilities: on a cluster nobody is the sole writer.
func (u *unruly) Capabilities() log.Capabilities {
	c := u.Log.Capabilities()
	c.SoleWriter = false
	return c
}

func (u *unruly) draw(n int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rng.IntN(n)
}

func (u *unruly) chance(n int) bool { return u.draw(n) == 0 }

func (u *unruly) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := u.Log.Join(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &unrulyMember{Member: m, u: u, away: map[log.TopicPartition]bool{}}, nil
}

type unrulyMember struct {
	log.Member
	u        *unruly
	owned    []log.TopicPartition
	away     map[log.TopicPartition]bool // taken away
	revoking bool
}

func (m *unrulyMember) Next(ctx context.Context) (log.Event, error) {
	if len(m.away) > 0 && !m.revoking {
		if m.u.chance(3) {
			return m.giveBack(ctx)
		}
		now, cancel := context.WithCancel(ctx)
		cancel()
		if ev, err := m.Member.Next(now); err == nil {
			if f, ok := ev.(log.Fetched); ok && !m.away[f.Partition] {
				return ev, nil
			}
		}
		return m.giveBack(ctx)
	}
	if len(m.away) == 0 && len(m.owned) > 0 && !m.u.never && m.u.chance(6) {
		tp := m.owned[m.u.draw(len(m.owned))]
		// A task goes as a whole: all inputs of its sub-topology with this number.
		gone := []log.TopicPartition{tp}
		if m.u.whole {
			gone = nil
			for _, other := range m.owned {
				if other.Partition == tp.Partition {
					gone = append(gone, other)
				}
			}
		}
		for _, tp := range gone {
			m.away[tp] = true
		}
		if m.u.chance(2) {
			m.u.counts.lost++
			return log.Lost{Partitions: gone}, nil
		}
		m.u.counts.revoked++
		m.revoking = true
		return log.Revoking{Partitions: gone}, nil
	}
	ev, err := m.Member.Next(ctx)
	switch v := ev.(type) {
	case log.Assigned:
		m.owned = v.Partitions
	case log.Fetched:
		if m.away[v.Partition] {
			return m.giveBack(ctx)
		}
	}
	return ev, err
}

func (m *unrulyMember) Done(log.Revoking) { m.revoking = false }

// giveBack assigns what was taken away, to be read from its committed offset.
func (m *unrulyMember) giveBack(ctx context.Context) (log.Event, error) {
	var tps []log.TopicPartition
	for tp := range m.away {
		tps = append(tps, tp)
	}
	committed, err := m.Member.Committed(ctx, tps)
	if err != nil {
		return nil, err
	}
	at := map[log.TopicPartition]int64{}
	for _, tp := range tps {
		at[tp] = committed[tp].Offset
	}
	m.Member.Seek(at)
	clear(m.away)
	return log.Assigned{Partitions: tps}, nil
}

func (m *unrulyMember) Begin() (log.Epoch, error) {
	e, err := m.Member.Begin()
	return &unrulyEpoch{e, m.u}, err
}

type unrulyEpoch struct {
	log.Epoch
	u *unruly
}

func (e *unrulyEpoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	if !e.u.never && !e.u.chance(3) {
		return e.Epoch.Commit(ctx, next)
	}
	e.u.counts.aborted++
	if err := e.Epoch.Abort(ctx); err != nil {
		return 0, err
	}
	return log.OutcomeAborted, errors.New("the coordinator has changed its mind")
}

// The claim: however often epochs are aborted and partitions lost, revoked and given back, each record
// counts once.
func TestUnrulyBroker(t *testing.T) {
	aborted, taken := 0, 0
	for seed := range uint64(6) {
		lg := openLog(t, t.TempDir(), 3)
		u := &unruly{Log: lg, rng: rand.New(rand.NewPCG(seed, 0))}
		var all []string
		for i := range uint64(4) {
			texts := zipfLines(seed*10+i, 150)
			all = append(all, texts...)
			if err := run(t, wordCountTopology(t), stream.Config{Broker: u, CommitInterval: 2 * time.Millisecond, MaxEpochBytes: 2000}, func(app *stream.App) {
				appendLines(t, lg, 3, texts...)
				waitIdle(t)(app)
			}); err != nil {
				t.Fatal(err)
			}
		}
		wantCounts(t, lg, 3, all)
		t.Logf("seed %d: %+v", seed, u.counts)
		aborted += u.counts.aborted
		taken += u.counts.lost + u.counts.revoked
		if err := lg.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if aborted == 0 || taken == 0 {
		t.Errorf("too good a week: %d epochs aborted, %d partitions taken away", aborted, taken)
	}
}

// A broker that never commits does not keep an application busy for ever. It takes no partitions away: without
// them there would be nothing left to do, which is idle.
func TestCommitsAbortedForEver(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	appendLines(t, lg, 1, "a b c")
	u := &unruly{Log: lg, rng: rand.New(rand.NewPCG(0, 0)), never: true}
	err := run(t, wordCountTopology(t), stream.Config{Broker: u, CommitInterval: time.Millisecond}, func(app *stream.App) {
		if err := app.WaitIdle(t.Context()); err == nil {
			t.Error("idle, with nothing committed")
		}
	})
	if err == nil || !strings.Contains(err.Error(), "20 times in a row: the coordinator has changed its mind") {
		t.Errorf("got %v", err)
	}
}

// loser is a Broker on a log whose member loses all partitions at once, and gets them back when told to.
type loser struct {
	*log.Log
	gone, back chan struct{}
}

func (l *loser) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := l.Log.Join(ctx, spec)
	return &loserMember{Member: m, l: l}, err
}

type loserMember struct {
	log.Member
	l     *loser
	owned []log.TopicPartition
	calls int
}

func (m *loserMember) Next(ctx context.Context) (log.Event, error) {
	m.calls++
	switch m.calls {
	case 1:
		ev, err := m.Member.Next(ctx)
		if err == nil {
			m.owned = ev.(log.Assigned).Partitions
		}
		return ev, err
	case 2:
		return log.Lost{Partitions: m.owned}, nil
	case 3:
		close(m.l.gone) // what came before is dealt with
		select {
		case <-m.l.back:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return log.Assigned{Partitions: m.owned}, nil
	}
	return m.Member.Next(ctx)
}

// An application whose partitions were lost, as happens when a cluster was away for a while, is not idle for
// having no partition: it waits to hear which are its own now.
func TestIdleWaitsForLostPartitions(t *testing.T) {
	lg := openLog(t, t.TempDir(), 2)
	defer lg.Close()
	appendLines(t, lg, 2, "a b c", "b c", "c")
	l := &loser{Log: lg, gone: make(chan struct{}), back: make(chan struct{})}
	err := run(t, wordCountTopology(t), stream.Config{Broker: l}, func(app *stream.App) {
		<-l.gone
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := app.WaitIdle(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without partitions: WaitIdle returned %v", err)
		}
		close(l.back)
		waitIdle(t)(app)
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCounts(t, lg, 2, []string{"a b c", "b c", "c"})
}
