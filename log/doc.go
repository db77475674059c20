// Package log is a partitioned, durable log of records in one process: topics, idempotent and
// transactional producers, consumer offsets and readers, on files in Kafka's own formats.
//
// It shares its name with the standard library's logger, which no file of this project imports, and
// exports no name that one has, so that a wrong import never compiles.
//
// # An append's way
//
//	Producer.Append, Txn.Append (producer.go, txn.go)
//	  lane.append (append.go): the block becomes batches (batch.go), stamped with producer and sequence
//	  Partition.place (partition.go): the batches get offsets and are written to the segment (segment.go)
//	  journal.append (journal.go): one frame (frame.go) with all of it; from here on it happened
//	  Partition.settle: segment, index, producer state (producerstate.go) take note
//	  journal.reveal: once the frame counts as synced, high watermark and last stable offset move, and
//	  readers are woken (reader.go, member.go), who fetch (fetch.go) and decode (cursor.go)
//
// The segment is written before the journal, and what is in it counts only once the journal has the frame:
// an append that fails at any point leaves bytes that nobody owns, and nothing to undo.
//
// A commit takes the same way with the markers of all its partitions and its offsets (offsets.go) in one
// frame; package txn says which. When a journal file is full, a checkpoint (checkpoint.go) syncs the
// segments and frees it. Open (open.go) reads the checkpoint and replays the frames after it (recover.go).
//
// # Locks
//
// They are taken in this order, and never the other way round; each stands above what it guards:
//
//	lifetime (shared)     by everything that uses files; Close has it alone
//	Txn                   a transaction's appends share it, its end has it alone
//	membersMu, Producer   who is a group's member; a producer's lanes and its open transaction
//	lane                  one producer in one partition, while a batch is encoded and written
//	ownersMu, owner       a transactional id and its state machine
//	producer ids          which are handed out
//	createMu              topics are created, or a checkpoint's snapshot is taken
//	partitions            in the order of their numbers
//	meta                  topics, owners and producer ids as the journal has them
//	journal.mu            one frame after the other
//	journal.syncMu        who waits for a sync, and what a sync reveals
package log
