package main

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBar(t *testing.T) {
	for _, c := range []struct {
		name  string
		done  done
		width int
		want  string
	}{
		{"none", done{0, 200, 0}, 60, "[....................] 0 of 200 lines (0%), 1,234 records/s"},
		{"half", done{100, 200, 0}, 60, "[########.........] 100 of 200 lines (50%), 1,234 records/s"},
		{"almost", done{199, 200, 0}, 60, "[################.] 199 of 200 lines (99%), 1,234 records/s"},
		{"all", done{200, 200, 0}, 60, "[################] 200 of 200 lines (100%), 1,234 records/s"},
		{"more than all", done{201, 200, 0}, 60, "[################] 201 of 200 lines (100%), 1,234 records/s"},
		{"wide", done{1, 4, 0}, 500, "[##########..............................] 1 of 4 lines (25%), 1,234 records/s"},
		{"narrow", done{1, 4, 0}, 40, "1 of 4 lines (25%), 1,234 records/s"},
		{"very narrow", done{1, 4, 0}, 10, "1 of 4 li"},
		{"no width", done{1, 4, 0}, 0, ""},
		{"total not known", done{1234567, 0, 0}, 80, "1,234,567 lines, 1,234 records/s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := bar(c.done, 1234, c.width)
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if len(got) >= max(c.width, 1) {
				t.Errorf("%d columns wrap in a terminal of %d", len(got), c.width)
			}
		})
	}
}

// Elsewhere than on a terminal there is a line every two seconds, and one at the end.
func TestProgressPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		var lines atomic.Int64
		p := &progress{w: &out, read: func() done { n := lines.Load(); return done{n, 10_000, 3 * n} }}
		stop := p.start()
		time.Sleep(time.Second / 2)
		for range 5 { // 1000 lines, 3000 records a second
			lines.Add(1000)
			time.Sleep(time.Second)
		}
		stop()
		want := "2,000 of 10,000 lines (20%), 3,000 records/s\n" +
			"4,000 of 10,000 lines (40%), 3,000 records/s\n" +
			"5,000 lines, 15,000 records in 5.5 s, 2,727 records/s\n"
		if out.String() != want {
			t.Errorf("wrote\n%swant\n%s", out.String(), want)
		}
	})
}

// On a terminal the bar is drawn over itself and wiped at the end.
func TestProgressTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := &progress{w: &out, width: func() int { return 60 }, read: func() done { return done{5, 10, 5} }}
		stop := p.start()
		time.Sleep(2*redrawEvery + time.Millisecond)
		stop()
		const drawn = "\r[############............] 5 of 10 lines (50%), 0 records/s\x1b[K"
		want := drawn + drawn + "\r\x1b[K5 lines, 0 records in 0.2 s, 0 records/s\n"
		if out.String() != want {
			t.Errorf("wrote\n%q, want\n%q", out.String(), want)
		}
	})
}

// screen is read while progress writes to it.
type screen struct {
	mu   sync.Mutex
	text []byte
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, b...)
	return len(b), nil
}

// last is what was drawn last.
func (s *screen) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text[bytes.LastIndexByte(s.text, '\r')+1:])
}

// A rate looks back on two seconds, so that it follows what happens now.
func TestProgressRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var records atomic.Int64
		var out screen
		p := &progress{w: &out, width: func() int { return 80 }, read: func() done { return done{records: records.Load()} }}
		stop := p.start()
		time.Sleep(10*time.Second + time.Millisecond)
		records.Add(10_000)
		time.Sleep(redrawEvery)
		synctest.Wait()
		if got, want := out.last(), "0 lines, 5,000 records/s\x1b[K"; got != want {
			t.Errorf("after 10,000 records in the last two seconds: %q, want %q", got, want)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got, want := out.last(), "0 lines, 0 records/s\x1b[K"; got != want {
			t.Errorf("after two seconds without records: %q, want %q", got, want)
		}
		stop()
	})
}

func TestNewProgressKnowsFiles(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/err")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p := newProgress(f, nil); p.width != nil {
		t.Error("takes a file for a terminal")
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -123: "-123", -1234: "-1,234"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s, want %s", n, got, want)
		}
	}
}
