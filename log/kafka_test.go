package log

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Kafka's own classes made the files in testdata/kafka; Batches.java there says how. Uncompressed batches and
// markers must be theirs to the byte, compressed ones must say the same.

const (
	kafkaBaseOffset = 1000
	kafkaNow        = 1_700_000_000_000
)

var kafkaProducer = producerStamp{id: 4711, epoch: 3, sequence: 2147483600, transactional: true}

// kafkaRecords are the records that Batches.java writes.
func kafkaRecords(c Compression) []testRecord {
	rs := variedRecords(100)
	if c != CompressionNone { // more than one snappy and LZ4 block
		rs[99].value = bytes.Repeat([]byte("0123456789abcdef-"), 10_000)
	}
	return rs
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "kafka", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadBatchOfKafka(t *testing.T) {
	for _, c := range allCompressions {
		t.Run(c.String(), func(t *testing.T) {
			theirs := readTestdata(t, c.String()+".batch")
			h, err := parseBatchHeader(theirs)
			if err != nil {
				t.Fatal(err)
			}
			want := batchHeader{
				baseOffset: kafkaBaseOffset, length: int32(len(theirs) - 12), leaderEpoch: 7, magic: 2, crc: h.crc,
				attributes: int16(c) | attrTransactional, lastOffsetDelta: 99,
				baseTimestamp: kafkaNow - 50, maxTimestamp: kafkaNow + 50,
				producerID: 4711, producerEpoch: 3, baseSequence: 2147483600, recordCount: 100,
			}
			if h != want {
				t.Errorf("header %+v\nwant   %+v", h, want)
			}
			if !h.isTransactional() || h.isControl() || h.compression() != c || h.nextOffset() != 1100 || h.lastSequence() != 51 {
				t.Errorf("header says: transactional %v, control %v, %v, next offset %d, last sequence %d",
					h.isTransactional(), h.isControl(), h.compression(), h.nextOffset(), h.lastSequence())
			}
			rs := kafkaRecords(c)
			got, err := readAllRecords(newCursor(theirs, 0, 0, nil), 33)
			if err != nil {
				t.Fatal(err)
			}
			sameRecords(t, got, rs, kafkaBaseOffset)
			ours := mustEncode(t, rs, c, kafkaProducer, kafkaBaseOffset)
			if c == CompressionNone && !bytes.Equal(ours, theirs) {
				t.Errorf("batches differ:\nours   %x\ntheirs %x", ours, theirs)
			}
		})
	}
}

// With LogAppendTime every record has the batch's max timestamp.
func TestReadLogAppendTimeOfKafka(t *testing.T) {
	want := variedRecords(100)
	for i := range want {
		want[i].timestamp = kafkaNow + 5000
	}
	got, err := readAllRecords(newCursor(readTestdata(t, "append-time.batch"), 0, 0, nil), 100)
	if err != nil {
		t.Fatal(err)
	}
	sameRecords(t, got, want, kafkaBaseOffset)
}

func TestMarkerOfKafka(t *testing.T) {
	for _, commit := range []bool{true, false} {
		name := map[bool]string{true: "commit.batch", false: "abort.batch"}[commit]
		theirs := readTestdata(t, name)
		ours := appendMarker([]byte("before"), 4711, 3, commit, 12, kafkaNow)[6:]
		setBatchPlace(ours, kafkaBaseOffset, 7)
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s: markers differ:\nours   %x\ntheirs %x", name, ours, theirs)
		}
		if got, epoch, err := parseMarker(theirs); got != commit || epoch != 12 || err != nil {
			t.Errorf("%s: commit %v, coordinator epoch %d, error %v", name, got, epoch, err)
		}
	}
}

// TestKafkaReadsBatch has Kafka's classes read what we write. MOLDAU_KAFKA_JARS names a directory with
// kafka-clients and what it depends on; without it the test is skipped.
func TestKafkaReadsBatch(t *testing.T) {
	jars := os.Getenv("MOLDAU_KAFKA_JARS")
	if jars == "" {
		t.Skip("MOLDAU_KAFKA_JARS is not set")
	}
	for _, c := range allCompressions {
		t.Run(c.String(), func(t *testing.T) {
			rs := kafkaRecords(c)
			b := mustEncode(t, rs, c, kafkaProducer, kafkaBaseOffset)
			marker := appendMarker(nil, 4711, 3, true, 12, kafkaNow)
			setBatchPlace(marker, 1100, 7)

			var want strings.Builder
			fmt.Fprintf(&want, "batch 1000-1099 %v epoch 7 producer 4711/3 sequence 2147483600-51 max %d transactional true control false\n", c, kafkaNow+50)
			for i, r := range rs {
				fmt.Fprintf(&want, "record %d %d %s %s", 1000+i, r.timestamp, hexOrNull(r.key), hexOrNull(r.value))
				for _, h := range r.headers {
					fmt.Fprintf(&want, " %s=%s", hexOrNull([]byte(h.Key)), hexOrNull(h.Value))
				}
				want.WriteByte('\n')
			}
			fmt.Fprintf(&want, "batch 1100-1100 none epoch 7 producer 4711/3 sequence -1--1 max %d transactional true control true\n", int64(kafkaNow))
			fmt.Fprintf(&want, "record 1100 %d [00000001] [00000000000c]\n", int64(kafkaNow))

			if got := kafkaReads(t, jars, append(b, marker...)); got != want.String() {
				t.Errorf("Kafka reads\n%s\nwant\n%s", got, &want)
			}
		})
	}
}

// kafkaReads is what Batches.java prints for the batches in b.
func kafkaReads(t *testing.T, jars string, b []byte) string {
	file := filepath.Join(t.TempDir(), "batches")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "java", "-cp", filepath.Join(jars, "*"),
		filepath.Join("testdata", "kafka", "Batches.java"), "read", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	return string(out)
}

func hexOrNull(b []byte) string {
	if b == nil {
		return "null"
	}
	return "[" + hex.EncodeToString(b) + "]"
}
