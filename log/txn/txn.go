// Package txn is the transaction coordinator as a pure state machine: events in, what is to be written out.
// It has no I/O, clock or goroutine, and knows nothing of the log; partitions are numbers to it.
//
// A transaction's end is written in one piece here (all markers, or none), so that Kafka's states between a
// decision and its last marker (PrepareCommit, PrepareAbort) do not exist.
//
//	          AddPartition            Commit
//	Empty ----------------> Ongoing ----------> CompleteCommit
//	  ^                      ^ |  ^                   |
//	  |                      | |  +-------------------+ AddPartition: the next transaction
//	  | Initialize           | +-- Abort --> CompleteAbort
//	  +-- from any state     +---- AddPartition ---+
//
// The producer's epoch goes up with every end of a transaction (KIP-890): the markers carry the new epoch, and
// the next transaction uses it, so that a batch of the old transaction that comes late is refused.
package txn

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// State is where a producer's transactions stand. The names are Kafka's.
type State int8

const (
	Empty          State = iota // nothing was done under this epoch
	Ongoing                     // partitions were added, the end is open
	CompleteCommit              // the last transaction is committed
	CompleteAbort               // the last transaction is aborted
)

func (s State) String() string {
	switch s {
	case Empty:
		return "Empty"
	case Ongoing:
		return "Ongoing"
	case CompleteCommit:
		return "CompleteCommit"
	case CompleteAbort:
		return "CompleteAbort"
	}
	return fmt.Sprintf("state(%d)", int8(s))
}

// Kind is what an event is about.
type Kind int8

const (
	Initialize   Kind = iota // a new producer takes the place of the one before
	AddPartition             // the transaction will write to a partition
	Commit
	Abort
)

func (k Kind) String() string {
	switch k {
	case Initialize:
		return "Initialize"
	case AddPartition:
		return "AddPartition"
	case Commit:
		return "Commit"
	case Abort:
		return "Abort"
	}
	return fmt.Sprintf("kind(%d)", int8(k))
}

// Identity is a producer id with its epoch.
type Identity struct {
	ID    int64
	Epoch int16
}

// Event is something that a producer asks for.
type Event struct {
	Kind Kind
	// Who is the producer as it knows itself; not looked at for Initialize.
	Who Identity
	// Partition is the one to add.
	Partition int32
	// FreshID is a producer id that was never used. It is taken when the epochs of the old one are used up
	// (Effect.Next says so), and may be offered again otherwise.
	FreshID int64
}

// Effect is what an event demands.
type Effect struct {
	// Markers are the partitions, ascending, that get a marker; MarkerAs goes into it. Commit says which
	// kind it is. All of them must be written in one piece with the offsets, if there are any.
	Markers  []int32
	MarkerAs Identity
	Commit   bool
	// Next is the identity from now on. It must be as durable as the markers.
	Next Identity
	// Again says that the event asked for what has been done already: there is nothing to write.
	Again bool
}

// The errors to branch on.
var (
	// ErrFenced: the producer's epoch is not the one in force.
	ErrFenced = errors.New("txn: producer epoch is not the current one")
	// ErrState: the event does not fit the state.
	ErrState = errors.New("txn: not possible in this state")
)

// Machine is the state of one transactional id. The zero value with Current set is a new one. It is a value:
// Step returns the next one, which the caller takes on once the effect is written.
type Machine struct {
	Current Identity
	State   State
	// Partitions are those of the ongoing transaction, ascending.
	Partitions []int32
	// Previous is the identity that ended the last transaction; Current if it has none. A request to end it
	// that is sent again comes under it.
	Previous Identity
}

// maxEpoch is Kafka's: the last epoch is kept back for the markers that fence a producer out.
const maxEpoch = math.MaxInt16 - 1

// Has reports whether the partition is in the ongoing transaction.
func (m *Machine) Has(partition int32) bool {
	_, ok := slices.BinarySearch(m.Partitions, partition)
	return ok
}

// Step says what an event leads to. An error leaves the machine as it is.
//
//	               Initialize        AddPartition   Commit               Abort
//	Empty          epoch+1           Ongoing        ErrState             ErrState
//	Ongoing        abort, epoch+1    Ongoing        commit, epoch+1      abort, epoch+1
//	CompleteCommit epoch+1           Ongoing        again, if previous   ErrState
//	CompleteAbort  epoch+1           Ongoing        ErrState             again, if previous
//
// All but Initialize need the current identity; ErrFenced otherwise. "Previous" is the identity that ended the
// last transaction: with it an end is a retry, in the same state with the same kind.
func (m Machine) Step(e Event) (Machine, Effect, error) {
	if e.Kind == Initialize {
		if m.State == Ongoing {
			return m.end(CompleteAbort, e.FreshID).initialized()
		}
		next := m.next(e.FreshID)
		return Machine{Current: next, Previous: next}, Effect{Next: next}, nil
	}
	if e.Who != m.Current {
		retry := e.Kind == Commit && m.State == CompleteCommit || e.Kind == Abort && m.State == CompleteAbort
		if retry && e.Who == m.Previous {
			return m, Effect{Next: m.Current, Again: true}, nil
		}
		return m, Effect{}, fmt.Errorf("%w: %v of producer %d with epoch %d, and it is %d with epoch %d", ErrFenced,
			e.Kind, e.Who.ID, e.Who.Epoch, m.Current.ID, m.Current.Epoch)
	}
	switch e.Kind {
	case AddPartition:
		return m.add(e.Partition), Effect{Next: m.Current}, nil
	case Commit:
		if m.State == Ongoing {
			return m.end(CompleteCommit, e.FreshID).effect()
		}
	case Abort:
		if m.State == Ongoing {
			return m.end(CompleteAbort, e.FreshID).effect()
		}
	}
	return m, Effect{}, fmt.Errorf("%w: %v in %v", ErrState, e.Kind, m.State)
}

func (m Machine) add(partition int32) Machine {
	if m.State != Ongoing {
		m.State, m.Partitions, m.Previous = Ongoing, nil, m.Current
	}
	if i, ok := slices.BinarySearch(m.Partitions, partition); !ok {
		m.Partitions = slices.Insert(slices.Clone(m.Partitions), i, partition)
	}
	return m
}

// Exhausted says that the next end or Initialize takes Event.FreshID.
func (m Machine) Exhausted() bool { return m.Current.Epoch >= maxEpoch-1 }

// next is the identity after the current one.
func (m Machine) next(freshID int64) Identity {
	if m.Exhausted() {
		return Identity{ID: freshID}
	}
	return Identity{ID: m.Current.ID, Epoch: m.Current.Epoch + 1}
}

// ended is a machine with what its end is to write.
type ended struct {
	m Machine
	e Effect
}

func (m Machine) end(state State, freshID int64) ended {
	next := m.next(freshID)
	return ended{
		m: Machine{Current: next, State: state, Previous: m.Current},
		e: Effect{
			Markers:  m.Partitions,
			MarkerAs: Identity{ID: m.Current.ID, Epoch: m.Current.Epoch + 1},
			Commit:   state == CompleteCommit,
			Next:     next,
		},
	}
}

func (x ended) effect() (Machine, Effect, error) { return x.m, x.e, nil }

// initialized is the end of a transaction whose producer is gone: nobody will ask again.
func (x ended) initialized() (Machine, Effect, error) {
	return Machine{Current: x.m.Current, Previous: x.m.Current}, x.e, nil
}
