package log

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/google/uuid"
)

// topic is a named set of partitions. It does not change once it is there.
type topic struct {
	name       string
	id         uuid.UUID
	config     map[string]string // as given
	settings   *topicSettings
	first      int32 // number of the first partition
	partitions []*Partition
}

func (t *topic) info() TopicInfo {
	return TopicInfo{
		Name: t.name, ID: t.id, Partitions: int32(len(t.partitions)), Config: maps.Clone(t.config),
		MaxRecordBytes: t.settings.maxMessageBytes - batchHeaderSize,
	}
}

// topicSettings are a topic's settings that the log acts by.
type topicSettings struct {
	segmentBytes    int64
	indexInterval   int
	maxMessageBytes int
	compression     Compression
	byProducer      bool // compression.type=producer: the producer's choice stands
	logAppendTime   bool // message.timestamp.type=LogAppendTime
	logger          *slog.Logger
}

// DefaultMaxMessageBytes is the largest batch that a topic takes unless max.message.bytes says otherwise. It
// is Kafka's: 1 MiB and 12 bytes of log overhead.
const DefaultMaxMessageBytes = 1048588

// setting is one that topics have: its default and what values it takes.
type setting struct {
	name, fallback string
	check          func(value string) error
}

// settings are the topic settings known here, with Kafka's names, defaults and ranges.
//
// segment.bytes, index.interval.bytes, max.message.bytes, compression.type and message.timestamp.type are acted
// upon. All others are checked and kept, for what does not exist yet: retention and compaction.
var settings = []setting{
	{"cleanup.policy", "delete", oneOf("delete", "compact", "compact,delete", "delete,compact")},
	{"compression.type", "producer", oneOf("producer", "none", "uncompressed", "gzip", "snappy", "lz4", "zstd")},
	{"delete.retention.ms", "86400000", between(0, math.MaxInt64)},
	{"index.interval.bytes", "4096", between(0, math.MaxInt32)},
	{"max.compaction.lag.ms", strconv.FormatInt(math.MaxInt64, 10), between(1, math.MaxInt64)},
	{"max.message.bytes", strconv.Itoa(DefaultMaxMessageBytes), between(batchHeaderSize, maxBatchBytes)},
	{"message.timestamp.type", "CreateTime", oneOf("CreateTime", "LogAppendTime")},
	{"min.cleanable.dirty.ratio", "0.5", ratio},
	{"min.compaction.lag.ms", "0", between(0, math.MaxInt64)},
	{"retention.bytes", "-1", between(-1, math.MaxInt64)},
	{"retention.ms", "604800000", between(-1, math.MaxInt64)},
	{"segment.bytes", "1073741824", between(14, math.MaxInt32)},
	{"segment.ms", "604800000", between(1, math.MaxInt64)},
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("want one of %q", values)
		}
		return nil
	}
}

func between(low, high int64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < low || n > high {
			return fmt.Errorf("want a whole number from %d to %d", low, high)
		}
		return nil
	}
}

func ratio(v string) error {
	if f, err := strconv.ParseFloat(v, 64); err != nil || !(f >= 0 && f <= 1) {
		return fmt.Errorf("want a number from 0 to 1")
	}
	return nil
}

// settingOf returns the value in force: the one given, or the default.
func settingOf(config map[string]string, name string) string {
	if v, ok := config[name]; ok {
		return v
	}
	for _, s := range settings {
		if s.name == name {
			return s.fallback
		}
	}
	return ""
}

// checkConfig reports the first setting, by name, that is unknown or has a value out of range.
func checkConfig(config map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(config)) {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("%w: %q is not known", ErrInvalidConfig, name)
		}
		if err := settings[i].check(config[name]); err != nil {
			return fmt.Errorf("%w: %s=%q: %w", ErrInvalidConfig, name, config[name], err)
		}
	}
	return nil
}

// newTopicSettings reads settings that checkConfig has passed.
func newTopicSettings(config map[string]string, logger *slog.Logger) (*topicSettings, error) {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(settingOf(config, name), 10, 64)
		return n
	}
	s := &topicSettings{
		segmentBytes:    number("segment.bytes"),
		indexInterval:   int(number("index.interval.bytes")),
		maxMessageBytes: int(number("max.message.bytes")),
		logAppendTime:   settingOf(config, "message.timestamp.type") == "LogAppendTime",
		logger:          logger,
	}
	c := settingOf(config, "compression.type")
	if c == "producer" {
		s.byProducer = true
		return s, nil
	}
	var err error
	s.compression, err = ParseCompression(c)
	return s, err
}

// maxPartitions bounds what one topic may ask for, so that a slip of the pen does not fill the disk with
// directories.
const maxPartitions = 100_000

// checkSpec reports what is wrong with a topic that is to be created.
func checkSpec(spec TopicSpec) error {
	if err := ValidateTopic(spec.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidTopic, err)
	}
	if spec.Partitions < 1 || spec.Partitions > maxPartitions {
		return fmt.Errorf("create topic %s: %w: %d, want 1 to %d", spec.Name, ErrInvalidPartitions, spec.Partitions, maxPartitions)
	}
	if err := checkConfig(spec.Config); err != nil {
		return fmt.Errorf("create topic %s: %w", spec.Name, err)
	}
	return nil
}

// same reports how the topic differs from what is asked for. Settings that are not asked for may be anything.
func (t *topic) same(spec TopicSpec) error {
	if int(spec.Partitions) != len(t.partitions) {
		return fmt.Errorf("create topic %s: %w: it has %d partitions, not %d", t.name, ErrTopicMismatch, len(t.partitions), spec.Partitions)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Config)) {
		if have, want := settingOf(t.config, name), spec.Config[name]; have != want {
			return fmt.Errorf("create topic %s: %w: it has %s=%q, not %q", t.name, ErrTopicMismatch, name, have, want)
		}
	}
	return nil
}
