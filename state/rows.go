package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// rows are rows of one store on their way to Pebble. They are gathered in any order by the store's owner
// and sorted by whoever writes them: a sorted batch costs Pebble a fraction of an unsorted one.
type rows struct {
	id    uint32
	arena []byte // keys and values, one after the other
	refs  []rowRef

	clock   []byte // what clockKey is set to; nil: nothing
	expired []byte // all rows but the permanent ones before this key are deleted; nil: none
}

// rowRef is one row. Its key begins with abbr, eight bytes as a number, zeros where the key is shorter: most
// comparisons need no more.
type rowRef struct {
	abbr     uint64
	start    int
	keyLen   int32
	valueLen int32 // -1: delete
}

func (r *rows) len() int { return len(r.refs) }

func (r *rows) reset() { r.arena, r.refs = r.arena[:0], r.refs[:0] }

// begin appends a row's key and timestamp and returns the arena, for the value to be appended and given
// to end.
func (r *rows) begin(key []byte, timestampMs int64) []byte {
	return binary.BigEndian.AppendUint64(append(r.arena, key...), uint64(timestampMs))
}

func (r *rows) end(arena []byte, keyLen int) {
	start := len(r.arena)
	r.arena = arena
	r.add(start, keyLen, len(arena)-start-keyLen)
}

func (r *rows) delete(key []byte) {
	start := len(r.arena)
	r.arena = append(r.arena, key...)
	r.add(start, len(key), -1)
}

func (r *rows) add(start, keyLen, valueLen int) {
	key := r.arena[start : start+keyLen]
	r.refs = append(r.refs, rowRef{abbreviate(key), start, int32(keyLen), int32(valueLen)})
}

func abbreviate(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func (r *rows) key(ref rowRef) []byte { return r.arena[ref.start : ref.start+int(ref.keyLen)] }

// sort puts the rows in the order of their keys, and those of one key in the order they came in.
func (r *rows) sort() {
	slices.SortFunc(r.refs, func(a, b rowRef) int {
		if a.abbr != b.abbr {
			return cmp.Compare(a.abbr, b.abbr)
		}
		if c := bytes.Compare(r.key(a), r.key(b)); c != 0 {
			return c
		}
		return cmp.Compare(a.start, b.start)
	})
}

// batchBytes is about the size the rows have in a batch.
func (r *rows) batchBytes() int { return len(r.arena) + len(r.refs)*(idLen+6) + 2*positionLen }

// appendTo sorts the rows and adds them to the batch; of several of one key only the last.
func (r *rows) appendTo(b *pebble.Batch) error {
	if r.clock != nil {
		if err := b.Set(clockKey(r.id), r.clock, nil); err != nil {
			return err
		}
	}
	if r.expired != nil {
		from := appendSegment(appendID(nil, r.id), permanent+1)
		if err := b.DeleteRange(from, append(appendID(nil, r.id), r.expired...), nil); err != nil {
			return err
		}
	}
	r.sort()
	for i, ref := range r.refs {
		key := r.key(ref)
		if i+1 < len(r.refs) && r.refs[i+1].abbr == ref.abbr && bytes.Equal(r.key(r.refs[i+1]), key) {
			continue
		}
		var op *pebble.DeferredBatchOp
		if ref.valueLen < 0 {
			op = b.DeleteDeferred(idLen + len(key))
		} else {
			op = b.SetDeferred(idLen+len(key), int(ref.valueLen))
			copy(op.Value, r.arena[ref.start+int(ref.keyLen):])
		}
		binary.BigEndian.PutUint32(op.Key, r.id)
		copy(op.Key[idLen:], key)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return nil
}
