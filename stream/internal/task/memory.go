package task

// This file owns the metadata committed with an input's offset: what a task remembers over restarts and
// aborts outside its stores. As in Kafka Streams it travels with the offset, so it is committed with it or
// not at all. Base64 of:
//
//	+-----------+----------------------+---------------------+---------------------------------------------+
//	| version 1 | partition time int64 | commit number int64 | per value: name length 1, name, value int64 |
//	+-----------+----------------------+---------------------+---------------------------------------------+
//
// big-endian. The values are the task's, not the input's. An epoch commits only inputs that moved, so the
// values that count are those with the highest commit number.

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/moldau-io/moldau/log"
)

const memoryVersion = 1

// remembered is an operator's value that survives.
type remembered struct {
	name  string
	value *int64
}

// Remember has *value, which the operator sets to what it starts from, restored when the task is opened
// and committed with every epoch: a stream time, a mark, a deadline. name is the operator's, at most 255
// bytes. Used while the task is opened; if later, *value is restored at once.
func (t *Task) Remember(name string, value *int64) {
	t.remembered = append(t.remembered, remembered{name, value})
	if v, ok := t.memory[name]; ok {
		*value = v
	}
}

// recalled reports whether a value of that name was committed.
func (t *Task) recalled(name string) bool {
	_, ok := t.memory[name]
	return ok
}

// Resume has a task that was opened without offsets go on from those: it may take an open one to know them.
func (t *Task) Resume(committed map[log.TopicPartition]log.CommittedOffset) error {
	return t.recall(committed)
}

// recall sets everything remembered to what was committed.
func (t *Task) recall(committed map[log.TopicPartition]log.CommittedOffset) error {
	newest := int64(-1)
	for _, in := range t.inputs {
		in.position = -1
		c, ok := committed[in.tp]
		if !ok {
			continue
		}
		in.position = c.Offset
		m, err := decodeMemory(c.Metadata)
		if err != nil {
			return fmt.Errorf("what is committed with offset %d of %s: %w", c.Offset, in.tp, err)
		}
		in.partitionTime = m.partitionTime
		t.streamTime = max(t.streamTime, m.partitionTime)
		if m.commit <= newest {
			continue
		}
		newest, t.memory = m.commit, m.values
		for _, r := range t.remembered {
			if v, ok := m.values[r.name]; ok {
				*r.value = v
			}
		}
	}
	t.commits = newest + 1
	return nil
}

// memory is what the metadata says.
type memory struct {
	partitionTime int64
	commit        int64
	values        map[string]int64
}

func encodeMemory(partitionTime, commit int64, values []remembered) string {
	b := make([]byte, 0, 17+32*len(values))
	b = append(b, memoryVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(partitionTime))
	b = binary.BigEndian.AppendUint64(b, uint64(commit))
	for _, v := range values {
		name := v.name[:min(len(v.name), 255)]
		b = append(b, byte(len(name)))
		b = append(b, name...)
		b = binary.BigEndian.AppendUint64(b, uint64(*v.value))
	}
	return base64.StdEncoding.EncodeToString(b)
}

func decodeMemory(s string) (m memory, err error) {
	if s == "" { // committed by someone else, such as a tool that sets offsets
		return memory{partitionTime: -1, commit: -1}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return m, fmt.Errorf("metadata %q is not ours: %w", s, err)
	}
	if len(b) < 17 || b[0] != memoryVersion {
		return m, fmt.Errorf("metadata %q is not of version %d", s, memoryVersion)
	}
	m.partitionTime = int64(binary.BigEndian.Uint64(b[1:]))
	m.commit = int64(binary.BigEndian.Uint64(b[9:]))
	m.values = map[string]int64{}
	for b = b[17:]; len(b) > 0; {
		n := int(b[0])
		if len(b) < 1+n+8 {
			return m, errors.New("metadata ends in the middle of a value")
		}
		m.values[string(b[1:1+n])] = int64(binary.BigEndian.Uint64(b[1+n:]))
		b = b[1+n+8:]
	}
	return m, nil
}
