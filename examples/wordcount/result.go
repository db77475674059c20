package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
)

// count is a word and how often it was seen.
type count struct {
	word string
	n    int64
}

// printCounts writes the top counts, highest first and equal ones by word in byte order, one COUNT<TAB>WORD
// line each; all of them if top is 0. It sorts counts.
func printCounts(w io.Writer, counts []count, top int) error {
	slices.SortFunc(counts, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.word, b.word))
	})
	if top > 0 {
		counts = counts[:min(top, len(counts))]
	}
	out := bufio.NewWriter(w)
	for _, c := range counts {
		fmt.Fprintf(out, "%d\t%s\n", c.n, c.word)
	}
	return out.Flush()
}
