package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/graph"
	"github.com/moldau-io/moldau/stream/internal/task"
	"github.com/moldau-io/moldau/windows"
)

// This file owns how the tables of windowed aggregations are kept: in a window store or a session store, which
// differ in how a row is found and not in what is done with it.

var errNeverClose = errors.New("these windows never close, so that EmitOnClose would send nothing")

// timedHandle is a handle of a window store or a session store.
type timedHandle[K any] interface {
	state.AnyHandle
	KeySerde() serde.Serde[K]
	Retention() (d time.Duration, ok bool)
	IsInMemory() bool
}

// accepts is the handle, if it is one of this kind of store. See keyValueHandle for why it is not asked for by type.
func (o windowOpener[K, A, S]) accepts(h state.AnyHandle) (timedHandle[K], bool) {
	x, ok := h.(timedHandle[K])
	return x, ok && h.Kind() == o.kind
}

// keeping is how rows are kept.
type keeping struct {
	retention time.Duration
	inMemory  bool
}

// windowRows are the rows of a store whose keys have windows.
type windowRows[K, A any] interface {
	get(w windows.Windowed[K]) (state.Value[A], error)
	before(w windows.Windowed[K]) (state.Value[A], error)
	put(w windows.Windowed[K], a A, timestampMs int64) error
	delete(w windows.Windowed[K], timestampMs int64) error
	eachTouched(yield func(w windows.Windowed[K], now, before state.Value[A]) error) error
}

// windowOpener opens the store of a windowed table, S being its kind.
type windowOpener[K, A any, S state.Store] struct {
	table    *Table[windows.Windowed[K], A]
	kind     string
	key      func() serde.Serde[K] // of keys without a window, unless the handle has one
	lifetime time.Duration         // the least retention
	make     func(*state.Task, string, serde.Serde[K], serde.Serde[A], keeping) (S, error)
	wrap     func(S) windowRows[K, A]
	serde    func(serde.Serde[K]) serde.Serde[windows.Windowed[K]]
}

// prepare gives the table its store, its serdes, and its checks.
func (o windowOpener[K, A, S]) prepare() {
	t := o.table
	g := t.n.g
	g.Store = &graph.Store{Node: g, KeySerde: func() any { return o.keySerde() }}
	t.inheritKey = func() serde.Serde[windows.Windowed[K]] {
		if key := o.keySerde(); key != nil {
			return o.serde(key)
		}
		return nil
	}
	t.n.inheritKey, t.n.inheritValue = t.keySerde, nil
	t.refuses = func(h state.AnyHandle) error {
		x, ok := o.accepts(h)
		if !ok {
			return fmt.Errorf("the table of these windows is kept in a %s, and %q is a %s", o.kind, h.Name(), h.Kind())
		}
		if w, ok := h.(interface{ KeepsDuplicates() bool }); ok && w.KeepsDuplicates() {
			return fmt.Errorf("store %q is one WithDuplicates, and a window of this table has one value; WithDuplicates is for stores of processors", h.Name())
		}
		if d, ok := x.Retention(); ok && d < o.lifetime {
			return fmt.Errorf("store %q has a retention of %s, and windows are open for %s: they would be forgotten before they close", h.Name(), d, o.lifetime)
		}
		return nil
	}
	t.openRows = func(tk *task.Task) (tableRows[windows.Windowed[K], A], error) {
		s, err := o.open(tk)
		if err != nil {
			return tableRows[windows.Windowed[K], A]{}, err
		}
		return tableRows[windows.Windowed[K], A]{get: s.rows.get, told: s.told}, nil
	}
	t.openTimed = func(tk *task.Task) (state.Store, error) {
		s, err := o.open(tk)
		if err != nil {
			return nil, err
		}
		return s.kept, nil
	}
	needSerdes(t.n.b, g, o.keySerde, t.valueSerde, " of the store", "As(store)")
	t.n.b.demand(func() {
		g.Store.Config = state.Expiring(o.keeping().retention)
	})
}

func (o windowOpener[K, A, S]) keySerde() serde.Serde[K] {
	if o.table.handle != nil {
		if h, ok := o.accepts(o.table.handle); ok && h.KeySerde() != nil {
			return h.KeySerde()
		}
	}
	return o.key()
}

func (o windowOpener[K, A, S]) keeping() keeping {
	k := keeping{retention: o.lifetime}
	if o.table.handle == nil {
		return k
	}
	if h, ok := o.accepts(o.table.handle); ok {
		k.inMemory = h.IsInMemory()
		if d, ok := h.Retention(); ok {
			k.retention = d
		}
	}
	return k
}

// store is the table's store in one task.
type windowStore[K, A any, S state.Store] struct {
	tk      *task.Task
	node    int
	kept    S
	rows    windowRows[K, A]
	old     bool // send the values before
	each    bool // send every change at once, not the last of each window at commit
	onClose bool // send no changes
	next    edge[windows.Windowed[K], change[A]]

	toldIn int64 // the last epoch at whose end changes were sent on
}

// open opens the store for a task, once. A task that starts again has it open already.
func (o windowOpener[K, A, S]) open(tk *task.Task) (*windowStore[K, A, S], error) {
	t := o.table
	g := t.n.g
	if s, ok := tk.Memo[g.Store]; ok {
		return s.(*windowStore[K, A, S]), nil
	}
	kept, ok := tk.Env.Stores[g.Store.Name].(S)
	if !ok {
		changelog := g.Store.Changelog(tk.Env.Application)
		key, err := serde.Bind(o.keySerde(), changelog, true)
		if err != nil {
			return nil, fmt.Errorf("key serde for store %s: %w", g.Store.Name, err)
		}
		value, err := serde.Bind(t.valueSerde(), changelog, false)
		if err != nil {
			return nil, fmt.Errorf("value serde for store %s: %w", g.Store.Name, err)
		}
		if kept, err = o.make(tk.Env.State, g.Store.Name, key, value, o.keeping()); err != nil {
			return nil, fmt.Errorf("open store %s: %w", g.Store.Name, err)
		}
		tk.Env.Stores[g.Store.Name] = kept
	}
	tk.AddStore(g, kept)
	s := &windowStore[K, A, S]{tk: tk, node: g.Index, kept: kept, rows: o.wrap(kept), old: t.sendOld, each: t.shared || !tk.OnCommit(), toldIn: -1}
	tk.Memo[g.Store] = s
	return s, nil
}

// sendTo says where the changes go. onClose: no changes are sent, but results by the operator itself.
func (s *windowStore[K, A, S]) sendTo(next edge[windows.Windowed[K], change[A]], onClose bool) {
	if onClose {
		s.each, s.onClose = false, true
	} else if s.next == nil && !s.each {
		s.tk.BeforeCommit(s.sendTouched)
	}
	s.next = next
}

// put makes a the window's row, or deletes it if there is none, and sends that on. old is what to send as the value
// before, if that is asked for.
func (s *windowStore[K, A, S]) put(w windows.Windowed[K], c change[A], timestampMs int64, h Headers) error {
	var err error
	if c.HasNew {
		err = s.rows.put(w, c.New, timestampMs)
	} else {
		err = s.rows.delete(w, timestampMs)
	}
	if err != nil || !s.each {
		return err
	}
	return s.next(Record[windows.Windowed[K], change[A]]{Key: w, Value: c, Timestamp: timestampMs, Headers: h})
}

// sendTouched sends what became of each window in the epoch, in the order of their first update in it.
func (s *windowStore[K, A, S]) sendTouched() error {
	s.tk.Enter(s.node)
	s.toldIn = s.tk.Epoch()
	return s.rows.eachTouched(func(w windows.Windowed[K], now, before state.Value[A]) error {
		if !now.OK && !before.OK {
			return nil
		}
		c := change[A]{New: now.V, Old: before.V, HasNew: now.OK, HasOld: before.OK}
		return s.next(Record[windows.Windowed[K], change[A]]{Key: w, Value: c, Timestamp: now.Timestamp})
	})
}

// told is the row as the changes that were sent on tell it; see tableRows. With results on close, of which it does not
// tell any before, it is the row as it is, as in Kafka Streams.
func (s *windowStore[K, A, S]) told(w windows.Windowed[K]) (state.Value[A], error) {
	if s.each || s.onClose || s.toldIn == s.tk.Epoch() {
		return s.rows.get(w)
	}
	return s.rows.before(w)
}

// timeRows are the rows of a window store.
type timeRows[K, A any] struct{ s *state.WindowStore[K, A] }

func (r timeRows[K, A]) get(w windows.Windowed[K]) (state.Value[A], error) {
	return r.s.Fetch(w.Key, w.Start)
}

func (r timeRows[K, A]) before(w windows.Windowed[K]) (state.Value[A], error) {
	e, err := r.s.Entry(w.Key, w.Start)
	if err != nil {
		return state.Value[A]{}, err
	}
	return e.Before()
}

func (r timeRows[K, A]) put(w windows.Windowed[K], a A, timestampMs int64) error {
	return r.s.Put(w.Key, w.Start, a, timestampMs)
}

func (r timeRows[K, A]) delete(w windows.Windowed[K], timestampMs int64) error {
	return r.s.Delete(w.Key, w.Start, timestampMs)
}

func (r timeRows[K, A]) eachTouched(yield func(w windows.Windowed[K], now, before state.Value[A]) error) error {
	return r.s.EachTouched(func(x state.WindowRow[K, A], now, before state.Value[A]) error {
		return yield(windows.Windowed[K]{Key: x.Key, Start: x.Start, End: x.End}, now, before)
	})
}

// sessionRows are the rows of a session store.
type sessionRows[K, A any] struct{ s *state.SessionStore[K, A] }

func (r sessionRows[K, A]) get(w windows.Windowed[K]) (state.Value[A], error) {
	return r.s.Fetch(w.Key, w.Start, w.End)
}

func (r sessionRows[K, A]) before(w windows.Windowed[K]) (state.Value[A], error) {
	return r.s.Before(w.Key, w.Start, w.End)
}

func (r sessionRows[K, A]) put(w windows.Windowed[K], a A, timestampMs int64) error {
	return r.s.Put(w.Key, w.Start, w.End, a, timestampMs)
}

func (r sessionRows[K, A]) delete(w windows.Windowed[K], timestampMs int64) error {
	return r.s.Delete(w.Key, w.Start, w.End, timestampMs)
}

func (r sessionRows[K, A]) eachTouched(yield func(w windows.Windowed[K], now, before state.Value[A]) error) error {
	return r.s.EachTouched(func(x state.WindowRow[K, A], now, before state.Value[A]) error {
		return yield(windows.Windowed[K]{Key: x.Key, Start: x.Start, End: x.End}, now, before)
	})
}
