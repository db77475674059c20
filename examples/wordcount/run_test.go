//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moldau-io/moldau/internal/zipf"
)

// What there may be in a file, counted in a directory, twice, with all of it on standard output and nothing else.
func TestRunCounts(t *testing.T) {
	long := func(separator string) string { // a line of more than a megabyte
		var b strings.Builder
		for i := 0; b.Len() < 1<<20; i++ {
			fmt.Fprintf(&b, "w%dé漢%s", i%1000, separator)
		}
		return b.String()
	}
	for _, c := range []struct {
		name  string
		texts []string // a file each
	}{
		{"empty file", []string{""}},
		{"empty and other files", []string{"", "a b\n", "", "b c"}},
		{"no final newline", []string{"one two\nTwo three"}},
		{"only newlines", []string{strings.Repeat("\n", 100_000)}},
		{"CRLF", []string{"one two\r\nTwo\r\n\r\nthree\rfour\r\n"}},
		{"invalid UTF-8", []string{"a\xffb \xe6\xbc c\xe6\xbc\xa2d\xc0\xaf \xed\xa0\x80x\n\xf0\x9f\x98"}},
		{"zeros", []string{"a\x00b\x00\n\x00"}},
		{"letters of all kinds", []string{"Straße STRASSE ΣΊΣΥΦΟΣ İstanbul ǅ 漢字かな ١٢٣ x² a_b-c'd e\u0301 Ⅻ"}},
		{"a line of more than 512 KiB", []string{"x\n" + long(" ") + "\ny\n"}},
		{"a long line without ASCII between its words", []string{long("，")}},
		{"a long line of invalid bytes between its words", []string{long("\xff")}},
		{"a word of 300 KiB", []string{"a " + strings.Repeat("漢", 100<<10) + " b"}},
		{"text", []string{string(zipf.Text(3, 100<<10)), string(zipf.Text(4, 50<<10))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			args := []string{"-data", data, "-top", "0"}
			want := map[string]int64{}
			for _, text := range c.texts {
				args = append(args, writeFile(t, []byte(text)))
				want = addCounts(want, countWords([]byte(text)), 1)
			}
			first := start(t, args...).wait(t, 0)
			if err := differ(parseCounts(t, first.stdout.String()), want); err != nil {
				t.Error(err)
			}
			second := start(t, args...).wait(t, 0)
			if !bytes.Equal(first.stdout.Bytes(), second.stdout.Bytes()) {
				t.Errorf("the second run does not print what the first did: %v", differ(parseCounts(t, second.stdout.String()), want))
			}
			if got := second.stderr.String(); !strings.Contains(got, "0 lines, 0 records in ") {
				t.Errorf("the second run had something to do: %s", got)
			}
		})
	}
}

// -top is a bound, and standard output has nothing but the counts.
func TestRunTop(t *testing.T) {
	path := writeFile(t, []byte("b a c a b a ü\n"))
	for _, c := range []struct{ top, want string }{
		{"1", "3\ta\n"},
		{"3", "3\ta\n2\tb\n1\tc\n"},
		{"100", "3\ta\n2\tb\n1\tc\n1\tü\n"},
		{"0", "3\ta\n2\tb\n1\tc\n1\tü\n"},
	} {
		if got := start(t, "-top", c.top, path).wait(t, 0).stdout.String(); got != c.want {
			t.Errorf("-top %s prints %q, want %q", c.top, got, c.want)
		}
	}
}

// The default is the text of the tree the example stands in, in 20 lines.
func TestRunWithoutFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.md": "a b c d e f g h i j k l m", "d/b.go": "n o p q r s t u v w x y z a", ".git/c.md": "a a a", "d.txt": "b b b"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var want strings.Builder
	want.WriteString("2\ta\n")
	for c := 'b'; c < 'b'+19; c++ {
		fmt.Fprintf(&want, "1\t%c\n", c)
	}
	p := prepare(t)
	p.cmd.Dir = dir
	if got := p.start(t).wait(t, 0).stdout.String(); got != want.String() {
		t.Errorf("printed %q, want %q", got, want.String())
	}
}

// What changes between two runs over the same directory.
func TestRunAgain(t *testing.T) {
	const text = "one two\ntwo three\n"
	for _, c := range []struct {
		name   string
		text   string // of the file at first; "": text
		change func(data, path string) error
		first  int      // -partitions of the first run; 0: not given
		second int      // of the second
		more   bool     // the second run counts PATH2 too
		counts string   // what the second run has counted
		errors []string // what its error says instead; PATH is the file
	}{
		{
			name:   "grown",
			change: func(_, path string) error { return os.WriteFile(path, []byte(text+"three\nfour"), 0o644) },
			counts: text + "three\nfour",
		},
		{
			name:   "grown after a last line without end",
			text:   "one two",
			change: func(_, path string) error { return os.WriteFile(path, []byte("one two; Two three\n"), 0o644) },
			counts: "one two two three",
		},
		{
			name:   "grown in the middle of a word",
			text:   "one tw",
			change: func(_, path string) error { return os.WriteFile(path, []byte("one two"), 0o644) },
			errors: []string{"PATH", "at byte 6", "in the middle of a word", "count it in a new -data directory"},
		},
		{
			name:   "grown in the middle of a letter",
			text:   "one \xe6\xbc",
			change: func(_, path string) error { return os.WriteFile(path, []byte("one \xe6\xbc\xa2"), 0o644) },
			errors: []string{"PATH", "at byte 6", "in the middle of a word", "count it in a new -data directory"},
		},
		{
			name:   "shrunk",
			change: func(_, path string) error { return os.Truncate(path, 7) },
			errors: []string{"PATH", "from 18 bytes to 7", "count it in a new -data directory"},
		},
		{
			name:   "gone",
			change: func(_, path string) error { return os.Remove(path) },
			errors: []string{"PATH", "no such file"},
		},
		{
			name:   "another file as well",
			change: func(_, path string) error { return os.WriteFile(path+"2", []byte("five"), 0o644) },
			more:   true,
			counts: text + "five",
		},
		{
			name:   "state deleted",
			change: func(data, _ string) error { return os.RemoveAll(filepath.Join(data, "state")) },
			counts: text,
		},
		{
			name: "state deleted, file grown",
			change: func(data, path string) error {
				if err := os.RemoveAll(filepath.Join(data, "state")); err != nil {
					return err
				}
				return os.WriteFile(path, []byte(text+text), 0o644)
			},
			counts: text + text,
		},
		{
			name:   "state deleted, 4 partitions, file grown",
			first:  4,
			second: 4,
			change: func(data, path string) error {
				if err := os.RemoveAll(filepath.Join(data, "state")); err != nil {
					return err
				}
				return os.WriteFile(path, []byte(text+text), 0o644)
			},
			counts: text + text,
		},
		{
			name:   "more partitions",
			second: 4,
			errors: []string{"-partitions 4", "-data directory", "has 1 partitions"},
		},
		{
			name:   "fewer partitions",
			first:  4,
			errors: []string{"-partitions 1", "-data directory", "has 4 partitions"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text == "" {
				c.text = text
			}
			path, data := writeFile(t, []byte(c.text)), filepath.Join(t.TempDir(), "data")
			run := func(partitions int, files ...string) *process {
				args := []string{"-data", data, "-top", "0"}
				if partitions > 0 {
					args = append(args, "-partitions", strconv.Itoa(partitions))
				}
				return start(t, append(args, files...)...)
			}
			wantCounts(t, run(c.first, path), []byte(c.text))
			if c.change != nil {
				if err := c.change(data, path); err != nil {
					t.Fatal(err)
				}
			}
			files := []string{path}
			if c.more {
				files = append(files, path+"2")
			}
			second := run(c.second, files...)
			if c.errors == nil {
				wantCounts(t, second, []byte(c.counts))
				return
			}
			var errors []string
			for _, e := range c.errors {
				errors = append(errors, strings.ReplaceAll(e, "PATH", path))
			}
			wantFailure(t, second, 1, errors...)
		})
	}
}

// wantCounts waits for a run that was started with -top 0, and fails the test unless it counted text.
func wantCounts(t *testing.T, p *process, text []byte) {
	t.Helper()
	if err := differ(parseCounts(t, p.wait(t, 0).stdout.String()), countWords(text)); err != nil {
		t.Fatal(err)
	}
}

// wantFailure waits for a run that prints no counts, and ends with the code and an error that says all of this.
func wantFailure(t *testing.T, p *process, code int, says ...string) {
	t.Helper()
	p.wait(t, code)
	if p.stdout.Len() > 0 {
		t.Errorf("standard output has %q", p.stdout.String())
	}
	for _, s := range says {
		if !strings.Contains(p.stderr.String(), s) {
			t.Errorf("the error does not say %q:\n%s", s, p.stderr.String())
		}
	}
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, []byte("a b\n"))
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"-top below 0", []string{"-top", "-1", path}, 1, "-top -1: it is 0 for all, or more"},
		{"-top not a number", []string{"-top", "x", path}, 2, `invalid value "x" for flag -top`},
		{"no partitions", []string{"-partitions", "0", path}, 1, "-partitions 0: it is between 1 and 1000"},
		{"too many partitions", []string{"-partitions", "1001", path}, 1, "-partitions 1001: it is between 1 and 1000"},
		{"partitions not a number", []string{"-partitions", "1.5", path}, 2, `invalid value "1.5" for flag -partitions`},
		{"unknown flag", []string{"-x", path}, 2, "-x"},
		{"missing file", []string{path, filepath.Join(dir, "gone")}, 1, filepath.Join(dir, "gone") + ": no such file"},
		{"a directory", []string{dir}, 1, dir + " is not a regular file"},
		{"-data is a file", []string{"-data", path, path}, 1, filepath.Join(path, "log")},
		{"a word without end", []string{writeFile(t, bytes.Repeat([]byte("é"), 300<<10))}, 1, "a word of more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFailure(t, start(t, c.args...), c.code, c.says)
		})
	}
}

func TestRunHelp(t *testing.T) {
	wantFailure(t, start(t, "-h"), 0, "-data", "-brokers", "-top", "-partitions", "default 20")
}

// An error that comes in the middle of the files leaves what was counted, and the next run goes on.
func TestRunGoesOnAfterAnError(t *testing.T) {
	good, bad := writeFile(t, []byte("one two\n")), writeFile(t, []byte("three\n"+strings.Repeat("x", 600<<10)))
	data := filepath.Join(t.TempDir(), "data")
	wantFailure(t, start(t, "-data", data, "-top", "0", good, bad), 1, bad+", after byte 6", "a word of more than")
	if err := os.WriteFile(bad, []byte("three\nfour"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, start(t, "-data", data, "-top", "0", good, bad), []byte("one two three four"))
}

// While one process has the directory, another is told which, and disturbs nothing.
func TestRunTwice(t *testing.T) {
	text := zipf.Text(5, 1<<20)
	path, data := writeFile(t, text), filepath.Join(t.TempDir(), "data")
	// The first cannot end before its output is read: that is more than fits into a pipe.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := prepare(t, "-data", data, "-top", "0", path)
	first.cmd.Stdout = w
	first.start(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	owner := filepath.Join(data, "log", "OWNER")
	first.until(t, func() bool {
		b, err := os.ReadFile(owner)
		return err == nil && bytes.HasSuffix(b, []byte("\n"))
	})
	wantFailure(t, start(t, "-data", data, path), 1, filepath.Join(data, "log"), fmt.Sprintf("in use by process %d (wordcount, since ", first.cmd.Process.Pid))
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) <= 64<<10 {
		t.Fatalf("%d bytes of output do not hold a process", len(out))
	}
	first.wait(t, 0)
	if err := differ(parseCounts(t, string(out)), countWords(text)); err != nil {
		t.Error(err)
	}

	lg := openLog(t, data)
	defer lg.Close()
	wantFailure(t, start(t, "-data", data, path), 1, fmt.Sprintf("in use by process %d (", os.Getpid()))
}

// until waits until cond holds, which it must before the process ends.
func (p *process) until(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-p.exited:
			t.Fatalf("%s ended too soon with %v; it wrote\n%s", p.cmd, p.cmd.ProcessState, p.stderr.String())
		case <-tick.C:
		}
	}
}

// stopLimit is what a stop may take here, where other tests run beside; it is to be a second. The test logs
// what it was.
const stopLimit = 15 * time.Second

// A run that is interrupted commits what it has and ends soon; nothing of the application is aborted. The next
// run goes on from there, also after several interrupts.
func TestRunInterrupted(t *testing.T) {
	text := zipf.Text(6, 16<<20)
	path, data := writeFile(t, text), filepath.Join(t.TempDir(), "data")
	random := rand.New(rand.NewPCG(6, 6))
	var took []time.Duration
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGINT, syscall.SIGINT} {
		w := newWatch(data, nil)
		p := start(t, "-data", data, "-partitions", "2", path)
		p.until(t, func() bool { return w.look() >= opened })
		timer := time.NewTimer(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
		select {
		case <-timer.C:
		case <-p.exited:
		}
		began := time.Now()
		_ = p.cmd.Process.Signal(signal) // it may have ended
		<-p.exited
		if p.cmd.ProcessState.ExitCode() == 0 {
			t.Logf("run %d came to its end", i)
			continue
		}
		took = append(took, time.Since(began).Round(time.Millisecond))
		wantFailure(t, p, 130, "wordcount: stopped; what was counted is committed")
	}
	if len(took) == 0 {
		t.Fatal("no run was interrupted")
	}
	t.Logf("stopped within %v", took)
	if slices.Max(took) > stopLimit {
		t.Errorf("a stop took %v, want less than %v", slices.Max(took), stopLimit)
	}
	lg := openLog(t, data)
	if n := abortedTransactions(t, lg, changelog, wordCounts.Name()); n > 0 {
		t.Errorf("%d transactions of the application were aborted", n)
	}
	if err := lg.Close(); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, start(t, "-data", data, "-partitions", "2", "-top", "0", path), text)
}

// Without -data nothing is left behind, however the run ends.
func TestRunRemovesItsTemporaryDirectory(t *testing.T) {
	small := writeFile(t, []byte("a b\n"))
	large := writeFile(t, zipf.Text(7, 24<<20)) // there is time to interrupt
	bad := writeFile(t, bytes.Repeat([]byte("x"), 600<<10))
	for _, c := range []struct {
		name      string
		args      []string
		interrupt bool
		code      int
	}{
		{"to the end", []string{small}, false, 0},
		{"interrupted", []string{large}, true, 130},
		{"with an error", []string{bad}, false, 1},
		{"refused", []string{"-partitions", "0", small}, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			temporary := t.TempDir()
			p := prepare(t, c.args...)
			p.cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
			p.start(t)
			if c.interrupt {
				p.until(t, func() bool { return len(glob(filepath.Join(temporary, "*", "state", "*"))) > 0 })
				if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
					t.Fatal(err)
				}
			}
			p.wait(t, c.code)
			if left := glob(filepath.Join(temporary, "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
