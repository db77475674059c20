package brokertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/log"
)

// faulty breaks one rule of the broker it wraps.
type faulty struct {
	log.Broker
	open   func(iso log.Isolation) log.Isolation
	create func(specs []log.TopicSpec) []log.TopicSpec
	hide   error // errors of Topics, CreateTopics and Offsets that are swallowed
	joined func(ctx context.Context, spec log.MemberSpec, m log.Member) log.Member
	spec   func(log.MemberSpec) log.MemberSpec
	reader func(log.Reader) log.Reader
	offset func(log.PartitionOffsets) log.PartitionOffsets
}

func (f *faulty) CreateTopics(ctx context.Context, specs []log.TopicSpec) error {
	if f.create != nil {
		specs = f.create(specs)
	}
	err := f.Broker.CreateTopics(ctx, specs)
	if f.hide != nil && errors.Is(err, f.hide) {
		return nil
	}
	return err
}

func (f *faulty) Offsets(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.PartitionOffsets, error) {
	all, err := f.Broker.Offsets(ctx, tps)
	for tp, o := range all {
		if f.offset != nil {
			all[tp] = f.offset(o)
		}
	}
	return all, err
}

func (f *faulty) Open(ctx context.Context, tp log.TopicPartition, offset int64, iso log.Isolation) (log.Reader, error) {
	if f.open != nil {
		iso = f.open(iso)
	}
	r, err := f.Broker.Open(ctx, tp, offset, iso)
	if err == nil && f.reader != nil {
		r = f.reader(r)
	}
	return r, err
}

func (f *faulty) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	if f.spec != nil {
		spec = f.spec(spec)
	}
	m, err := f.Broker.Join(ctx, spec)
	if err == nil && f.joined != nil {
		m = f.joined(ctx, spec, m)
	}
	return m, err
}

// faultyMember breaks one rule of the member it wraps.
type faultyMember struct {
	log.Member
	next      func(log.Event, error) (log.Event, error)
	pause     bool
	seek      bool
	end       func(int64) int64
	committed func(map[log.TopicPartition]log.CommittedOffset)
	close     bool
	epoch     func(log.Epoch) log.Epoch
}

func (m *faultyMember) Next(ctx context.Context) (log.Event, error) {
	e, err := m.Member.Next(ctx)
	if m.next != nil {
		return m.next(e, err)
	}
	return e, err
}

func (m *faultyMember) Pause(tps []log.TopicPartition) {
	if !m.pause {
		m.Member.Pause(tps)
	}
}

func (m *faultyMember) Seek(at map[log.TopicPartition]int64) {
	if !m.seek {
		m.Member.Seek(at)
	}
}

func (m *faultyMember) End(tp log.TopicPartition) (int64, bool) {
	end, known := m.Member.End(tp)
	if m.end != nil {
		end = m.end(end)
	}
	return end, known
}

func (m *faultyMember) Committed(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.CommittedOffset, error) {
	all, err := m.Member.Committed(ctx, tps)
	if m.committed != nil {
		m.committed(all)
	}
	return all, err
}

func (m *faultyMember) Begin() (log.Epoch, error) {
	e, err := m.Member.Begin()
	if err == nil && m.epoch != nil {
		e = m.epoch(e)
	}
	return e, err
}

func (m *faultyMember) Close() error {
	if m.close {
		return nil
	}
	return m.Member.Close()
}

// faultyEpoch breaks one rule of the epoch it wraps.
type faultyEpoch struct {
	log.Epoch
	append func(tp log.TopicPartition, b *log.Block) (int64, error)
	commit func(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error)
	abort  func(ctx context.Context) error
}

func (e *faultyEpoch) Append(tp log.TopicPartition, b *log.Block) (int64, error) {
	if e.append != nil {
		return e.append(tp, b)
	}
	return e.Epoch.Append(tp, b)
}

func (e *faultyEpoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	if e.commit != nil {
		return e.commit(ctx, next)
	}
	return e.Epoch.Commit(ctx, next)
}

func (e *faultyEpoch) Abort(ctx context.Context) error {
	if e.abort != nil {
		return e.abort(ctx)
	}
	return e.Epoch.Abort(ctx)
}

// member wraps each member that joins.
func member(change func(m *faultyMember)) func(context.Context, log.MemberSpec, log.Member) log.Member {
	return func(_ context.Context, _ log.MemberSpec, m log.Member) log.Member {
		f := &faultyMember{Member: m}
		change(f)
		return f
	}
}

// epoch wraps each epoch that begins.
func epoch(change func(e *faultyEpoch)) func(context.Context, log.MemberSpec, log.Member) log.Member {
	return member(func(m *faultyMember) {
		m.epoch = func(e log.Epoch) log.Epoch {
			f := &faultyEpoch{Epoch: e}
			change(f)
			return f
		}
	})
}

// reusing writes into records that were handed out when the next come.
type reusing struct {
	log.Cursor
	before *[]log.Record
}

func (c reusing) Next(dst []log.Record) (int, error) {
	for _, r := range *c.before {
		clear(r.Value)
	}
	n, err := c.Cursor.Next(dst)
	*c.before = slices.Clone(dst[:n])
	return n, err
}

// shifted says a later end than there is.
type shifted struct {
	log.Cursor
	by int64
}

func (c shifted) End() int64 { return c.Cursor.End() + c.by }

// plants are faults, each with cases that must find it.
var plants = []struct {
	name  string
	fault func(b log.Broker) *faulty
	cases []string
}{
	{"offsets are committed and the records dropped", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: epoch(func(e *faultyEpoch) {
			e.append = func(_ log.TopicPartition, b *log.Block) (int64, error) { b.Release(); return -1, nil }
		})}
	}, []string{"CommitIsOneThing", "EachRecordOnceInOrder", "ConcurrentAppends"}},
	{"records are committed and the offsets dropped", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: epoch(func(e *faultyEpoch) {
			inner := e.Epoch
			e.commit = func(ctx context.Context, _ map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
				return inner.Commit(ctx, nil)
			}
		})}
	}, []string{"CommitIsOneThing", "ReadingStartsAtCommitted", "EpochsWithoutRecords"}},
	{"aborted records are delivered to readers", func(b log.Broker) *faulty {
		return &faulty{Broker: b, open: func(log.Isolation) log.Isolation { return log.ReadUncommitted }}
	}, []string{"AbortTakesAllBack", "ReaderPassesWhatItMustNotShow"}},
	{"abort commits", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: epoch(func(e *faultyEpoch) {
			inner := e.Epoch
			e.abort = func(ctx context.Context) error { _, err := inner.Commit(ctx, nil); return err }
		})}
	}, []string{"AbortTakesAllBack", "EndOfCursorIsWhereToGoOn"}},
	{"commit aborts and says it committed", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: epoch(func(e *faultyEpoch) {
			inner := e.Epoch
			e.commit = func(ctx context.Context, _ map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
				return log.OutcomeCommitted, inner.Abort(ctx)
			}
		})}
	}, []string{"CommitIsOneThing", "RecordsComeBackAsTheyWere"}},
	{"an epoch is visible before its commit", func(b log.Broker) *faulty {
		return &faulty{Broker: b, spec: func(s log.MemberSpec) log.MemberSpec {
			s.Guarantee, s.SameEpoch = log.AtLeastOnce, nil
			return s
		}}
	}, []string{"CommitIsOneThing", "AbortTakesAllBack", "JoinFences", "CloseAbortsTheEpoch", "Offsets"}},
	{"records are doubled", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: epoch(func(e *faultyEpoch) {
			inner := e.Epoch
			e.append = func(tp log.TopicPartition, b *log.Block) (int64, error) {
				again := log.NewBlock()
				for i := range b.Len() {
					r := b.At(i)
					again.Append(r.Timestamp, r.Key, r.Value, r.Headers())
				}
				if _, err := inner.Append(tp, b); err != nil {
					again.Release()
					return -1, err
				}
				return inner.Append(tp, again)
			}
		})}
	}, []string{"CommitIsOneThing", "ConcurrentAppends", "AppendTellsItsOffset"}},
	{"records stay within their epoch", func(b log.Broker) *faulty {
		return &faulty{Broker: b, spec: func(s log.MemberSpec) log.MemberSpec { s.SameEpoch = nil; return s }}
	}, []string{"SameEpoch"}},
	{"a failed append is forgotten", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: epoch(func(e *faultyEpoch) {
			e.commit = func(context.Context, map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
				return log.OutcomeCommitted, nil
			}
		})}
	}, []string{"AFailedAppendLeavesOnlyAbort"}},
	{"metadata are lost", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) {
			m.committed = func(all map[log.TopicPartition]log.CommittedOffset) {
				for tp, o := range all {
					all[tp] = log.CommittedOffset{Offset: o.Offset}
				}
			}
		})}
	}, []string{"ReadingStartsAtCommitted"}},
	{"partitions without an offset have one", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) {
			m.committed = func(all map[log.TopicPartition]log.CommittedOffset) {
				all[log.TopicPartition{Topic: "x"}] = log.CommittedOffset{}
			}
		})}
	}, []string{"ReadingStartsAtCommitted"}},
	{"partitions are not assigned", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) {
			m.next = func(e log.Event, err error) (log.Event, error) {
				if a, ok := e.(log.Assigned); ok {
					return log.Assigned{Partitions: a.Partitions[:len(a.Partitions)-1]}, err
				}
				return e, err
			}
		})}
	}, []string{"AssignedFirst"}},
	{"the fence is not told", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: epoch(func(e *faultyEpoch) {
			inner := e.Epoch
			e.commit = func(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
				o, err := inner.Commit(ctx, next)
				if o == log.OutcomeFenced {
					o = log.OutcomeAborted
				}
				return o, err
			}
		})}
	}, []string{"JoinFences"}},
	{"pausing does nothing", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) { m.pause = true })}
	}, []string{"PauseAndResume"}},
	{"seeking does nothing", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) { m.seek = true })}
	}, []string{"Seek"}},
	{"the end is too far", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) { m.end = func(e int64) int64 { return e + 1 } })}
	}, []string{"End"}},
	{"closing does nothing", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) { m.close = true })}
	}, []string{"CloseAbortsTheEpoch"}},
	{"the cursor's end is too far", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) {
			m.next = func(e log.Event, err error) (log.Event, error) {
				if f, ok := e.(log.Fetched); ok {
					return log.Fetched{Partition: f.Partition, Records: shifted{f.Records, 1}}, err
				}
				return e, err
			}
		})}
	}, []string{"EndOfCursorIsWhereToGoOn"}},
	{"the cursor's end is the last record", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) {
			m.next = func(e log.Event, err error) (log.Event, error) {
				if f, ok := e.(log.Fetched); ok {
					return log.Fetched{Partition: f.Partition, Records: shifted{f.Records, -4}}, err
				}
				return e, err
			}
		})}
	}, []string{"EndOfCursorIsWhereToGoOn"}},
	{"buffers are used again", func(b log.Broker) *faulty {
		return &faulty{Broker: b, joined: member(func(m *faultyMember) {
			before := new([]log.Record)
			m.next = func(e log.Event, err error) (log.Event, error) {
				if f, ok := e.(log.Fetched); ok {
					return log.Fetched{Partition: f.Partition, Records: reusing{f.Records, before}}, err
				}
				return e, err
			}
		})}
	}, []string{"BytesAreNotReused"}},
	{"topics that differ are taken for the same", func(b log.Broker) *faulty {
		return &faulty{Broker: b, hide: log.ErrTopicMismatch}
	}, []string{"CreateTopicsChecksExisting"}},
	{"bad settings are swallowed", func(b log.Broker) *faulty {
		return &faulty{Broker: b, hide: log.ErrInvalidConfig}
	}, []string{"CreateTopicsRefuses"}},
	{"topics get one partition", func(b log.Broker) *faulty {
		return &faulty{Broker: b, create: func(specs []log.TopicSpec) []log.TopicSpec {
			specs = slices.Clone(specs)
			for i := range specs {
				specs[i].Partitions = min(specs[i].Partitions, 1)
			}
			return specs
		}}
	}, []string{"Topics", "AssignedFirst"}},
	{"topics forget how large records may be", func(b log.Broker) *faulty {
		return &faulty{Broker: b, create: func(specs []log.TopicSpec) []log.TopicSpec {
			specs = slices.Clone(specs)
			for i := range specs {
				specs[i].Config = nil
			}
			return specs
		}}
	}, []string{"Capabilities"}},
	{"open epochs are stable", func(b log.Broker) *faulty {
		return &faulty{Broker: b, offset: func(o log.PartitionOffsets) log.PartitionOffsets {
			o.LastStable++
			return o
		}}
	}, []string{"Offsets"}},
	{"values lose their null", func(b log.Broker) *faulty {
		return &faulty{Broker: b, reader: func(r log.Reader) log.Reader { return nonNull{r} }}
	}, []string{"RecordsComeBackAsTheyWere"}},
	{"fetches are not bounded", func(b log.Broker) *faulty {
		return &faulty{Broker: b, spec: func(s log.MemberSpec) log.MemberSpec { s.MaxFetchBytes = 0; return s }}
	}, []string{"FetchIsBounded"}},
}

type nonNull struct{ log.Reader }

func (r nonNull) Read(ctx context.Context, dst []log.Record) (int, error) {
	n, err := r.Reader.Read(ctx, dst)
	for i := range dst[:n] {
		if dst[i].Value == nil {
			dst[i].Value = []byte{}
		}
	}
	return n, err
}

// The suite finds what it is there to find: each planted fault fails the cases that say so, and with a
// message that names the rule.
func TestPlantedFaults(t *testing.T) {
	for _, plant := range plants {
		t.Run(plant.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range plant.cases {
				i := slices.IndexFunc(Cases(), func(c Case) bool { return c.Name == name })
				if i < 0 {
					t.Fatalf("there is no case %s", name)
				}
				c := Cases()[i]
				l, err := log.Open("log", log.Options{FS: vfs.NewMem(), Sync: log.SyncOS})
				if err != nil {
					t.Fatal(err)
				}
				// Some faults make a case wait for what never comes.
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				err = c.Check(ctx, plant.fault(l))
				cancel()
				if err == nil {
					t.Errorf("%s does not find it", name)
				} else if !strings.Contains(err.Error(), c.Rule) {
					t.Errorf("%s finds it, and does not tell the rule: %v", name, err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Without a fault the same broker passes: what is found above is not the wrapper.
func TestNoFault(t *testing.T) {
	Run(t, func(t *testing.T) log.Broker {
		l, err := log.Open("log", log.Options{FS: vfs.NewMem(), Sync: log.SyncOS})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		return &faulty{Broker: l}
	}, Timeout(10*time.Second))
}
