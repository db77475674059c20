package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/moldau-io/moldau/log"
)

// Broker is the log an application runs on: *log.Log, in process.
type Broker = log.Broker

// Guarantee is how often a record counts when something fails.
type Guarantee = log.Guarantee

const (
	// ExactlyOnce commits input offsets, state and output in one transaction.
	ExactlyOnce = log.ExactlyOnce
	// AtLeastOnce loses nothing, but after a failure records may count twice.
	AtLeastOnce = log.AtLeastOnce
)

// Emit says when tables send their changes on. Changelogs get the last value of each key and epoch either
// way.
type Emit int8

const (
	// EachUpdate sends every change as it is made, as Kafka Streams does without its record cache.
	EachUpdate Emit = iota
	// OnCommit sends the last change of each key when the epoch commits, as Kafka Streams does with its
	// record cache. There is less for everyone downstream to do.
	OnCommit
)

// Config is how an application runs. The zero value of each field but the first two is useful.
type Config struct {
	// ApplicationID names the application: its consumer group, and the prefix of its internal topics. It
	// must be a valid topic name, and stay what it is for the application's life.
	ApplicationID string
	// Broker is the log that has the topics.
	Broker Broker

	Guarantee Guarantee // zero: ExactlyOnce
	Emit      Emit      // zero: EachUpdate

	// StateDir is the directory for the state. It may be deleted while the application does not run: the
	// changelogs have everything. Zero: a folder of the application's in the place the broker offers.
	StateDir string
	// CommitInterval is the longest an epoch lasts; one that has nothing left to do ends earlier. Zero:
	// 100 ms, under AtLeastOnce 1 s.
	CommitInterval time.Duration
	// MaxEpochBytes ends an epoch that has appended so much. Zero: 64 MiB.
	MaxEpochBytes int64
	// CacheBytes bounds the memory in which stores keep rows. Zero: 128 MiB.
	CacheBytes int64
	// Workers is the number of goroutines that process. Zero: GOMAXPROCS.
	Workers int
	// StopTimeout is how long a stop waits for a function that has not returned; then the epoch is aborted
	// and Run's error names the operator. Zero: 30 s.
	StopTimeout time.Duration
	// OnDeserializationError answers for input records that cannot be decoded: an error or a panic of a serde or of
	// Topic.WithTimestamps, or a negative timestamp without such a rule. Zero: Fail.
	OnDeserializationError ErrorHandler
	// OnProcessingError answers for a function that panics, or returns an error, and for values that a store's serde
	// cannot encode. The operator drops its record; what it sent on before stays, and what its siblings do is not
	// touched. Zero: Fail.
	OnProcessingError ErrorHandler
	// OnProductionError answers for records that cannot be encoded, and for those that are larger than their topic takes by
	// its max.message.bytes (log.ErrRecordTooLarge), before they are written. Zero: Fail.
	OnProductionError ErrorHandler
	// DeadLetterTopic gets the input records that a handler answers DeadLetter for. It must exist when the
	// application starts. Zero: a handler has to name the topic, with DeadLetterTo.
	DeadLetterTopic string

	// Clock tells the time that state is stamped with, and runs punctuators on the wall clock; see AlarmClock. Zero:
	// the system's.
	Clock Clock
	// Logger gets diagnostics. Zero: slog.Default().
	Logger *slog.Logger
}

// Clock tells the time.
type Clock = log.Clock

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, a ...any) { errs = append(errs, fmt.Errorf("stream: Config."+format, a...)) }
	if c.ApplicationID == "" {
		fault("ApplicationID is empty; the group and the internal topics are named after it")
	} else if err := log.ValidateTopic(c.ApplicationID); err != nil {
		fault("ApplicationID: %w (internal topics are named after it)", err)
	}
	if c.Broker == nil {
		fault("Broker is nil; give it a log, such as log.Open returns")
	} else if c.StateDir == "" && c.Broker.Capabilities().StateRoot == "" {
		fault("StateDir is empty, and the broker offers no place for state")
	}
	if c.Guarantee != ExactlyOnce && c.Guarantee != AtLeastOnce {
		fault("Guarantee is %d; it is ExactlyOnce or AtLeastOnce", c.Guarantee)
	}
	if c.DeadLetterTopic != "" {
		if err := log.ValidateTopic(c.DeadLetterTopic); err != nil {
			fault("DeadLetterTopic: %w", err)
		}
	}
	if c.Emit != EachUpdate && c.Emit != OnCommit {
		fault("Emit is %d; it is EachUpdate or OnCommit", c.Emit)
	}
	for _, x := range []struct {
		name string
		v    int64
	}{
		{"CommitInterval", int64(c.CommitInterval)}, {"MaxEpochBytes", c.MaxEpochBytes},
		{"CacheBytes", c.CacheBytes}, {"Workers", int64(c.Workers)}, {"StopTimeout", int64(c.StopTimeout)},
	} {
		if x.v < 0 {
			fault("%s is negative", x.name)
		}
	}
	return errors.Join(errs...)
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	if c.StateDir == "" {
		c.StateDir = filepath.Join(c.Broker.Capabilities().StateRoot, c.ApplicationID)
	}
	if c.CommitInterval == 0 {
		c.CommitInterval = 100 * time.Millisecond
		if c.Guarantee == AtLeastOnce {
			c.CommitInterval = time.Second
		}
	}
	if c.MaxEpochBytes == 0 {
		c.MaxEpochBytes = 64 << 20
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 128 << 20
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 30 * time.Second
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
