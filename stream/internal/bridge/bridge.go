// Package bridge lets stream/streamtest, stream/crash and stream/conformance see what package stream does not
// export.
package bridge

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/engine"
	"github.com/moldau-io/moldau/stream/internal/task"
)

// Plan gives a *stream.Topology as tasks need it. Package stream sets this and all that follow.
var Plan func(topology any, onCommit bool) *task.Plan

// Public turns an error of the runtime into one of package stream.
var Public func(err error) error

// Handlers gives the handlers of a stream.Config.
var Handlers func(config any) *task.Handlers

// KeyPartition is the partition of an encoded key.
var KeyPartition func(key []byte, partitions int32) int32

// Stored finds the store of a handle in a *stream.Topology.
var Stored func(topology any, h state.AnyHandle) (engine.Reading, error)

// Unavailable turns an error of a reading into one of package stream.
var Unavailable func(store string, err error) error

// StateFS has a *stream.App that does not run yet keep its state on another file system.
var StateFS func(app any, fs vfs.FS)

// Stores are the stores of a *stream.App that runs and is idle, while nobody gives it anything to do.
var Stores func(app any) []state.Store

// Globals are the global stores of a *stream.App that runs.
var Globals func(app any) []state.Global

// DriverStores are the stores of a *streamtest.Driver, and DriverGlobals its global stores. Package streamtest sets
// these.
var (
	DriverStores  func(driver any) []state.Store
	DriverGlobals func(driver any) []state.Global
)
