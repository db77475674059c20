package stream

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/moldau-io/moldau/serde"
)

// This file owns the bytes that the two sides of a foreign-key join exchange and keep. Numbers are big-endian.
//
// A subscription goes from a left row's task to that of its foreign key, which is the record's key:
//
//	+-----------+---------------+-------------+---------+-----------------+
//	| version 1 | instruction 1 | partition 4 | hash 16 | left key ...    |
//	+-----------+---------------+-------------+---------+-----------------+
//
// partition is the left row's, to which the response goes. hash is that of the left row's value, and left out where
// there is none: then the top bit of version is set.
//
// A response goes back; the record's key is the left key:
//
//	+-----------+--------+---------+-----------------+
//	| version 1 | kind 1 | hash 16 | right value ... |
//	+-----------+--------+---------+-----------------+
//
// hash is the subscription's. There is a right value if kind is found, and it may be empty.
//
// The store of subscriptions has a row for each left key, in the order of left keys for each foreign key:
//
//	key    length of the foreign key 4 | foreign key | left key
//	value  partition 4 | hash 16
//
// Kafka Streams has the same parts, with murmur3 for a hash, and cannot tell an empty right value from none.

// foreignVersion is that of both messages. Others are refused: what is under way when an application is updated
// has to be understood.
const foreignVersion = 1

// noHash is the bit in a message's version that says there is no hash.
const noHash = 1 << 7

// instruction says what to do with a subscription.
type instruction uint8

const (
	unsubscribe           instruction = iota // delete it, and do not respond
	unsubscribeAndRespond                    // delete it, and respond that there is no right value
	subscribe                                // keep it, and respond
	subscribeIfFound                         // keep it, and respond if there is a right value
)

// responseKind says what a response is.
type responseKind uint8

const (
	found        responseKind = iota // the right value
	notFound                         // there is none
	unsubscribed                     // there is no subscription any more
)

// rowHash identifies a row's value; ok is false if there is no row.
type rowHash struct {
	sum [16]byte
	ok  bool
}

// hashOf hashes an encoded value.
func hashOf(b []byte) rowHash {
	sum := sha256.Sum256(b)
	return rowHash{[16]byte(sum[:]), true}
}

// subscription is the first message. key is the encoded left key, which the right side need not know.
type subscription struct {
	what      instruction
	partition int32
	hash      rowHash
	key       []byte
}

// subscriptionSerde encodes subscriptions.
type subscriptionSerde struct{}

func (subscriptionSerde) Append(dst []byte, s subscription) ([]byte, error) {
	dst = append(dst, versionWith(s.hash), byte(s.what))
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.partition))
	dst = appendHash(dst, s.hash)
	return append(dst, s.key...), nil
}

func (subscriptionSerde) Decode(b []byte) (s subscription, err error) {
	hashed, b, err := foreignHeader(b, 5)
	if err != nil {
		return s, fmt.Errorf("a subscription: %w", err)
	}
	s.what, s.partition = instruction(b[0]), int32(binary.BigEndian.Uint32(b[1:]))
	if s.what > subscribeIfFound || s.partition < 0 {
		return s, fmt.Errorf("a subscription with instruction %d for partition %d", s.what, s.partition)
	}
	if s.hash, b, err = cutHash(b[5:], hashed); err != nil {
		return s, fmt.Errorf("a subscription: %w", err)
	}
	if s.what >= subscribe && !s.hash.ok {
		return s, errors.New("a subscription of a row without a value")
	}
	s.key = b[:len(b):len(b)]
	return s, nil
}

// response is the second message. partition is where it goes, and not in it.
type response[R any] struct {
	kind      responseKind
	hash      rowHash
	right     R
	partition int32
}

// responseSerde encodes responses, of values as inner does.
type responseSerde[R any] struct{ inner serde.Serde[R] }

func (s responseSerde[R]) ForTopic(topic string, isKey bool) (serde.Serde[response[R]], error) {
	inner, err := serde.Bind(s.inner, topic, isKey)
	return responseSerde[R]{inner}, err
}

func (s responseSerde[R]) Append(dst []byte, a response[R]) ([]byte, error) {
	dst = appendHash(append(dst, versionWith(a.hash), byte(a.kind)), a.hash)
	if a.kind != found {
		return dst, nil
	}
	return s.inner.Append(dst, a.right)
}

func (s responseSerde[R]) Decode(b []byte) (a response[R], err error) {
	hashed, b, err := foreignHeader(b, 1)
	if err != nil {
		return a, fmt.Errorf("a response: %w", err)
	}
	if a.kind = responseKind(b[0]); a.kind > unsubscribed {
		return a, fmt.Errorf("a response of kind %d", a.kind)
	}
	if a.hash, b, err = cutHash(b[1:], hashed); err != nil {
		return a, fmt.Errorf("a response: %w", err)
	}
	if a.kind == found {
		a.right, err = s.inner.Decode(b[:len(b):len(b)])
	} else if len(b) > 0 {
		err = fmt.Errorf("a response of kind %d with %d bytes after it", a.kind, len(b))
	}
	return a, err
}

func versionWith(h rowHash) byte {
	if h.ok {
		return foreignVersion
	}
	return foreignVersion | noHash
}

func appendHash(dst []byte, h rowHash) []byte {
	if !h.ok {
		return dst
	}
	return append(dst, h.sum[:]...)
}

// foreignHeader checks a message's version; at least n bytes have to follow.
func foreignHeader(b []byte, n int) (hashed bool, rest []byte, err error) {
	if len(b) < 1+n {
		return false, nil, fmt.Errorf("%d bytes are too few", len(b))
	}
	if v := b[0] &^ noHash; v != foreignVersion {
		return false, nil, fmt.Errorf("it is of version %d, and known is %d", v, foreignVersion)
	}
	return b[0]&noHash == 0, b[1:], nil
}

func cutHash(b []byte, hashed bool) (h rowHash, rest []byte, err error) {
	if !hashed {
		return h, b, nil
	}
	if len(b) < len(h.sum) {
		return h, nil, errors.New("it ends in the middle of its hash")
	}
	h.ok = true
	return h, b[copy(h.sum[:], b):], nil
}

// subscriber is what the store of subscriptions has for a left key. hash is of a value that is there.
type subscriber struct {
	partition int32
	sum       [16]byte
}

// subscriberSerde encodes the store's values, which are free of pointers.
type subscriberSerde struct{}

func (subscriberSerde) Append(dst []byte, s subscriber) ([]byte, error) {
	return append(binary.BigEndian.AppendUint32(dst, uint32(s.partition)), s.sum[:]...), nil
}

func (subscriberSerde) Decode(b []byte) (s subscriber, err error) {
	if len(b) != 4+len(s.sum) {
		return s, fmt.Errorf("a subscriber of %d bytes", len(b))
	}
	s.partition = int32(binary.BigEndian.Uint32(b))
	copy(s.sum[:], b[4:])
	return s, nil
}

// appendForeignKey appends the front of the store's keys for an encoded foreign key.
func appendForeignKey(dst, foreign []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(foreign))), foreign...)
}
