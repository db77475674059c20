package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// withSum appends the sum that a checkpoint ends with.
func withSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(b), crc32.Checksum(b, castagnoli))
}

func TestConfigIsChecked(t *testing.T) {
	good := []map[string]string{
		nil,
		{"segment.bytes": "14"}, {"segment.bytes": "2147483647"},
		{"index.interval.bytes": "0"}, {"max.message.bytes": "61"},
		{"compression.type": "producer"}, {"compression.type": "uncompressed"}, {"compression.type": "zstd"},
		{"cleanup.policy": "compact"}, {"cleanup.policy": "compact,delete"},
		{"retention.ms": "-1"}, {"retention.bytes": "-1"}, {"delete.retention.ms": "0"},
		{"min.compaction.lag.ms": "1"}, {"min.cleanable.dirty.ratio": "0.01"},
		{"message.timestamp.type": "LogAppendTime"},
	}
	for _, c := range good {
		if err := checkConfig(c); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	bad := []map[string]string{
		{"segment.bytes": "13"}, {"segment.bytes": "2147483648"}, {"segment.bytes": "1e6"}, {"segment.bytes": ""},
		{"index.interval.bytes": "-1"}, {"max.message.bytes": "0"},
		{"compression.type": "brotli"}, {"cleanup.policy": "keep"}, {"retention.ms": "-2"}, {"retention.ms": "a week"},
		{"min.cleanable.dirty.ratio": "1.1"}, {"min.cleanable.dirty.ratio": "NaN"}, {"message.timestamp.type": "Mine"},
		{"segment.bites": "100"},
	}
	for _, c := range bad {
		err := checkConfig(c)
		for name := range c {
			if !errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), name) {
				t.Errorf("%v: %v, want an error that names it", c, err)
			}
		}
	}
	// A default that is out of range would be a setting that cannot be given.
	for _, s := range settings {
		if err := s.check(s.fallback); err != nil {
			t.Errorf("the default of %s: %v", s.name, err)
		}
	}
}

// The topic's compression is that of its batches, whatever the producer has chosen; "producer" leaves it to it.
func TestCompressionType(t *testing.T) {
	ctx := testContext(t)
	l := openTest(t, "log", Options{FS: vfs.NewMem(), Sync: SyncOS})
	p, err := l.NewProducer(ProducerSpec{Compression: CompressionGzip})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("compress me ", 100)
	for setting, want := range map[string]Compression{
		"producer": CompressionGzip, "none": CompressionNone, "uncompressed": CompressionNone, "snappy": CompressionSnappy,
		"lz4": CompressionLZ4, "zstd": CompressionZstd, "gzip": CompressionGzip,
	} {
		mustCreate(t, l, TopicSpec{Name: setting, Partitions: 1, Config: map[string]string{"compression.type": setting}})
		tp := TopicPartition{setting, 0}
		if _, err := p.Append(ctx, tp, block(value, value)); err != nil {
			t.Fatal(err)
		}
		part, _ := l.Partition(tp)
		b, err := part.Fetch(0, 1<<20, ReadCommitted)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := parseBatchHeader(b.Buf); err != nil || h.compression() != want {
			t.Errorf("compression.type=%s gives %v, %v", setting, h.compression(), err)
		}
		wantValues(t, l, tp, ReadCommitted, value, value)
	}
}

func TestRecordTooLarge(t *testing.T) {
	ctx := testContext(t)
	l := openTest(t, "log", Options{FS: vfs.NewMem(), Sync: SyncOS})
	mustCreate(t, l, TopicSpec{Name: "small", Partitions: 1, Config: map[string]string{"max.message.bytes": "200"}})
	tp := TopicPartition{"small", 0}
	p := mustProducer(t, l, "")
	fits := strings.Repeat("x", 200-batchHeaderSize-9)
	_, err := p.Append(ctx, tp, block(fits, fits+"x", fits))
	if !errors.Is(err, ErrRecordTooLarge) || !strings.Contains(err.Error(), tp.String()) || !strings.Contains(err.Error(), "201") {
		t.Fatalf("one byte too many: %v, want ErrRecordTooLarge with partition and size", err)
	}
	wantValues(t, l, tp, ReadCommitted)
	if base, err := p.Append(ctx, tp, block(fits, fits, fits)); err != nil || base != 0 {
		t.Fatal(base, err)
	}
	if base, err := p.Append(ctx, tp, NewBlock()); err != nil || base != 3 {
		t.Fatalf("an empty block: base %d, %v", base, err)
	}
	wantValues(t, l, tp, ReadCommitted, fits, fits, fits)
}

// Offsets are in __consumer_offsets as Kafka has them.
func TestOffsetsAreKafkas(t *testing.T) {
	l := openTest(t, "log", Options{FS: vfs.NewMem()})
	mustCreate(t, l, TopicSpec{Name: "in", Partitions: 2})
	want := map[TopicPartition]CommittedOffset{{"in", 0}: {Offset: 5, Metadata: "hello"}, {"in", 1}: {Offset: 6}}
	if err := l.CommitOffsets("g", want); err != nil {
		t.Fatal(err)
	}
	r, err := l.NewReader(TopicPartition{offsetsTopic, 0}, Earliest, ReadCommitted)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records := make([]Record, 10)
	n, err := r.Read(testContext(t), records)
	if err != nil || n != 2 {
		t.Fatalf("%d records, %v", n, err)
	}
	for i, rec := range records[:n] {
		var key kmsg.OffsetCommitKey
		var value kmsg.OffsetCommitValue
		if err := errors.Join(key.ReadFrom(rec.Key), value.ReadFrom(rec.Value)); err != nil {
			t.Fatal(err)
		}
		tp := TopicPartition{key.Topic, key.Partition}
		if key.Version != 1 || key.Group != "g" || tp.Partition != int32(i) {
			t.Errorf("key %d is %+v", i, key)
		}
		if value.Version != 3 || value.Offset != want[tp].Offset || value.Metadata != want[tp].Metadata || value.LeaderEpoch != -1 || value.CommitTimestamp == 0 {
			t.Errorf("value %d is %+v", i, value)
		}
	}
	for what, bad := range map[string]map[TopicPartition]CommittedOffset{
		"an unknown topic":     {{"none", 0}: {}},
		"an unknown partition": {{"in", 2}: {}},
		"a negative offset":    {{"in", 0}: {Offset: -1}},
		"too much metadata":    {{"in", 0}: {Metadata: strings.Repeat("m", maxOffsetMetadata+1)}},
	} {
		if err := l.CommitOffsets("g", bad); err == nil {
			t.Errorf("%s is no error", what)
		}
	}
	if err := l.CommitOffsets("", want); err == nil {
		t.Error("a group without a name is no error")
	}
}
