// Wordcount counts the words of files, exactly once, on an embedded log.
//
//	go run ./examples/wordcount [-data DIR] [-top N] [-partitions N] [FILE...]
//
// Without FILE it reads the Markdown and Go files of the tree it stands in. Without -data it works in a
// temporary directory; with it, in DIR/log and DIR/state, and a later run over the same files goes on where
// the one before stopped, however it was stopped, and counts nothing twice. DIR/state may be deleted between
// runs.
//
// A word is a longest run of letters and digits, in lower case. The counts go to standard output, highest
// first, and everything else to standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

func main() {
	// A second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	switch err := run(ctx, os.Args[1:]); {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2) // package flag has said what is wrong
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "wordcount: stopped; what was counted is committed, and with -data the next run goes on from there")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		os.Exit(1)
	}
}

// errUsage: the command line is not understood.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("wordcount", flag.ContinueOnError)
	data := flags.String("data", "", "keep the log and the state in this `directory` (default: a temporary one)")
	top := flags.Int("top", 20, "print the `N` most frequent words; 0: all")
	partitions := flags.Int("partitions", 1, "the topics' `number` of partitions")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if *top < 0 {
		return fmt.Errorf("-top %d: it is 0 for all, or more", *top)
	}
	files, err := inputFiles(flags.Args())
	if err != nil {
		return err
	}
	dir := *data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "wordcount-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	lg, err := log.Open(filepath.Join(dir, "log"), log.Options{Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lg.Close()) }()
	if err := createTopics(ctx, lg, *partitions); err != nil {
		return err
	}

	var seen counters
	topology, err := topology(&seen)
	if err != nil {
		return err
	}
	app, err := stream.New(topology, stream.Config{
		ApplicationID: "word-count",
		Broker:        lg,
		Emit:          stream.OnCommit,
		StateDir:      filepath.Join(dir, "state"),
		Logger:        logger,
	})
	if err != nil {
		return err
	}
	if err := countFiles(ctx, app, lg, files, &seen); err != nil {
		return err
	}
	counts, err := readCounts(ctx, lg)
	if err != nil {
		return err
	}
	return printCounts(os.Stdout, counts, *top)
}

// countFiles loads the files while the application counts, and returns when both are done.
func countFiles(ctx context.Context, app *stream.App, lg *log.Log, files []string, seen *counters) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- app.Run(ctx)
		cancel() // if it failed, loading is in vain
	}()
	stop := newProgress(os.Stderr, seen.read).start()
	err := load(ctx, lg, files, &seen.loaded)
	if err == nil {
		seen.allLoaded.Store(true)
		err = app.WaitIdle(ctx)
	}
	cancel()
	if runErr := <-ended; runErr != nil {
		err = runErr
	}
	stop()
	return err
}
