//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// partEnv is set in processes that recovery starts, to the part they play.
const partEnv = "MOLDAU_BENCH_PART"

// runPart plays a part: one of
//
//	fill DIR until|past BYTES   appends so much; then stops, or goes on until it is killed. WRITTEN RECORDS
//	open DIR                    opens the log and closes it. OPENED DURATION RECORDS
//	app DIR KEYS                runs an application until it is killed. RUNNING, CHECKED, BUSY
//
// It ends when standard input does, which is when its parent ends.
func runPart(ctx context.Context, name string) error {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	args := os.Args[1:]
	switch {
	case name == "fill" && len(args) == 3:
		n, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return fillPart(ctx, args[0], n, args[1] == "past")
	case name == "open" && len(args) == 1:
		return openPart(ctx, args[0])
	case name == "app" && len(args) == 2:
		keys, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		return appPart(ctx, args[0], keys)
	}
	return fmt.Errorf("%s=%s %q is none", partEnv, name, args)
}

func fillPart(ctx context.Context, dir string, size int64, goOn bool) error {
	lg, err := open(ctx, dir, log.SyncOS, "records")
	if err != nil {
		return err
	}
	defer lg.Close()
	p, err := lg.NewProducer(log.ProducerSpec{})
	if err != nil {
		return err
	}
	value := bytes.Repeat([]byte("0123456789"), 10)
	n, written := int64(0), int64(0)
	for i := int32(0); ; i++ {
		b := log.NewBlock()
		for b.Bytes() < 1<<20-256 {
			b.Append(n, nil, value, nil)
			n++
		}
		before := written
		written += int64(b.Bytes())
		if _, err := p.Append(ctx, log.TopicPartition{Topic: "records", Partition: i % partitions}, b); err != nil {
			return err
		}
		if before < size && written >= size {
			fmt.Println("WRITTEN", n)
			if !goOn {
				return p.Close()
			}
		}
	}
}

func openPart(ctx context.Context, dir string) error {
	began := time.Now()
	lg, err := log.Open(filepath.Join(dir, "log"), log.Options{Sync: log.SyncOS, Logger: discard})
	if err != nil {
		return err
	}
	took := time.Since(began)
	defer lg.Close()
	var tps []log.TopicPartition
	for i := range int32(partitions) {
		tps = append(tps, log.TopicPartition{Topic: "records", Partition: i})
	}
	offsets, err := lg.Offsets(ctx, tps)
	if err != nil {
		return err
	}
	records := int64(0)
	for _, o := range offsets {
		records += o.HighWatermark - o.Start
	}
	fmt.Println("OPENED", took, records)
	return nil
}

// appPart runs the count by keys. It is RUNNING when a record that was appended after the start has come out,
// and CHECKED when all that ever came in has come out as it should. Then it appends, a little more than it
// processes at a time, until it is killed, and is BUSY after a second of that.
func appPart(ctx context.Context, dir string, keys int64) error {
	lg, err := open(ctx, dir, log.SyncCommit, "records", output)
	if err != nil {
		return err
	}
	j := job{emit: stream.EachUpdate, build: countTopology}
	app, err := j.app(lg, "bench", output, dir)
	if err != nil {
		return err
	}
	go func() {
		fmt.Fprintln(os.Stderr, app.Run(ctx)) // which ends only by a fault
		os.Exit(1)
	}()
	f := &feeder{lg: lg, keys: keys}
	if f.producer, err = lg.NewProducer(log.ProducerSpec{}); err != nil {
		return err
	}
	w, err := watch(ctx, lg)
	if err != nil {
		return err
	}
	probe := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	if err := f.append(ctx, 0, probe); err != nil {
		return err
	}
	if err := w.await(ctx, probe); err != nil {
		return err
	}
	fmt.Println("RUNNING")
	if w.first {
		if err := f.round(ctx, keys); err != nil {
			return err
		}
	}
	if err := app.WaitIdle(ctx); err != nil {
		return err
	}
	if err := checkCounts(ctx, lg); err != nil {
		return err
	}
	fmt.Println("CHECKED")
	began, busy := time.Now(), false
	for {
		if err := f.round(ctx, keys/20); err != nil {
			return err
		}
		if err := app.WaitIdle(ctx); err != nil {
			return err
		}
		if !busy && time.Since(began) > time.Second {
			busy = true
			fmt.Println("BUSY")
		}
	}
}

// checkCounts compares the output with the input that the log has.
func checkCounts(ctx context.Context, lg *log.Log) error {
	want := map[string]int64{}
	if err := readLog(ctx, lg, "records", func(key, _ []byte) error {
		want[string(key)]++
		return nil
	}); err != nil {
		return err
	}
	return check(true, want, func(add func(key, value []byte) error) error { return readLog(ctx, lg, output, add) })
}

// feeder appends records of 100-byte values with one key after another.
type feeder struct {
	lg       *log.Log
	producer *log.Producer
	keys     int64
	next     int64
}

// round appends n records.
func (f *feeder) round(ctx context.Context, n int64) error {
	var blocks [partitions][]string
	for range n {
		k := f.next % f.keys
		f.next++
		i := k % partitions
		blocks[i] = append(blocks[i], fmt.Sprintf("%08d", k))
	}
	for i, keys := range blocks {
		for chunk := range slices.Chunk(keys, 5000) {
			if err := f.append(ctx, int32(i), chunk...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *feeder) append(ctx context.Context, partition int32, keys ...string) error {
	value := bytes.Repeat([]byte("0123456789"), 10)
	b := log.NewBlock()
	for _, k := range keys {
		b.Append(time.Now().UnixMilli(), []byte(k), value, nil)
	}
	_, err := f.producer.Append(ctx, log.TopicPartition{Topic: "records", Partition: partition}, b)
	return err
}

// watcher reads the output from where it ended at first.
type watcher struct {
	lg      *log.Log
	readers []log.Reader
	first   bool // nothing was there
}

func watch(ctx context.Context, lg *log.Log) (*watcher, error) {
	w := &watcher{lg: lg, first: true}
	for i := range int32(partitions) {
		tp := log.TopicPartition{Topic: output, Partition: i}
		at, err := lg.Offsets(ctx, []log.TopicPartition{tp})
		if err != nil {
			return nil, err
		}
		w.first = w.first && at[tp].LastStable == 0
		r, err := lg.Open(ctx, tp, at[tp].LastStable, log.ReadCommitted)
		if err != nil {
			return nil, err
		}
		w.readers = append(w.readers, r)
	}
	return w, nil
}

// await returns when a key has come out, in whatever partition.
func (w *watcher) await(ctx context.Context, key string) error {
	recs := make([]log.Record, 1000)
	for ctx.Err() == nil {
		for i, r := range w.readers {
			tp := log.TopicPartition{Topic: output, Partition: int32(i)}
			end, err := w.lg.Offsets(ctx, []log.TopicPartition{tp})
			if err != nil {
				return err
			}
			for r.Position() < end[tp].LastStable {
				n, err := r.Read(ctx, recs)
				if err != nil {
					return err
				}
				for _, rec := range recs[:n] {
					if string(rec.Key) == key {
						return nil
					}
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}
