package streamtest

import (
	"context"

	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream/internal/bridge"
	"github.com/moldau-io/moldau/stream/internal/engine"
)

// Query returns the reader of a store, as stream.Query does. It sees what is committed (Driver.Commit); its Uncommitted
// method gives one that sees what every record so far has done. It is for the driver's goroutine, and stays valid over
// Abort and Restart.
func Query[R any](d *Driver, handle state.Queryable[R]) R {
	d.t.Helper()
	what, err := bridge.Stored(d.topology, handle)
	if err != nil {
		d.t.Fatalf("streamtest: Query: %v", err)
	}
	return handle.Reader(driverParts{d, what})
}

type driverParts struct {
	d    *Driver
	what engine.Reading
}

// Read is for the reader.
func (p driverParts) Read(_ context.Context, key func(state.Part) ([]byte, error), f func(state.Part) (done bool, err error)) error {
	return p.Fault(p.d.engine.Read(p.what, key, f))
}

// Fault is for the reader.
func (p driverParts) Fault(err error) error { return bridge.Unavailable(p.what.Store.Name, err) }
