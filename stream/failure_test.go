package stream_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// disk is the operating system's, until it is full.
func disk() (fs vfs.FS, full *atomic.Bool) {
	full = new(atomic.Bool)
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !full.Load() {
			return nil
		}
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpFilePreallocate:
			return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	})), full
}

// A full disk, under the log or under the state, stops the application with an error that says so; the
// process lives, nothing is lost, and with room again the next run goes on.
func TestFullDisk(t *testing.T) {
	for _, where := range []string{"log", "state"} {
		t.Run(where, func(t *testing.T) {
			fs, full := disk()
			dir := t.TempDir()
			open := func() *log.Log {
				o := log.Options{Sync: log.SyncOS, Logger: discard}
				if where == "log" {
					o.FS = fs
				}
				lg, err := log.Open(filepath.Join(dir, "log"), o)
				if err != nil {
					t.Fatal(err)
				}
				return lg
			}
			lg := open()
			if err := lg.CreateTopics(t.Context(), []log.TopicSpec{{Name: "lines", Partitions: 2}, {Name: "word-counts", Partitions: 2}}); err != nil {
				t.Fatal(err)
			}
			texts := zipfLines(3, 3000)
			appendLines(t, lg, 2, texts...)
			// One topology for both runs: what it is called follows from its operators.
			var n atomic.Int64
			topology := build(t, func(b *stream.Builder) {
				s := stream.From(b, lines).Peek(func([]byte, string) {
					if n.Add(1) == 1000 {
						full.Store(true)
					}
				})
				words := stream.FlatMapValues(s, strings.FieldsSeq)
				stream.GroupBy(words, func(_ []byte, w string) string { return w }).Count().As(counts).ToStream().To(wordCounts)
			})
			config := func() stream.Config {
				return stream.Config{
					ApplicationID: "app", Broker: lg, Logger: discard, Workers: 1, CommitInterval: time.Millisecond,
					CacheBytes: 4 << 10, // so that state goes to disk with every epoch or two
				}
			}
			app, err := stream.New(topology, config())
			if err != nil {
				t.Fatal(err)
			}
			if where == "state" {
				stream.SetStateFS(app, fs)
			}
			err = runUntilIdle(t, app)
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left on device") {
				t.Fatalf("got %v", err)
			}
			full.Store(false)
			if err := lg.Close(); err != nil && where == "state" {
				t.Error(err)
			}
			lg = open()
			app, err = stream.New(topology, config())
			if err != nil {
				t.Fatal(err)
			}
			if err := runUntilIdle(t, app); err != nil {
				t.Fatal(err)
			}
			wantCounts(t, lg, 2, texts)
			if err := lg.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// runUntilIdle returns Run's error: by itself, or once there is nothing left to do.
func runUntilIdle(t *testing.T, app *stream.App) error {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	_ = app.WaitIdle(ctx)
	cancel()
	return <-ended
}

// A byte that changed on the disk stops the application with its file and position; it is not skipped.
func TestCorruptInput(t *testing.T) {
	dir := t.TempDir()
	lg := openLog(t, dir, 1)
	appendLines(t, lg, 1, zipfLines(4, 100)...)
	if err := lg.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "topics", "*-0", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := ""
	for _, path := range segments {
		if info, err := os.Stat(path); err == nil && info.Size() > 5000 { // the input, of all topics
			flip(t, path, 4000)
			flipped = path
		}
	}
	if flipped == "" {
		t.Fatalf("no segment of the input among %v", segments)
	}
	lg = openLog(t, dir, 1)
	defer lg.Close()
	err = run(t, wordCountTopology(t), stream.Config{Broker: lg}, func(app *stream.App) { _ = app.WaitIdle(t.Context()) })
	if !errors.Is(err, log.ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
	if c, ok := errors.AsType[*log.CorruptError](err); !ok || c.Path != flipped || c.Offset > 4000 || c.Offset < 3800 {
		t.Errorf("got %+v, flipped byte 4000 of %s", c, flipped)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
