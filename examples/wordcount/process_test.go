package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// The tests of this file's kind run the example as its users do: built, as a process, seen from outside.

// patience bounds each wait for a process. It is not reached unless something hangs.
const patience = 3 * time.Minute

// program is the path of the built example, which TestMain removes.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wordcount-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "wordcount")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return path, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var builtProgram string // what TestMain has to remove

func TestMain(m *testing.M) {
	code := m.Run()
	if builtProgram != "" {
		if err := os.RemoveAll(filepath.Dir(builtProgram)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// process is a running example.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	exited         chan struct{} // closed when it has ended, and the fields are final
	took           time.Duration
}

// prepare makes a process that start starts.
func prepare(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := program()
	builtProgram = path
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p := &process{cmd: exec.CommandContext(ctx, path, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	// Who hangs says where: this signal has the Go runtime print what every goroutine does.
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGQUIT) }
	p.cmd.WaitDelay = 10 * time.Second // before it is killed
	t.Cleanup(func() {
		cancel()
		if p.cmd.Process != nil {
			<-p.exited
		}
	})
	return p
}

// start starts the process. It is ended when the test ends, or when patience is at its end.
func (p *process) start(t *testing.T) *process {
	t.Helper()
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // ProcessState tells all
		p.took = time.Since(began)
	}()
	return p
}

// start starts the example.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return prepare(t, args...).start(t)
}

// wait waits for the process to end by itself, and fails the test unless it does so with this code.
func (p *process) wait(t *testing.T, code int) *process {
	t.Helper()
	<-p.exited
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s: %v, want exit code %d; it wrote\n%s", p.cmd, p.cmd.ProcessState, code, p.stderr.String())
	}
	return p
}

// countAll runs the example to its end with -top 0, and returns the counts.
func countAll(t *testing.T, args ...string) map[string]int64 {
	t.Helper()
	return parseCounts(t, start(t, append([]string{"-top", "0"}, args...)...).wait(t, 0).stdout.String())
}

// parseCounts reads what the example printed, which has to be in order.
func parseCounts(t *testing.T, text string) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	type row struct {
		n    int64
		word string
	}
	var last row
	for line := range strings.Lines(text) {
		number, word, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		n, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil || word == "" || !strings.HasSuffix(line, "\n") {
			t.Fatalf("printed %q, want COUNT<TAB>WORD", line)
		}
		r := row{n, word}
		if len(counts) > 0 && cmp.Or(-cmp.Compare(last.n, r.n), strings.Compare(last.word, r.word)) >= 0 {
			t.Fatalf("printed %v before %v", last, r)
		}
		counts[word], last = n, r
	}
	return counts
}

// countWords counts the words of text as the example's documentation says, rune by rune, with none of its
// code.
func countWords(text []byte) map[string]int64 {
	seen := map[string]*int64{}
	var word []byte
	end := func() {
		if len(word) == 0 {
			return
		}
		if n := seen[string(word)]; n != nil {
			*n++
		} else {
			n := int64(1)
			seen[string(word)] = &n
		}
		word = word[:0]
	}
	for _, r := range string(text) { // U+FFFD for an invalid byte
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			word = utf8.AppendRune(word, unicode.ToLower(r))
		} else {
			end()
		}
	}
	end()
	counts := make(map[string]int64, len(seen))
	for w, n := range seen {
		counts[w] = *n
	}
	return counts
}

// differ says how the counts differ, word by word; nil: not at all.
func differ(got, want map[string]int64) error {
	var words []string
	for w := range want {
		if got[w] != want[w] {
			words = append(words, w)
		}
	}
	for w := range got {
		if _, ok := want[w]; !ok {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		return nil
	}
	slices.Sort(words)
	errs := []error{fmt.Errorf("%d of %d words are counted wrong", len(words), len(want))}
	for _, w := range words[:min(len(words), 10)] {
		errs = append(errs, fmt.Errorf("%.100q: %d, want %d", w, got[w], want[w]))
	}
	return errors.Join(errs...)
}

// addCounts returns counts and, so many times, more.
func addCounts(counts, more map[string]int64, times int64) map[string]int64 {
	counts = maps.Clone(counts)
	for w, n := range more {
		counts[w] += n * times
	}
	return counts
}

// writeFile makes a file in a new directory.
func writeFile(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// appendFile makes a file longer.
func appendFile(t *testing.T, path string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
