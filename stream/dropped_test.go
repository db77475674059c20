package stream_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// What is dropped is told by operator and reason, and once, though its epoch is aborted and done again.
func TestDroppedByOperator(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *stream.Builder) {
		s := stream.From(b, pairs)
		stream.Map(s, func(k, v string) (string, string) { return k, v }, stream.Named("mapped")).To(out)
		stream.GroupByKey(s).Count(stream.Named("counted"))
	}), streamtest.Partitions(2))
	in := streamtest.Input(d, pairs)
	for _, r := range []stream.Record[string, string]{rec("null", "a", 1), rec("k", "null", 2), rec("null", "b", 3)} {
		if err := in.PipeRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, n int64) {
		t.Helper()
		if got, want := d.DroppedBy("mapped"), (stream.Dropped{NullKey: 2 * n, NullValue: n}); got != want {
			t.Errorf("%s: by Map %+v, want %+v", when, got, want)
		}
		if got, want := d.DroppedBy("counted"), (stream.Dropped{NullKey: 2 * n}); got != want {
			t.Errorf("%s: by Count %+v, want %+v", when, got, want)
		}
		if got := d.Dropped().Total(); got != 5*n {
			t.Errorf("%s: %d in all, want %d", when, got, 5*n)
		}
	}
	check("within the epoch", 1)
	d.Abort()
	check("aborted", 0)
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	check("again", 1)
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	check("committed", 1)
	d.Abort()
	check("aborted after the commit", 1)
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *lockedBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *lockedBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// An application tells what it dropped while it runs and after, and says so in its log, once.
func TestDroppedOfAnApplication(t *testing.T) {
	lg := openLog(t, t.TempDir(), 1)
	defer lg.Close()
	topology := build(t, func(b *stream.Builder) {
		stream.GroupByKey(stream.From(b, lines)).Count(stream.Named("counted"))
	})
	var logged lockedBuffer
	app, err := stream.New(topology, stream.Config{
		ApplicationID: "drops", Broker: lg, StateDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&logged, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := app.Dropped(); got != nil {
		t.Errorf("before the run: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- app.Run(ctx) }()
	for n := int64(1); n <= 3; n++ {
		appendLines(t, lg, 1, "a line without a key")
		if err := app.WaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := app.Dropped()
		if len(got) != 1 || got[0].Name != "counted" || got[0].Operator != "Count" || !strings.HasPrefix(got[0].At, "dropped_test.go:") ||
			got[0].Dropped != (stream.Dropped{NullKey: n}) {
			t.Errorf("got %+v, want %d without a key at Count", got, n)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := app.Dropped(); len(got) != 1 || got[0].Total() != 3 {
		t.Errorf("after the run: %+v", got)
	}
	const line = `msg="records were dropped"`
	if s := logged.String(); strings.Count(s, line) != 1 || !strings.Contains(s, "operator=counted op=Count at=dropped_test.go:") || !strings.Contains(s, "null_key=1") {
		t.Errorf("the log says\n%s\nwant one line of what was dropped first", s)
	}
}
