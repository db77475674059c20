package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func mustProducer(t *testing.T, l *Log, owner string) *Producer {
	t.Helper()
	p, err := l.NewProducer(ProducerSpec{Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustBegin(t *testing.T, p *Producer) *Txn {
	t.Helper()
	x, err := p.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func mustAppend(t *testing.T, x *Txn, tp TopicPartition, values ...string) int64 {
	t.Helper()
	base, err := x.Append(tp, block(values...))
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func wantValues(t *testing.T, l *Log, tp TopicPartition, iso Isolation, want ...string) {
	t.Helper()
	if got := readValues(t, l, tp, Earliest, iso); !slices.Equal(got, want) {
		t.Fatalf("%s has %q, want %q", tp, got, want)
	}
}

// A transaction's records and offsets are visible together, after the commit; aborted ones never are.
func TestTransaction(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string, fs FS) {
		ctx := testContext(t)
		l := openTest(t, dir, Options{FS: fs})
		mustCreate(t, l, TopicSpec{Name: "in", Partitions: 1}, TopicSpec{Name: "out", Partitions: 2})
		in, out0, out1 := TopicPartition{"in", 0}, TopicPartition{"out", 0}, TopicPartition{"out", 1}
		p := mustProducer(t, l, "app")

		x := mustBegin(t, p)
		mustAppend(t, x, out0, "a", "b")
		mustAppend(t, x, out1, "c")
		if err := x.CommitOffsets("app", map[TopicPartition]CommittedOffset{in: {Offset: 7, Metadata: "m"}}); err != nil {
			t.Fatal(err)
		}
		wantValues(t, l, out0, ReadCommitted)
		if got := l.CommittedOffsets("app", []TopicPartition{in}); len(got) != 0 {
			t.Fatalf("offsets are committed before the transaction is: %v", got)
		}
		if err := x.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		wantValues(t, l, out0, ReadCommitted, "a", "b")
		wantValues(t, l, out1, ReadCommitted, "c")
		if got := l.CommittedOffsets("app", []TopicPartition{in}); got[in] != (CommittedOffset{7, "m"}) {
			t.Fatalf("committed offsets are %v", got)
		}

		x = mustBegin(t, p)
		mustAppend(t, x, out0, "lost")
		if err := x.CommitOffsets("app", map[TopicPartition]CommittedOffset{in: {Offset: 8}}); err != nil {
			t.Fatal(err)
		}
		if err := x.Abort(ctx); err != nil {
			t.Fatal(err)
		}
		x = mustBegin(t, p)
		mustAppend(t, x, out0, "d")
		if err := x.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			wantValues(t, l, out0, ReadCommitted, "a", "b", "d")
			wantValues(t, l, out0, ReadUncommitted, "a", "b", "lost", "d")
			wantValues(t, l, out1, ReadCommitted, "c")
			if got := l.CommittedOffsets("app", []TopicPartition{in}); got[in] != (CommittedOffset{7, "m"}) {
				t.Fatalf("committed offsets are %v", got)
			}
		}
		check()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openTest(t, dir, Options{FS: fs})
		check()
	})
}

// The transaction of a process that is gone is aborted when the log is opened, and when its owner's next
// producer comes.
func TestOpenTransactionIsAborted(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string, fs FS) {
		ctx := testContext(t)
		l := openTest(t, dir, Options{FS: fs})
		mustCreate(t, l, TopicSpec{Name: "out", Partitions: 1})
		out := TopicPartition{"out", 0}
		x := mustBegin(t, mustProducer(t, l, "app"))
		mustAppend(t, x, out, "lost with its producer")
		p := mustProducer(t, l, "app")
		if _, err := x.Append(out, block("late")); !errors.Is(err, ErrFenced) {
			t.Fatalf("an append of the producer before: %v, want ErrFenced", err)
		}
		if err := x.Commit(ctx); !errors.Is(err, ErrFenced) && !errors.Is(err, ErrInvalidTransactionState) {
			t.Fatalf("a commit of the producer before: %v, want ErrFenced", err)
		}
		x = mustBegin(t, p)
		mustAppend(t, x, out, "a")
		if err := x.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		x = mustBegin(t, p)
		mustAppend(t, x, out, "lost with its process")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openTest(t, dir, Options{FS: fs})
		wantValues(t, l, out, ReadCommitted, "a")
		x = mustBegin(t, mustProducer(t, l, "app"))
		mustAppend(t, x, out, "b")
		if err := x.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		wantValues(t, l, out, ReadCommitted, "a", "b")
	})
}

func TestMemberCommitsEpochs(t *testing.T) {
	for _, guarantee := range []Guarantee{ExactlyOnce, AtLeastOnce} {
		t.Run(guarantee.String(), func(t *testing.T) {
			eachFS(t, func(t *testing.T, dir string, fs FS) {
				ctx := testContext(t)
				l := openTest(t, dir, Options{FS: fs})
				mustCreate(t, l, TopicSpec{Name: "in", Partitions: 3}, TopicSpec{Name: "out", Partitions: 1})
				out := TopicPartition{"out", 0}
				p := mustProducer(t, l, "")
				for i := range 30 {
					if _, err := p.Append(ctx, TopicPartition{"in", int32(i % 3)}, block(fmt.Sprint(i))); err != nil {
						t.Fatal(err)
					}
				}
				seen := make(map[string]int)
				for run := range 3 {
					m, err := l.Join(ctx, MemberSpec{Group: "g", Guarantee: guarantee, Topics: []string{"in"}})
					if err != nil {
						t.Fatal(err)
					}
					if e, err := m.Next(ctx); err != nil || len(e.(Assigned).Partitions) != 3 {
						t.Fatalf("first event is %v, %v", e, err)
					}
					e, err := m.Begin()
					if err != nil {
						t.Fatal(err)
					}
					f, err := m.Next(ctx)
					if err != nil {
						t.Fatal(err)
					}
					fetched := f.(Fetched)
					records := make([]Record, 100)
					n, err := fetched.Records.Next(records)
					if err != nil || n != 10 {
						t.Fatalf("run %d: %d records, %v", run, n, err)
					}
					for _, r := range records[:n] {
						seen[string(r.Value)]++
						if _, err := e.Append(out, block("out"+string(r.Value))); err != nil {
							t.Fatal(err)
						}
					}
					next := map[TopicPartition]CommittedOffset{fetched.Partition: {Offset: fetched.Records.End()}}
					if o, err := e.Commit(ctx, next); err != nil || o != OutcomeCommitted {
						t.Fatalf("commit: %v, %v", o, err)
					}
					got, err := m.Committed(ctx, []TopicPartition{fetched.Partition})
					if err != nil || got[fetched.Partition].Offset != 10 {
						t.Fatalf("committed %v, %v", got, err)
					}
					if err := m.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if len(seen) != 30 {
					t.Fatalf("%d of 30 records seen", len(seen))
				}
				if got := readValues(t, l, out, Earliest, ReadCommitted); len(got) != 30 {
					t.Fatalf("%d of 30 records written", len(got))
				}
				done, cancel := context.WithCancel(ctx)
				cancel()
				m, err := l.Join(ctx, MemberSpec{Group: "g", Guarantee: guarantee, Topics: []string{"in"}})
				if err != nil {
					t.Fatal(err)
				}
				if e, err := m.Next(done); err != nil {
					t.Fatalf("what is there already is not given: %v, %v", e, err)
				}
				if e, err := m.Next(done); !errors.Is(err, context.Canceled) {
					t.Fatalf("with nothing to read: %v, %v", e, err)
				}
			})
		})
	}
}

// With SameEpoch a member reads what it wrote in its open epoch, and not what it aborted.
func TestMemberReadsItsOwnEpoch(t *testing.T) {
	ctx := testContext(t)
	l := openTest(t, t.TempDir(), Options{})
	mustCreate(t, l, TopicSpec{Name: "hop", Partitions: 1})
	hop := TopicPartition{"hop", 0}
	m, err := l.Join(ctx, MemberSpec{Group: "g", Topics: []string{"hop"}, SameEpoch: []string{"hop"}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	next := func() []string {
		t.Helper()
		var values []string
		e, err := m.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		records := make([]Record, 10)
		n, err := e.(Fetched).Records.Next(records)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records[:n] {
			values = append(values, string(r.Value))
		}
		return values
	}
	if _, err := m.Next(ctx); err != nil {
		t.Fatal(err)
	}
	e, err := m.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Append(hop, block("one")); err != nil {
		t.Fatal(err)
	}
	if got := next(); !slices.Equal(got, []string{"one"}) {
		t.Fatalf("read %q", got)
	}
	wantValues(t, l, hop, ReadCommitted)
	if err := e.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	m.Seek(map[TopicPartition]int64{hop: 0})
	if e, err = m.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Append(hop, block("two")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) == 0 {
		got = next()
	}
	if !slices.Equal(got, []string{"two"}) {
		t.Fatalf("read %q after the abort", got)
	}
	if o, err := e.Commit(ctx, map[TopicPartition]CommittedOffset{hop: {Offset: 3}}); o != OutcomeCommitted {
		t.Fatal(o, err)
	}
	wantValues(t, l, hop, ReadCommitted, "two")
}
