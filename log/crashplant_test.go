package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// This file plants faults that the crash tests are there to find. Each must be found: an oracle that no fault can
// make fail says nothing.

// skipping does not do operations of a kind on paths that contain a string, and says that it did.
func skipping(kind crashfs.Kind, part string) func(fs *crashfs.FS, l func() *Log) {
	return func(fs *crashfs.FS, _ func() *Log) {
		fs.Inject(func(op crashfs.Op) crashfs.Fault {
			if op.Kind == kind && strings.Contains(op.Path, part) {
				return crashfs.Fault{Effect: crashfs.Skip}
			}
			return crashfs.Fault{}
		})
	}
}

// TestPlantedCrashFaults plants a fault in the file system, in a recovered log, or in how transactions end.
func TestPlantedCrashFaults(t *testing.T) {
	for _, plant := range []struct {
		name string
		spec crashSpec
	}{
		{"the journal is not synced", crashSpec{inject: skipping(crashfs.Sync, "/journal/")}},
		{"segments are not synced before the checkpoint", crashSpec{inject: skipping(crashfs.Sync, logSuffix)}},
		{"names of journal files are not synced", crashSpec{inject: skipping(crashfs.SyncDir, "/journal")}},
		{"names of segments are not synced", crashSpec{inject: skipping(crashfs.SyncDir, "/topics/")}},
		{"the checkpoint is not synced before its rename", crashSpec{inject: skipping(crashfs.Sync, tempSuffix)}},
		{"the checkpoint's rename is not synced", crashSpec{inject: skipping(crashfs.SyncDir, "/meta")}},
		{"the high watermark moves before the sync", crashSpec{workers: 3, inject: func(fs *crashfs.FS, l func() *Log) {
			fs.Inject(func(op crashfs.Op) crashfs.Fault {
				if open := l(); open != nil && op.Kind == crashfs.Write {
					open.topicsMu.RLock()
					for _, p := range open.partitions {
						p.highWatermark.Store(p.appended.Load())
					}
					open.topicsMu.RUnlock()
				}
				return crashfs.Fault{}
			})
		}}},
		{"the last stable offset is one too low", crashSpec{mutate: func(l *Log) {
			for _, p := range l.partitions {
				p.lastStable.Add(-1)
			}
		}}},
		{"sequences are forgotten", crashSpec{mutate: func(l *Log) {
			for _, p := range l.partitions {
				p.mu.Lock()
				clear(p.producers.states)
				p.mu.Unlock()
			}
		}}},
		{"aborted transactions are forgotten", crashSpec{mutate: func(l *Log) {
			for _, p := range l.partitions {
				for _, s := range *p.segments.Load() {
					s.mu.Lock()
					s.aborts.rebuild(nil)
					s.mu.Unlock()
				}
			}
		}}},
		{"offsets are committed before the output", crashSpec{planted: func(w *crashWorker, x *Txn, i int, _ []TopicPartition) error {
			if offsets := w.owners[i].offsets; len(offsets) > 0 {
				if err := w.l.CommitOffsets(w.group(), committedOffsets(offsets)); err != nil {
					return err
				}
			}
			return x.Commit(context.Background())
		}}},
		{"the output is committed before the offsets", crashSpec{planted: func(w *crashWorker, x *Txn, i int, _ []TopicPartition) error {
			x.offsets = nil
			if err := x.Commit(context.Background()); err != nil || len(w.owners[i].offsets) == 0 {
				return err
			}
			return w.l.CommitOffsets(w.group(), committedOffsets(w.owners[i].offsets))
		}}},
	} {
		t.Run(plant.name, func(t *testing.T) {
			s := plant.spec
			s.steps, s.every, s.parallel, s.workers = 60, 1, 2, max(s.workers, 1)
			for s.seed = 1; s.seed <= 10; s.seed++ {
				if err := s.run(&crashStats{}); err != nil {
					t.Logf("found with seed %d: %.200v", s.seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}

// A byte that is changed with its CRC is what a log that checks no CRC would serve: the oracle knows the records.
func TestPlantedUncheckedCRC(t *testing.T) {
	im, err := newImage(2, true)
	if err != nil {
		t.Fatal(err)
	}
	planted := 0
	for _, name := range im.fs.Files(imageDir + "/topics") {
		b, err := im.fs.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, logSuffix) || len(b) < batchHeaderSize {
			continue
		}
		h, err := parseBatchHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:h.size()]
		at := bytes.Index(b[batchHeaderSize:], []byte("0/"))
		if at < 0 {
			continue // compressed, or a marker
		}
		b[batchHeaderSize+at] = '9'
		binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[crcAt+4:], castagnoli))
		fs := im.fs.Clone(100, nil)
		if err := fs.Overwrite(name, 0, b); err != nil {
			t.Fatal(err)
		}
		planted++
		d := damage{kind: "planted", path: name, to: int64(len(b))}
		if outcome, err := im.judge(fs, d); err == nil || !strings.Contains(err.Error(), "in silence") {
			t.Errorf("%v is %s, %v", d, outcome, err)
		}
	}
	if planted == 0 {
		t.Error("nothing was planted")
	}
}
