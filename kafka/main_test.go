package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/kafka"
)

// shared is the real broker of all tests that do not kill it; TestMain stops it.
var shared struct {
	once    sync.Once
	cluster *peers.Kafka
	err     error
}

// cluster starts the shared broker, or skips the test where there can be none.
func cluster(t *testing.T) *peers.Kafka {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real broker")
	}
	if err := peers.Available(); err != nil {
		if os.Getenv("MOLDAU_PEERS") == "require" {
			t.Fatalf("MOLDAU_PEERS=require: %v", err)
		}
		t.Skip(err)
	}
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		shared.cluster, shared.err = peers.Start(ctx, peers.Options{})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// open opens a Broker that is closed at the end of the test. What it logs is the test's.
func open(t *testing.T, seeds ...string) *kafka.Broker {
	t.Helper()
	b, err := kafka.Open(t.Context(), kafka.Options{Seeds: seeds, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
