package log

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log/txn"
)

// sampleFrame is a frame with two batches and a meta entry, sealed.
func sampleFrame(t testing.TB) *frame {
	fr := new(frame)
	fr.reset(3)
	for i := range 2 {
		b := block("some", "values")
		var err error
		if fr.buf, err = appendBatch(fr.buf, b, 0, 2, CompressionNone, noProducer); err != nil {
			t.Fatal(err)
		}
		b.Release()
		fr.addBatch()
		s := &fr.sections[i]
		s.partition, s.leaderEpoch, s.segment, s.position, s.baseOffset = int32(i), 3, 40, 128, 41
		setBatchPlace(fr.data(i), s.baseOffset, s.leaderEpoch)
	}
	fr.addMeta(metaEntry{kind: metaOwner, name: "app", producerID: 7, producerEpoch: 2})
	fr.seal(5, 99, 98)
	return fr
}

func TestFrameReadsBack(t *testing.T) {
	fr := sampleFrame(t)
	got, err := parseFrame(append(slices.Clone(fr.buf), 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got.file != 5 || got.sequence != 99 || got.synced != 98 || !slices.Equal(got.sections, fr.sections) || !bytes.Equal(got.buf, fr.buf) {
		t.Fatalf("read back is %+v, want %+v", got, fr)
	}
	for i := range got.sections {
		if err := got.checkData(i); err != nil {
			t.Fatal(err)
		}
	}
}

// Each byte of a frame is under a sum, or held against one that is.
func TestFrameFindsEveryFlip(t *testing.T) {
	fr := sampleFrame(t)
	for at := range fr.buf {
		for _, bit := range []byte{1, 0x80} {
			b := slices.Clone(fr.buf)
			b[at] ^= bit
			got, err := parseFrame(b)
			for i := 0; err == nil && i < len(got.sections); i++ {
				err = got.checkData(i)
			}
			if err == nil {
				t.Errorf("byte %d flipped by %02x is not found", at, bit)
			}
		}
		if _, err := parseFrame(fr.buf[:at]); err == nil {
			t.Errorf("a frame cut after %d bytes is taken for whole", at)
		}
	}
}

func FuzzFrame(f *testing.F) {
	fr := sampleFrame(f)
	f.Add(fr.buf)
	f.Add(fr.buf[:frameHeaderSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr *frame
		var err error
		wantSmall(t, b, 8, func() { fr, err = parseFrame(b) })
		if err != nil {
			return
		}
		for i := range fr.sections {
			_ = fr.checkData(i)
			if fr.sections[i].kind == sectionMeta {
				_, _ = parseMeta(fr.data(i))
			}
		}
		// What is read back is what was written.
		again := frame{sections: fr.sections, buf: slices.Clone(fr.buf), dataStart: fr.dataStart}
		again.seal(fr.file, fr.sequence, fr.synced)
		if back, err := parseFrame(again.buf); err != nil || !slices.Equal(back.sections, fr.sections) {
			t.Fatalf("sealed again it is %+v, %v", back, err)
		}
	})
}

var sampleMetas = []metaEntry{
	{kind: metaTopic, name: "orders", id: uuid.UUID{1, 2, 3}, firstPartition: 4, partitions: 5, config: map[string]string{"segment.bytes": "100", "retention.ms": "-1"}},
	{kind: metaTopic, name: "plain", id: uuid.UUID{9}, partitions: 1},
	{kind: metaOwner, name: "app", producerID: 1 << 40, producerEpoch: 32766},
	{kind: metaProducerIDs, producerID: 1000},
}

func TestMetaReadsBack(t *testing.T) {
	for _, m := range sampleMetas {
		b := appendMeta(nil, m)
		got, err := parseMeta(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("read back is %+v, %v; want %+v", got, err, m)
		}
		for n := range b {
			if _, err := parseMeta(b[:n]); err == nil {
				t.Errorf("%+v cut after %d bytes is taken for whole", m, n)
			}
		}
		if _, err := parseMeta(append(b, 0)); err == nil {
			t.Errorf("%+v with a byte left over is taken for whole", m)
		}
	}
}

func FuzzMeta(f *testing.F) {
	for _, m := range sampleMetas {
		f.Add(appendMeta(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m metaEntry
		var err error
		wantSmall(t, b, 32, func() { m, err = parseMeta(b) })
		if err != nil {
			return
		}
		if got, err := parseMeta(appendMeta(nil, m)); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("written again it is %+v, %v; want %+v", got, err, m)
		}
	})
}

func sampleState() *logState {
	s := newProducerState(3)
	s.usedMs, s.count = 12345, 2
	s.batches[0], s.batches[1] = rememberedBatch{0, 1, 10, 11}, rememberedBatch{2, 2, 12, 12}
	open := newProducerState(0)
	open.firstOffset = 17
	return &logState{
		clean: true, syncOS: true, boot: "a boot", sequence: 100, file: 7, position: 4096, producerIDs: 3000,
		topics: []topicState{
			{name: offsetsTopic, id: uuid.UUID{1}, config: map[string]string{"cleanup.policy": "compact"}, partitions: []partitionState{
				{segments: []segmentState{{}}, producers: map[int64]*producerState{}},
			}},
			{name: "orders", id: uuid.UUID{2}, partitions: []partitionState{
				{leaderEpoch: 2, start: 3, end: 30, segments: []segmentState{{3, 700, 4, 2, 1, timeEntry{1700, 5}, 0x80000001}, {20, 80, 0, 0, 0, noTime, 0}}, producers: map[int64]*producerState{5: s, 6: open}},
				{end: 9, segments: []segmentState{{0, 10, 0, 0, 0, noTime, 0}}, producers: map[int64]*producerState{}, fault: &partitionFault{
					offset: 4, err: &CorruptError{Path: "p", Offset: 1, Err: errors.New("bad")}, durable: true,
				}},
			}},
		},
		owners: map[string]txn.Identity{"app": {ID: 5, Epoch: 3}, "b": {ID: 6}},
		groups: map[string]map[TopicPartition]CommittedOffset{
			"g": {{"orders", 0}: {Offset: 4, Metadata: "m"}, {"orders", 1}: {Offset: 5}}, "empty": {},
		},
	}
}

func TestCheckpointReadsBack(t *testing.T) {
	st := sampleState()
	b := st.encode()
	got, err := parseState(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.encode(), b) || !maps.Equal(got.owners, st.owners) || !reflect.DeepEqual(got.groups, st.groups) {
		t.Fatalf("read back is %+v, want %+v", got, st)
	}
	if p := got.topics[1].partitions; !reflect.DeepEqual(p[0], st.topics[1].partitions[0]) || p[1].fault.err.Error() != st.topics[1].partitions[1].fault.err.Error() || !p[1].fault.durable {
		t.Fatalf("partitions read back are %+v, want %+v", p, st.topics[1].partitions)
	}
	for at := range b {
		c := slices.Clone(b)
		c[at] ^= 4
		if _, err := parseState(c); err == nil {
			t.Errorf("byte %d flipped is not found", at)
		}
		if _, err := parseState(b[:at]); err == nil {
			t.Errorf("a checkpoint cut after %d bytes is taken for whole", at)
		}
	}
}

// The fields are read under a sum that holds, so that the fuzzer gets past it.
func FuzzCheckpoint(f *testing.F) {
	b := sampleState().encode()
	f.Add(b[:len(b)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		var st *logState
		var err error
		wantSmall(t, b, 64, func() { st, err = parseState(withSum(b)) })
		if err != nil {
			return
		}
		again := st.encode() // not b: what is there twice is there once then
		if back, err := parseState(again); err != nil {
			t.Fatalf("written again it is refused: %v", err)
		} else if third := back.encode(); !bytes.Equal(third, again) {
			t.Fatalf("%x comes back as %x", again, third)
		}
	})
}

func TestIndexesReadBack(t *testing.T) {
	entries := []indexEntry{{3, 0}, {9, 4200}, {1 << 31, 9000}}
	got, err := parseIndex(appendIndex(nil, entries), 10000)
	if err != nil || !slices.Equal(got, entries) {
		t.Fatalf("read back is %v, %v", got, err)
	}
	if want := []byte{0, 0, 0, 9, 0, 0, 0x10, 0x68}; !bytes.Equal(appendIndex(nil, entries[1:2]), want) {
		t.Fatalf("an entry is %x, and Kafka's %x", appendIndex(nil, entries[1:2]), want)
	}
	for what, bad := range map[string][]indexEntry{
		"an offset that goes back":     {{9, 0}, {3, 4200}},
		"a position that goes back":    {{3, 4200}, {9, 0}},
		"a position behind the end":    {{3, 10000}},
		"a position just before it":    {{3, 10000 - batchHeaderSize + 1}},
		"the same entry a second time": {{3, 0}, {3, 0}},
	} {
		if _, err := parseIndex(appendIndex(nil, bad), 10000); err == nil {
			t.Errorf("%s is no error", what)
		}
	}
	for offset, want := range map[uint32]indexEntry{3: {3, 0}, 8: {3, 0}, 9: {9, 4200}, 100: {9, 4200}, 1 << 31: {1 << 31, 9000}} {
		if got, ok := floorIndex(entries, offset); !ok || got != want {
			t.Errorf("floor of %d is %v, %v; want %v", offset, got, ok, want)
		}
	}
	if _, ok := floorIndex(entries, 2); ok {
		t.Error("there is a floor before the first entry")
	}

	aborts := []AbortedTransaction{{ProducerID: 7, FirstOffset: 2, LastOffset: 5, lastStable: 6}, {ProducerID: 8, FirstOffset: 4, LastOffset: 9, lastStable: 10}}
	b := appendAborts(nil, aborts)
	if len(b) != 2*abortEntrySize || b[9] != 7 || b[17] != 2 || b[25] != 5 || b[33] != 6 {
		t.Fatalf("entries are %x", b)
	}
	if back, err := parseAborts(b, 0, 10); err != nil || !slices.Equal(back, aborts) {
		t.Fatalf("read back is %v, %v", back, err)
	}
	for _, bounds := range [][2]int64{{6, 10}, {0, 9}} {
		if _, err := parseAborts(b, bounds[0], bounds[1]); err == nil {
			t.Errorf("markers outside of the segment %v are no error", bounds)
		}
	}
}

func FuzzIndexes(f *testing.F) {
	f.Add(appendIndex(nil, []indexEntry{{3, 0}, {9, 4200}}), int64(10000))
	f.Add(appendAborts(nil, []AbortedTransaction{{ProducerID: 7, FirstOffset: 2, LastOffset: 5, lastStable: 6}}), int64(6))
	f.Add(appendTimes(nil, []timeEntry{{1700, 3}, {1800, 9}}), int64(10))
	f.Fuzz(func(t *testing.T, b []byte, end int64) {
		wantSmall(t, b, 8, func() {
			if entries, err := parseIndex(b, end); err == nil && !bytes.Equal(appendIndex(nil, entries), b) {
				t.Fatalf("%x becomes %x", b, appendIndex(nil, entries))
			}
		})
		wantSmall(t, b, 8, func() {
			if aborts, err := parseAborts(b, 0, end); err == nil && !bytes.Equal(appendAborts(nil, aborts), b) {
				t.Fatalf("%x becomes %x", b, appendAborts(nil, aborts))
			}
		})
		wantSmall(t, b, 8, func() {
			entries, err := parseTimes(b, timeEntry{math.MaxInt64, uint32(end)})
			if err != nil {
				return
			}
			if !bytes.Equal(appendTimes(nil, entries), b) {
				t.Fatalf("%x becomes %x", b, appendTimes(nil, entries))
			}
			for _, e := range entries { // any of them is found, and nothing that is not before what is asked for
				if floor, ok := floorTime(entries, e.timestamp, int64(e.offset)+1); ok && (floor.timestamp >= e.timestamp || floor.offset >= e.offset) {
					t.Fatalf("before %v there is %v", e, floor)
				}
				if floor, ok := floorTime(entries, e.timestamp+1, int64(e.offset)+1); e.timestamp < math.MaxInt64 && (!ok || floor != e) {
					t.Fatalf("at %v there is %v", e, floor)
				}
			}
		})
	})
}

// FuzzOffsetCommit has records of __consumer_offsets that anybody may have written replayed.
func FuzzOffsetCommit(f *testing.F) {
	b := offsetsBlock("group", map[TopicPartition]CommittedOffset{{"orders", 1}: {Offset: 5, Metadata: "m"}}, time.UnixMilli(kafkaNow))
	r := b.At(0)
	f.Add(r.Key, r.Value)
	f.Add(r.Key, []byte(nil))
	f.Add([]byte{0, 1, 0, 0}, []byte{0, 3})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var g groupOffsets
		wantSmall(t, append(slices.Clone(key), value...), 16, func() {
			// An error is as good as an offset; what is asked for is that it is one of the two.
			err := g.replayRecord(&Record{Key: key, Value: value})
			if offsets := 0; err == nil && value != nil {
				for _, of := range g.groups {
					offsets += len(of)
				}
				if offsets != 1 {
					t.Fatalf("there are %d offsets", offsets)
				}
			}
		})
	})
}

// wantSmall reports when f, which reads b, allocates more than a few bytes for each: a damaged number must not
// ask for memory.
func wantSmall(t *testing.T, b []byte, perByte int, f func()) {
	t.Helper()
	if err := allocatesLittle(b, perByte, f); err != nil {
		t.Error(err)
	}
}

// allocatesLittle runs f again if it seems to allocate much: other goroutines count too, and at the end of a
// garbage collection what they had in hand.
func allocatesLittle(b []byte, perByte int, f func()) error {
	least := uint64(math.MaxUint64)
	for range 5 {
		if least = min(least, allocatedBy(f)); least <= 1<<16+uint64(perByte*len(b)) {
			return nil
		}
	}
	return fmt.Errorf("%d bytes allocated for %d", least, len(b))
}

func TestAllocatesLittleCanFail(t *testing.T) {
	var kept []byte
	if err := allocatesLittle(nil, 8, func() { kept = make([]byte, 1<<20) }); err == nil {
		t.Errorf("%d bytes allocated for none are not noticed", len(kept))
	}
}
