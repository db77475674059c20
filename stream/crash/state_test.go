package crash

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/moldau-io/moldau/internal/crashfs"
	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// This file is about state that cannot be trusted.

// onAnotherLog runs an application, and another one of the same name on a log of its own, and then the second with
// the state of the first.
func onAnotherLog(seed uint64, logger *slog.Logger, broker func(w *world) log.Broker) error {
	var ws []*world
	for i, numLines := range []int{10, 40} { // so that the second's changelogs reach beyond the first's positions
		set, err := newSetup(several, stream.EachUpdate, log.SyncCommit, numLines, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil {
			return err
		}
		set.partitions, set.broker = 2, broker
		w := newWorld(set, crashfs.New(crashfs.Options{}), seed, promised{})
		if err = w.start(); err == nil {
			err = w.finish()
		}
		if err == nil {
			err = w.flush()
		}
		if err := errors.Join(err, w.close()); err != nil {
			return err
		}
		ws = append(ws, w)
	}
	first, second := ws[0], ws[1]
	if err := second.fs.RemoveAll(stateDir); err != nil {
		return err
	}
	if _, err := vfs.Clone(first.fs, second.fs, stateDir, stateDir); err != nil {
		return err
	}
	second.logger = logger
	err := second.start()
	if err == nil {
		err = second.check()
	}
	return errors.Join(err, second.close())
}

// A state that belongs to another log is not used, and the log says why.
func TestStateOfAnotherLog(t *testing.T) {
	var said bytes.Buffer
	if err := onAnotherLog(1, slog.New(slog.NewTextHandler(&said, nil)), nil); err != nil {
		t.Fatal(err)
	}
	n := strings.Count(said.String(), "restored from nothing")
	if want := 2 * len(several.tables); n != want || strings.Count(said.String(), "the changelog is another topic") != want {
		t.Errorf("the log says %d times that a store is restored, want %d:\n%s", n, want, said.String())
	}
}

// With topics that hide which they are, that state is used, and the oracle sees it.
func TestStateOfAnotherLogIsSeen(t *testing.T) {
	for seed := range uint64(5) {
		err := onAnotherLog(seed, quiet, func(w *world) log.Broker {
			return &bent{Broker: w.lg, topics: func(infos []log.TopicInfo) {
				for i := range infos {
					infos[i].ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(infos[i].Name))
				}
			}}
		})
		if err == nil {
			continue
		}
		if by, ok := errors.AsType[*finding](err); !ok || by.oracle != stored {
			t.Fatalf("it is seen, but as: %v", err)
		}
		return
	}
	t.Error("not seen")
}

// Whatever becomes of the files of the state, the application says so or comes to the right end; and without
// them it does come to the right end.
func TestDamagedState(t *testing.T) {
	trials := map[string]int{"": 60, "ci": 500, "full": 5000}[os.Getenv("MOLDAU_CRASH")]
	set, err := newSetup(several, stream.EachUpdate, log.SyncCommit, 40, rand.New(rand.NewPCG(3, 0)))
	if err != nil {
		t.Fatal(err)
	}
	// What is damaged is there at some moment of a run.
	var moments []crash
	h := newHunt(set, 3, size{nest: 1 << 20})
	fs := crashfs.New(crashfs.Options{})
	w := newWorld(set, fs, 3, promised{})
	fs.OnPoint(func(p crashfs.Point) {
		if p.N%9 == 0 && len(fs.Files(stateDir+"/")) > 0 {
			moments = append(moments, crash{fs: p.Clone(100, nil), promised: w.acks.now()})
		}
	})
	if err := h.live(w, (*world).run); err != nil {
		t.Fatal(err)
	}
	reported, right := map[string]int{}, 0
	for trial := range trials {
		rng := rand.New(rand.NewPCG(4, uint64(trial)))
		m := moments[rng.IntN(len(moments))]
		left := m.fs.Clone(100, nil)
		file, err := damage(left, rng)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(set, left, uint64(trial), m.promised)
		err = h.live(w, (*world).finish)
		if err == nil {
			right++
			continue
		}
		if _, wrong := errors.AsType[*finding](err); wrong {
			t.Fatalf("trial %d, %s: %v", trial, file, err)
		}
		if !errors.Is(err, state.ErrCorrupt) && !strings.Contains(file, "OPTIONS") {
			t.Fatalf("trial %d, %s: the error is not state.ErrCorrupt: %v", trial, file, err)
		}
		reported[fmt.Sprint(errors.Is(err, state.ErrCorrupt))]++
		// What had been acknowledged until then counts too.
		w = newWorld(set, left.Clone(100, nil), uint64(trial), w.acks.now())
		if err := w.fs.RemoveAll(stateDir); err != nil {
			t.Fatal(err)
		}
		if err := h.live(w, (*world).finish); err != nil {
			t.Fatalf("trial %d, %s, with the state deleted: %v", trial, file, err)
		}
	}
	t.Logf("%d moments, %d damaged: %d came to the right end, %d were reported as corrupt, %d otherwise",
		len(moments), trials, right, reported["true"], reported["false"])
	if right == 0 || reported["true"] == 0 {
		t.Error("the damage is of one kind")
	}
}

// damage changes some bytes of one of the state's files.
func damage(fs *crashfs.FS, rng *rand.Rand) (what string, err error) {
	for {
		files := fs.Files(stateDir + "/")
		file := files[rng.IntN(len(files))]
		b, err := fs.ReadFile(file)
		if err != nil {
			return file, err
		}
		if len(b) == 0 {
			continue
		}
		size := int64(len(b))
		switch rng.IntN(3) {
		case 0:
			return "flipped " + file, fs.Flip(file, rng.Int64N(8*size))
		case 1:
			return "zeroed " + file, fs.Zero(file, rng.Int64N(size)/512*512, 512)
		default:
			return "cut " + file, fs.Cut(file, rng.Int64N(size))
		}
	}
}
