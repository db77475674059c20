package demo

import (
	"strings"
	"unicode/utf8"
)

// Colour is how a text is painted on a terminal.
type Colour string

const (
	Bold   Colour = "1"
	Dim    Colour = "2"
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
	Cyan   Colour = "36"
)

// Paint gives the text a colour, if the screen has any.
func (s *Screen) Paint(c Colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Bar is a bar for n out of most, which fills all columns.
func Bar(n, most, columns int) string {
	eighths := 0
	if most > 0 {
		eighths = min(max(n, 0), most) * columns * 8 / most
	}
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar + strings.Repeat(" ", columns-utf8.RuneCountInString(bar))
}

// cut is as much of a line as fits into the columns. What colours it takes none.
func cut(line string, columns int) string {
	var b strings.Builder
	for n := 0; line != ""; {
		if strings.HasPrefix(line, "\x1b[") {
			end := strings.IndexByte(line, 'm') + 1
			b.WriteString(line[:end])
			line = line[end:]
			continue
		}
		_, size := utf8.DecodeRuneInString(line)
		if n++; n <= columns {
			b.WriteString(line[:size])
		}
		line = line[size:]
	}
	return b.String()
}
