package main

import (
	"errors"
	"strings"
	"testing"
)

func TestPrintCounts(t *testing.T) {
	for _, c := range []struct {
		name string
		top  int
		want string
	}{
		{"all", 0, "30\tthe\n2\tb\n2\tä\n2\t漢\n1\ta\n"},
		{"some", 2, "30\tthe\n2\tb\n"},
		{"more than there are", 9, "30\tthe\n2\tb\n2\tä\n2\t漢\n1\ta\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			counts := []count{{"漢", 2}, {"a", 1}, {"ä", 2}, {"the", 30}, {"b", 2}}
			var out strings.Builder
			if err := printCounts(&out, counts, c.top); err != nil || out.String() != c.want {
				t.Errorf("printed %q, %v, want %q", out.String(), err, c.want)
			}
		})
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestPrintCountsReportsWriteErrors(t *testing.T) {
	if err := printCounts(fullDisk{}, []count{{"a", 1}}, 0); !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
}
