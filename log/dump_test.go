package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/benchmarks/peers"
)

// Kafka's own DumpLogSegments reads what we write, and finds nothing amiss.

// dumpedTopic is a topic with what the tool is to print of its records, without its markers.
type dumpedTopic struct {
	dir     string
	records []string
	aborts  []string
}

// writeForDump writes topics with everything that our segments can have, several segments each.
func writeForDump(t *testing.T) map[string]*dumpedTopic {
	t.Helper()
	ctx := testContext(t)
	clock := new(handClock)
	clock.ms.Store(kafkaNow)
	// A checkpoint in a segment's midst leaves its mark in the indexes.
	l, err := Open(filepath.Join(t.TempDir(), "log"), Options{Logger: quiet, Clock: clock, JournalBytes: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	topics := make(map[string]*dumpedTopic)
	create := func(topic string, config map[string]string) {
		config["segment.bytes"], config["index.interval.bytes"] = "10000", "500"
		mustCreate(t, l, TopicSpec{Name: topic, Partitions: 1, Config: config})
		p, err := l.Partition(TopicPartition{topic, 0})
		if err != nil {
			t.Fatal(err)
		}
		topics[topic] = &dumpedTopic{dir: p.dir}
	}
	// write appends with add, in batches of 10, and takes note of what is to be read.
	write := func(topic string, rs []testRecord, sequence int, timeType string, add func(tp TopicPartition, b *Block) (int64, error)) {
		t.Helper()
		for chunk := range slices.Chunk(rs, 10) {
			clock.ms.Add(7)
			base, err := add(TopicPartition{topic, 0}, blockOf(chunk))
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range chunk {
				if timeType == "LogAppendTime" {
					r.timestamp = clock.ms.Load()
				}
				topics[topic].records = append(topics[topic].records, dumpedRecord(base+int64(i), timeType, sequence, r))
				sequence++
			}
		}
	}
	for _, c := range allCompressions {
		create(c.String(), map[string]string{})
		p, err := l.NewProducer(ProducerSpec{Compression: c})
		if err != nil {
			t.Fatal(err)
		}
		write(c.String(), variedRecords(1000), 0, "CreateTime", func(tp TopicPartition, b *Block) (int64, error) {
			return p.Append(ctx, tp, b)
		})
	}
	create("append-time", map[string]string{"message.timestamp.type": "LogAppendTime", "compression.type": "lz4"})
	p := mustProducer(t, l, "")
	write("append-time", variedRecords(1000), 0, "LogAppendTime", func(tp TopicPartition, b *Block) (int64, error) {
		return p.Append(ctx, tp, b)
	})
	create("transactions", map[string]string{})
	one, two := mustProducer(t, l, "one"), mustProducer(t, l, "two")
	rs := variedRecords(1200)
	for i := range rs {
		rs[i].timestamp += int64(20 * i)
	}
	for i, chunk := range slices.Collect(slices.Chunk(rs, 100)) {
		x, y := mustBegin(t, one), mustBegin(t, two)
		write("transactions", chunk[:50], 0, "CreateTime", x.Append)
		write("transactions", chunk[50:], 0, "CreateTime", y.Append)
		for j, end := range []*Txn{x, y} {
			if (i+j)%3 == 2 {
				if err := end.Abort(ctx); err != nil {
					t.Fatal(err)
				}
			} else if err := end.Commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	part, _ := l.Partition(TopicPartition{"transactions", 0})
	aborted, err := part.aborted(0, part.end)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range aborted {
		topics["transactions"].aborts = append(topics["transactions"].aborts, fmt.Sprintf("version: 0 producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d",
			a.ProducerID, a.FirstOffset, a.LastOffset, a.lastStable))
	}
	if len(aborted) < 6 {
		t.Fatalf("%d transactions were aborted", len(aborted))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return topics
}

// dumpedRecord is a record as DumpLogSegments prints it.
func dumpedRecord(offset int64, timeType string, sequence int, r testRecord) string {
	size := func(b []byte) int {
		if b == nil {
			return -1
		}
		return len(b)
	}
	var keys []string
	for _, h := range r.headers {
		keys = append(keys, h.Key)
	}
	s := fmt.Sprintf("| offset: %d %s: %d keySize: %d valueSize: %d sequence: %d headerKeys: [%s]",
		offset, timeType, r.timestamp, size(r.key), size(r.value), sequence, strings.Join(keys, ","))
	if r.key != nil {
		s += " key: " + string(r.key)
	}
	if r.value != nil {
		s += " payload: " + string(r.value)
	}
	return s
}

// dump runs the tool on files and returns what it printed.
func dump(t *testing.T, paths []string, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, err := peers.Tool(ctx, "DumpLogSegments", append(flags, "--files", strings.Join(paths, ","))...)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(&stderr, "\nexception: it ended with %v\n", err)
	}
	return stdout.String() + stderr.String()
}

// complaints are the lines that say that something is wrong. Our records have none of these words. That offset
// -1 is followed by another the tool (4.3.1) says of every segment that does not start at 0, of Kafka's own too.
func complaints(out string) []string {
	return complaint.FindAllString(out, -1)
}

var complaint = regexp.MustCompile(`(?i).*(mismatch|corrupt|invalid|isvalid: false|exception|error|not found|out of order|ignoring|[^-\d]\d+ is followed by).*`)

// abortLines are the entries of .txnindex files as they were printed.
func abortLines(out string) []string {
	return regexp.MustCompile(`(?m)^version: .*$`).FindAllString(out, -1)
}

// segmentFiles are the files of a partition with the given endings.
func segmentFiles(t *testing.T, dir string, suffixes ...string) (paths []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains(suffixes, filepath.Ext(e.Name())) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

func TestKafkaDumpsOurSegments(t *testing.T) {
	needPeers(t)
	topics := writeForDump(t)
	var indexes, files []string
	for name, topic := range topics {
		if n := len(segmentFiles(t, topic.dir, logSuffix)); n < 2 {
			t.Fatalf("%s has %d segments", name, n)
		}
		indexes = append(indexes, segmentFiles(t, topic.dir, indexSuffix, timeSuffix)...)
		files = append(files, segmentFiles(t, topic.dir, segmentSuffixes...)...)
	}
	all := dump(t, files, "--deep-iteration", "--print-data-log")
	if bad := complaints(all); len(bad) > 0 {
		t.Errorf("Kafka says %q", bad)
	}
	printed := make(map[string]string) // by directory
	for _, section := range strings.Split(all, "Dumping ")[1:] {
		path, _, _ := strings.Cut(section, "\n")
		printed[filepath.Dir(path)] += section
	}
	for name, topic := range topics {
		out := printed[topic.dir]
		var records []string
		markers := 0
		for line := range strings.Lines(out) {
			line = strings.TrimSuffix(line, "\n")
			switch {
			case strings.Contains(line, "endTxnMarker: "):
				markers++
			case strings.HasPrefix(line, "| "):
				records = append(records, line)
			}
		}
		if !slices.Equal(records, topic.records) {
			i := 0
			for i < min(len(records), len(topic.records)) && records[i] == topic.records[i] {
				i++
			}
			t.Errorf("%s: Kafka reads %d records, want %d; from record %d on they differ:\n%s\n%s", name, len(records), len(topic.records), i,
				append(records, "")[i], append(topic.records, "")[i])
		}
		if aborts := abortLines(out); !slices.Equal(aborts, topic.aborts) {
			t.Errorf("%s: Kafka reads aborts %q, want %q", name, aborts, topic.aborts)
		}
		if want := 24; name == "transactions" && markers != want || name != "transactions" && markers > 0 {
			t.Errorf("%s: Kafka reads %d markers", name, markers)
		}
	}
	for _, flag := range []string{"--index-sanity-check", "--verify-index-only"} {
		out := dump(t, indexes, flag)
		if bad := complaints(out); len(bad) > 0 {
			t.Errorf("%s: Kafka says %q", flag, bad)
		}
		passed, empty := strings.Count(out, "passed sanity check"), strings.Count(out, "is empty")
		if flag == "--index-sanity-check" && (passed+empty != len(indexes) || passed < len(indexes)/2) {
			t.Errorf("of %d indexes %d pass Kafka's check, and %d are empty:\n%.4000s", len(indexes), passed, empty, out)
		}
	}
	if !t.Failed() {
		dumpFaults(t, topics["transactions"])
	}
}

// dumpFaults changes files one at a time: each time the tool must say so, or what it says of others is nothing
// worth.
func dumpFaults(t *testing.T, topic *dumpedTopic) {
	t.Helper()
	largest := func(suffix string) string {
		return slices.MaxFunc(segmentFiles(t, topic.dir, suffix), func(a, b string) int {
			x, xerr := os.Stat(a)
			y, yerr := os.Stat(b)
			if err := errors.Join(xerr, yerr); err != nil {
				t.Fatal(err)
			}
			return int(x.Size() - y.Size())
		})
	}
	shift := func(at, by int) func(b []byte) []byte {
		return func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:])+uint32(by))
			return b
		}
	}
	for _, c := range []struct {
		what, suffix string
		change       func(b []byte) []byte
		flags        []string
	}{
		{"an offset in the index", indexSuffix, shift(indexEntrySize, 1), []string{"--verify-index-only"}},
		{"a time in the time index", timeSuffix, shift(timeEntrySize+4, -1), []string{"--verify-index-only"}},
		{"an offset in the time index", timeSuffix, shift(timeEntrySize+8, 1), []string{"--verify-index-only"}},
		{"a part of an entry in the index", indexSuffix, func(b []byte) []byte { return b[:len(b)-1] }, []string{"--index-sanity-check"}},
		{"a part of an entry in the time index", timeSuffix, func(b []byte) []byte { return b[:len(b)-1] }, []string{"--index-sanity-check"}},
		{"a byte in a batch", logSuffix, func(b []byte) []byte { b[500] ^= 1; return b }, []string{"--deep-iteration"}},
		{"an offset in the index of aborted transactions", abortSuffix, shift(14, 1), nil},
	} {
		path := largest(c.suffix)
		intact, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, c.change(slices.Clone(intact)), 0o600); err != nil {
			t.Fatal(err)
		}
		out := dump(t, []string{path}, c.flags...)
		said := complaints(out)
		if c.suffix == abortSuffix { // the tool prints what is there, and it is for us to compare
			said = slices.DeleteFunc(abortLines(out), func(line string) bool { return slices.Contains(topic.aborts, line) })
		}
		if len(said) == 0 {
			t.Errorf("%s is changed, and Kafka says nothing of it:\n%.2000s", c.what, out)
		}
		if err := os.WriteFile(path, intact, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
