//go:build race

package task

import "sync/atomic"

// operator: see running.go. The race detector asks for an atomic.
type operator struct{ index atomic.Int32 }

func (o *operator) set(index int) { o.index.Store(int32(index)) }
func (o *operator) get() int      { return int(o.index.Load()) }
