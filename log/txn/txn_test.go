package txn

import (
	"errors"
	"math"
	"slices"
	"testing"
)

// machines in every state, as user 7 in epoch 3, with what came before.
var machines = map[State]Machine{
	Empty:          {Current: Identity{7, 3}, Previous: Identity{7, 3}},
	Ongoing:        {Current: Identity{7, 3}, Previous: Identity{7, 3}, State: Ongoing, Partitions: []int32{2, 5}},
	CompleteCommit: {Current: Identity{7, 3}, Previous: Identity{7, 2}, State: CompleteCommit},
	CompleteAbort:  {Current: Identity{7, 3}, Previous: Identity{7, 2}, State: CompleteAbort},
}

// outcome is what one cell of the table says.
type outcome struct {
	err     error
	state   State
	epoch   int16
	markers bool
	commit  bool
	again   bool
}

// Every event in every state, from the producer that is current, the one that was before it, an older one,
// a newer one and another id.
func TestStepTable(t *testing.T) {
	fenced, wrong := outcome{err: ErrFenced}, outcome{err: ErrState}
	bumped := outcome{state: Empty, epoch: 4}
	ongoing := outcome{state: Ongoing, epoch: 3}
	table := map[State]map[Kind]outcome{
		Empty: {
			Initialize: bumped, AddPartition: ongoing, Commit: wrong, Abort: wrong,
		},
		Ongoing: {
			Initialize: {state: Empty, epoch: 4, markers: true}, AddPartition: ongoing,
			Commit: {state: CompleteCommit, epoch: 4, markers: true, commit: true},
			Abort:  {state: CompleteAbort, epoch: 4, markers: true},
		},
		CompleteCommit: {
			Initialize: bumped, AddPartition: ongoing, Commit: wrong, Abort: wrong,
		},
		CompleteAbort: {
			Initialize: bumped, AddPartition: ongoing, Commit: wrong, Abort: wrong,
		},
	}
	others := map[string]Identity{
		"previous": {7, 2}, "older": {7, 1}, "newer": {7, 4}, "another": {8, 3},
	}
	for state, m := range machines {
		for _, kind := range []Kind{Initialize, AddPartition, Commit, Abort} {
			checkStep(t, m, Event{Kind: kind, Who: m.Current, Partition: 3, FreshID: 99}, table[state][kind])
			for name, who := range others {
				want := fenced
				switch {
				case kind == Initialize:
					want = table[state][kind] // a new producer does not know who was before
				case name == "previous" && state == CompleteCommit && kind == Commit,
					name == "previous" && state == CompleteAbort && kind == Abort:
					want = outcome{state: state, epoch: 3, again: true}
				}
				checkStep(t, m, Event{Kind: kind, Who: who, Partition: 3, FreshID: 99}, want)
			}
		}
	}
}

func checkStep(t *testing.T, m Machine, e Event, want outcome) {
	t.Helper()
	before := m
	before.Partitions = slices.Clone(m.Partitions)
	next, effect, err := m.Step(e)
	at := func(what string, got, want any) {
		t.Helper()
		t.Errorf("%v by %v in %v: %s is %v, want %v", e.Kind, e.Who, m.State, what, got, want)
	}
	if !slices.Equal(m.Partitions, before.Partitions) {
		at("the machine it came from", m.Partitions, before.Partitions)
	}
	if !errors.Is(err, want.err) || err != nil && want.err == nil {
		at("error", err, want.err)
		return
	}
	if err != nil {
		if next.State != m.State || next.Current != m.Current || !slices.Equal(next.Partitions, m.Partitions) {
			at("the machine after an error", next, m)
		}
		return
	}
	if next.State != want.state {
		at("state", next.State, want.state)
	}
	if next.Current != (Identity{7, want.epoch}) || effect.Next != next.Current {
		at("identity", next.Current, want.epoch)
	}
	if effect.Again != want.again {
		at("again", effect.Again, want.again)
	}
	if effect.Commit != want.commit {
		at("commit", effect.Commit, want.commit)
	}
	if want.markers {
		if !slices.Equal(effect.Markers, []int32{2, 5}) || effect.MarkerAs != (Identity{7, 4}) {
			at("markers", effect, "2 and 5 under epoch 4")
		}
	} else if len(effect.Markers) > 0 {
		at("markers", effect.Markers, "none")
	}
	if next.State == Ongoing && !next.Has(e.Partition) {
		at("partitions", next.Partitions, e.Partition)
	}
	if next.State != Ongoing && len(next.Partitions) > 0 {
		at("partitions", next.Partitions, "none")
	}
}

// Partitions are kept in order, once each; the second transaction starts with none of the first.
func TestPartitionsOfATransaction(t *testing.T) {
	m := Machine{Current: Identity{1, 0}, Previous: Identity{1, 0}}
	for round := range int16(3) {
		for _, p := range []int32{9, 4, 9, 1, 4} {
			var err error
			if m, _, err = m.Step(Event{Kind: AddPartition, Who: m.Current, Partition: p}); err != nil {
				t.Fatal(err)
			}
		}
		var e Effect
		var err error
		if m, e, err = m.Step(Event{Kind: Commit, Who: m.Current}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.Markers, []int32{1, 4, 9}) || e.MarkerAs.Epoch != round+1 {
			t.Fatalf("round %d: markers %v as %v", round, e.Markers, e.MarkerAs)
		}
	}
}

// No epoch is ever past Kafka's limit, the marker of the last one included, and no identity comes twice.
func TestEpochsRunOut(t *testing.T) {
	m := Machine{Current: Identity{1, -1}, Previous: Identity{1, -1}}
	seen := make(map[Identity]bool)
	fresh := int64(2)
	for i := range 3 * math.MaxInt16 {
		kind := Initialize
		if i%3 > 0 {
			kind = Commit
			var err error
			if m, _, err = m.Step(Event{Kind: AddPartition, Who: m.Current, Partition: 1}); err != nil {
				t.Fatal(err)
			}
		}
		exhausted := m.Exhausted()
		next, e, err := m.Step(Event{Kind: kind, Who: m.Current, FreshID: fresh})
		if err != nil {
			t.Fatal(err)
		}
		if (next.Current.ID == fresh) != exhausted {
			t.Fatalf("%v becomes %v, exhausted is %v", m.Current, next.Current, exhausted)
		}
		if next.Current.ID == fresh {
			fresh++
		}
		if kind == Commit && e.MarkerAs.Epoch != m.Current.Epoch+1 {
			t.Fatalf("marker of %v is %v", m.Current, e.MarkerAs)
		}
		if e.MarkerAs.Epoch < 0 || next.Current.Epoch < 0 || next.Current.Epoch >= maxEpoch {
			t.Fatalf("%v becomes %v, with markers as %v", m.Current, next.Current, e.MarkerAs)
		}
		if seen[next.Current] {
			t.Fatalf("%v comes a second time", next.Current)
		}
		seen[next.Current] = true
		if kind == Commit {
			if _, again, err := next.Step(Event{Kind: Commit, Who: m.Current}); err != nil || !again.Again {
				t.Fatalf("the commit of %v sent again: %v, %v", m.Current, again, err)
			}
		}
		m = next
	}
	if fresh < 4 {
		t.Fatalf("only %d ids were used", fresh-1)
	}
}
