package engine

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// drops sums up what operators dropped in epochs that are committed, so that what an abort takes back, and is
// dropped again, counts once.
type drops struct {
	logger *slog.Logger

	mu   sync.Mutex
	all  map[*graph.Node]task.Dropped
	said map[*graph.Node]time.Time // when the log was told
}

// sayDroppedEvery is how long the log is spared after it was told that an operator drops records.
const sayDroppedEvery = time.Minute

// committed adds what a task dropped in the epoch that was committed.
func (d *drops) committed(t *task.Task, now time.Time) {
	t.EachDropped(func(n *graph.Node, in task.Dropped) {
		d.mu.Lock()
		defer d.mu.Unlock()
		sum := d.all[n]
		sum.Add(in)
		d.all[n] = sum
		if last, ok := d.said[n]; !ok || now.Sub(last) >= sayDroppedEvery {
			d.said[n] = now
			d.say(n, sum)
		}
	})
}

// say tells the log, with the counts that are not zero.
func (d *drops) say(n *graph.Node, sum task.Dropped) {
	attrs := []any{"operator", n.Name, "op", n.Op, "at", n.At}
	for _, x := range []struct {
		reason string
		n      int64
	}{
		{"null_key", sum.NullKey}, {"null_value", sum.NullValue}, {"negative_timestamp", sum.Timestamp}, {"late", sum.Late},
		{"undecodable", sum.Undecodable}, {"failed", sum.Failed}, {"unwritten", sum.Unwritten},
	} {
		if x.n > 0 {
			attrs = append(attrs, x.reason, x.n)
		}
	}
	level := slog.LevelWarn
	if sum == (task.Dropped{Late: sum.Late}) {
		level = slog.LevelInfo // it is what windows are for
	}
	d.logger.Log(context.Background(), level, "records were dropped", attrs...)
}

// Dropped is what each operator dropped since the engine was opened, as far as it is committed. It may be called
// at any time.
func (e *Engine) Dropped() map[*graph.Node]task.Dropped {
	e.drops.mu.Lock()
	defer e.drops.mu.Unlock()
	return maps.Clone(e.drops.all)
}
