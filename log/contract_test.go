package log_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream/brokertest"
)

// The log keeps the contract of Broker, on disk and in memory. SyncInterval is not for it: there a commit
// returns before readers see it.
func TestBrokerContract(t *testing.T) {
	for name, o := range map[string]log.Options{
		"disk":  {},
		"os":    {Sync: log.SyncOS, FS: vfs.NewMem()},
		"small": {FS: vfs.NewMem(), JournalBytes: 16 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			brokertest.Run(t, func(t *testing.T) log.Broker {
				dir := t.Name()
				if o.FS == nil {
					dir = t.TempDir()
				}
				l, err := log.Open(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				})
				return l
			})
		})
	}
}
