package state

import (
	"bytes"
	"cmp"
	"slices"
)

// gathering picks the first rows, by time and then by key, of rows that come by key.
type gathering struct {
	from, to int64
	tail     int      // length of what follows the key in a row's
	after    gathered // the last that was taken
	taken    bool
	rows     []gathered
	more     bool // there are more than were taken
}

type gathered struct {
	time int64
	key  []byte
}

// gatherRows bounds what a gathering keeps: its rows are gone through once for so many.
const gatherRows = 8 << 10

func (g *gathering) compare(a, b gathered) int {
	return cmp.Or(
		cmp.Compare(a.time, b.time),
		bytes.Compare(a.key[:len(a.key)-g.tail], b.key[:len(b.key)-g.tail]),
		bytes.Compare(a.key[len(a.key)-g.tail:], b.key[len(b.key)-g.tail:]),
	)
}

func (g *gathering) add(time int64, key []byte) {
	r := gathered{time, key}
	if time < g.from || time > g.to || g.taken && g.compare(r, g.after) <= 0 {
		return
	}
	if len(g.rows) == 2*gatherRows {
		g.cut()
	}
	r.key = slices.Clone(key)
	g.rows = append(g.rows, r)
}

// cut keeps the first gatherRows.
func (g *gathering) cut() {
	slices.SortFunc(g.rows, g.compare)
	clear(g.rows[gatherRows:])
	g.rows, g.more = g.rows[:gatherRows], true
}

// take returns the rows gathered, and makes room for those after them, if there are more.
func (g *gathering) take() []gathered {
	if len(g.rows) > gatherRows {
		g.cut()
	} else {
		slices.SortFunc(g.rows, g.compare)
	}
	rows := g.rows
	g.rows = nil
	if n := len(rows); n > 0 {
		g.after, g.taken = rows[n-1], true
	}
	return rows
}
