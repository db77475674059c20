//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	recoveryBytes = 10 << 30 // of log
	recoveryKeys  = 1_000_000
	moreBytes     = recoveryBytes / 10 // between two crashes
)

// recovery measures starts: of a large log, and of an application with much state, each in a new process,
// after a clean stop and after kill -9 in the midst of work. The files are in the page cache as the writer left
// them, as they are when a process dies and its machine does not.
func recovery(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "moldau-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := enoughDisk(dir, uint64(o.sized(recoveryBytes)+int64(o.trials)*o.sized(moreBytes))*3/2); err != nil {
		return err
	}
	if err := recoverLog(ctx, o, filepath.Join(dir, "log")); err != nil {
		return fmt.Errorf("recovery of a log: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		return err
	}
	if err := recoverApp(ctx, o, dir); err != nil {
		return fmt.Errorf("recovery of an application: %w", err)
	}
	return nil
}

func enoughDisk(dir string, need uint64) error {
	usage, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if usage.AvailBytes < need {
		return fmt.Errorf("%s has %.1f GB free, and %.1f GB are needed: name another with -dir, or a smaller -size", dir, float64(usage.AvailBytes)/1e9, float64(need)/1e9)
	}
	return nil
}

func recoverLog(ctx context.Context, o options, dir string) error {
	fill, err := startPart(ctx, "fill", dir, "until", strconv.FormatInt(o.sized(recoveryBytes), 10))
	if err != nil {
		return err
	}
	if _, err := fill.line("WRITTEN"); err != nil {
		return err
	}
	if err := fill.ended(); err != nil {
		return err
	}
	var clean, crashed []time.Duration
	records := int64(0)
	for range o.trials {
		took, n, err := openLog(ctx, dir)
		if err != nil {
			return err
		}
		clean, records = append(clean, took), n
	}
	for range o.trials {
		fill, err := startPart(ctx, "fill", dir, "past", strconv.FormatInt(o.sized(moreBytes), 10))
		if err != nil {
			return err
		}
		written, err := fill.line("WRITTEN")
		if err != nil {
			return err
		}
		fill.kill()
		took, n, err := openLog(ctx, dir)
		if err != nil {
			return err
		}
		acknowledged, err := strconv.ParseInt(written[0], 10, 64)
		if err != nil {
			return err
		}
		if n < records+acknowledged {
			return fmt.Errorf("%d records were there, %d more were acknowledged before the crash, and now there are %d", records, acknowledged, n)
		}
		crashed, records = append(crashed, took), n
	}
	size := fmt.Sprintf("a log of %.1f GB", float64(o.sized(recoveryBytes))/1e9)
	printTimes(o.out, size+" opens after a clean stop", clean, time.Second)
	printTimes(o.out, size+" opens after kill -9 while it is appended to", crashed, 10*time.Second)
	return nil
}

// openLog opens a log in a new process, and tells how long that took and how many records there are.
func openLog(ctx context.Context, dir string) (time.Duration, int64, error) {
	p, err := startPart(ctx, "open", dir)
	if err != nil {
		return 0, 0, err
	}
	fields, err := p.line("OPENED")
	if err != nil {
		return 0, 0, err
	}
	took, err1 := time.ParseDuration(fields[0])
	n, err2 := strconv.ParseInt(fields[1], 10, 64)
	return took, n, errors.Join(err1, err2, p.ended())
}

func recoverApp(ctx context.Context, o options, dir string) error {
	keys := strconv.FormatInt(o.sized(recoveryKeys), 10)
	var kept, restored []time.Duration
	// The first start is of nothing: it makes what the others find.
	for i := range 1 + 2*o.trials {
		began := time.Now()
		p, err := startPart(ctx, "app", dir, keys)
		if err != nil {
			return err
		}
		if _, err := p.line("RUNNING"); err != nil {
			return err
		}
		took := time.Since(began)
		if _, err := p.line("CHECKED"); err != nil {
			return err
		}
		if i > 0 && i <= o.trials {
			kept = append(kept, took)
		} else if i > 0 {
			restored = append(restored, took)
		}
		// By then it is in the midst of epochs.
		if _, err := p.line("BUSY"); err != nil {
			return err
		}
		p.kill()
		if i >= o.trials {
			if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
				return err
			}
		}
	}
	printTimes(o.out, "an application with "+keys+" keys runs again after kill -9", kept, 3*time.Second)
	printTimes(o.out, "the same, its state deleted and restored from the changelog", restored, 0)
	return nil
}

func printTimes(w io.Writer, what string, ds []time.Duration, bound time.Duration) {
	fmt.Fprintf(w, "%-66s %s\n", what, times(ds, bound))
}

// times gives median, lowest and highest, and whether the highest is below a bound that is not 0.
func times(ds []time.Duration, bound time.Duration) string {
	slices.Sort(ds)
	verdict := ""
	if bound > 0 && ds[len(ds)-1] < bound {
		verdict = fmt.Sprintf("; below %v: yes", bound)
	} else if bound > 0 {
		verdict = fmt.Sprintf("; NOT below %v", bound)
	}
	return fmt.Sprintf("%.2f s [%.2f %.2f]%s", ds[len(ds)/2].Seconds(), ds[0].Seconds(), ds[len(ds)-1].Seconds(), verdict)
}

// part is a process of ours, this program again in another role (parts.go). It tells how far it is by lines of
// words. It ends when we do.
type part struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	out    *bufio.Scanner
	stderr strings.Builder
}

// startPart starts the part that partEnv names.
func startPart(ctx context.Context, name string, args ...string) (*part, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &part{cmd: exec.CommandContext(ctx, self, args...)}
	p.cmd.Env = append(os.Environ(), partEnv+"="+name)
	p.cmd.Stderr = &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(stdout)
	return p, p.cmd.Start()
}

// line waits for a line that begins so, and returns its other words. A process that ends before is an error.
func (p *part) line(word string) ([]string, error) {
	for p.out.Scan() {
		if fields := strings.Fields(p.out.Text()); len(fields) > 0 && fields[0] == word {
			return fields[1:], nil
		}
	}
	if err := p.ended(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("a process ended before it said %s", word)
}

// ended waits for the end.
func (p *part) ended() error {
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, p.stderr.String())
	}
	return nil
}

// kill ends it as kill -9 does.
func (p *part) kill() {
	p.cmd.Process.Kill() // fails only if it has ended
	p.cmd.Wait()
}
