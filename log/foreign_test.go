package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/benchmarks/peers/peerstest"
)

// A real broker's segments against ours. The same batches, appended here, must make the same files: this holds
// where segments end, what the indexes have, which transactions were aborted, and what is known of producers.

const (
	sentCount = 1000 // to each topic
	sentChunk = 50   // a transaction's
	sentOpen  = 10   // the last one's, which is left open
)

// needPeers skips a test where Kafka cannot run, and where it would take minutes for nothing: the bytes are the same
// under the race detector.
func needPeers(t *testing.T) {
	t.Helper()
	if testing.Short() || raceEnabled() {
		t.Skip("compares files with Kafka's, which takes a while")
	}
	if err := peers.Available(); err != nil {
		if os.Getenv("MOLDAU_PEERS") == "require" {
			t.Fatalf("MOLDAU_PEERS=require: %v", err)
		}
		t.Skip(err)
	}
}

// sentTopics are the topics of Send.java.
func sentTopics() []string {
	topics := []string{"plain-none", "append-time-none"}
	for _, c := range allCompressions {
		topics = append(topics, "idempotent-"+c.String(), "transactional-"+c.String())
	}
	return topics
}

// sentRecords are the records that Send.java sends to the topic, in order.
func sentRecords(topic string) []testRecord {
	n := sentCount
	if strings.HasPrefix(topic, "transactional") {
		n += sentOpen
	}
	rs := variedRecords(n)
	for i := range rs {
		rs[i].timestamp += int64(20 * i)
	}
	return rs
}

// sentCommitted says of record i of a topic with transactions whether readers under ReadCommitted have it.
func sentCommitted(i int) bool { return i < sentCount && i/sentChunk%3 != 2 }

// Small, so that there are many of them. Kafka takes so small ones only by a setting that is for tests.
const (
	sentSegmentBytes  = 20_000
	sentIndexInterval = 1000
)

// createAtKafka creates topics of one partition at the broker.
func createAtKafka(ctx context.Context, cl *kgo.Client, topics []string) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	for _, topic := range topics {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, 1, 1
		config := map[string]string{
			"internal.segment.bytes": fmt.Sprint(sentSegmentBytes), "index.interval.bytes": fmt.Sprint(sentIndexInterval), "retention.ms": "-1",
			// The broker's markers have the time of day, which is years after that of the records.
			"segment.ms": fmt.Sprint(math.MaxInt64),
		}
		if strings.HasPrefix(topic, "append-time") {
			config["message.timestamp.type"] = "LogAppendTime"
		}
		for _, k := range slices.Sorted(maps.Keys(config)) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = k, kmsg.StringPtr(config[k])
			rt.Configs = append(rt.Configs, c)
		}
		req.Topics = append(req.Topics, rt)
	}
	req.TimeoutMillis = 30_000
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, rt := range resp.Topics {
		if rt.ErrorCode != 0 {
			return fmt.Errorf("create %s: error %d, %v", rt.Topic, rt.ErrorCode, rt.ErrorMessage)
		}
	}
	return nil
}

// askedTimes are times to ask for: the special ones, and some around the records'.
func askedTimes() []int64 {
	rs := sentRecords("transactional")
	times := []int64{LatestTime, EarliestTime, MaxTime, 0, 1 << 50}
	for i := 0; i < len(rs); i += 23 {
		times = append(times, rs[i].timestamp, rs[i].timestamp+1)
	}
	last := rs[len(rs)-1].timestamp
	return append(times, rs[0].timestamp-1, last-60, last-1, last, last+60)
}

// asked is a question that ListOffsets answers.
type asked struct {
	topic     string
	iso       Isolation
	timestamp int64
}

// askTimes has the broker answer for each topic and time; what it does not find is absent.
func askTimes(ctx context.Context, cl *kgo.Client, topics []string, times []int64) (map[asked]TimestampOffset, error) {
	answers := make(map[asked]TimestampOffset)
	for iso, level := range map[Isolation]int8{ReadUncommitted: 0, ReadCommitted: 1} {
		for _, ts := range times {
			req := kmsg.NewPtrListOffsetsRequest()
			req.ReplicaID, req.IsolationLevel = -1, level
			for _, topic := range topics {
				rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
				rp.Timestamp = ts
				rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
				req.Topics = append(req.Topics, rt)
			}
			resp, err := req.RequestWith(ctx, cl)
			if err != nil {
				return nil, err
			}
			for _, rt := range resp.Topics {
				rp := rt.Partitions[0]
				if rp.ErrorCode != 0 {
					return nil, fmt.Errorf("%s at time %d: error %d", rt.Topic, ts, rp.ErrorCode)
				}
				if rp.Offset >= 0 {
					answers[asked{rt.Topic, iso, ts}] = TimestampOffset{Offset: rp.Offset, Timestamp: rp.Timestamp, LeaderEpoch: rp.LeaderEpoch}
				}
			}
		}
	}
	return answers, nil
}

// sentByKafka has a broker write the topics of Send.java. It returns the directory with the files it left when
// it was stopped, and what it had answered before.
func sentByKafka(t *testing.T) (dir string, answers map[asked]TimestampOffset) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	k := peerstest.Kafka(t, peers.Options{Dir: dir, Props: []string{
		"transaction.abort.timed.out.transaction.cleanup.interval.ms=600000",
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Bootstrap()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := createAtKafka(ctx, cl, sentTopics()); err != nil {
		t.Fatal(err)
	}
	const class = "kafka.Send"
	cmd, err := peers.Tool(ctx, class, k.Bootstrap(), fmt.Sprint(sentCount))
	if err != nil {
		t.Fatal(err)
	}
	// The java command runs a source file that is named in a class's place.
	cmd.Args[slices.Index(cmd.Args, class)] = filepath.Join("testdata", "kafka", "Send.java")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if answers, err = askTimes(ctx, cl, sentTopics(), askedTimes()); err != nil {
		t.Fatal(err)
	}
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	return dir, answers
}

// readSegments reads a partition's segments as they lie in a directory, one after another.
func readSegments(t *testing.T, dir string) (all []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+logSuffix))
	if err != nil || len(names) < 2 {
		t.Fatalf("%s has %d segments, %v", dir, len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// eachStoredBatch calls visit for each batch in b, sums checked.
func eachStoredBatch(b []byte, visit func(h *batchHeader, batch []byte) error) error {
	for at := 0; at < len(b); {
		h, err := parseBatchHeader(b[at:])
		if err == nil && h.size() > len(b)-at {
			err = errors.New("cut short")
		}
		if err == nil {
			err = checkBatchCRC(b[at : at+h.size()])
		}
		if err == nil {
			err = visit(&h, b[at:at+h.size()])
		}
		if err != nil {
			return fmt.Errorf("batch at byte %d: %w", at, err)
		}
		at += h.size()
	}
	return nil
}

// withCreateTime is the batch as it was before the broker set its time.
func withCreateTime(batch []byte) []byte {
	return withHeader(batch, func(h *batchHeader) { h.attributes &^= attrLogAppendTime })
}

// encodedAgain decodes a batch and encodes what was found, with our own means.
func encodedAgain(h *batchHeader, batch []byte) ([]byte, error) {
	var again []byte
	if h.isControl() {
		commit, epoch, err := parseMarker(batch)
		if err != nil {
			return nil, err
		}
		again = appendMarker(nil, h.producerID, h.producerEpoch, commit, epoch, h.maxTimestamp)
	} else {
		rs, err := readAllRecords(newCursor(withCreateTime(batch), 0, 0, nil), 100)
		if err != nil {
			return nil, err
		}
		b := new(Block)
		for i := range rs {
			b.Append(rs[i].Timestamp, rs[i].Key, rs[i].Value, rs[i].Headers())
		}
		stamp := producerStamp{id: h.producerID, epoch: h.producerEpoch, sequence: h.baseSequence, transactional: h.isTransactional()}
		if again, err = appendBatch(nil, b, 0, len(rs), CompressionNone, stamp); err != nil {
			return nil, err
		}
	}
	if h.isLogAppendTime() {
		setLogAppendTime(again, h.maxTimestamp)
	}
	setBatchPlace(again, h.baseOffset, h.leaderEpoch)
	return again, nil
}

// A broker's segments, byte for byte and record for record; and the same batches, appended here, make the same
// files and give the same answers.
func TestSegmentsOfKafka(t *testing.T) {
	needPeers(t)
	dir, answers := sentByKafka(t)
	clock := new(handClock)
	ours := filepath.Join(t.TempDir(), "ours")
	l, err := Open(ours, Options{Logger: quiet, Sync: SyncOS, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dirs := make(map[string]string)
	for _, topic := range sentTopics() {
		theirs := readSegments(t, filepath.Join(dir, topic+"-0"))
		checkStored(t, topic, theirs)
		p := copySegments(t, l, clock, topic, theirs)
		checkAnswers(t, topic, p, askedTimes(), answers)
		checkCommitted(t, l, topic)
		checkSnapshot(t, filepath.Join(dir, topic+"-0"), p)
		dirs[topic] = p.dir
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for topic, own := range dirs {
		if diff := differentFiles(t, filepath.Join(dir, topic+"-0"), own); len(diff) > 0 {
			t.Errorf("%s: our files are not Kafka's: %s", topic, strings.Join(diff, "; "))
		}
	}
	if t.Failed() {
		return
	}
	// The comparison finds a byte.
	const topic = "transactional-none"
	for _, suffix := range segmentSuffixes {
		paths, err := filepath.Glob(filepath.Join(dirs[topic], "*"+suffix))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no file ends in %s, %v", suffix, err)
		}
		flipByte(t, paths[0])
		if diff := differentFiles(t, filepath.Join(dir, topic+"-0"), dirs[topic]); len(diff) != 1 {
			t.Errorf("one byte in %s is changed, and the difference found is %q", paths[0], diff)
		}
		flipByte(t, paths[0])
	}
}

// flipByte changes the byte in the middle of a file; the second time it is as it was.
func flipByte(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkStored holds a broker's batches against what was sent, and if they are not compressed against what we
// encode.
func checkStored(t *testing.T, topic string, stored []byte) {
	t.Helper()
	var got []Record
	want := sentRecords(topic)
	batches, compressed := 0, 0
	err := eachStoredBatch(stored, func(h *batchHeader, batch []byte) error {
		batches++
		if h.compression() == CompressionNone {
			again, err := encodedAgain(h, batch)
			if err != nil {
				return err
			}
			if !bytes.Equal(again, batch) {
				return fmt.Errorf("encoded again it is\n%x, and was\n%x", again, batch)
			}
		} else {
			compressed++
		}
		rs, err := readAllRecords(newCursor(batch, 0, 0, nil), 100)
		if h.isLogAppendTime() {
			for i := range rs {
				want[len(got)+i].timestamp = h.maxTimestamp
			}
		}
		got = append(got, rs...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", topic, err)
	}
	if strings.HasSuffix(topic, "-none") != (compressed == 0) || batches < 50 {
		t.Fatalf("%s: %d batches, %d of them compressed", topic, batches, compressed)
	}
	if strings.HasPrefix(topic, "transactional") { // markers take offsets
		for i := range got {
			got[i].Offset = int64(i)
		}
	}
	sameRecords(t, got, want, 0)
}

// copySegments appends a broker's batches to a topic of ours, those with LogAppendTime as they were sent.
func copySegments(t *testing.T, l *Log, clock *handClock, topic string, stored []byte) *Partition {
	t.Helper()
	config := map[string]string{"segment.bytes": fmt.Sprint(sentSegmentBytes), "index.interval.bytes": fmt.Sprint(sentIndexInterval)}
	if strings.HasPrefix(topic, "append-time") {
		config["message.timestamp.type"] = "LogAppendTime"
	}
	mustCreate(t, l, TopicSpec{Name: topic, Partitions: 1, Config: config})
	p, err := l.Partition(TopicPartition{topic, 0})
	if err != nil {
		t.Fatal(err)
	}
	err = eachStoredBatch(stored, func(h *batchHeader, batch []byte) error {
		batch = slices.Clone(batch)
		if h.isLogAppendTime() {
			clock.ms.Store(h.maxTimestamp)
			batch = withCreateTime(batch)
		}
		base, _, err := l.appendEncoded(p, batch)
		if err == nil && base != h.baseOffset {
			err = fmt.Errorf("it is appended at offset %d, and was at %d", base, h.baseOffset)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", topic, err)
	}
	return p
}

// checkAnswers asks ours what the broker was asked.
func checkAnswers(t *testing.T, topic string, p *Partition, times []int64, answers map[asked]TimestampOffset) {
	t.Helper()
	found := 0
	for _, iso := range []Isolation{ReadUncommitted, ReadCommitted} {
		for _, ts := range times {
			want, wantFound := answers[asked{topic, iso, ts}]
			got, ok, err := p.OffsetForTime(ts, iso)
			if err != nil {
				t.Fatal(err)
			}
			if ts == EarliestTime {
				got.LeaderEpoch = want.LeaderEpoch // not known without a look at the segment
			}
			if ok != wantFound || ok && got != want {
				t.Errorf("%s, isolation %d, time %d: ours %+v, %v; Kafka's %+v, %v", topic, iso, ts, got, ok, want, wantFound)
			}
			if ok {
				found++
			}
		}
	}
	if found < 30 {
		t.Errorf("%s: only %d answers", topic, found)
	}
}

// checkCommitted reads the topic as an application does.
func checkCommitted(t *testing.T, l *Log, topic string) {
	t.Helper()
	var want []string
	for i, r := range sentRecords(topic) {
		if !strings.HasPrefix(topic, "transactional") || sentCommitted(i) {
			want = append(want, string(r.value))
		}
	}
	if got := readValues(t, l, TopicPartition{topic, 0}, Earliest, ReadCommitted); !slices.Equal(got, want) {
		t.Errorf("%s: %d values are read, want %d", topic, len(got), len(want))
	}
}

// kafkaProducerState is an entry of a broker's .snapshot file.
type kafkaProducerState struct {
	epoch            int16
	lastSequence     int32
	lastOffset       int64
	offsetDelta      int32
	txnFirstOffset   int64
	coordinatorEpoch int32
}

// parseSnapshot reads a .snapshot file (Kafka's ProducerStateManager): version 1, CRC-32C 4 of what follows, and
// behind a count of 4 bytes the entries.
func parseSnapshot(b []byte) (map[int64]kafkaProducerState, error) {
	r := fieldReader{b: b}
	if v := r.int16(); v != 1 {
		return nil, fmt.Errorf("version is %d, want 1", v)
	}
	if crc := uint32(r.int32()); crc != crc32.Checksum(r.b, castagnoli) {
		return nil, errors.New("CRC mismatch")
	}
	states := make(map[int64]kafkaProducerState)
	for range r.count(42) {
		id := r.int64()
		s := kafkaProducerState{epoch: r.int16(), lastSequence: r.int32(), lastOffset: r.int64(), offsetDelta: r.int32()}
		r.int64() // timestamp: of the batch; ours is of the append
		s.coordinatorEpoch, s.txnFirstOffset = r.int32(), r.int64()
		states[id] = s
	}
	return states, r.end()
}

// checkSnapshot compares what the broker knew of producers at the end with what we know.
func checkSnapshot(t *testing.T, dir string, p *Partition) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%020d.snapshot", p.end)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseSnapshot(b)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	got := make(map[int64]kafkaProducerState)
	for id, s := range p.producers.states {
		k := kafkaProducerState{epoch: s.epoch, lastSequence: -1, lastOffset: -1, txnFirstOffset: s.firstOffset, coordinatorEpoch: want[id].coordinatorEpoch}
		if s.count > 0 {
			b := s.batches[s.count-1]
			k.lastSequence, k.lastOffset, k.offsetDelta = b.lastSequence, b.lastOffset, int32(b.lastOffset-b.baseOffset)
		}
		got[id] = k
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: producers are %+v, and to Kafka %+v", p.tp, got, want)
	}
	b[len(b)-1] ^= 1
	if _, err := parseSnapshot(b); err == nil {
		t.Error("a flipped bit in a snapshot is not found")
	}
}

// differentFiles compares the files of all segments.
func differentFiles(t *testing.T, theirs, ours string) (diff []string) {
	t.Helper()
	names := make(map[string]bool)
	for _, dir := range []string{theirs, ours} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if slices.Contains(segmentSuffixes, filepath.Ext(e.Name())) {
				names[e.Name()] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, aerr := os.ReadFile(filepath.Join(theirs, name))
		b, berr := os.ReadFile(filepath.Join(ours, name))
		if len(a) == 0 && len(b) == 0 {
			continue // ours makes no empty ones
		}
		if aerr != nil || berr != nil || !bytes.Equal(a, b) {
			at := 0
			for at < min(len(a), len(b)) && a[at] == b[at] {
				at++
			}
			diff = append(diff, fmt.Sprintf("%s has %d bytes (%v), and Kafka's %d (%v); from byte %d on they differ", name, len(b), berr, len(a), aerr, at))
		}
	}
	return diff
}
