package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log/txn"
)

// Sync says when what was written counts as done: when an append returns, and when readers see it. The zero
// value is SyncCommit.
type Sync struct {
	os       bool
	interval time.Duration
}

var (
	// SyncCommit waits for the disk: an append outside of a transaction and a commit return, and readers see
	// them, once they are synced. They survive power loss. Those who wait at the same time share one sync.
	SyncCommit = Sync{}
	// SyncOS leaves it to the operating system: what is written counts. It survives the end of the process,
	// however it comes, but not power loss, after which the log is as it was at an earlier moment.
	SyncOS = Sync{os: true}
)

// SyncInterval returns at once and syncs every d. Readers see what is synced, so at most d later.
func SyncInterval(d time.Duration) Sync {
	if d <= 0 {
		return SyncCommit
	}
	return Sync{interval: d}
}

func (s Sync) String() string {
	switch {
	case s.os:
		return "SyncOS"
	case s.interval > 0:
		return fmt.Sprintf("SyncInterval(%v)", s.interval)
	}
	return "SyncCommit"
}

// Options say how to open a log. The zero value is good for most.
type Options struct {
	// Sync is how durable an acknowledged append is; the zero value is SyncCommit.
	Sync Sync
	// FS is where the files are; nil is the operating system's file system.
	FS FS
	// Logger gets what nobody can be told by an error; nil is slog's default.
	Logger *slog.Logger
	// JournalBytes is the size of one file of the journal; 0 is 64 MiB. A checkpoint is made whenever one is
	// full, and recovery reads what came after the last checkpoint: two files or so. Smaller files mean more
	// frequent syncs of the segments.
	JournalBytes int64
	// Clock tells the time of appends: that of markers and, with message.timestamp.type=LogAppendTime, of
	// records. Nil is the system's. It must be callable concurrently, and must not call the log.
	Clock Clock
}

// Clock tells the time.
type Clock interface{ Now() time.Time }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

const defaultJournalBytes = 64 << 20

// maxRetiredFiles is how many full journal files may wait for a checkpoint before appends wait too: when they
// come faster than the disk takes the segments.
const maxRetiredFiles = 8

// Log is a log on a directory, open. Its methods may be called concurrently. It is a Broker.
type Log struct {
	dir     string
	fs      files
	mode    Sync
	logger  *slog.Logger
	clock   Clock
	lock    io.Closer
	journal *journal
	life    lifetime

	// createMu is held to create topics and to take a checkpoint's snapshot; it stands above all other locks.
	createMu sync.Mutex

	topicsMu   sync.RWMutex // guards the two, and is held only to look
	topics     map[string]*topic
	partitions []*Partition // by number

	offsetsPart *Partition
	offsets     groupOffsets

	// meta is what the journal's meta entries have said. Its lock stands below those of partitions and above
	// the journal's.
	meta struct {
		mu          sync.Mutex
		owners      map[string]txn.Identity
		producerIDs int64
	}
	ids struct {
		mu          sync.Mutex // above meta's
		next, limit int64
	}
	ownersMu  sync.Mutex
	owners    map[string]*owner
	membersMu sync.Mutex
	members   map[string]*member

	checkpoints *checkpointer
	syncPoke    chan struct{} // holds one request to sync soon
	background  sync.WaitGroup
}

// lifetime lets operations in until the log is closed, and Close wait for those under way. Nothing that waits
// for records counts as one.
type lifetime struct {
	mu     sync.RWMutex
	closed bool
	done   chan struct{} // closed when Close begins
}

func (lt *lifetime) enter() error {
	lt.mu.RLock()
	if lt.closed {
		lt.mu.RUnlock()
		return ErrClosed
	}
	return nil
}

func (lt *lifetime) leave() { lt.mu.RUnlock() }

// end lets nobody in any more, and waits for those inside. It reports whether this call did it.
func (lt *lifetime) end() bool {
	lt.mu.Lock()
	defer lt.mu.Unlock()
	if lt.closed {
		return false
	}
	lt.closed = true
	close(lt.done)
	return true
}

// nowMs is the time in milliseconds since the epoch.
func (l *Log) nowMs() int64 { return l.clock.Now().UnixMilli() }

// Dir is the directory the log is in.
func (l *Log) Dir() string { return l.dir }

// topic returns the topic of that name; nil if there is none.
func (l *Log) topic(name string) *topic {
	l.topicsMu.RLock()
	defer l.topicsMu.RUnlock()
	return l.topics[name]
}

func (l *Log) partition(tp TopicPartition) (*Partition, error) {
	t := l.topic(tp.Topic)
	if t == nil || tp.Partition < 0 || int(tp.Partition) >= len(t.partitions) {
		return nil, fmt.Errorf("%w: %s", ErrUnknownTopic, tp)
	}
	return t.partitions[tp.Partition], nil
}

// Partition returns the partition of that name, or ErrUnknownTopic.
func (l *Log) Partition(tp TopicPartition) (*Partition, error) { return l.partition(tp) }

func (l *Log) partitionNumbered(n int32) *Partition {
	l.topicsMu.RLock()
	defer l.topicsMu.RUnlock()
	if n < 0 || int(n) >= len(l.partitions) {
		return nil
	}
	return l.partitions[n]
}

// Topics describes the named topics, in order.
func (l *Log) Topics(ctx context.Context, names []string) ([]TopicInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	infos := make([]TopicInfo, len(names))
	for i, name := range names {
		if t := l.topic(name); t != nil {
			infos[i] = t.info()
		} else {
			infos[i] = TopicInfo{Name: name, Err: fmt.Errorf("%w: %s", ErrUnknownTopic, name)}
		}
	}
	return infos, nil
}

// CreateTopics creates the topics that do not exist, and checks those that do. All are looked at before the
// first is created.
//
// Settings are Kafka's: segment.bytes, index.interval.bytes, max.message.bytes, compression.type and
// message.timestamp.type are acted upon; retention and compaction are checked and kept until they exist.
// Errors: ErrInvalidTopic, ErrInvalidPartitions, ErrInvalidConfig, ErrTopicMismatch.
func (l *Log) CreateTopics(ctx context.Context, specs []TopicSpec) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.life.enter(); err != nil {
		return err
	}
	defer l.life.leave()
	sequence, err := l.createTopics(specs)
	if err != nil {
		return err
	}
	return l.ack(sequence)
}

func (l *Log) createTopics(specs []TopicSpec) (sequence uint64, err error) {
	l.createMu.Lock()
	defer l.createMu.Unlock()
	planned := make(map[string]TopicSpec)
	var create []TopicSpec
	for _, spec := range specs {
		if err := checkSpec(spec); err != nil {
			return 0, err
		}
		if t := l.topic(spec.Name); t != nil {
			if err := t.same(spec); err != nil {
				return 0, err
			}
			continue
		}
		if p, ok := planned[spec.Name]; ok {
			if p.Partitions != spec.Partitions || !maps.Equal(p.Config, spec.Config) {
				return 0, fmt.Errorf("create topic %s: %w: it is asked for twice, with different settings", spec.Name, ErrTopicMismatch)
			}
			continue
		}
		planned[spec.Name] = spec
		create = append(create, spec)
	}
	for _, spec := range create {
		if sequence, err = l.createTopic(spec); err != nil {
			return 0, fmt.Errorf("create topic %s: %w", spec.Name, err)
		}
	}
	return sequence, nil
}

// createTopic makes the directories and segments first, and then the entry that makes them a topic. The caller
// holds createMu.
func (l *Log) createTopic(spec TopicSpec) (uint64, error) {
	m := metaEntry{
		kind:           metaTopic,
		name:           spec.Name,
		id:             uuid.New(),
		firstPartition: int32(len(l.partitions)),
		partitions:     spec.Partitions,
		config:         maps.Clone(spec.Config),
	}
	t, err := l.buildTopic(m)
	if err != nil {
		return 0, err
	}
	for _, p := range t.partitions {
		if err = p.create(); err != nil {
			break
		}
	}
	var sequence uint64
	if err == nil {
		fr := newFrame()
		defer fr.release()
		fr.reset(1)
		fr.addMeta(m)
		l.meta.mu.Lock()
		sequence, err = l.write(fr, nil, func() { l.addTopic(t) })
		l.meta.mu.Unlock()
	}
	if err != nil {
		for _, p := range t.partitions {
			err = errors.Join(err, p.discard())
		}
		return 0, err
	}
	return sequence, nil
}

// buildTopic makes the topic that a meta entry tells of, with partitions that have no segments yet.
func (l *Log) buildTopic(m metaEntry) (*topic, error) {
	settings, err := newTopicSettings(m.config, l.logger)
	if err != nil {
		return nil, err
	}
	t := &topic{name: m.name, id: m.id, config: m.config, settings: settings, first: m.firstPartition}
	for i := range m.partitions {
		t.partitions = append(t.partitions, &Partition{
			tp:       TopicPartition{m.name, i},
			number:   m.firstPartition + i,
			dir:      l.fs.PathJoin(l.dir, topicsDir, fmt.Sprintf("%s-%d", m.id, i)),
			fs:       l.fs,
			settings: settings,
			life:     &l.life,
		})
	}
	return t, nil
}

func (l *Log) addTopic(t *topic) {
	l.topicsMu.Lock()
	defer l.topicsMu.Unlock()
	l.topics[t.name] = t
	l.partitions = append(l.partitions, t.partitions...)
}

// Offsets tells where the partitions start and end now.
func (l *Log) Offsets(ctx context.Context, tps []TopicPartition) (map[TopicPartition]PartitionOffsets, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make(map[TopicPartition]PartitionOffsets, len(tps))
	for _, tp := range tps {
		p, err := l.partition(tp)
		if err != nil {
			return nil, err
		}
		out[tp] = p.Offsets()
	}
	return out, nil
}

// Open is NewReader.
func (l *Log) Open(ctx context.Context, tp TopicPartition, offset int64, iso Isolation) (Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.NewReader(tp, offset, iso)
}

// Capabilities: the directory lock makes this process the only writer, and transactions may stay open for
// good.
func (l *Log) Capabilities() Capabilities {
	return Capabilities{
		SoleWriter:     true,
		MaxRecordBytes: DefaultMaxMessageBytes - batchHeaderSize,
		StateRoot:      l.fs.PathJoin(l.dir, stateDir),
	}
}

var _ Broker = (*Log)(nil)

// syncSoon asks for a sync that nobody waits for.
func (l *Log) syncSoon() {
	if l.mode != SyncCommit {
		return // it comes by the clock, or not at all
	}
	select {
	case l.syncPoke <- struct{}{}:
	default:
	}
}

// runSync syncs by the clock, or when asked to.
func (l *Log) runSync() {
	var tick <-chan time.Time
	if l.mode.interval > 0 {
		t := time.NewTicker(l.mode.interval)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-tick:
		case <-l.syncPoke:
		case <-l.life.done:
			return
		}
		// A failure stops the log, and is told to everybody who writes.
		_ = l.journal.syncAll()
	}
}

// throttle holds an append back while the checkpoints have fallen far behind.
func (l *Log) throttle() {
	if l.journal.numRetired.Load() < maxRetiredFiles {
		return
	}
	l.checkpoints.await(func() bool { return l.journal.numRetired.Load() < maxRetiredFiles || l.journal.err() != nil })
}

// Close makes everything durable and closes the log. Readers and members that wait get ErrClosed; open
// transactions are aborted when the log is opened again. Only the first call does anything.
func (l *Log) Close() error {
	if !l.life.end() {
		return nil
	}
	l.background.Wait()
	err := l.journal.err()
	if err == nil {
		err = l.checkpoint(true)
	}
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() error {
	var err error
	if l.journal != nil {
		err = l.journal.close()
	}
	for _, p := range l.partitions {
		err = errors.Join(err, p.close())
	}
	return errors.Join(err, l.lock.Close())
}
