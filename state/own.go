package state

// ownBytes copies bytes to memory that is never written again, so that what is decoded from it may alias it.
type ownBytes struct{ chunk []byte }

// ownChunk is a compromise: one allocation for several values, yet whoever keeps one does not keep many.
const ownChunk = 4 << 10

func (o *ownBytes) copy(b []byte) []byte {
	if len(b) > ownChunk/8 {
		return append([]byte{}, b...)
	}
	if cap(o.chunk)-len(o.chunk) < len(b) {
		o.chunk = make([]byte, 0, ownChunk)
	}
	n := len(o.chunk)
	o.chunk = append(o.chunk, b...)
	return o.chunk[n:len(o.chunk):len(o.chunk)]
}
