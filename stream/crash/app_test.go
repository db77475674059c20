package crash

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/bridge"
)

// As TestCrashAnywhere, of the application itself: stream.App with its workers, its poller and its timer, where that steps the
// engine. A crash then comes at any moment of several goroutines.
func TestCrashOfApp(t *testing.T) {
	for _, v := range []variety{
		{wordCount, stream.EachUpdate, log.SyncCommit},
		{several, stream.OnCommit, log.SyncCommit},
	} {
		t.Run(v.String(), func(t *testing.T) {
			crashEverywhere(t, func(rng *rand.Rand, numLines int) (*setup, error) {
				set, err := newSetup(v.shape, v.emit, v.sync, numLines, rng)
				if err == nil {
					set.app = true
				}
				return set, err
			})
		})
	}
}

// hurry is a clock by which state is flushed every few epochs.
type hurry struct{ w *world }

func (h hurry) Now() time.Time { return time.Unix(0, h.w.clock.Add(int64(11*time.Second))) }

// withApp runs the application while do does something.
func (w *world) withApp(do func(app *stream.App) error) error {
	app, err := stream.New(w.topology, stream.Config{
		ApplicationID:  application,
		Broker:         w.lg,
		Emit:           w.emit,
		StateDir:       stateDir,
		CommitInterval: time.Millisecond,
		CacheBytes:     w.cacheBytes,
		Workers:        2,
		Clock:          hurry{w},
		Logger:         quiet,
	})
	if err != nil {
		return err
	}
	bridge.StateFS(app, w.fs)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	doErr := do(app)
	stop()
	if err := <-ended; err != nil {
		return err // and not what that has led to
	}
	return doErr
}

// runApp takes the input in with an application that is stopped and started again now and then.
func (w *world) runApp() error {
	for w.sent < len(w.lines) {
		upTo := min(len(w.lines), w.sent+1+w.rng.IntN(15))
		if err := w.withApp(func(app *stream.App) error {
			for w.sent < upTo {
				if err := w.send(); err != nil {
					return err
				}
				if w.rng.IntN(3) > 0 {
					continue
				}
				if err := app.WaitIdle(context.Background()); err != nil {
					return err
				}
				if err := w.promise(); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if w.rng.IntN(3) == 0 {
			if err := w.lg.Close(); err != nil {
				return err
			}
			if err := w.openLog(); err != nil {
				return err
			}
		}
	}
	return w.finishApp()
}

// finishApp has the application take in all that there is. The stores are then looked at as they are on disk.
func (w *world) finishApp() error {
	if err := w.withApp(func(app *stream.App) error {
		for w.sent < len(w.lines) {
			if err := w.send(); err != nil {
				return err
			}
		}
		return app.WaitIdle(context.Background())
	}); err != nil {
		return err
	}
	if err := w.openEngine(); err != nil {
		return err
	}
	return w.finish()
}
