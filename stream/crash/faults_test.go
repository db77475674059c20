package crash

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/internal/crashfs"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// bent is a log that does not keep its word, or is used by an engine that does not keep its own: what is set
// stands between the two.
type bent struct {
	log.Broker
	topics  func(infos []log.TopicInfo)
	offsets func(bounds map[log.TopicPartition]log.PartitionOffsets)
	fetched func(f log.Fetched)
	begin   func(m log.Member) (log.Epoch, error)
	append  func(e log.Epoch, tp log.TopicPartition, b *log.Block) (int64, error)
	commit  func(e log.Epoch, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error)
}

func (b *bent) Topics(ctx context.Context, names []string) ([]log.TopicInfo, error) {
	infos, err := b.Broker.Topics(ctx, names)
	if b.topics != nil {
		b.topics(infos)
	}
	return infos, err
}

func (b *bent) Offsets(ctx context.Context, tps []log.TopicPartition) (map[log.TopicPartition]log.PartitionOffsets, error) {
	bounds, err := b.Broker.Offsets(ctx, tps)
	if b.offsets != nil {
		b.offsets(bounds)
	}
	return bounds, err
}

func (b *bent) Join(ctx context.Context, spec log.MemberSpec) (log.Member, error) {
	m, err := b.Broker.Join(ctx, spec)
	return &bentMember{m, b}, err
}

type bentMember struct {
	log.Member
	b *bent
}

func (m *bentMember) Next(ctx context.Context) (log.Event, error) {
	ev, err := m.Member.Next(ctx)
	if f, ok := ev.(log.Fetched); ok && m.b.fetched != nil {
		m.b.fetched(f)
	}
	return ev, err
}

func (m *bentMember) Begin() (log.Epoch, error) {
	begin := log.Member.Begin
	if m.b.begin != nil {
		begin = m.b.begin
	}
	e, err := begin(m.Member)
	return &bentEpoch{e, m.b}, err
}

type bentEpoch struct {
	log.Epoch
	b *bent
}

func (e *bentEpoch) Append(tp log.TopicPartition, block *log.Block) (int64, error) {
	if e.b.append != nil {
		return e.b.append(e.Epoch, tp, block)
	}
	return e.Epoch.Append(tp, block)
}

func (e *bentEpoch) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	if e.b.commit != nil {
		return e.b.commit(e.Epoch, next)
	}
	return e.Epoch.Commit(ctx, next)
}

// tardy is an epoch that begins when it is first written to, once what was promised before is done.
type tardy struct {
	log.Epoch
	m      log.Member
	before func() error
}

func (e *tardy) begin() (err error) {
	if err = e.before(); err == nil && e.Epoch == nil {
		e.Epoch, err = e.m.Begin()
	}
	return err
}

func (e *tardy) Append(tp log.TopicPartition, b *log.Block) (int64, error) {
	if err := e.begin(); err != nil {
		return -1, err
	}
	return e.Epoch.Append(tp, b)
}

func (e *tardy) Commit(ctx context.Context, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
	if err := e.begin(); err != nil {
		return log.OutcomeFenced, err
	}
	return e.Epoch.Commit(ctx, next)
}

func (e *tardy) Abort(ctx context.Context) error {
	if err := e.begin(); err != nil {
		return err
	}
	return e.Epoch.Abort(ctx)
}

func isChangelog(tp log.TopicPartition) bool { return strings.HasSuffix(tp.Topic, "-changelog") }

func (s shape) isOutput(tp log.TopicPartition) bool {
	return slices.ContainsFunc(s.tables, func(t table) bool { return t.name == tp.Topic })
}

// behind is by how many offsets a last stable offset may lag: markers of committed transactions may still be on
// their way.
const behind = 3

var faults = []struct {
	name  string
	of    variety
	plant func(h *hunt)
	seen  []oracle // by which the fault is to be seen
}{
	{
		name: "the cache keeps what an aborted epoch put",
		of:   variety{several, stream.EachUpdate, log.SyncCommit},
		plant: func(h *hunt) {
			h.abort = func(w *world) error {
				for _, s := range w.engine.Slots() {
					s.Task.Env.State.CommitEpoch()
				}
				return w.engine.Abort(context.Background())
			}
		},
		seen: []oracle{doubled},
	},
	{
		name: "positions go to Pebble before the log commits",
		of:   variety{several, stream.OnCommit, log.SyncCommit},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				// The commit that the engine was told of is made when the next epoch writes something.
				var promised func() error
				w.putOff = func() error {
					do := promised
					promised = nil
					if do == nil {
						return nil
					}
					return do()
				}
				b := &bent{Broker: w.lg}
				b.begin = func(m log.Member) (log.Epoch, error) {
					return &tardy{m: m, before: w.putOff}, nil
				}
				b.commit = func(e log.Epoch, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
					promised = func() error {
						_, err := e.Commit(context.Background(), next)
						return err
					}
					return log.OutcomeCommitted, nil
				}
				return b
			}
		},
		seen: []oracle{doubled},
	},
	{
		name: "stores are restored to the last stable offset",
		of:   variety{wordCount, stream.EachUpdate, log.SyncCommit},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				return &bent{Broker: w.lg, offsets: func(bounds map[log.TopicPartition]log.PartitionOffsets) {
					for tp, b := range bounds {
						if isChangelog(tp) {
							b.LastStable = max(b.LastStable-behind, b.Start)
							b.HighWatermark = b.LastStable
							bounds[tp] = b
						}
					}
				}}
			}
		},
		seen: []oracle{lost},
	},
	{
		name: "offsets are committed before the output",
		of:   variety{wordCount, stream.OnCommit, log.SyncCommit},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				return &bent{Broker: w.lg, commit: func(e log.Epoch, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
					if err := w.lg.CommitOffsets(application, next); err != nil {
						return log.OutcomeFenced, err
					}
					return e.Commit(context.Background(), nil)
				}}
			}
		},
		seen: []oracle{lost},
	},
	{
		name: "offsets of what was fetched are committed, and not of what was processed",
		of:   variety{several, stream.EachUpdate, log.SyncCommit},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				fetched := map[log.TopicPartition]int64{}
				return &bent{
					Broker:  w.lg,
					fetched: func(f log.Fetched) { fetched[f.Partition] = f.Records.End() },
					commit: func(e log.Epoch, next map[log.TopicPartition]log.CommittedOffset) (log.Outcome, error) {
						for tp, n := range next {
							n.Offset = max(n.Offset, fetched[tp])
							next[tp] = n
						}
						return e.Commit(context.Background(), next)
					},
				}
			}
		},
		seen: []oracle{lost},
	},
	{
		name: "output is appended outside of the transaction",
		of:   variety{wordCount, stream.EachUpdate, log.SyncCommit},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				return &bent{Broker: w.lg, append: func(e log.Epoch, tp log.TopicPartition, b *log.Block) (int64, error) {
					if h.shape.isOutput(tp) {
						return w.input.Append(context.Background(), tp, b)
					}
					return e.Append(tp, b)
				}}
			}
		},
		seen: []oracle{doubled},
	},
	{
		name: "the changelog lacks a key",
		of:   variety{wordCount, stream.OnCommit, log.SyncCommit},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				return &bent{Broker: w.lg, append: func(e log.Epoch, tp log.TopicPartition, b *log.Block) (int64, error) {
					if !isChangelog(tp) {
						return e.Append(tp, b)
					}
					kept := log.NewBlock()
					for i := range b.Len() {
						if r := b.At(i); string(r.Key) != "w1" {
							kept.Append(r.Timestamp, r.Key, r.Value, nil)
						}
					}
					b.Release()
					return e.Append(tp, kept)
				}}
			}
		},
		seen: []oracle{lost, changes},
	},
	{
		name: "state from before another leader epoch is used",
		of:   variety{several, stream.OnCommit, log.SyncOS},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				return &bent{Broker: w.lg, offsets: func(bounds map[log.TopicPartition]log.PartitionOffsets) {
					for tp, b := range bounds {
						b.LeaderEpoch = 0
						bounds[tp] = b
					}
				}}
			}
		},
		seen: []oracle{doubled, wrong},
	},
	{
		name: "the journal is not synced",
		of:   variety{wordCount, stream.EachUpdate, log.SyncCommit},
		plant: func(h *hunt) {
			h.disk = func(op crashfs.Op) crashfs.Fault {
				if op.Kind == crashfs.Sync && strings.HasPrefix(op.Path, logDir+"/journal/") {
					return crashfs.Fault{Effect: crashfs.Skip}
				}
				return crashfs.Fault{}
			}
		},
		seen: []oracle{input, takenBack},
	},
	{
		name: "an epoch is told to be committed before it is synced",
		of:   variety{wordCount, stream.OnCommit, log.SyncOS},
		plant: func(h *hunt) {
			h.promises = true
		},
		seen: []oracle{input, takenBack},
	},
	{
		name: "a line is sent again though it was acknowledged",
		of:   variety{wordCount, stream.OnCommit, log.SyncCommit},
		plant: func(h *hunt) {
			h.broker = func(w *world) log.Broker {
				w.sent = max(w.sent-1, 0)
				return w.lg
			}
		},
		seen: []oracle{input, doubled},
	},
}

// Each oracle is seen to see what it is there for.
func TestOraclesSeeFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			for seed := range uint64(10) {
				set, err := newSetup(f.of.shape, f.of.emit, f.of.sync, 30, rand.New(rand.NewPCG(seed, 0)))
				if err != nil {
					t.Fatal(err)
				}
				h := newHunt(set, seed, size{every: 5, nest: 1 << 20, inner: 1})
				f.plant(h)
				err = h.run()
				if err == nil {
					continue
				}
				var by *finding
				if !errors.As(err, &by) || !slices.Contains(f.seen, by.oracle) {
					t.Fatalf("seed %d: it is seen, but as: %v", seed, err)
				}
				t.Logf("seed %d: %v", seed, err)
				return
			}
			t.Error("not seen")
		})
	}
}
