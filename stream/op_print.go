package stream

import (
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/moldau-io/moldau/stream/internal/task"
)

// PrintOption is an option of Print.
type PrintOption interface{ print(*settings) }

func (n Name) print(s *settings) { n.operator(s) }

// LabelText is an option of Print. See Label.
type LabelText struct{ text string }

// Label sets what Print writes before each record; without it, that is the operator's name.
func Label(text string) LabelText { return LabelText{text} }

func (l LabelText) print(s *settings) { s.label = &l.text }

// Print writes each record to w, as a line "[label]: key, value", to look at while a topology is made; nothing
// follows it. Null is written as null, a pointer as what it points to, bytes as text if they are, all else as
// fmt has it. Lines come whole, whatever number of tasks and of Prints write to w; of records whose epoch is
// aborted they come again. A line that cannot be written stops the application.
func (s *Stream[K, V]) Print(w io.Writer, opts ...PrintOption) {
	var set settings
	for _, o := range opts {
		o.print(&set)
	}
	n := same(s.n, "Print", set)
	if w == nil {
		n.b.fail(n.g, "the writer is nil")
	}
	attach(s.n, n, func(t *task.Task, next edge[K, V]) (edge[K, V], error) {
		label := n.g.Name
		if set.label != nil {
			label = *set.label
		}
		var line []byte
		return func(r Record[K, V]) error {
			t.Enter(n.g.Index)
			line = fmt.Appendf(line[:0], "[%s]: ", label)
			line = append(appendShown(line, r.Key, r.null&nullKey != 0), ", "...)
			line = append(appendShown(line, r.Value, r.null&nullValue != 0), '\n')
			if err := writeLine(w, line); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			return next(r)
		}, nil
	})
}

// printing keeps lines whole. It is one for all writers, which may be one and the same under several names.
var printing sync.Mutex

func writeLine(w io.Writer, line []byte) error {
	printing.Lock()
	defer printing.Unlock()
	_, err := w.Write(line)
	return err
}

// appendShown appends x as a person would like to see it.
func appendShown(dst []byte, x any, null bool) []byte {
	if null {
		return append(dst, "null"...)
	}
	switch x.(type) {
	case fmt.Stringer, fmt.Formatter, error:
		return fmt.Append(dst, x)
	}
	v := reflect.ValueOf(x)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		if b := v.Bytes(); isText(b) {
			return append(dst, b...)
		}
	}
	return fmt.Appendf(dst, "%+v", v)
}

// isText reports whether b is UTF-8 without control characters.
func isText(b []byte) bool {
	for _, r := range string(b) {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return false
		}
	}
	return true
}
