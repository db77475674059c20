package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	redrawEvery = 100 * time.Millisecond // the bar on a terminal
	lineEvery   = 2 * time.Second        // plain lines elsewhere
	rateOver    = 2 * time.Second        // the time that a rate looks back on
)

// done is how far the work is.
type done struct {
	lines   int64 // lines that were counted
	total   int64 // lines to count; 0 while that is not known
	records int64 // records of all topics that were processed: lines, and words on their way to be counted
}

// progress shows how far the work is: a bar that is drawn over itself on a terminal, a line now and then
// elsewhere.
type progress struct {
	w     io.Writer
	width func() int // columns of the terminal; nil if w is none
	read  func() done

	began time.Time
	marks []mark // no older than rateOver, but for the first
}

// mark is how many records there were at a time.
type mark struct {
	at      time.Time
	records int64
}

// newProgress shows on f, standard error, what read returns. read is called from another goroutine.
func newProgress(f *os.File, read func() done) *progress {
	p := &progress{w: f, read: read}
	if term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80
			}
			return width
		}
	}
	return p
}

// start shows the progress until stop is called, which says what was done in all. stop returns when nothing
// more is written.
func (p *progress) start() (stop func()) {
	every := lineEvery
	if p.width != nil {
		every = redrawEvery
	}
	p.began = time.Now()
	p.marks = []mark{{p.began, p.read().records}}
	first := p.marks[0].records
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				p.show(now)
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		if p.width != nil {
			fmt.Fprint(p.w, "\r\x1b[K")
		}
		d, elapsed := p.read(), time.Since(p.began)
		fmt.Fprintf(p.w, "%s lines, %s records in %.1f s, %s records/s\n", grouped(d.lines), grouped(d.records-first),
			elapsed.Seconds(), grouped(rate(d.records-first, elapsed)))
	}
}

func (p *progress) show(now time.Time) {
	d := p.read()
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) >= rateOver {
		p.marks = p.marks[1:]
	}
	perSecond := rate(d.records-p.marks[0].records, now.Sub(p.marks[0].at))
	p.marks = append(p.marks, mark{now, d.records})
	if p.width != nil {
		fmt.Fprint(p.w, "\r", bar(d, perSecond, p.width()), "\x1b[K")
		return
	}
	fmt.Fprintln(p.w, plain(d, perSecond))
}

// plain is one line of progress, where there is no terminal.
func plain(d done, perSecond int64) string {
	if d.total <= 0 {
		return fmt.Sprintf("%s lines, %s records/s", grouped(d.lines), grouped(perSecond))
	}
	return fmt.Sprintf("%s of %s lines (%d%%), %s records/s", grouped(d.lines), grouped(d.total), percent(d), grouped(perSecond))
}

// bar is plain with a bar in front, as wide as fits into width columns. One column stays free, so that a terminal does not
// wrap. In a narrow terminal the text is cut and the bar left out.
func bar(d done, perSecond int64, width int) string {
	const narrowest = 5
	text := plain(d, perSecond)
	columns := width - 1 - len("[] ") - len(text)
	if d.total <= 0 || columns < narrowest {
		return text[:min(len(text), max(width-1, 0))]
	}
	columns = min(columns, 40)
	full := columns * percent(d) / 100
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", columns-full) + "] " + text
}

// percent is rounded down, so that 100 means all.
func percent(d done) int { return int(min(max(d.lines*100/d.total, 0), 100)) }

func rate(records int64, over time.Duration) int64 {
	if over <= 0 {
		return 0
	}
	return int64(float64(records) / over.Seconds())
}

// grouped writes n with a comma between thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
