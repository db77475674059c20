// Package peerstest gives tests a real Kafka broker.
package peerstest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/moldau-io/moldau/benchmarks/peers"
)

// Kafka starts a broker that is stopped at the end of the test. Where there can be none the test is skipped
// with the reason, or fails if the environment has MOLDAU_PEERS=require. When the test fails, the end of the
// broker's log is shown.
func Kafka(t testing.TB, o peers.Options) *peers.Kafka {
	t.Helper()
	if err := peers.Available(); err != nil {
		if os.Getenv("MOLDAU_PEERS") == "require" {
			t.Fatalf("MOLDAU_PEERS=require: %v", err)
		}
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	k, err := peers.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the broker's log:\n%s", k.LogTail())
		}
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	return k
}
