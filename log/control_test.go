package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"
)

func TestMarkerRoundTrip(t *testing.T) {
	for _, c := range []struct {
		id          int64
		epoch       int16
		commit      bool
		coordinator int32
		timestamp   int64
	}{
		{0, 0, false, 0, 0}, {0, 0, true, 0, 0}, {math.MaxInt64, math.MaxInt16, true, math.MaxInt32, math.MaxInt64}, {17, 2, true, -1, -1},
	} {
		b := appendMarker(nil, c.id, c.epoch, c.commit, c.coordinator, c.timestamp)
		setBatchPlace(b, 9, 1)
		h, err := parseBatchHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if !h.isControl() || !h.isTransactional() || h.size() != len(b) || h.nextOffset() != 10 || h.maxTimestamp != c.timestamp ||
			h.producerID != c.id || h.producerEpoch != c.epoch || h.lastSequence() != -1 {
			t.Errorf("%+v: header %+v", c, h)
		}
		if err := checkBatchCRC(b); err != nil {
			t.Error(err)
		}
		commit, coordinator, err := parseMarker(b)
		if commit != c.commit || coordinator != c.coordinator || err != nil {
			t.Errorf("%+v: commit %v, coordinator epoch %d, error %v", c, commit, coordinator, err)
		}
	}
}

// controlBatch is a control batch with the given key and value.
func controlBatch(t testing.TB, key, value []byte) []byte {
	b := mustEncode(t, []testRecord{{key: key, value: value}}, CompressionNone, producerStamp{id: 1, sequence: -1, transactional: true}, 0)
	return withHeader(b, func(h *batchHeader) { h.attributes |= attrControl })
}

// withHeader changes the header of a batch, and the sum with it.
func withHeader(b []byte, change func(h *batchHeader)) []byte {
	h, err := parseBatchHeader(b)
	if err != nil {
		panic(err)
	}
	change(&h)
	out := bytes.Clone(b)
	finishBatch(out, h)
	setBatchPlace(out, h.baseOffset, h.leaderEpoch)
	return out
}

func TestParseMarker(t *testing.T) {
	marker := appendMarker(nil, 1, 0, true, 12, 0)
	key, value := []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 12}
	for _, c := range []struct {
		name string
		b    []byte
		want string // "" if it is a commit
	}{
		{"built by hand", controlBatch(t, key, value), ""},
		{"later version, with more in it", controlBatch(t, append(bytes.Clone(key), 9), []byte{0, 1, 0, 0, 0, 12, 9, 9}), ""},
		{"nothing", nil, "batch header cut short"},
		{"header only", marker[:61], "control batch says it has 78 bytes, and has 61"},
		{"two batches", append(bytes.Clone(marker), marker...), "control batch says it has 78 bytes, and has 156"},
		{"no control batch", withHeader(marker, func(h *batchHeader) { h.attributes &^= attrControl }), "batch is no control batch"},
		{"compressed", withHeader(marker, func(h *batchHeader) { h.attributes |= 1 }), "control batch is compressed with gzip"},
		{"no record", withHeader(marker, func(h *batchHeader) { h.recordCount = 0 }), "control batch has 0 records, want 1"},
		{"a record more", withHeader(append(bytes.Clone(marker), 0, 0, 0, 0, 0, 0, 0), func(h *batchHeader) {}), "7 bytes left over"},
		{"null key", controlBatch(t, nil, value), "control record's key has 0 bytes, want 4"},
		{"short key", controlBatch(t, key[:3], value), "control record's key has 3 bytes, want 4"},
		{"leader change", controlBatch(t, []byte{0, 0, 0, 2}, value), "control batch is no transaction marker: its type is 2"},
		{"null value", controlBatch(t, key, nil), "transaction marker's value has 0 bytes, want 6"},
		{"short value", controlBatch(t, key, value[:5]), "transaction marker's value has 5 bytes, want 6"},
		{"negative version", controlBatch(t, key, []byte{0xff, 0xff, 0, 0, 0, 12}), "transaction marker's version is -1"},
		{"record cut short", withHeader(marker, func(h *batchHeader) { h.lastOffsetDelta = -1 }), "record 0 of 1: its offset delta is 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			commit, epoch, err := parseMarker(c.b)
			if c.want == "" {
				if !commit || epoch != 12 || err != nil {
					t.Errorf("commit %v, coordinator epoch %d, error %v", commit, epoch, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			if got, want := errors.Is(err, errNotMarker), c.name == "leader change"; got != want {
				t.Errorf("error %v is errNotMarker: %v", err, got)
			}
		})
	}
}

func FuzzMarker(f *testing.F) {
	f.Add(appendMarker(nil, 4711, 3, true, 12, kafkaNow))
	f.Add(appendMarker(nil, 4711, 3, false, 12, -1))
	f.Add(controlBatch(f, []byte{0, 0, 0, 2}, []byte{0, 0}))
	f.Add(controlBatch(f, []byte{0, 1, 0, 1, 1}, []byte{0, 1, 0, 0, 0, 12, 9, 9}))
	f.Add(readTestdata(f, "commit.batch"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = repairBatch(b)
		var commit bool
		var epoch int32
		var err error
		wantSmall(t, b, 1, func() { commit, epoch, err = parseMarker(b) })
		if err != nil {
			return
		}
		// What the marker says is what one of ours says.
		h, err := parseBatchHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		ours := appendMarker(nil, h.producerID, h.producerEpoch, commit, epoch, h.maxTimestamp)
		if c, e, err := parseMarker(ours); c != commit || e != epoch || err != nil {
			t.Errorf("commit %v, coordinator epoch %d come back as %v, %d, %v", commit, epoch, c, e, err)
		}
	})
}

// repairBatch gives b, if it is long enough for a batch, the magic, length and sum of one, so that a fuzzer
// gets to what lies behind them.
func repairBatch(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < batchHeaderSize {
		return b
	}
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-batchOverhead))
	b[magicAt] = batchMagic
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
	return b
}
