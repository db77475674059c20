package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log"
)

// brokerCases are the rules of Broker and Reader.
var brokerCases = []Case{
	{
		Name: "Topics",
		Rule: "Topics describes the named topics, in order; what is wrong with one is in its Err",
		check: func(e *env) error {
			two, err := e.topic(2)
			if err != nil {
				return err
			}
			one, err := e.topic(1)
			if err != nil {
				return err
			}
			missing := e.name + "-missing"
			infos, err := e.b.Topics(e.ctx, []string{one, missing, two})
			if err != nil || len(infos) != 3 {
				return fmt.Errorf("%d topics, %w", len(infos), orNil(err))
			}
			if infos[0].Name != one || infos[1].Name != missing || infos[2].Name != two {
				return fmt.Errorf("they come as %s, %s, %s", infos[0].Name, infos[1].Name, infos[2].Name)
			}
			if infos[0].Partitions != 1 || infos[2].Partitions != 2 || infos[0].Err != nil || infos[2].Err != nil {
				return fmt.Errorf("%+v, %+v", infos[0], infos[2])
			}
			if infos[0].ID == uuid.Nil || infos[0].ID == infos[2].ID {
				return fmt.Errorf("topic ids are %v and %v", infos[0].ID, infos[2].ID)
			}
			if !errors.Is(infos[1].Err, log.ErrUnknownTopic) {
				return fmt.Errorf("the error of a missing topic is %v", infos[1].Err)
			}
			return nil
		},
	},
	{
		Name: "CreateTopicsChecksExisting",
		Rule: "a topic that exists is never changed: another number of partitions, or another value of a given setting, is an error",
		check: func(e *env) error {
			name := e.name + "-made"
			spec := log.TopicSpec{Name: name, Partitions: 2, Config: map[string]string{"segment.bytes": "1048576"}}
			for range 2 {
				if err := e.b.CreateTopics(e.ctx, []log.TopicSpec{spec}); err != nil {
					return fmt.Errorf("the same topic again: %w", err)
				}
			}
			if err := e.b.CreateTopics(e.ctx, []log.TopicSpec{{Name: name, Partitions: 2}}); err != nil {
				return fmt.Errorf("with no settings given: %w", err)
			}
			more := spec
			more.Partitions = 3
			if e.b.CreateTopics(e.ctx, []log.TopicSpec{more}) == nil {
				return errors.New("another number of partitions is no error")
			}
			other := spec
			other.Config = map[string]string{"segment.bytes": "2097152"}
			if e.b.CreateTopics(e.ctx, []log.TopicSpec{other}) == nil {
				return errors.New("another value of a setting is no error")
			}
			infos, err := e.b.Topics(e.ctx, []string{name})
			if err != nil {
				return err
			}
			if infos[0].Partitions != 2 || infos[0].Config["segment.bytes"] != "1048576" {
				return fmt.Errorf("the topic was changed: %+v", infos[0])
			}
			return nil
		},
	},
	{
		Name: "CreateTopicsRefuses",
		Rule: "names that Kafka does not allow, less than one partition and unknown settings are errors",
		check: func(e *env) error {
			for what, spec := range map[string]log.TopicSpec{
				"an empty name":        {Name: "", Partitions: 1},
				"a name of dots":       {Name: "..", Partitions: 1},
				"a name with a slash":  {Name: e.name + "/x", Partitions: 1},
				"a name of 250 bytes":  {Name: strings.Repeat("n", 250), Partitions: 1},
				"no partitions":        {Name: e.name, Partitions: 0},
				"negative partitions":  {Name: e.name, Partitions: -5},
				"an unknown setting":   {Name: e.name, Partitions: 1, Config: map[string]string{"segment.bites": "1"}},
				"a value out of range": {Name: e.name, Partitions: 1, Config: map[string]string{"segment.bytes": "-1"}},
			} {
				if e.b.CreateTopics(e.ctx, []log.TopicSpec{spec}) == nil {
					return fmt.Errorf("%s is no error", what)
				}
			}
			return nil
		},
	},
	{
		Name: "Offsets",
		Rule: "records have offsets in [Start, HighWatermark); readers under ReadCommitted see those below LastStable",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			o, err := e.offsets(tp)
			if err != nil {
				return err
			}
			if o.Start != 0 || o.HighWatermark != 0 || o.LastStable != 0 {
				return fmt.Errorf("of an empty partition: %+v", o)
			}
			if err := e.write(topic, 0, "a", "b", "c"); err != nil {
				return err
			}
			before, err := e.offsets(tp)
			if err != nil {
				return err
			}
			if before.Start != 0 || before.HighWatermark < 3 || before.LastStable != before.HighWatermark {
				return fmt.Errorf("after three records: %+v", before)
			}
			m, err := e.join()
			if err != nil {
				return err
			}
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("d")); err != nil {
				return err
			}
			o, err = e.offsets(tp)
			if err != nil {
				return err
			}
			if o.LastStable != before.HighWatermark || o.HighWatermark < o.LastStable {
				return fmt.Errorf("with an open epoch: %+v, want the last stable offset to be %d", o, before.HighWatermark)
			}
			if _, err := e.b.Offsets(e.ctx, []log.TopicPartition{{Topic: e.name + "-missing"}}); !errors.Is(err, log.ErrUnknownTopic) {
				return fmt.Errorf("of a missing topic: %v", err)
			}
			if _, err := e.b.Offsets(e.ctx, []log.TopicPartition{{Topic: topic, Partition: 1}}); !errors.Is(err, log.ErrUnknownTopic) {
				return fmt.Errorf("of a missing partition: %v", err)
			}
			return nil
		},
	},
	{
		Name: "RecordsComeBackAsTheyWere",
		Rule: "key, value, headers and timestamp come back as they were; null is not empty",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			type rec struct {
				ts         int64
				key, value []byte
				headers    []log.Header
			}
			sent := []rec{
				{1, []byte("k"), []byte("v"), nil},
				{5, nil, []byte{}, []log.Header{{Key: "h", Value: nil}}},
				{3, []byte{}, nil, []log.Header{{Key: "h", Value: []byte{}}, {Key: "h", Value: []byte("again")}, {Key: "", Value: []byte{0, 255}}}},
				{1 << 40, bytes.Repeat([]byte{7}, 300), bytes.Repeat([]byte("long"), 500), nil},
			}
			b := log.NewBlock()
			for _, r := range sent {
				b.Append(r.ts, r.key, r.value, r.headers)
			}
			tp := log.TopicPartition{Topic: topic}
			if err := e.writeBlock(tp, b); err != nil {
				return err
			}
			got, err := e.records(tp, log.Earliest, log.ReadCommitted)
			if err != nil {
				return err
			}
			if len(got) != len(sent) {
				return fmt.Errorf("%d of %d records", len(got), len(sent))
			}
			for i, r := range got {
				s := sent[i]
				if r.Offset != int64(i) || r.Timestamp != s.ts || !sameBytes(r.Key, s.key) || !sameBytes(r.Value, s.value) {
					return fmt.Errorf("record %d is %+v, want %+v", i, r, s)
				}
				if !slices.EqualFunc(r.Headers(), s.headers, func(a, b log.Header) bool { return a.Key == b.Key && sameBytes(a.Value, b.Value) }) {
					return fmt.Errorf("record %d has headers %v, want %v", i, r.Headers(), s.headers)
				}
				if r.HasHeaders() != (len(s.headers) > 0) {
					return fmt.Errorf("record %d: HasHeaders is %v", i, r.HasHeaders())
				}
			}
			return nil
		},
	},
	{
		Name: "OpenAtAnOffset",
		Rule: "Open starts at the given offset, at the log's start, or at its end as the isolation has it",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			if err := e.write(topic, 0, "a", "b", "c"); err != nil {
				return err
			}
			for offset, want := range map[int64][]string{log.Earliest: {"a", "b", "c"}, 0: {"a", "b", "c"}, 1: {"b", "c"}, 2: {"c"}, log.Latest: {}} {
				records, err := e.records(tp, offset, log.ReadCommitted)
				if err != nil {
					return err
				}
				if got := valuesOf(records); !slices.Equal(got, want) {
					return fmt.Errorf("from %d on there is %q, want %q", offset, got, want)
				}
			}
			m, err := e.join()
			if err != nil {
				return err
			}
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("open")); err != nil {
				return err
			}
			o, err := e.offsets(tp)
			if err != nil {
				return err
			}
			r, err := e.b.Open(e.ctx, tp, log.Latest, log.ReadCommitted)
			if err != nil {
				return err
			}
			defer r.Close()
			if r.Position() != o.LastStable {
				return fmt.Errorf("offset Latest under ReadCommitted is %d, want the last stable offset %d", r.Position(), o.LastStable)
			}
			if _, err := e.b.Open(e.ctx, tp, o.HighWatermark+100, log.ReadCommitted); !errors.Is(err, log.ErrOffsetOutOfRange) {
				return fmt.Errorf("beyond the end: %v", err)
			}
			if _, err := e.b.Open(e.ctx, log.TopicPartition{Topic: e.name + "-missing"}, 0, log.ReadCommitted); !errors.Is(err, log.ErrUnknownTopic) {
				return fmt.Errorf("of a missing topic: %v", err)
			}
			return nil
		},
	},
	{
		Name: "ReaderWaits",
		Rule: "Read waits until there is something to pass, or its context is done",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			r, err := e.b.Open(e.ctx, log.TopicPartition{Topic: topic}, log.Earliest, log.ReadCommitted)
			if err != nil {
				return err
			}
			defer r.Close()
			short, cancel := context.WithTimeout(e.ctx, 20*time.Millisecond)
			defer cancel()
			buf := make([]log.Record, 4)
			if n, err := r.Read(short, buf); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("of an empty partition: %d, %v", n, err)
			}
			type result struct {
				values []string
				err    error
			}
			done := make(chan result, 1)
			go func() {
				var res result
				for len(res.values) < 4 && res.err == nil {
					var n int
					n, res.err = r.Read(e.ctx, buf)
					res.values = append(res.values, valuesOf(buf[:n])...)
				}
				done <- res
			}()
			if err := e.write(topic, 0, "a", "b"); err != nil {
				return err
			}
			if err := e.write(topic, 0, "c", "d"); err != nil {
				return err
			}
			res := <-done
			if res.err != nil || !slices.Equal(res.values, []string{"a", "b", "c", "d"}) {
				return fmt.Errorf("it read %q, %w", res.values, orNil(res.err))
			}
			return nil
		},
	},
	{
		Name: "ReaderPassesWhatItMustNotShow",
		Rule: "under ReadCommitted a reader skips aborted records, stops at open transactions, and its position passes control batches",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			m, err := e.join()
			if err != nil {
				return err
			}
			for i, end := range []func(log.Epoch) error{
				func(ep log.Epoch) error { return e.commit(ep, nil) },
				func(ep log.Epoch) error { return ep.Abort(e.ctx) },
				func(ep log.Epoch) error { return e.commit(ep, nil) },
				func(ep log.Epoch) error { return ep.Abort(e.ctx) },
				func(log.Epoch) error { return nil },
			} {
				ep, err := m.Begin()
				if err != nil {
					return err
				}
				if _, err := ep.Append(tp, block(fmt.Sprint("epoch ", i), "and more")); err != nil {
					return err
				}
				if err := end(ep); err != nil {
					return err
				}
			}
			// records reads until the position is at the last stable offset: that it gets there is half of it.
			if err := e.want(tp, log.ReadCommitted, "epoch 0", "and more", "epoch 2", "and more"); err != nil {
				return err
			}
			all, err := e.values(tp, log.ReadUncommitted)
			if err != nil {
				return err
			}
			// The open epoch's may or may not be below the high watermark yet. Those of aborted epochs may have been
			// taken back before they were written.
			for i := range 4 {
				values := []string{fmt.Sprint("epoch ", i), "and more"}
				written := len(all) >= 2 && slices.Equal(all[:2], values)
				if written {
					all = all[2:]
				}
				if committed := i%2 == 0; committed && !written {
					return fmt.Errorf("under ReadUncommitted there is %q where epoch %d should be", all, i)
				}
			}
			if len(all) > 0 && all[0] != "epoch 4" {
				return fmt.Errorf("under ReadUncommitted there is %q after the epochs that ended", all)
			}
			return nil
		},
	},
	{
		Name: "BytesAreNotReused",
		Rule: "a record's bytes are never written again, and stay as they are for as long as somebody keeps them",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			var kept []log.Record
			for round := range 20 {
				if err := e.write(topic, 0, fmt.Sprintf("value %02d a", round), fmt.Sprintf("value %02d b", round)); err != nil {
					return err
				}
				taken, _, err := e.take(m, 2)
				if err != nil {
					return err
				}
				kept = append(kept, taken[log.TopicPartition{Topic: topic}]...)
			}
			for i, r := range kept {
				if want := fmt.Sprintf("value %02d %c", i/2, 'a'+i%2); string(r.Value) != want {
					return fmt.Errorf("record %d is %q by now, and was %q", i, r.Value, want)
				}
			}
			return nil
		},
	},
	{
		Name: "Capabilities",
		Rule: "a record of MaxRecordBytes, framing included, can be appended, also to a topic with a limit of its own",
		check: func(e *env) error {
			c := e.b.Capabilities()
			if c.MaxRecordBytes < 1000 {
				return fmt.Errorf("MaxRecordBytes is %d", c.MaxRecordBytes)
			}
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			small := topic + "-small"
			config := map[string]string{"max.message.bytes": "5000"}
			if err := e.b.CreateTopics(e.ctx, []log.TopicSpec{{Name: small, Partitions: 1, Config: config}}); err != nil {
				return fmt.Errorf("create a topic: %w", err)
			}
			infos, err := e.b.Topics(e.ctx, []string{small})
			if err != nil {
				return err
			}
			if n := infos[0].MaxRecordBytes; n > 5000 || n < 4900 {
				return fmt.Errorf("of a topic that takes batches of 5000 bytes, MaxRecordBytes is %d", n)
			}
			for topic, maxBytes := range map[string]int{topic: c.MaxRecordBytes, small: infos[0].MaxRecordBytes} {
				length := maxBytes
				for log.RecordBytes(-1, length, nil) > maxBytes {
					length--
				}
				value := strings.Repeat("m", length)
				if err := e.write(topic, 0, value); err != nil {
					return err
				}
				if err := e.want(log.TopicPartition{Topic: topic}, log.ReadCommitted, value); err != nil {
					return err
				}
			}
			return nil
		},
	},
}

// sameBytes tells null from empty.
func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
