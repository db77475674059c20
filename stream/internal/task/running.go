//go:build !race

package task

// operator is the index of the operator at work. Its task's goroutine sets it before every call of a
// user's function; someone who waits in vain for that to return reads it, to say its name.
//
// It is a plain word, on purpose: an atomic store would cost more than many an operator. Go's memory model
// gives such a read one of the values that were written, which is all that is wanted of it.
type operator struct{ index int32 }

func (o *operator) set(index int) { o.index = int32(index) }
func (o *operator) get() int      { return int(o.index) }
