package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/stream/internal/engine"
)

// App is one instance of an application: a topology and how to run it.
type App struct {
	topology *Topology
	config   Config
	// What tests set otherwise.
	stateFS   vfs.FS
	heldBytes int

	mu      sync.Mutex
	started bool
	running chan struct{} // closed when runner is set, or the run has ended
	ended   chan struct{}
	runner  *engine.Runner
}

// New makes an application of a topology. It checks the configuration and starts nothing.
func New(t *Topology, c Config) (*App, error) {
	if t == nil {
		return nil, errors.New("stream: New: the topology is nil; Builder.Build makes one")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &App{topology: t, config: c.withDefaults(), stateFS: vfs.Default, heldBytes: 4 << 20, running: make(chan struct{}), ended: make(chan struct{})}, nil
}

// Run runs the application until ctx is done, and then returns nil: what was processed is committed, and
// the rest waits for the next run. Otherwise it returns the first real fault, with nothing uncommitted
// visible; a *ProcessingError tells the record and the operator where there is one. An App runs once.
//
// A stop waits for functions that are being called to return, for Config.StopTimeout at most.
func (a *App) Run(ctx context.Context) error {
	a.mu.Lock()
	if a.started {
		a.mu.Unlock()
		return errors.New("stream: the application was run before; make another with New")
	}
	a.started = true
	a.mu.Unlock()
	defer close(a.ended)

	err := a.run(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // stopped, if only while it was starting
	}
	return fmt.Errorf("stream: %s: %w", a.config.ApplicationID, public(err))
}

func (a *App) run(ctx context.Context) (err error) {
	c := a.config
	e, err := engine.Open(ctx, engine.Config{
		Application:  c.ApplicationID,
		Broker:       c.Broker,
		Guarantee:    c.Guarantee,
		Plan:         a.topology.plan(c.Emit == OnCommit),
		StateDir:     c.StateDir,
		StateFS:      a.stateFS,
		CacheBytes:   c.CacheBytes,
		Parallel:     c.Workers,
		Handlers:     c.handlers(),
		KeyPartition: keyPartition,
		Now:          c.Clock.Now,
		Logger:       c.Logger.With("application", c.ApplicationID),
	})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() {
		if closeErr := e.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("stop: %w", closeErr)
		}
	}()
	a.runner = engine.NewRunner(e, engine.RunConfig{
		Workers:        c.Workers,
		CommitInterval: c.CommitInterval,
		MaxEpochBytes:  c.MaxEpochBytes,
		StopTimeout:    c.StopTimeout,
		Alarm:          alarms(c.Clock),
		HeldBytes:      a.heldBytes,
	})
	close(a.running)
	return a.runner.Run(ctx)
}

// WaitIdle returns nil once every input is read to its end, and all that was processed is committed: what
// was appended before the call is then in the output, and what punctuators made of the wall clock's time. It waits for a Run that has not begun, and returns an
// error when ctx is done or the run has ended.
func (a *App) WaitIdle(ctx context.Context) error {
	select {
	case <-a.running:
	case <-a.ended: // before it began to process
		return engine.ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	return a.runner.WaitIdle(ctx)
}
