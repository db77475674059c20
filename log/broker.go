package log

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Broker is what a topology needs from a log. *Log is one, in process; package kafka has another, on
// a cluster. stream/brokertest checks an implementation against what is written here.
//
// All methods may be called concurrently.
type Broker interface {
	// Topics describes the named topics, in order. What is wrong with one topic (ErrUnknownTopic, ...) is
	// in its Err.
	Topics(ctx context.Context, names []string) ([]TopicInfo, error)

	// CreateTopics creates the topics that do not exist. One that exists is never changed: it is checked,
	// and a different number of partitions or a different value of a given setting is an error.
	CreateTopics(ctx context.Context, specs []TopicSpec) error

	// Offsets tells where the partitions start and end now.
	Offsets(ctx context.Context, tps []TopicPartition) (map[TopicPartition]PartitionOffsets, error)

	// Join makes the caller a member of spec.Group. There is one Member per application instance. Under
	// ExactlyOnce it fences whoever wrote for the group before: its open transaction is aborted when Join
	// returns.
	Join(ctx context.Context, spec MemberSpec) (Member, error)

	// Open starts reading one partition outside any group: restore, standbys, global tables. offset may be
	// Earliest or Latest.
	Open(ctx context.Context, tp TopicPartition, offset int64, iso Isolation) (Reader, error)

	Capabilities() Capabilities
}

// Special offsets, as in Kafka's ListOffsets.
const (
	Earliest int64 = -2 // the log start offset
	Latest   int64 = -1 // the high watermark; under ReadCommitted the last stable offset
)

// Capabilities is what a topology may rely on.
type Capabilities struct {
	// SoleWriter: there is one instance, and nobody else writes its internal topics. Records may then be
	// read within the epoch that wrote them (MemberSpec.SameEpoch).
	SoleWriter bool
	// MaxRecordBytes is the largest record (key, value, headers and framing, as RecordBytes counts them) that can be
	// appended to a topic that has no limit of its own.
	MaxRecordBytes int
	// TransactionTimeout is the longest an epoch may stay open; 0: no limit.
	TransactionTimeout time.Duration
	// StateRoot is a directory where an application may keep its state, in a folder of its own; "" if the
	// broker has none to offer.
	StateRoot string
}

// TopicSpec says how a topic is to be. Config has Kafka's names, such as "segment.bytes".
type TopicSpec struct {
	Name       string
	Partitions int32
	Config     map[string]string
}

// TopicInfo describes a topic.
type TopicInfo struct {
	Name       string
	ID         uuid.UUID
	Partitions int32
	Config     map[string]string
	// MaxRecordBytes is the largest record that can be appended to the topic, compressed or not; 0: that of
	// Capabilities.
	MaxRecordBytes int
	Err            error
}

// PartitionOffsets are a partition's bounds: records have offsets in [Start, HighWatermark). Readers under
// ReadCommitted see those below LastStable.
type PartitionOffsets struct {
	Start         int64
	LastStable    int64
	HighWatermark int64
	LeaderEpoch   int32
}

// Isolation says whether a reader sees records of transactions that are open or were aborted (KIP-98).
type Isolation int8

const (
	ReadCommitted Isolation = iota
	ReadUncommitted
)

// Guarantee is how often a record counts when something fails.
type Guarantee int8

const (
	ExactlyOnce Guarantee = iota
	AtLeastOnce
)

// String gives Kafka's names: "exactly_once_v2" and "at_least_once".
func (g Guarantee) String() string {
	if g == AtLeastOnce {
		return "at_least_once"
	}
	return "exactly_once_v2"
}

// MemberSpec says who joins, and what for.
type MemberSpec struct {
	// Group is the consumer group, and the owner of the transactions.
	Group     string
	Guarantee Guarantee
	// Topics are the input topics. All their partitions are shared out among the group's members.
	Topics []string
	// SameEpoch are those of Topics of which the records of this member's own open epoch are delivered
	// too, before it commits. Needs Capabilities.SoleWriter and ExactlyOnce. Offsets of such records are
	// committed in the epoch that wrote them, so both come to be or neither.
	SameEpoch []string
	// MaxFetchBytes bounds one Fetched, but for a single batch that is larger (KIP-74); 0: 1 MiB.
	MaxFetchBytes int
}

// Member is an instance's place in its group: what comes in, and the epochs that go out.
//
// Next and Done are called from one goroutine; everything else may be called concurrently with them.
type Member interface {
	// Next waits for the next event. With a ctx that is done it returns what is there already, and ctx's
	// error only if it would have to wait. Reading starts at the committed offset, or at the log's start
	// where there is none.
	Next(ctx context.Context) (Event, error)
	// Done gives the partitions of a Revoking back.
	Done(Revoking)

	// Pause stops Fetched events for the partitions, Resume lets them come again.
	Pause(tps []TopicPartition)
	Resume(tps []TopicPartition)
	// Seek sets where to read on. A Fetched from before it may still be the next event only if a call of
	// Next was under way. Must not overlap a call of Next.
	Seek(at map[TopicPartition]int64)

	// End is the offset after the last record that this member may read now; known is false if it is not
	// known. It is for choosing the next record by time (KIP-695).
	End(tp TopicPartition) (end int64, known bool)
	// Committed returns the group's committed offsets; partitions without one are absent. Offsets of a
	// transaction that is not yet decided are waited for.
	Committed(ctx context.Context, tps []TopicPartition) (map[TopicPartition]CommittedOffset, error)

	// Begin starts an epoch. There is one at a time.
	Begin() (Epoch, error)
	// Close leaves the group. An open epoch is aborted.
	Close() error
}

// CommittedOffset is the offset a group goes on from, and what it wants to remember with it.
type CommittedOffset struct {
	Offset   int64
	Metadata string // at most 4096 bytes (Kafka's offset.metadata.max.bytes)
}

// Epoch is one commit's worth of work: a transaction under ExactlyOnce. Under AtLeastOnce appends are
// plain and at once visible, and Abort undoes nothing.
//
// Append may be called concurrently, and not after Commit or Abort began.
type Epoch interface {
	// Append writes b's records to tp, in order, and takes b over whatever the result. base is the offset
	// of the first record, or -1 where it is not known yet. An error leaves the epoch only Abort.
	Append(tp TopicPartition, b *Block) (base int64, err error)
	// Commit makes the epoch's records and next, the offsets to go on from, durable and visible together.
	// When it returns OutcomeCommitted they are. It never leaves the outcome unknown.
	Commit(ctx context.Context, next map[TopicPartition]CommittedOffset) (Outcome, error)
	// Abort takes back everything that was appended.
	Abort(ctx context.Context) error
}

// Outcome is how an epoch ended.
type Outcome int8

const (
	OutcomeCommitted Outcome = iota + 1
	OutcomeAborted           // nothing of the epoch is visible; the member may begin another
	OutcomeFenced            // someone else writes for the group now: this member must stop
)

// Event is one of Assigned, Revoking, Lost and Fetched.
type Event interface{ event() }

// Assigned adds partitions. One follows whenever it is settled what the member has, after Revoking and Lost too,
// though it may add none.
type Assigned struct{ Partitions []TopicPartition }

// Revoking takes partitions away once Done is called with it: until then they may be committed.
type Revoking struct{ Partitions []TopicPartition }

// Lost says that partitions are gone: nothing of them can be committed any more.
type Lost struct{ Partitions []TopicPartition }

// Fetched brings records of one partition.
type Fetched struct {
	Partition TopicPartition
	Records   Cursor
}

func (Assigned) event() {}
func (Revoking) event() {}
func (Lost) event()     {}
func (Fetched) event()  {}

// Cursor decodes fetched records in place. It belongs to one goroutine.
type Cursor interface {
	// Next fills dst with the records that follow and returns how many; 0 with a nil error is the end. An
	// error is an error of the record after those returned, and stays.
	Next(dst []Record) (int, error)
	// End is the offset to go on from once all records were taken: it counts control batches and aborted
	// records at the end too.
	End() int64
	// Bytes is the memory the fetched batches hold.
	Bytes() int
}

// Reader reads one partition in offset order. It belongs to one goroutine.
type Reader interface {
	// Read fills dst and returns how many records there were. It waits until there is something to pass:
	// 0 with a nil error means that only control batches or aborted records were passed.
	Read(ctx context.Context, dst []Record) (int, error)
	// Position is the offset the next Read goes on from.
	Position() int64
	Close() error
}
