package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/log"
)

const (
	// instanceID makes the member a static one. All instances have it, so that the one that starts last has the
	// group, without waiting for the session of one that was killed to end.
	instanceID = "moldau"
	// sessionTimeout is how long the group waits for a sign of life, as Kafka's own clients have it.
	sessionTimeout = 45 * time.Second
	// leaveTimeout bounds leaving. Who could not leave is forgotten when its session ends.
	leaveTimeout = 5 * time.Second
	// takenOverTimeout bounds the question whether somebody else has our place.
	takenOverTimeout = 30 * time.Second
)

// group is the member's place in its consumer group. kgo joins, heartbeats and rejoins; it fetches nothing.
type group struct {
	m      *member
	client *kgo.Client

	mu      sync.Mutex
	changed chan struct{} // closed when membership changed, and made anew
	joined  bool          // once
	fatal   error         // we are not, and will not be, in the group
	losses  int           // how often partitions were lost
	owned   map[log.TopicPartition]bool
}

func newGroup(m *member) (*group, error) {
	g := &group{m: m, changed: make(chan struct{}), owned: map[log.TopicPartition]bool{}}
	client, err := m.b.newClient(
		kgo.ConsumerGroup(m.spec.Group),
		kgo.ConsumeTopics(m.spec.Topics...),
		kgo.InstanceID(instanceID),
		kgo.SessionTimeout(sessionTimeout),
		kgo.DisableAutoCommit(),
		// Without offsets kgo has nothing to fetch from.
		kgo.AdjustFetchOffsetsFn(func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return nil, nil
		}),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { g.assigned(flat(tps)) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { g.revoked(flat(tps)) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { g.lost(flat(tps)) }),
		kgo.WithHooks(groupHook{g}),
	)
	if err != nil {
		return nil, err
	}
	g.client = client
	return g, nil
}

func flat(tps map[string][]int32) []log.TopicPartition {
	var out []log.TopicPartition
	for _, topic := range slices.Sorted(maps.Keys(tps)) {
		for _, p := range slices.Sorted(slices.Values(tps[topic])) {
			out = append(out, log.TopicPartition{Topic: topic, Partition: p})
		}
	}
	return out
}

// groupHook hears why a session ended.
type groupHook struct{ g *group }

func (h groupHook) OnGroupManageError(err error) { h.g.failed(err) }

func (g *group) notify() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.changed)
	g.changed = make(chan struct{})
}

// failed hears why a session ended. Most reasons pass: kgo joins again.
func (g *group) failed(err error) {
	var fatal error
	switch {
	case errors.Is(err, kerr.FencedInstanceID):
		fatal = fmt.Errorf("group %s: %w: another instance has taken its place", g.m.spec.Group, mapped(err))
	case errors.Is(err, kerr.InconsistentGroupProtocol):
		fatal = fmt.Errorf("group %s: %w: members of another kind are in it; stop them, or take another application id", g.m.spec.Group, err)
	case errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.TopicAuthorizationFailed),
		errors.Is(err, kerr.InvalidGroupID), errors.Is(err, kerr.GroupMaxSizeReached), errors.Is(err, kerr.InvalidSessionTimeout):
		fatal = fmt.Errorf("group %s: %w", g.m.spec.Group, err)
	}
	if fatal != nil {
		g.mu.Lock()
		if g.fatal == nil {
			g.fatal = fatal
		}
		g.mu.Unlock()
		g.m.signal()
	}
	g.notify()
}

// assigned is called by kgo whenever a join is done, with the partitions that are new, if any.
func (g *group) assigned(tps []log.TopicPartition) {
	if err := g.m.assigned(tps); err != nil {
		return // the member is closed
	}
	g.mu.Lock()
	g.joined = true
	for _, tp := range tps {
		g.owned[tp] = true
	}
	g.mu.Unlock()
	g.notify()
}

func (g *group) disown(tps []log.TopicPartition, loss bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tp := range tps {
		delete(g.owned, tp)
	}
	if loss {
		g.losses++
	}
}

// revoked is called by kgo, which gives the partitions back when it returns.
func (g *group) revoked(tps []log.TopicPartition) {
	if len(tps) == 0 {
		return
	}
	g.m.revoked(tps)
	g.disown(tps, false)
	g.notify()
}

func (g *group) lost(tps []log.TopicPartition) {
	if len(tps) == 0 {
		return
	}
	g.disown(tps, true)
	g.m.lost(tps)
	g.notify()
}

// awaitJoin waits until the group has been joined.
func (g *group) awaitJoin(ctx context.Context) error {
	wait := backoff{logger: g.m.b.logger, least: lastBackoff}
	for {
		g.mu.Lock()
		joined, fatal, changed := g.joined, g.fatal, g.changed
		g.mu.Unlock()
		if fatal != nil {
			return fatal
		}
		if joined {
			return nil
		}
		if err := wait.wait(ctx, changed, "the group "+g.m.spec.Group, nil); err != nil {
			return err
		}
	}
}

// place is what offsets are committed under.
type place struct {
	member     string
	generation int32
	instance   *string
}

// nowhere is the place of a member without input, whose offsets no generation guards.
var nowhere = place{generation: -1}

func (g *group) place() place {
	if g == nil {
		return nowhere
	}
	id := instanceID
	member, generation := g.client.GroupMetadata()
	return place{member, generation, &id}
}

// standing tells how often partitions were lost so far: as long as it is the same, those that were owned are.
func (g *group) standing() int {
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.losses
}

// owns reports whether the partitions are ours, and have been since standing was asked for.
func (g *group) owns(next map[log.TopicPartition]log.CommittedOffset, standing int) bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.losses != standing {
		return false
	}
	for tp := range next {
		if !g.owned[tp] {
			return false
		}
	}
	return true
}

// events returns a channel that is closed when the membership changes.
func (g *group) events() <-chan struct{} {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// takenOver asks the group whether another instance has our place. What cannot be found out counts as yes.
func (g *group) takenOver(ctx context.Context) bool {
	if g == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takenOverTimeout)
	defer cancel()
	wait := backoff{logger: g.m.b.logger}
	for {
		changed := g.events()
		p := g.place()
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID = g.m.spec.Group, p.member, p.generation, p.instance
		resp, err := req.RequestWith(ctx, g.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		switch {
		case err == nil, errors.Is(err, kerr.RebalanceInProgress):
			return false
		case errors.Is(err, kerr.FencedInstanceID):
			g.failed(err)
			return true
		}
		if wait.wait(ctx, changed, "the group "+g.m.spec.Group, err) != nil {
			return true
		}
	}
}

// close leaves the group.
func (g *group) close() {
	p := g.place()
	g.mu.Lock()
	fatal := g.fatal
	g.mu.Unlock()
	var err error
	if fatal == nil && p.member != "" {
		// kgo has static members stay.
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = g.m.spec.Group, p.member
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, m.InstanceID = p.member, p.instance
		req.Members = append(req.Members, m)
		_, err = req.RequestWith(ctx, g.client)
	}
	g.client.Close()
	if err != nil {
		g.m.b.logger.Warn("the group could not be left, and forgets this member when its session ends",
			"group", g.m.spec.Group, "after", sessionTimeout, "cause", err)
	}
}
