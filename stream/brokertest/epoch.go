package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/moldau-io/moldau/log"
)

// epochCases are the rules of Epoch.
var epochCases = []Case{
	{
		Name: "CommitIsOneThing",
		Rule: "Commit makes the epoch's records, on all partitions, and its offsets visible together, and not before",
		check: func(e *env) error {
			in, err := e.topic(1)
			if err != nil {
				return err
			}
			out, err := e.topic(2)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: in}
			m, err := e.join(in)
			if err != nil {
				return err
			}
			var want [2][]string
			for i := range int64(5) {
				ep, err := m.Begin()
				if err != nil {
					return err
				}
				for p := range int32(2) {
					value := fmt.Sprintf("%d of %d", i, p)
					if _, err := ep.Append(log.TopicPartition{Topic: out, Partition: p}, block(value, "too")); err != nil {
						return err
					}
					if err := e.want(log.TopicPartition{Topic: out, Partition: p}, log.ReadCommitted, want[p]...); err != nil {
						return fmt.Errorf("before the commit: %w", err)
					}
					want[p] = append(want[p], value, "too")
				}
				if err := e.wantCommitted(m, tp, i-1); err != nil {
					return fmt.Errorf("before the commit: %w", err)
				}
				if err := e.commit(ep, map[log.TopicPartition]log.CommittedOffset{tp: {Offset: i}}); err != nil {
					return err
				}
				if err := e.wantCommitted(m, tp, i); err != nil {
					return fmt.Errorf("after the commit: %w", err)
				}
				for p := range int32(2) {
					if err := e.want(log.TopicPartition{Topic: out, Partition: p}, log.ReadCommitted, want[p]...); err != nil {
						return fmt.Errorf("after the commit: %w", err)
					}
				}
			}
			return nil
		},
	},
	{
		Name: "AbortTakesAllBack",
		Rule: "Abort takes back everything that was appended, and the member may begin another epoch",
		check: func(e *env) error {
			topic, err := e.topic(2)
			if err != nil {
				return err
			}
			in := log.TopicPartition{Topic: topic}
			out := log.TopicPartition{Topic: topic, Partition: 1}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			var want []string
			for i := range 6 {
				ep, err := m.Begin()
				if err != nil {
					return err
				}
				if _, err := ep.Append(out, block(fmt.Sprint(i))); err != nil {
					return err
				}
				if i%2 == 0 {
					if err := ep.Abort(e.ctx); err != nil {
						return err
					}
				} else {
					want = append(want, fmt.Sprint(i))
					if err := e.commit(ep, nil); err != nil {
						return err
					}
				}
				if err := e.want(out, log.ReadCommitted, want...); err != nil {
					return err
				}
			}
			taken, _, err := e.take(m, 3)
			if err != nil {
				return err
			}
			if got := valuesOf(taken[out]); !slices.Equal(got, want) {
				return fmt.Errorf("a member reads %q, want %q", got, want)
			}
			return e.wantCommitted(m, in, -1)
		},
	},
	{
		Name: "EpochsWithoutRecords",
		Rule: "an epoch may have offsets and no records, records and no offsets, or nothing",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			for i := range int64(3) {
				ep, err := m.Begin()
				if err != nil {
					return err
				}
				if err := e.commit(ep, nil); err != nil {
					return fmt.Errorf("with nothing: %w", err)
				}
				if ep, err = m.Begin(); err != nil {
					return err
				}
				if err := e.commit(ep, map[log.TopicPartition]log.CommittedOffset{tp: {Offset: i}}); err != nil {
					return fmt.Errorf("with offsets: %w", err)
				}
				if err := e.wantCommitted(m, tp, i); err != nil {
					return err
				}
				if ep, err = m.Begin(); err != nil {
					return err
				}
				if err := ep.Abort(e.ctx); err != nil {
					return fmt.Errorf("abort of nothing: %w", err)
				}
			}
			return nil
		},
	},
	{
		Name: "OneEpochAtATime",
		Rule: "there is one epoch at a time, and nothing is appended to one that has ended",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if _, err := m.Begin(); err == nil {
				return errors.New("a second epoch began")
			}
			if _, err := ep.Append(tp, block("a")); err != nil {
				return err
			}
			if err := e.commit(ep, nil); err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("late")); err == nil {
				return errors.New("an append after the commit is no error")
			}
			if o, err := ep.Commit(e.ctx, nil); o == log.OutcomeCommitted {
				return fmt.Errorf("a second commit: outcome %d, %v", o, err)
			}
			if ep, err = m.Begin(); err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("b")); err != nil {
				return err
			}
			if err := e.commit(ep, nil); err != nil {
				return err
			}
			return e.want(tp, log.ReadCommitted, "a", "b")
		},
	},
	{
		Name: "AppendTellsItsOffset",
		Rule: "Append returns the offset of the first record, or -1 where it is not known yet",
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
			bases := make(map[int64]string)
			for i := range 3 {
				ep, err := m.Begin()
				if err != nil {
					return err
				}
				for j := range 3 {
					value := fmt.Sprint(i, j)
					base, err := ep.Append(tp, block(value, "x"))
					if err != nil {
						return err
					}
					if base != -1 {
						bases[base] = value
					}
				}
				if err := e.commit(ep, nil); err != nil {
					return err
				}
			}
			records, err := e.records(tp, log.Earliest, log.ReadCommitted)
			if err != nil {
				return err
			}
			if len(records) != 18 {
				return fmt.Errorf("%d records", len(records))
			}
			for base, value := range bases {
				if !slices.ContainsFunc(records, func(r log.Record) bool { return r.Offset == base && string(r.Value) == value }) {
					return fmt.Errorf("%q is not at offset %d, where Append said it was", value, base)
				}
			}
			return nil
		},
	},
	{
		Name: "ConcurrentAppends",
		Rule: "Append may be called concurrently: nothing is lost or doubled, and each caller's records keep their order",
		check: func(e *env) error {
			const callers, appends, partitions = 8, 25, 3
			topic, err := e.topic(partitions)
			if err != nil {
				return err
			}
			m, err := e.join()
			if err != nil {
				return err
			}
			for range 2 {
				ep, err := m.Begin()
				if err != nil {
					return err
				}
				errs := make([]error, callers)
				var wg sync.WaitGroup
				for c := range callers {
					wg.Go(func() {
						for i := range appends {
							tp := log.TopicPartition{Topic: topic, Partition: int32((c + i) % partitions)}
							if _, err := ep.Append(tp, block(fmt.Sprintf("%d %d", c, i))); err != nil {
								errs[c] = err
								return
							}
						}
					})
				}
				wg.Wait()
				if err := errors.Join(errs...); err != nil {
					return err
				}
				if err := e.commit(ep, nil); err != nil {
					return err
				}
			}
			seen := make(map[string]int)
			for p := range int32(partitions) {
				values, err := e.values(log.TopicPartition{Topic: topic, Partition: p}, log.ReadCommitted)
				if err != nil {
					return err
				}
				last := [2][callers]int{}
				for c := range callers {
					last[0][c], last[1][c] = -1, -1
				}
				for _, v := range values {
					var c, i int
					if _, err := fmt.Sscanf(v, "%d %d", &c, &i); err != nil {
						return fmt.Errorf("%q: %w", v, err)
					}
					epoch := seen[v] // the second epoch writes the same again
					seen[v]++
					if epoch > 1 || i <= last[epoch][c] {
						return fmt.Errorf("%q comes after %d, or too often", v, last[min(epoch, 1)][c])
					}
					last[epoch][c] = i
				}
			}
			if len(seen) != callers*appends {
				return fmt.Errorf("%d of %d records", len(seen), callers*appends)
			}
			for v, n := range seen {
				if n != 2 {
					return fmt.Errorf("%q is there %d times, want 2", v, n)
				}
			}
			return nil
		},
	},
	{
		Name: "LargeBlocks",
		Rule: "a block larger than a batch may be is cut into several; its records keep their order",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			const n = 30
			var want []string
			for i := range n {
				want = append(want, fmt.Sprintf("%d %s", i, strings.Repeat("x", 100_000)))
			}
			if err := e.write(topic, 0, want...); err != nil {
				return err
			}
			return e.want(log.TopicPartition{Topic: topic}, log.ReadCommitted, want...)
		},
	},
	{
		Name: "AFailedAppendLeavesOnlyAbort",
		Rule: "an error of Append leaves the epoch only Abort; later epochs are not touched by it",
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
			for what, bad := range map[string]func(ep log.Epoch) error{
				"a record too large": func(ep log.Epoch) error {
					_, err := ep.Append(tp, block(strings.Repeat("x", 4<<20)))
					return err
				},
				"a missing partition": func(ep log.Epoch) error {
					_, err := ep.Append(log.TopicPartition{Topic: topic, Partition: 9}, block("x"))
					return err
				},
			} {
				for _, abort := range []bool{true, false} {
					ep, err := m.Begin()
					if err != nil {
						return err
					}
					if _, err := ep.Append(tp, block("with "+what)); err != nil {
						return err
					}
					// Where the answer comes later the commit fails with it.
					if err := bad(ep); err == nil && abort {
						abort = false
					}
					if abort {
						if err := ep.Abort(e.ctx); err != nil {
							return err
						}
					} else if o, err := ep.Commit(e.ctx, nil); o != log.OutcomeAborted || err == nil {
						return fmt.Errorf("commit after %s: outcome %d, %v", what, o, err)
					}
				}
			}
			if err := e.want(tp, log.ReadCommitted); err != nil {
				return err
			}
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("fine")); err != nil {
				return err
			}
			if err := e.commit(ep, nil); err != nil {
				return err
			}
			return e.want(tp, log.ReadCommitted, "fine")
		},
	},
	{
		Name: "CommitWithADoneContext",
		Rule: "the outcome of Commit is never unknown: what it says is so",
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
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("a")); err != nil {
				return err
			}
			done, cancel := context.WithCancel(e.ctx)
			cancel()
			outcome, err := ep.Commit(done, nil)
			switch outcome {
			case log.OutcomeCommitted:
				return e.want(tp, log.ReadCommitted, "a")
			case log.OutcomeAborted:
				if err := e.want(tp, log.ReadCommitted); err != nil {
					return err
				}
				_, err := m.Begin()
				return err
			default:
				return fmt.Errorf("outcome %d, %v", outcome, err)
			}
		},
	},
	{
		Name: "AtLeastOnceIsPlain",
		Rule: "under AtLeastOnce appends are plain and at once visible, Abort undoes nothing, and Commit commits the offsets",
		check: func(e *env) error {
			in, err := e.topic(1)
			if err != nil {
				return err
			}
			out, err := e.topic(1)
			if err != nil {
				return err
			}
			from, to := log.TopicPartition{Topic: in}, log.TopicPartition{Topic: out}
			m, err := e.joinAs(log.MemberSpec{Group: e.name, Guarantee: log.AtLeastOnce, Topics: []string{in}})
			if err != nil {
				return err
			}
			r, err := e.b.Open(e.ctx, to, log.Earliest, log.ReadCommitted)
			if err != nil {
				return err
			}
			defer r.Close()
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if _, err := ep.Append(to, block("a")); err != nil {
				return err
			}
			buf := make([]log.Record, 1)
			if n, err := r.Read(e.ctx, buf); n != 1 || err != nil {
				return fmt.Errorf("before the commit: %d records, %v", n, err)
			}
			if err := ep.Abort(e.ctx); err != nil {
				return err
			}
			if err := e.wantCommitted(m, from, -1); err != nil {
				return err
			}
			if ep, err = m.Begin(); err != nil {
				return err
			}
			if _, err := ep.Append(to, block("b")); err != nil {
				return err
			}
			if err := e.commit(ep, map[log.TopicPartition]log.CommittedOffset{from: {Offset: 0}}); err != nil {
				return err
			}
			if err := e.wantCommitted(m, from, 0); err != nil {
				return err
			}
			return e.want(to, log.ReadCommitted, "a", "b")
		},
	},
	{
		Name: "SameEpoch",
		Rule: "records of SameEpoch topics are delivered within the epoch that wrote them, and not any more once it is aborted; their offsets are committed in it",
		check: func(e *env) error {
			if !e.b.Capabilities().SoleWriter {
				return needs("Capabilities.SoleWriter")
			}
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			m, err := e.joinAs(log.MemberSpec{Group: e.name, Topics: []string{topic}, SameEpoch: []string{topic}})
			if err != nil {
				return err
			}
			at := int64(0)
			for i, abort := range []bool{false, true, true, false} {
				value := fmt.Sprint("epoch ", i)
				ep, err := m.Begin()
				if err != nil {
					return err
				}
				for _, hop := range []string{" first", " second"} {
					if _, err := ep.Append(tp, block(value+hop)); err != nil {
						return err
					}
					taken, next, err := e.take(m, 1)
					if err != nil {
						return err
					}
					if got := valuesOf(taken[tp]); !slices.Equal(got, []string{value + hop}) {
						return fmt.Errorf("epoch %d read %q", i, got)
					}
					if end, known := m.End(tp); known && end < next[tp].Offset {
						return fmt.Errorf("its End is %d, and all was read up to %d", end, next[tp].Offset)
					}
					if !abort {
						at = next[tp].Offset
					}
				}
				if err := e.nothing(m); err != nil {
					return err
				}
				if abort {
					if err := ep.Abort(e.ctx); err != nil {
						return err
					}
					m.Seek(map[log.TopicPartition]int64{tp: at})
				} else if err := e.commit(ep, map[log.TopicPartition]log.CommittedOffset{tp: {Offset: at}}); err != nil {
					return err
				}
			}
			if err := e.nothing(m); err != nil {
				return err
			}
			if err := e.wantCommitted(m, tp, at); err != nil {
				return err
			}
			return e.want(tp, log.ReadCommitted, "epoch 0 first", "epoch 0 second", "epoch 3 first", "epoch 3 second")
		},
	},
}
