package log

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
)

// This file owns what the journal has beside batches: entries that create topics and hand out producer ids.
// Numbers are big-endian, strings and maps have a four-byte count before them (fields.go).
//
//	topic created    1 | name | id 16 | number of its first partition 4 | partitions 4 | settings
//	owner            2 | name | producer id 8 | producer epoch 2
//	producer ids     3 | the first id that is not handed out 8
//
// Partitions are numbered through over all topics, in the order of creation: the number is short enough for
// every section, and its order is the order in which locks are taken.

type metaKind uint8

const (
	metaTopic       metaKind = 1
	metaOwner       metaKind = 2
	metaProducerIDs metaKind = 3
)

// metaEntry is one of the above; the fields of the other kinds are zero.
type metaEntry struct {
	kind           metaKind
	name           string
	id             uuid.UUID
	firstPartition int32
	partitions     int32
	config         map[string]string
	producerID     int64
	producerEpoch  int16
}

func appendMeta(dst []byte, m metaEntry) []byte {
	dst = append(dst, byte(m.kind))
	switch m.kind {
	case metaTopic:
		dst = appendString(dst, m.name)
		dst = append(dst, m.id[:]...)
		dst = appendInt32(dst, m.firstPartition)
		dst = appendInt32(dst, m.partitions)
		dst = appendStrings(dst, m.config)
	case metaOwner:
		dst = appendString(dst, m.name)
		dst = appendInt64(dst, m.producerID)
		dst = appendInt16(dst, m.producerEpoch)
	case metaProducerIDs:
		dst = appendInt64(dst, m.producerID)
	}
	return dst
}

func parseMeta(b []byte) (metaEntry, error) {
	r := fieldReader{b: b}
	m := metaEntry{kind: metaKind(r.byte())}
	switch m.kind {
	case metaTopic:
		m.name = r.string()
		copy(m.id[:], r.bytes(len(m.id)))
		m.firstPartition = r.int32()
		m.partitions = r.int32()
		m.config = r.strings()
		if r.err == nil && (m.partitions < 1 || m.firstPartition < 0) {
			return m, fmt.Errorf("topic %q has %d partitions from %d on", m.name, m.partitions, m.firstPartition)
		}
	case metaOwner:
		m.name = r.string()
		m.producerID = r.int64()
		m.producerEpoch = r.int16()
	case metaProducerIDs:
		m.producerID = r.int64()
	default:
		return m, fmt.Errorf("meta entry of kind %d is not known", m.kind)
	}
	return m, r.end()
}

// appendStrings writes a map in the order of its keys, so that equal maps are equal bytes.
func appendStrings(dst []byte, m map[string]string) []byte {
	dst = appendInt32(dst, int32(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		dst = appendString(appendString(dst, k), m[k])
	}
	return dst
}
