package state

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/moldau-io/moldau/internal/crashfs"
)

// Any read of a file may fail, or end early, once or from then on. It is reported, or somebody reads again; what
// is answered is right, and what is on disk stays so.
func TestAnyReadMayFail(t *testing.T) {
	every := map[string]int32{"": 31, "ci": 5, "full": 1}[os.Getenv("MOLDAU_CRASH")]
	for _, c := range []struct {
		name  string
		fault crashfs.Fault
		stays bool
		says  error
	}{
		{"one EIO", crashfs.Fault{Effect: crashfs.Fail, Err: syscall.EIO}, false, syscall.EIO},
		{"EIO from then on", crashfs.Fault{Effect: crashfs.Fail, Err: syscall.EIO}, true, syscall.EIO},
		{"one short read", crashfs.Fault{Effect: crashfs.Short, Bytes: 5}, false, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			reads, reported := int32(0), 0
			for n := int32(0); n == 0 || n <= reads; n += every { // read 0 is none: they are counted
				var count atomic.Int32
				fs := crashfs.New(crashfs.Options{})
				fs.Inject(func(op crashfs.Op) crashfs.Fault {
					if op.Kind != crashfs.Read {
						return crashfs.Fault{}
					}
					if i := count.Add(1); i == n || c.stays && n > 0 && i > n {
						return c.fault
					}
					return crashfs.Fault{}
				})
				w := newCrashWork(fs, small, 1)
				err := w.open()
				for i := 0; i < 120 && err == nil; i++ {
					err = w.step()
				}
				err = errors.Join(err, w.close())
				switch {
				case n == 0 && err != nil:
					t.Fatal(err)
				case n == 0:
					reads = count.Load()
				case err == nil: // somebody read again
				case errors.Is(err, errOracle), !errors.Is(err, c.says) && !errors.Is(err, ErrCorrupt):
					t.Fatalf("read %d: %v", n, err)
				default:
					reported++
				}
				fs.Inject(nil)
				if err := w.capture(fs, 1).afterCrash(true); err != nil {
					t.Fatalf("read %d, with the disk well again: %v", n, err)
				}
			}
			t.Logf("%d reads; %d faults were reported", reads, reported)
			if reported == 0 {
				t.Error("no fault was reported")
			}
		})
	}
}
