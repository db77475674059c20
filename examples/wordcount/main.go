// Wordcount counts the words of files, exactly once, on an embedded log or on a Kafka cluster.
//
//	go run ./examples/wordcount [-data DIR] [-brokers HOST:PORT,...] [-top N] [-partitions N] [FILE...]
//
// Without FILE it reads the Markdown and Go files of the tree it stands in. Without -data it works in a
// temporary directory; with it, in DIR/log and DIR/state, and a later run over the same files goes on where
// the one before stopped, however it was stopped, and counts nothing twice. DIR/state may be deleted between
// runs.
//
// With -brokers the log is that cluster's: the topics lines, word-counts and file-positions, and those of the
// application, whose names begin with word-count-. They are created, and are what a later run goes on from; the
// state comes back from them, or, sooner, from -data. One run has them at a time: a second one stops the first.
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
	"strings"
	"syscall"

	"github.com/moldau-io/moldau/kafka"
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
	brokers := flags.String("brokers", "", "count on the Kafka cluster at these `addresses`, HOST:PORT,... (default: on an embedded log)")
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
	broker, err := openBroker(ctx, *brokers, dir, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	again, where := "a new -data directory", "the -data directory was"
	if *brokers != "" {
		again, where = "new topics: delete these", "the cluster's topics were"
	}
	if err := createTopics(ctx, broker, *partitions, where); err != nil {
		return err
	}

	var seen counters
	topology, err := topology(&seen)
	if err != nil {
		return err
	}
	app, err := stream.New(topology, stream.Config{
		ApplicationID: "word-count",
		Broker:        broker,
		Emit:          stream.OnCommit,
		StateDir:      filepath.Join(dir, "state"),
		Logger:        logger,
	})
	if err != nil {
		return err
	}
	if err := countFiles(ctx, app, broker, files, again, &seen); err != nil {
		return err
	}
	counts, err := readCounts(ctx, broker)
	if err != nil {
		return err
	}
	return printCounts(os.Stdout, counts, *top)
}

// closable is a broker of our own.
type closable interface {
	log.Broker
	Close() error
}

// openBroker opens the log in dir, or connects to a cluster.
func openBroker(ctx context.Context, brokers, dir string, logger *slog.Logger) (closable, error) {
	if brokers == "" {
		return log.Open(filepath.Join(dir, "log"), log.Options{Logger: logger})
	}
	return kafka.Open(ctx, kafka.Options{Seeds: strings.Split(brokers, ","), Logger: logger})
}

// countFiles loads the files while the application counts, and returns when both are done.
func countFiles(ctx context.Context, app *stream.App, broker log.Broker, files []string, again string, seen *counters) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- app.Run(ctx)
		cancel() // if it failed, loading is in vain
	}()
	stop := newProgress(os.Stderr, seen.read).start()
	err := load(ctx, broker, files, again, &seen.loaded)
	if err == nil {
		seen.allLoaded.Store(true)
		err = tellEnds(ctx, broker)
	}
	if err == nil {
		err = app.WaitIdle(ctx)
	}
	cancel()
	if runErr := <-ended; runErr != nil {
		err = runErr
	}
	stop()
	return err
}

// tellEnds asks where the lines end now. On a cluster the application knows no later than this how far there is to
// go: lines that a run before has loaded may have become visible only now.
func tellEnds(ctx context.Context, broker log.Broker) error {
	infos, err := broker.Topics(ctx, []string{topicName})
	if err != nil {
		return err
	}
	var tps []log.TopicPartition
	for p := range infos[0].Partitions {
		tps = append(tps, log.TopicPartition{Topic: topicName, Partition: p})
	}
	_, err = broker.Offsets(ctx, tps)
	return err
}
