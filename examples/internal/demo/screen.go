package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Screen writes lines, and below them, on a terminal, some that change: the status. Elsewhere, as in a file, there is
// no status, and nothing is coloured. It may be used by several goroutines.
type Screen struct {
	w      io.Writer
	size   func() (columns, rows int) // of the terminal; nil: it is none
	colour bool

	mu      sync.Mutex
	status  []string
	clock   string // the last line of it
	drawn   int    // lines of the status on the screen
	drawnAt time.Time
}

func newScreen(f *os.File) *Screen {
	s := &Screen{w: f}
	if term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		s.colour = os.Getenv("NO_COLOR") == ""
		s.size = func() (int, int) {
			columns, rows, err := term.GetSize(int(f.Fd()))
			if err != nil || columns <= 0 || rows <= 0 {
				return 80, 24
			}
			return columns, rows
		}
	}
	return s
}

// Line writes a line, which stays. Spaces at its end are left out.
func (s *Screen) Line(format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(strings.TrimRight(fmt.Sprintf(format, a...), " ") + "\n")
}

// Status sets the lines that stand below the others; none: there is no status any more.
func (s *Screen) Status(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = lines
	if len(lines) == 0 {
		s.clock = ""
	}
	if len(lines) == 0 || time.Since(s.drawnAt) > tick {
		s.write("")
	}
}

// progress sets the last line of the status: the time of the input, and how much of it has come.
func (s *Screen) progress(now time.Time, done, of int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = fmt.Sprintf("%s  %s  %d of %d events", now.UTC().Format(time.TimeOnly), s.Paint(Dim, Bar(done, of, 30)), done, of)
	s.write("")
}

// write writes lines where the status was, and the status below them, as much of it as there is room for.
func (s *Screen) write(lines string) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.drawn)
	}
	b.WriteString(lines)
	s.drawn = 0
	if s.size != nil && s.clock != "" {
		columns, rows := s.size()
		for _, line := range append(s.status[:min(len(s.status), max(rows-3, 0)):len(s.status)], s.clock) {
			b.WriteString(cut(line, columns-1) + "\n")
			s.drawn++
		}
		s.drawnAt = time.Now()
	}
	if b.Len() > 0 {
		io.WriteString(s.w, b.String())
	}
}
