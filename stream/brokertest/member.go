package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moldau-io/moldau/log"
)

// memberCases are the rules of Member.
var memberCases = []Case{
	{
		Name: "JoinRefuses",
		Rule: "a topic that does not exist cannot be joined; SameEpoch needs ExactlyOnce",
		check: func(e *env) error {
			if _, err := e.b.Join(e.ctx, log.MemberSpec{Group: e.name, Topics: []string{e.name + "-missing"}}); !errors.Is(err, log.ErrUnknownTopic) {
				return fmt.Errorf("a missing topic: %v", err)
			}
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			if _, err := e.b.Join(e.ctx, log.MemberSpec{Group: e.name, Guarantee: log.AtLeastOnce, Topics: []string{topic}, SameEpoch: []string{topic}}); err == nil {
				return errors.New("SameEpoch under AtLeastOnce is no error")
			}
			return nil
		},
	},
	{
		Name: "AssignedFirst",
		Rule: "all partitions of the group's topics are assigned before records of them come",
		check: func(e *env) error {
			one, err := e.topic(1)
			if err != nil {
				return err
			}
			three, err := e.topic(3)
			if err != nil {
				return err
			}
			if err := e.write(three, 1, "there already"); err != nil {
				return err
			}
			m, err := e.join(one, three)
			if err != nil {
				return err
			}
			want := map[log.TopicPartition]bool{{Topic: one}: true}
			for p := range int32(3) {
				want[log.TopicPartition{Topic: three, Partition: p}] = true
			}
			for len(want) > 0 {
				event, err := m.Next(e.ctx)
				if err != nil {
					return err
				}
				a, ok := event.(log.Assigned)
				if !ok {
					return fmt.Errorf("got %T with %d partitions not assigned", event, len(want))
				}
				for _, tp := range a.Partitions {
					if !want[tp] {
						return fmt.Errorf("%s is assigned, twice or without being asked for", tp)
					}
					delete(want, tp)
				}
			}
			_, _, err = e.take(m, 1)
			return err
		},
	},
	{
		Name: "EachRecordOnceInOrder",
		Rule: "a member reads every record of its partitions once, in offset order, however they come to be",
		check: func(e *env) error {
			topic, err := e.topic(3)
			if err != nil {
				return err
			}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			const rounds = 10
			wrote := make(chan error, 1)
			go func() {
				for i := range rounds {
					for p := range int32(3) {
						if err := e.write(topic, p, fmt.Sprint(2*i), fmt.Sprint(2*i+1)); err != nil {
							wrote <- err
							return
						}
					}
				}
				wrote <- nil
			}()
			taken, _, err := e.take(m, rounds*3*2)
			if werr := <-wrote; werr != nil {
				return werr
			}
			if err != nil {
				return err
			}
			for tp, records := range taken {
				for i, r := range records {
					if string(r.Value) != fmt.Sprint(i) || i > 0 && r.Offset <= records[i-1].Offset {
						return fmt.Errorf("record %d of %s is %q at offset %d", i, tp, r.Value, r.Offset)
					}
				}
				if len(records) != 2*rounds {
					return fmt.Errorf("%d records of %s, want %d", len(records), tp, 2*rounds)
				}
			}
			return e.nothing(m)
		},
	},
	{
		Name: "ReadingStartsAtCommitted",
		Rule: "reading starts at the committed offset, or at the log's start where there is none",
		check: func(e *env) error {
			topic, err := e.topic(2)
			if err != nil {
				return err
			}
			p0, p1 := log.TopicPartition{Topic: topic}, log.TopicPartition{Topic: topic, Partition: 1}
			for p := range int32(2) {
				if err := e.write(topic, p, "a", "b", "c"); err != nil {
					return err
				}
			}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			if err := e.wantCommitted(m, p0, -1); err != nil {
				return err
			}
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if err := e.commit(ep, map[log.TopicPartition]log.CommittedOffset{p0: {Offset: 2, Metadata: "why"}}); err != nil {
				return err
			}
			if err := e.leave(m); err != nil {
				return err
			}
			if m, err = e.join(topic); err != nil {
				return err
			}
			all, err := m.Committed(e.ctx, []log.TopicPartition{p0, p1})
			if err != nil {
				return err
			}
			if len(all) != 1 || all[p0] != (log.CommittedOffset{Offset: 2, Metadata: "why"}) {
				return fmt.Errorf("committed offsets are %v", all)
			}
			taken, _, err := e.take(m, 4)
			if err != nil {
				return err
			}
			if got := valuesOf(taken[p0]); !slices.Equal(got, []string{"c"}) {
				return fmt.Errorf("from the committed offset on there is %q", got)
			}
			if got := valuesOf(taken[p1]); !slices.Equal(got, []string{"a", "b", "c"}) {
				return fmt.Errorf("without a committed offset there is %q", got)
			}
			return nil
		},
	},
	{
		Name: "EndOfCursorIsWhereToGoOn",
		Rule: "a cursor's End counts control batches and aborted records, so that who goes on there misses nothing and sees nothing twice",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			seen := []string{}
			for round := range 4 {
				if err := e.write(topic, 0, fmt.Sprint(round)); err != nil {
					return err
				}
				w, err := e.joinAs(log.MemberSpec{Group: e.name + "-aborter"})
				if err != nil {
					return err
				}
				ep, err := w.Begin()
				if err != nil {
					return err
				}
				if _, err := ep.Append(tp, block("aborted")); err != nil {
					return err
				}
				if err := ep.Abort(e.ctx); err != nil {
					return err
				}
				if err := e.leave(w); err != nil {
					return err
				}
				m, err := e.join(topic)
				if err != nil {
					return err
				}
				taken, next, err := e.take(m, 1)
				if err != nil {
					return err
				}
				for _, r := range taken[tp] {
					seen = append(seen, string(r.Value))
				}
				if ep, err = m.Begin(); err != nil {
					return err
				}
				if err := e.commit(ep, next); err != nil {
					return err
				}
				if err := e.leave(m); err != nil {
					return err
				}
			}
			if !slices.Equal(seen, []string{"0", "1", "2", "3"}) {
				return fmt.Errorf("seen were %q", seen)
			}
			return nil
		},
	},
	{
		Name: "NextWithADoneContext",
		Rule: "with a ctx that is done Next returns what is there already, and ctx's error only if it would have to wait",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			if err := e.write(topic, 0, "a", "b"); err != nil {
				return err
			}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			if _, _, err := e.take(m, 2); err != nil {
				return err
			}
			if err := e.nothing(m); err != nil {
				return err
			}
			m.Seek(map[log.TopicPartition]int64{{Topic: topic}: 0})
			if _, _, err := e.take(m, 2); err != nil {
				return err
			}
			short, cancel := context.WithTimeout(e.ctx, 20*time.Millisecond)
			defer cancel()
			for {
				f, err := e.fetched(short, m)
				if errors.Is(err, context.DeadlineExceeded) {
					return nil
				}
				if err != nil {
					return err
				}
				if records, err := drain(f.Records); err != nil || len(records) > 0 {
					return fmt.Errorf("%d records more, %v", len(records), err)
				}
			}
		},
	},
	{
		Name: "NextWaits",
		Rule: "Next waits for records and is woken by them",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			if err := e.nothing(m); err != nil {
				return err
			}
			done := make(chan error, 1)
			go func() {
				_, _, err := e.take(m, 1)
				done <- err
			}()
			if err := e.write(topic, 0, "a"); err != nil {
				return err
			}
			return <-done
		},
	},
	{
		Name: "FetchIsBounded",
		Rule: "MaxFetchBytes bounds one Fetched, but for a single batch that is larger",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			const large, small, n = 50_000, 200, 30
			if err := e.write(topic, 0, strings.Repeat("l", large)); err != nil {
				return err
			}
			for range n {
				if err := e.write(topic, 0, strings.Repeat("s", small)); err != nil {
					return err
				}
			}
			m, err := e.joinAs(log.MemberSpec{Group: e.name, Topics: []string{topic}, MaxFetchBytes: 2000})
			if err != nil {
				return err
			}
			for got := 0; got < n+1; {
				f, err := e.fetched(e.ctx, m)
				if err != nil {
					return err
				}
				records, err := drain(f.Records)
				if err != nil {
					return err
				}
				if f.Records.Bytes() > 2000 && len(records) > 1 {
					return fmt.Errorf("%d records in %d bytes at once", len(records), f.Records.Bytes())
				}
				got += len(records)
			}
			return nil
		},
	},
	{
		Name: "PauseAndResume",
		Rule: "Pause stops Fetched events for the partitions, Resume lets them come again",
		check: func(e *env) error {
			topic, err := e.topic(2)
			if err != nil {
				return err
			}
			p0, p1 := log.TopicPartition{Topic: topic}, log.TopicPartition{Topic: topic, Partition: 1}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			if err := e.nothing(m); err != nil {
				return err
			}
			m.Pause([]log.TopicPartition{p0})
			for p := range int32(2) {
				if err := e.write(topic, p, "a"); err != nil {
					return err
				}
			}
			taken, _, err := e.take(m, 1)
			if err != nil {
				return err
			}
			if len(taken[p0]) > 0 || len(taken[p1]) != 1 {
				return fmt.Errorf("got %v with %s paused", taken, p0)
			}
			if err := e.nothing(m); err != nil {
				return fmt.Errorf("with %s paused: %w", p0, err)
			}
			m.Resume([]log.TopicPartition{p0})
			if taken, _, err = e.take(m, 1); err != nil {
				return err
			}
			if len(taken[p0]) != 1 {
				return fmt.Errorf("got %v with %s resumed", taken, p0)
			}
			return nil
		},
	},
	{
		Name: "Seek",
		Rule: "Seek sets where to read on, back or ahead",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			if err := e.write(topic, 0, "a", "b", "c", "d"); err != nil {
				return err
			}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			if _, _, err := e.take(m, 4); err != nil {
				return err
			}
			for _, at := range []int64{1, 3, 0, 2} {
				m.Seek(map[log.TopicPartition]int64{tp: at})
				want := []string{"a", "b", "c", "d"}[at:]
				taken, _, err := e.take(m, len(want))
				if err != nil {
					return err
				}
				if got := valuesOf(taken[tp]); !slices.Equal(got, want) {
					return fmt.Errorf("from %d on there is %q, want %q", at, got, want)
				}
			}
			return nil
		},
	},
	{
		Name: "End",
		Rule: "End is the offset after the last record that the member may read now, if it is known",
		check: func(e *env) error {
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			if err := e.write(topic, 0, "a", "b"); err != nil {
				return err
			}
			m, err := e.join(topic)
			if err != nil {
				return err
			}
			_, next, err := e.take(m, 2)
			if err != nil {
				return err
			}
			// What follows the records, such as a marker, may come a little later.
			for end, known := m.End(tp); known && end > next[tp].Offset; end, known = m.End(tp) {
				f, err := e.fetched(e.ctx, m)
				if err != nil {
					return fmt.Errorf("its End is %d, and all was read up to %d: %w", end, next[tp].Offset, err)
				}
				next[tp] = log.CommittedOffset{Offset: f.Records.End()}
			}
			if err := e.nothing(m); err != nil {
				return err
			}
			if end, known := m.End(tp); known && end < 2 {
				return fmt.Errorf("its End is %d, and all was read up to %d", end, next[tp].Offset)
			}
			ep, err := m.Begin()
			if err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("of the open epoch")); err != nil {
				return err
			}
			if end, known := m.End(tp); known && end > next[tp].Offset {
				return fmt.Errorf("its End is %d, and an open epoch starts at %d", end, next[tp].Offset)
			}
			if end, known := m.End(log.TopicPartition{Topic: e.name + "-other"}); known {
				return fmt.Errorf("the End of a partition that is not assigned is %d", end)
			}
			return ep.Abort(e.ctx)
		},
	},
	{
		Name: "JoinFences",
		Rule: "under ExactlyOnce Join fences whoever wrote for the group before: its open transaction is aborted when Join returns",
		check: func(e *env) error {
			if !e.b.Capabilities().SoleWriter {
				return needs("Capabilities.SoleWriter: members of a cluster's group may write side by side")
			}
			topic, err := e.topic(1)
			if err != nil {
				return err
			}
			in, err := e.topic(1)
			if err != nil {
				return err
			}
			tp := log.TopicPartition{Topic: topic}
			e.fenced = true
			old, err := e.join(in)
			if err != nil {
				return err
			}
			if err := e.nothing(old); err != nil {
				return err
			}
			ep, err := old.Begin()
			if err != nil {
				return err
			}
			if _, err := ep.Append(tp, block("fenced")); err != nil {
				return err
			}
			if _, err := e.join(in); err != nil {
				return err
			}
			o, err := e.offsets(tp)
			if err != nil {
				return err
			}
			if o.LastStable != o.HighWatermark {
				return fmt.Errorf("when Join returns: %+v", o)
			}
			// Where the offset is not known yet, nor may be the error: then the commit tells.
			if base, err := ep.Append(tp, block("late")); err == nil && base >= 0 {
				return errors.New("the member before can still append")
			}
			outcome, err := ep.Commit(e.ctx, map[log.TopicPartition]log.CommittedOffset{{Topic: in}: {Offset: 0}})
			if outcome != log.OutcomeFenced {
				return fmt.Errorf("the commit of the member before: outcome %d, %v", outcome, err)
			}
			if _, err := old.Begin(); err == nil {
				return errors.New("the member before can still begin an epoch")
			}
			for {
				event, err := old.Next(e.ctx)
				if e.ctx.Err() != nil {
					return errors.New("the member before does not hear that its partitions are lost")
				}
				if _, lost := event.(log.Lost); lost || err != nil {
					break
				}
			}
			return e.want(tp, log.ReadCommitted)
		},
	},
	{
		Name: "CloseAbortsTheEpoch",
		Rule: "Close leaves the group; an open epoch is aborted",
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
			if _, err := ep.Append(tp, block("left behind")); err != nil {
				return err
			}
			if err := e.leave(m); err != nil {
				return err
			}
			if err := m.Close(); err != nil {
				return fmt.Errorf("the second Close: %w", err)
			}
			o, err := e.offsets(tp)
			if err != nil {
				return err
			}
			if o.LastStable != o.HighWatermark {
				return fmt.Errorf("after Close: %+v", o)
			}
			if _, err := m.Next(e.ctx); err == nil || e.ctx.Err() != nil {
				return fmt.Errorf("call of Next after Close: %v", err)
			}
			return e.want(tp, log.ReadCommitted)
		},
	},
}
