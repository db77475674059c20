package state

import "errors"

// Custom is the handle of a store of a type of your own, S: one that keeps what it knows in a store of this package, and
// shows it to processors in its own way. The changelog, restores, aborts and memory are those of the store within.
//
// Processors are given it with Stores and get an S from StoreIn; who is given the handle of the store within, or that of
// another Custom of it, has the same rows. So it is with a table's store, and with a global one, which an S of other
// processors than its own can only read. Queries and As take the handle of the store within.
type Custom[S any] struct{ v *customView[S] }

type customView[S any] struct {
	within AnyHandle
	access func(s any, at *int64) (S, error)
}

// NewCustom declares a store of type S over the store of another handle. view makes the S of a task, of what a processor
// would get for that handle, such as a *KeyValues[K, V]; it is called once for each start of the task, at the first
// StoreIn. All processors that are given this Custom have one S for each task, so it is used by one goroutine at
// a time.
//
// An epoch's changes of the store within may be taken back, and then there is a new S. What it keeps in memory has to
// follow from the store, and if others change that, must not be kept.
func NewCustom[S, I any](within Openable[I], view func(I) S) Custom[S] {
	v := &customView[S]{within: within}
	if view != nil {
		v.access = func(s any, at *int64) (out S, err error) {
			inner, err := within.access(s, at)
			if err != nil {
				return out, err
			}
			return view(inner), nil
		}
	}
	return Custom[S]{v}
}

// Name is the name of the store within.
func (c Custom[S]) Name() string {
	if c.v == nil || c.v.within == nil {
		return ""
	}
	return c.v.within.Name()
}

// Kind says what sort of store it is, for messages.
func (c Custom[S]) Kind() string { return "custom store" }

func (c Custom[S]) handle() {}

func (c Custom[S]) access(s any, at *int64) (out S, err error) {
	if _, err := c.bare(); err != nil {
		return out, err
	}
	return c.v.access(s, at)
}

func (c Custom[S]) bare() (AnyHandle, error) {
	switch {
	case c.v == nil || c.v.within == nil:
		return nil, errors.New("a custom store is of no store")
	case c.v.access == nil:
		return nil, errors.New("the function of a custom store is nil")
	}
	return Bare(c.v.within)
}

func (c Custom[S]) identity() any { return c.v }

// custom is a Custom of any type.
type custom interface {
	bare() (AnyHandle, error)
	identity() any
}

// Bare is the handle of the store that is opened for h: that within, if h is a Custom, and else h itself. It fails for a
// Custom that was not made as NewCustom wants it.
func Bare(h AnyHandle) (AnyHandle, error) {
	if c, ok := h.(custom); ok {
		return c.bare()
	}
	return h, nil
}

// Identity tells handles of one store apart that make different things of it: it is nil for all but a Custom.
func Identity(h AnyHandle) any {
	if c, ok := h.(custom); ok {
		return c.identity()
	}
	return nil
}

var _ Openable[int] = Custom[int]{}
