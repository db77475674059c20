package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/internal/graph"
)

// resolveTopics finds the topics that must exist, decides how many partitions the application's own have,
// and creates these. Nothing is created if the topics of a join do not go together.
func (e *Engine) resolveTopics(ctx context.Context) error {
	g := e.cfg.Plan.Graph
	var names []string
	users := map[string]*graph.Node{}
	for _, n := range g.Nodes {
		if n.Topic != nil && !n.Topic.Repartition && users[n.Topic.Name] == nil {
			users[n.Topic.Name] = n
			names = append(names, n.Topic.Name)
		}
	}
	if h := e.cfg.Handlers; h != nil && h.DeadLetterTopic != "" && users[h.DeadLetterTopic] == nil {
		names = append(names, h.DeadLetterTopic)
	}
	e.topics = map[string]log.TopicInfo{}
	if err := e.describe(ctx, names, func(name string, err error) error {
		n := users[name]
		if n == nil {
			return fmt.Errorf("the dead-letter topic %q: %w; create it before the application starts", name, err)
		}
		if errors.Is(err, log.ErrUnknownTopic) {
			return fmt.Errorf("%s: %s: topic %q does not exist; create it before the application starts", n.At, n.Op, name)
		}
		return fmt.Errorf("%s: %s: topic %q: %w", n.At, n.Op, name, err)
	}); err != nil {
		return err
	}
	own, err := e.ownTopics()
	if err := errors.Join(e.checkChangelogs(), err); err != nil {
		return err
	}
	if err := e.cfg.Broker.CreateTopics(ctx, own); err != nil {
		return fmt.Errorf("create the application's topics: %w", err)
	}
	names = names[:0]
	for _, spec := range own {
		names = append(names, spec.Name)
	}
	return e.describe(ctx, names, func(name string, err error) error {
		return fmt.Errorf("topic %q: %w", name, err)
	})
}

func (e *Engine) describe(ctx context.Context, names []string, fault func(name string, err error) error) error {
	infos, err := e.cfg.Broker.Topics(ctx, names)
	if err != nil {
		return fmt.Errorf("describe topics: %w", err)
	}
	var errs []error
	for i, info := range infos {
		if info.Err != nil {
			errs = append(errs, fault(names[i], info.Err))
			continue
		}
		e.topics[names[i]] = info
	}
	return errors.Join(errs...)
}

// checkChangelogs looks whether topics of the input that are changelogs have what a changelog has: the last record of
// each key, for ever.
func (e *Engine) checkChangelogs() error {
	var errs []error
	for _, n := range e.cfg.Plan.Graph.Nodes {
		if n.Store == nil || n.Store.Input == nil {
			continue
		}
		topic := n.Store.Input.Name
		setting := func(name, otherwise string) string {
			if v := e.topics[topic].Config[name]; v != "" {
				return v
			}
			return otherwise
		}
		policy := setting("cleanup.policy", "delete")
		forEver := policy == "delete" && setting("retention.ms", "") == "-1" && setting("retention.bytes", "-1") == "-1"
		if policy != "compact" && !forEver {
			errs = append(errs, fmt.Errorf("%s: %s: ReuseTopic: topic %q forgets rows: its cleanup.policy is %q, and has to be \"compact\", or its retention.ms -1",
				n.At, n.Op, topic, policy))
		}
	}
	return errors.Join(errs...)
}

// tombstones says what is known of how long an input's topic keeps deletions, for state.ChangelogFacts.
func (e *Engine) tombstones(topic string) (from int64, retention time.Duration) {
	config := e.topics[topic].Config
	if config["cleanup.policy"] != "compact" {
		return 0, 0 // it keeps everything
	}
	ms, err := strconv.ParseInt(config["delete.retention.ms"], 10, 64)
	if err != nil {
		ms = defaultTombstoneRetentionMs
	}
	return -1, time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

const defaultTombstoneRetentionMs = 24 * 60 * 60 * 1000 // Kafka's delete.retention.ms

// ownTopics lists the repartition and changelog topics, and counts tasks: a sub-topology has as many as its largest
// source topic has partitions.
func (e *Engine) ownTopics() ([]log.TopicSpec, error) {
	g := e.cfg.Plan.Graph
	partitions, err := partitionCounts(g, e.cfg.Application, func(topic string) int32 { return e.topics[topic].Partitions })
	if err != nil {
		return nil, err
	}
	e.tasks = make([]int32, len(g.Subs))
	var own []log.TopicSpec
	for _, id := range g.Order {
		sub := g.Subs[id]
		e.tasks[id] = mostPartitions(sub.Sources(), partitions)
		for _, t := range sub.Sinks() {
			if !t.Repartition {
				continue
			}
			own = append(own, log.TopicSpec{
				Name:       t.FullName(e.cfg.Application),
				Partitions: partitions[t],
				Config:     internalConfig(map[string]string{"cleanup.policy": "delete", "retention.ms": "-1"}),
			})
		}
		for _, s := range sub.Stores() {
			if s.Input != nil {
				continue
			}
			config := s.Config
			if config == nil {
				config = map[string]string{"cleanup.policy": "compact"}
			}
			own = append(own, log.TopicSpec{Name: s.Changelog(e.cfg.Application), Partitions: e.tasks[id], Config: internalConfig(config)})
		}
	}
	return own, nil
}

// internalConfig is the settings of an internal topic: timestamps are those of the records, whatever a cluster's topics
// have otherwise. Event time has to come through a repartition topic, and be restored from a changelog.
func internalConfig(config map[string]string) map[string]string {
	config = maps.Clone(config)
	config["message.timestamp.type"] = "CreateTime"
	return config
}

// reader is the sub-topology that reads a topic.
func (e *Engine) reader(topic string) (sub int, ok bool) {
	for _, s := range e.cfg.Plan.Graph.Subs {
		for _, t := range s.Sources() {
			if t.FullName(e.cfg.Application) == topic {
				return s.ID, true
			}
		}
	}
	return 0, false
}

// lookups remembers topics that are not in the graph.
type lookups struct {
	mu    sync.Mutex
	found map[string]log.TopicInfo
}

// lookup tells how many partitions a topic has, in the graph or not. Tasks call it while they run.
func (e *Engine) lookup(topic string) (int32, error) {
	if info, ok := e.known(topic); ok {
		return info.Partitions, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	infos, err := e.cfg.Broker.Topics(ctx, []string{topic})
	if err == nil {
		err = infos[0].Err
	}
	if errors.Is(err, log.ErrUnknownTopic) {
		return 0, fmt.Errorf("%w; create it before the first record for it comes", err)
	}
	if err != nil {
		return 0, err
	}
	e.lookups.mu.Lock()
	defer e.lookups.mu.Unlock()
	if e.lookups.found == nil {
		e.lookups.found = map[string]log.TopicInfo{}
	}
	e.lookups.found[topic] = infos[0]
	return infos[0].Partitions, nil
}

// known is what was found out of a topic, in the graph or not.
func (e *Engine) known(topic string) (info log.TopicInfo, ok bool) {
	if info, ok = e.topics[topic]; ok { // written before the tasks were made
		return info, true
	}
	e.lookups.mu.Lock()
	defer e.lookups.mu.Unlock()
	info, ok = e.lookups.found[topic]
	return info, ok
}

// maxRecordBytes is the largest record that a known topic takes.
func (e *Engine) maxRecordBytes(topic string) int {
	if info, _ := e.known(topic); info.MaxRecordBytes > 0 {
		return info.MaxRecordBytes
	}
	return e.cfg.Broker.Capabilities().MaxRecordBytes
}

// lookupTimeout bounds how long a record waits for the answer which topic it goes to.
const lookupTimeout = 30 * time.Second
