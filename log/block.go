package log

import "sync"

// Block is a run of records for one partition on its way into the log: one arena of bytes, and for each
// record where its parts lie in it. Building one allocates nothing once its arena has grown.
//
// A Block belongs to one goroutine. Whoever it is appended to takes it over and recycles it: it must not
// be touched after that.
type Block struct {
	arena []byte
	spans []span
	maxTs int64
}

// span is one record of a Block: key, value and encoded headers follow one another from start on.
type span struct {
	timestamp int64
	start     uint32
	keyLen    int32  // -1: null
	valueLen  int32  // -1: null
	headerLen uint32 // 0: none
}

var blocks = sync.Pool{New: func() any { return new(Block) }}

// maxPooledArena keeps an arena that one huge record grew from staying in the pool for good.
const maxPooledArena = 4 << 20

// NewBlock returns an empty block.
func NewBlock() *Block { return blocks.Get().(*Block) }

// Release gives the block back for reuse. Only its owner may call it, once; appending it does so itself.
func (b *Block) Release() {
	if cap(b.arena) > maxPooledArena {
		b.arena = nil
	}
	b.Reset()
	blocks.Put(b)
}

// Reset empties the block and keeps its memory.
func (b *Block) Reset() {
	b.arena, b.spans, b.maxTs = b.arena[:0], b.spans[:0], 0
}

// Len is the number of records.
func (b *Block) Len() int { return len(b.spans) }

// Bytes is the size of all keys, values and headers.
func (b *Block) Bytes() int { return len(b.arena) }

// Arena returns the bytes gathered so far. To add a record without a copy, append its key and then its
// value to them and hand the result to Add.
func (b *Block) Arena() []byte { return b.arena }

// Add closes a record whose key and value were appended to Arena, in this order. keyLen and valueLen are
// their sizes in bytes, -1 for null; timestampMs is in milliseconds since the epoch.
func (b *Block) Add(arena []byte, keyLen, valueLen int, timestampMs int64, headers []Header) {
	start := len(arena) - max(keyLen, 0) - max(valueLen, 0)
	end := len(arena)
	if len(headers) > 0 {
		arena = appendHeaders(arena, headers)
	}
	b.arena = arena
	if len(b.spans) == 0 || timestampMs > b.maxTs {
		b.maxTs = timestampMs
	}
	b.spans = append(b.spans, span{
		timestamp: timestampMs,
		start:     uint32(start),
		keyLen:    int32(keyLen),
		valueLen:  int32(valueLen),
		headerLen: uint32(len(arena) - end),
	})
}

// Append adds a record; it copies key, value and headers. A nil key or value is null.
func (b *Block) Append(timestampMs int64, key, value []byte, headers []Header) {
	keyLen, valueLen := len(key), len(value)
	if key == nil {
		keyLen = -1
	}
	if value == nil {
		valueLen = -1
	}
	arena := append(append(b.arena, key...), value...)
	b.Add(arena, keyLen, valueLen, timestampMs, headers)
}

// At returns record i, its parts aliasing the arena; Offset is i.
func (b *Block) At(i int) Record {
	s := b.spans[i]
	r := Record{Offset: int64(i), Timestamp: s.timestamp}
	at := s.start
	if s.keyLen >= 0 {
		r.Key = b.arena[at : at+uint32(s.keyLen) : at+uint32(s.keyLen)]
		at += uint32(s.keyLen)
	}
	if s.valueLen >= 0 {
		r.Value = b.arena[at : at+uint32(s.valueLen) : at+uint32(s.valueLen)]
		at += uint32(s.valueLen)
	}
	if s.headerLen > 0 {
		r.headers = b.arena[at : at+s.headerLen]
	}
	return r
}
