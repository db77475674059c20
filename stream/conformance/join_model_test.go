package conformance_test

import (
	"cmp"
	"math"
	"slices"
)

// joinModel is a join of two streams of texts that looks at everything it ever got. It is what our joins are
// held to, where they and Kafka Streams differ: results without a partner come as soon as their window is closed.
type joinModel struct {
	before, after, grace int64
	alone                [2]bool // whose records give results without a partner
}

const (
	onLeft = iota
	onRight
)

// arrival is a record that comes to a join.
type arrival struct {
	step       int // of the vector, from 0
	side       int
	key, value S
	ts         int64
	headers    [][2]*string
}

// joined is a result: of two records, or of one.
type joined struct {
	step  int
	alone bool
	record
}

func (m joinModel) run(arrivals []arrival) []joined {
	reach := [2]int64{m.after, m.before}
	back := [2]int64{m.before, m.after}
	newest := int64(-1)
	var kept [2][]arrival // what a side has stored
	observed := [2]int64{math.MinInt64, math.MinInt64}
	shown := func(side int, ts int64) bool {
		return observed[side] == math.MinInt64 || ts > observed[side]-max(1, m.before+m.after+m.grace)
	}
	var waiting []arrival
	var out []joined
	for _, a := range arrivals {
		send := func(key, value S, ts int64, alone bool) {
			out = append(out, joined{a.step, alone, record{"output", key, value, ts, a.headers}})
		}
		single := func(w arrival) {
			if w.side == onLeft {
				send(w.key, pair(w.value, nil), w.ts, true)
			} else {
				send(w.key, pair(nil, w.value), w.ts, true)
			}
		}
		if a.ts > newest {
			newest = a.ts
			var open []arrival
			for _, w := range waiting {
				if w.ts+reach[w.side]+m.grace < newest {
					single(w)
				} else {
					open = append(open, w)
				}
			}
			waiting = open
		}
		if a.value == nil {
			continue
		}
		if a.key == nil {
			if m.alone[a.side] {
				single(a)
			}
			continue
		}
		other := 1 - a.side
		var partners []arrival
		for _, p := range kept[other] {
			if *p.key == *a.key && p.ts >= max(0, a.ts-back[a.side]) && p.ts <= max(0, a.ts+reach[a.side]) && shown(other, p.ts) {
				partners = append(partners, p)
			}
		}
		slices.SortStableFunc(partners, func(a, b arrival) int { return cmp.Compare(a.ts, b.ts) })
		for _, p := range partners {
			waiting = slices.DeleteFunc(waiting, func(w arrival) bool { return w.side == other && *w.key == *p.key && w.ts == p.ts })
			if a.side == onLeft {
				send(a.key, pair(a.value, p.value), max(a.ts, p.ts), false)
			} else {
				send(a.key, pair(p.value, a.value), max(a.ts, p.ts), false)
			}
		}
		if len(partners) == 0 && m.alone[a.side] {
			if max(0, a.ts+reach[a.side]) < newest {
				single(a)
			} else {
				waiting = append(waiting, a)
				slices.SortStableFunc(waiting, func(a, b arrival) int {
					return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(b.side, a.side), cmp.Compare(*a.key, *b.key))
				})
			}
		}
		if shown(a.side, a.ts) {
			kept[a.side] = append(kept[a.side], a)
			observed[a.side] = max(observed[a.side], a.ts)
		}
	}
	return out
}

// arrivals are the records of topics left and right.
func (m joinModel) arrivals(events []event) []arrival {
	var as []arrival
	for i, e := range events {
		switch e.In {
		case "left":
			as = append(as, arrival{i, onLeft, e.Key, e.Value, e.TS, e.Headers})
		case "right":
			as = append(as, arrival{i, onRight, e.Key, e.Value, e.TS, e.Headers})
		}
	}
	return as
}
