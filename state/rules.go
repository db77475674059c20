package state

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ChangelogFacts is what a log says about a changelog partition when a store is opened. Unset fields make a
// store unusable rather than wrong.
type ChangelogFacts struct {
	TopicID     uuid.UUID
	LeaderEpoch int32 // now
	Start, End  int64 // the log start offset and the high watermark

	// EpochEnd is where the leader epoch of the stored position ended, as in Kafka's OffsetForLeaderEpoch.
	// It only counts if LeaderEpoch has moved on since; -1 if the log cannot tell.
	EpochEnd int64

	// TombstonesFrom is the offset from which on compaction has dropped no tombstone: 0 if it has dropped
	// none, -1 if the log cannot tell.
	TombstonesFrom int64
	// TombstoneRetention is how long the log keeps tombstones (delete.retention.ms). It is used, with Now and
	// the position's wall time, if TombstonesFrom is -1.
	TombstoneRetention time.Duration
	Now                time.Time
}

// Usable tells whether the content that is stored with that position can be brought up to date by reading
// the changelog from the position on; otherwise the store must be discarded and restored from the log's
// start. reason says which rule failed, for people.
//
// A store with a position from another history of the topic, or of which a delete is no longer to be found
// in the log, would come back with wrong values in silence.
func Usable(stored Position, ok bool, facts ChangelogFacts) (usable bool, reason string) {
	switch {
	case !ok:
		return false, "nothing is stored"
	case stored.TopicID != facts.TopicID:
		return false, fmt.Sprintf("the changelog is another topic: id %s, stored %s", facts.TopicID, stored.TopicID)
	case stored.LeaderEpoch > facts.LeaderEpoch:
		return false, fmt.Sprintf("the changelog is older than the store: leader epoch %d, stored %d", facts.LeaderEpoch, stored.LeaderEpoch)
	case stored.LeaderEpoch < facts.LeaderEpoch && facts.EpochEnd < 0:
		return false, fmt.Sprintf("the changelog cannot tell where leader epoch %d ended", stored.LeaderEpoch)
	case stored.LeaderEpoch < facts.LeaderEpoch && stored.Offset > facts.EpochEnd:
		return false, fmt.Sprintf("the changelog was cut: leader epoch %d ended at %d, stored %d", stored.LeaderEpoch, facts.EpochEnd, stored.Offset)
	case stored.Offset > facts.End:
		return false, fmt.Sprintf("the changelog ends at %d, before the stored offset %d", facts.End, stored.Offset)
	case stored.Offset < facts.Start:
		return false, fmt.Sprintf("the changelog starts at %d, after the stored offset %d", facts.Start, stored.Offset)
	case facts.TombstonesFrom > stored.Offset:
		return false, fmt.Sprintf("compaction has dropped deletes before %d, after the stored offset %d", facts.TombstonesFrom, stored.Offset)
	}
	if facts.TombstonesFrom < 0 {
		// Half, for clocks that are wrong and compactions that run early. A position from the future says as
		// little as an old one.
		if age := facts.Now.Sub(stored.WallTime).Abs(); age >= facts.TombstoneRetention/2 {
			return false, fmt.Sprintf("deletes may be gone: the position is %s old, the changelog keeps them for %s", age.Round(time.Second), facts.TombstoneRetention)
		}
	}
	return true, ""
}
