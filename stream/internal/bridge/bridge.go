// Package bridge lets stream/streamtest see what package stream does not export.
package bridge

import "github.com/moldau-io/moldau/stream/internal/task"

// Plan gives a *stream.Topology as tasks need it. Package stream sets this and all that follow.
var Plan func(topology any, onCommit bool) *task.Plan

// Public turns an error of the runtime into one of package stream.
var Public func(err error) error

// KeyPartition is the partition of an encoded key.
var KeyPartition func(key []byte, partitions int32) int32
