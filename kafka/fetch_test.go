package kafka

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/log"
)

// header makes a batch of which only what whole reads is right.
func header(base int64, count int32, producerID int64, attributes uint16, records int) []byte {
	b := make([]byte, batchOverhead+records)
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-lengthAt-4))
	b[magicAt] = 2
	binary.BigEndian.PutUint16(b[attributesAt:], attributes)
	binary.BigEndian.PutUint32(b[lastOffsetDeltaAt:], uint32(count-1))
	binary.BigEndian.PutUint64(b[producerIDAt:], uint64(producerID))
	return b
}

func marker(base, producerID int64) []byte {
	return header(base, 1, producerID, attrControl|attrTransactional, 20)
}

type aborted = kmsg.FetchResponseTopicPartitionAbortedTransaction

func TestWhole(t *testing.T) {
	old := header(0, 1, -1, 0, 10)
	old[magicAt] = 1
	short := header(0, 1, -1, 0, 10)
	binary.BigEndian.PutUint32(short[lengthAt:], 48)
	negative := header(0, 1, -1, 0, 10)
	binary.BigEndian.PutUint32(negative[lengthAt:], math.MaxUint32)
	for _, c := range []struct {
		name    string
		buf     [][]byte
		cut     int // bytes that are missing at the end
		offset  int64
		aborted []aborted
		next    int64
		whole   int // batches
		ends    []int64
		corrupt bool
	}{
		{name: "nothing", offset: 7, next: 7},
		{name: "one", buf: [][]byte{header(7, 3, -1, 0, 30)}, offset: 7, next: 10, whole: 1},
		{name: "from its middle", buf: [][]byte{header(5, 3, -1, 0, 30)}, offset: 7, next: 8, whole: 1},
		{name: "two, with a gap", buf: [][]byte{header(7, 3, -1, 0, 30), header(20, 1, -1, 0, 9)}, offset: 7, next: 21, whole: 2},
		{name: "the last cut in its records", buf: [][]byte{header(7, 3, -1, 0, 30), header(10, 1, -1, 0, 9)}, cut: 1, offset: 7, next: 10, whole: 1},
		{name: "the last cut in its header", buf: [][]byte{header(7, 3, -1, 0, 30), header(10, 1, -1, 0, 0)}, cut: 50, offset: 7, next: 10, whole: 1},
		{name: "the only one cut", buf: [][]byte{header(7, 3, -1, 0, 30)}, cut: 3, offset: 7, next: 7},
		{name: "all before the offset", buf: [][]byte{header(5, 2, -1, 0, 30)}, offset: 7, next: 7, whole: 1},
		{name: "a format before 2", buf: [][]byte{old}, corrupt: true},
		{name: "a length too short", buf: [][]byte{short}, corrupt: true},
		{name: "a negative length", buf: [][]byte{negative}, corrupt: true},
		{name: "a batch twice", buf: [][]byte{header(7, 3, -1, 0, 30), header(7, 3, -1, 0, 30)}, offset: 7, corrupt: true},
		{name: "no offsets", buf: [][]byte{header(7, 0, -1, 0, 30)}, offset: 7, corrupt: true},
		{
			name: "aborted to its marker", buf: [][]byte{header(0, 2, 1, attrTransactional, 9), marker(2, 1), header(3, 1, 1, attrTransactional, 9), marker(4, 1)},
			aborted: []aborted{{ProducerID: 1, FirstOffset: 0}}, next: 5, whole: 4, ends: []int64{2},
		},
		{
			name: "aborted twice", buf: [][]byte{header(0, 1, 1, attrTransactional, 9), marker(1, 1), header(2, 1, 1, attrTransactional, 9), marker(3, 1)},
			aborted: []aborted{{ProducerID: 1, FirstOffset: 0}, {ProducerID: 1, FirstOffset: 2}}, next: 4, whole: 4, ends: []int64{1, 3},
		},
		{
			name: "the marker is to come", buf: [][]byte{header(0, 1, 1, attrTransactional, 9), marker(1, 2)},
			aborted: []aborted{{ProducerID: 1, FirstOffset: 0}}, next: 2, whole: 2, ends: []int64{math.MaxInt64},
		},
		{
			name: "committed before", buf: [][]byte{marker(0, 1), header(1, 1, 1, attrTransactional, 9), marker(2, 1)},
			aborted: []aborted{{ProducerID: 1, FirstOffset: 1}}, next: 3, whole: 3, ends: []int64{2},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			buf := slices.Concat(c.buf...)
			b, err := whole(buf[:len(buf)-c.cut], c.offset, c.aborted)
			if c.corrupt {
				if !errors.Is(err, log.ErrCorrupt) {
					t.Errorf("error %v, want one of corruption", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.Next != c.next || len(b.Buf) != len(slices.Concat(c.buf[:c.whole]...)) {
				t.Errorf("%d bytes, and on from %d; want %d batches, and %d", len(b.Buf), b.Next, c.whole, c.next)
			}
			var ends []int64
			for _, a := range b.Aborted {
				ends = append(ends, a.LastOffset)
			}
			if !slices.Equal(ends, c.ends) {
				t.Errorf("transactions end at %v, want %v", ends, c.ends)
			}
		})
	}
}

// Whatever a broker sends, it is cut into batches or refused, and reading goes on at a later offset or not at all.
func FuzzWhole(f *testing.F) {
	f.Add(slices.Concat(header(7, 3, -1, 0, 30), marker(10, 1)), int64(7), int64(1), int64(8))
	f.Add([]byte{}, int64(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, buf []byte, offset, producerID, first int64) {
		b, err := whole(buf, offset, []aborted{{ProducerID: producerID, FirstOffset: first}})
		if err != nil {
			return
		}
		if b.Next < offset || len(b.Buf) > len(buf) {
			t.Fatalf("%d of %d bytes, and on from %d of %d", len(b.Buf), len(buf), b.Next, offset)
		}
		recs := make([]log.Record, 8)
		for c, n := b.Cursor(offset), 1; n > 0 && err == nil; {
			n, err = c.Next(recs)
		}
	})
}
