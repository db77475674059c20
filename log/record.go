package log

import (
	"errors"
	"fmt"
	"strconv"
)

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String gives the form used in messages and metrics, for example "orders-3".
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// Header is one header of a record. A nil Value is null.
type Header struct {
	Key   string
	Value []byte
}

// Record is a record as it was read.
//
// Key, Value and what Headers returns are slices of the buffer the record was fetched into. That buffer
// is never written again and never pooled, so they may be kept, at the price of keeping the whole buffer;
// they must not be changed. A nil Key or Value is null; an empty one is not.
type Record struct {
	Offset    int64
	Timestamp int64 // milliseconds since the epoch
	Key       []byte
	Value     []byte

	// headers holds the record's headers as the batch has them, from their count on; nil means none.
	headers []byte
}

// HasHeaders reports whether the record has headers, without decoding them.
func (r *Record) HasHeaders() bool { return r.headers != nil }

// Headers decodes the record's headers; it allocates the slice. Nil if there are none.
func (r *Record) Headers() []Header {
	if r.headers == nil {
		return nil
	}
	hs, err := decodeHeaders(r.headers)
	if err != nil {
		// The cursor that made the record has checked them.
		panic(fmt.Sprintf("log: headers changed after the record at offset %d was decoded: %v", r.Offset, err))
	}
	return hs
}

// WithHeaders returns the record with the given headers, for brokers that do not read Moldau's batches.
func (r Record) WithHeaders(hs []Header) Record {
	r.headers = nil
	if len(hs) > 0 {
		r.headers = appendHeaders(nil, hs)
	}
	return r
}

// MaxTopicName is the longest topic name Kafka allows, in bytes.
const MaxTopicName = 249

// ValidateTopic reports why name is not a topic name: Kafka allows 1 to 249 of a-z, A-Z, 0-9, '.', '_'
// and '-', but neither "." nor "..".
func ValidateTopic(name string) error {
	switch {
	case name == "":
		return errors.New("topic name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("topic name %q is reserved", name)
	case len(name) > MaxTopicName:
		return fmt.Errorf("topic name of %d bytes is longer than %d", len(name), MaxTopicName)
	}
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return fmt.Errorf("topic name %q has %q at byte %d; allowed are letters, digits, '.', '_' and '-'", name, c, i)
	}
	return nil
}
