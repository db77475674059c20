// Package demo is what the examples have in common and is not about streams: their flags, a log in a temporary
// directory, input that comes in at a pace, and what is seen of it in a terminal.
//
// A record gets into the log in feed.go, and is read back in follow.go.
package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/moldau-io/moldau/log"
)

// Demo is an example that runs. Log is open, in the directory of the flag -data or in a temporary one.
type Demo struct {
	*Screen
	Log    *log.Log
	Logger *slog.Logger // warnings, to standard error
	Seed   uint64       // of the generated input

	speed     float64 // of the input's time, by the clock's; 0: as fast as can be
	mu        sync.Mutex
	followers []follower
	atEnd     func(context.Context) error
}

// Main runs an example and ends the process: with code 0 when run is done, 130 when it was interrupted, 2 when the
// command line is not understood, and 1 when something failed. speed is how much faster than the clock the time of
// the input runs, unless a flag says otherwise. more defines flags of the example's own.
func Main(speed float64, run func(context.Context, *Demo) error, more ...func(*flag.FlagSet)) {
	name := filepath.Base(os.Args[0])
	// A second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	switch err := start(ctx, name, speed, run, more); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2) // package flag has said what is wrong
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintf(os.Stderr, "%s: stopped; what was done is committed, and with -data the next run goes on from there\n", name)
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// errUsage: the command line is not understood.
var errUsage = errors.New("usage")

func start(ctx context.Context, name string, speed float64, run func(context.Context, *Demo) error, more []func(*flag.FlagSet)) (err error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	data := flags.String("data", "", "keep the log and the state in this `directory`, and go on from what is there (default: a temporary one)")
	seed := flags.Uint64("seed", 1, "the `number` that the input is generated from")
	flags.Float64Var(&speed, "speed", speed, "how many `times` faster than the clock the input's time runs; 0: as fast as can be")
	for _, define := range more {
		define(flags)
	}
	if err := flags.Parse(os.Args[1:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s takes no arguments but flags; it was given %q\n", name, flags.Args())
		return errUsage
	}
	if !(speed >= 0) {
		fmt.Fprintf(os.Stderr, "-speed %v: it is above 0, or 0 for as fast as can be\n", speed)
		return errUsage
	}
	dir := *data
	if dir == "" {
		if dir, err = os.MkdirTemp("", name+"-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	d := &Demo{Screen: newScreen(os.Stdout), Seed: *seed, speed: speed}
	d.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if d.Log, err = log.Open(filepath.Join(dir, "log"), log.Options{Logger: d.Logger}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Log.Close()) }()
	return run(ctx, d)
}

// Pace says how fast the input's time runs.
func (d *Demo) Pace() string {
	if d.speed == 0 {
		return "as fast as can be"
	}
	return fmt.Sprintf("%v times as fast as it was", d.speed)
}

// CreateTopics creates the topics that do not exist.
func (d *Demo) CreateTopics(ctx context.Context, partitions int32, names ...string) error {
	var specs []log.TopicSpec
	for _, name := range names {
		specs = append(specs, log.TopicSpec{Name: name, Partitions: partitions})
	}
	return d.Log.CreateTopics(ctx, specs)
}
