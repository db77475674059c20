package log

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// This file owns what a partition remembers of each producer, so that a batch that is sent again is not
// appended again, none is lost between two, and an old producer is kept out (Kafka's ProducerStateManager).

// numRememberedBatches is how many of a producer's last batches are known when they come again. It is
// Kafka's number, and bounds max.in.flight.requests.per.connection.
const numRememberedBatches = 5

// producerExpiration is after how long without a batch a producer is forgotten, and with it the fence
// against its old epochs (Kafka's producer.id.expiration.ms).
const producerExpiration = 24 * time.Hour

// rememberedBatch is one batch that a producer appended.
type rememberedBatch struct {
	baseSequence, lastSequence int32
	baseOffset, lastOffset     int64
}

// producerState is what one partition knows of one producer.
type producerState struct {
	epoch int16
	// batches are the last ones under epoch, oldest first.
	batches [numRememberedBatches]rememberedBatch
	count   int
	// firstOffset is where the open transaction starts; -1 if there is none.
	firstOffset int64
	// usedMs is when it last appended, by this machine's clock.
	usedMs int64
}

func newProducerState(epoch int16) *producerState {
	return &producerState{epoch: epoch, firstOffset: -1}
}

// nextSequence is the sequence that comes after seq; after 2^31-1 comes 0.
func nextSequence(seq int32) int32 {
	if seq == math.MaxInt32 {
		return 0
	}
	return seq + 1
}

// check says whether a batch may be appended. s is nil for a producer that the partition does not know. A
// batch that is there already is no error: duplicate is then the batch as it was appended.
func (s *producerState) check(h *batchHeader) (duplicate *rememberedBatch, err error) {
	if s == nil {
		return nil, nil // forgotten or new: there is nothing to hold it against (KIP-360)
	}
	if h.producerEpoch < s.epoch {
		return nil, fmt.Errorf("%w: producer %d has epoch %d, and the partition has seen %d", ErrFenced, h.producerID, h.producerEpoch, s.epoch)
	}
	if s.firstOffset >= 0 && !h.isTransactional() {
		return nil, fmt.Errorf("%w: producer %d appends outside of its open transaction", ErrInvalidTransactionState, h.producerID)
	}
	want := int32(0) // the first sequence of an epoch
	if h.producerEpoch == s.epoch && s.count > 0 {
		for i := range s.batches[:s.count] {
			if b := &s.batches[i]; b.baseSequence == h.baseSequence && b.lastSequence == h.lastSequence() {
				return b, nil
			}
		}
		want = nextSequence(s.batches[s.count-1].lastSequence)
	}
	if h.baseSequence != want {
		return nil, fmt.Errorf("%w: producer %d sent sequence %d in epoch %d, and %d is next", ErrOutOfOrderSequence,
			h.producerID, h.baseSequence, h.producerEpoch, want)
	}
	return nil, nil
}

// append takes note of a batch that was appended.
func (s *producerState) append(h *batchHeader, nowMs int64) {
	s.usedMs = nowMs
	if h.producerEpoch != s.epoch {
		s.epoch, s.count = h.producerEpoch, 0
	}
	if h.isControl() {
		return
	}
	if s.count == numRememberedBatches {
		copy(s.batches[:], s.batches[1:])
		s.count--
	}
	s.batches[s.count] = rememberedBatch{h.baseSequence, h.lastSequence(), h.baseOffset, h.nextOffset() - 1}
	s.count++
}

// openTxn is a transaction that has batches in a partition and no marker.
type openTxn struct {
	producerID  int64
	firstOffset int64
}

// producers is what a partition knows of all of them. It belongs to the holder of the partition's lock.
type producers struct {
	states map[int64]*producerState
	open   []openTxn // by first offset
}

// firstOpen is where the first open transaction of a producer other than the given one starts; end if there
// is none.
func (p *producers) firstOpen(end, except int64) int64 {
	for _, t := range p.open {
		if t.producerID != except {
			return t.firstOffset
		}
	}
	return end
}

// append takes note of a batch at its place in the partition. If it is a marker that aborts, the transaction
// that it ends is returned.
func (p *producers) append(h *batchHeader, commit bool, nowMs int64) (aborted *AbortedTransaction) {
	if h.producerID < 0 {
		return nil
	}
	s := p.states[h.producerID]
	if s == nil {
		s = newProducerState(h.producerEpoch)
		if p.states == nil {
			p.states = make(map[int64]*producerState)
		}
		p.states[h.producerID] = s
	}
	s.append(h, nowMs)
	if !h.isControl() {
		if h.isTransactional() && s.firstOffset < 0 {
			s.firstOffset = h.baseOffset
			p.open = append(p.open, openTxn{h.producerID, h.baseOffset})
		}
		return nil
	}
	if s.firstOffset < 0 {
		return nil // it had added the partition, and appended nothing
	}
	first := s.firstOffset
	s.firstOffset = -1
	p.open = slices.DeleteFunc(p.open, func(t openTxn) bool { return t.producerID == h.producerID })
	if commit {
		return nil
	}
	return &AbortedTransaction{
		ProducerID:  h.producerID,
		FirstOffset: first,
		LastOffset:  h.baseOffset,
		lastStable:  p.firstOpen(h.nextOffset(), -1),
	}
}

// expire forgets producers that have not appended for a long time, but for those with an open transaction.
func (p *producers) expire(nowMs int64) {
	for id, s := range p.states {
		if s.firstOffset < 0 && nowMs-s.usedMs > producerExpiration.Milliseconds() {
			delete(p.states, id)
		}
	}
}
