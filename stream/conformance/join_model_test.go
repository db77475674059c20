package conformance_test

import (
	"cmp"
	"errors"
	"fmt"
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
	at         int // its place among the arrivals, once it has come
	key, value S
	ts         int64
	headers    [][2]*string
}

// joined is a result: of two records, or of one.
type joined struct {
	step  int
	alone bool
	record
	// Of a result without a partner, by the rule.
	early bool  // it comes before its window is closed: see due
	wrong error // what due has against it
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
	for at, a := range arrivals {
		a.at = at
		send := func(key, value S, ts int64) {
			out = append(out, joined{step: a.step, record: record{"output", key, value, ts, a.headers}})
		}
		single := func(w arrival) {
			l, r := w.value, S(nil)
			if w.side == onRight {
				l, r = r, l
			}
			early, wrong := m.due(arrivals, w.at, at)
			out = append(out, joined{a.step, true, record{"output", w.key, pairText(l, r), w.ts, a.headers}, early, wrong})
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
				send(a.key, pairText(a.value, p.value), max(a.ts, p.ts))
			} else {
				send(a.key, pairText(p.value, a.value), max(a.ts, p.ts))
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
			as = append(as, e.arrival(i, onLeft))
		case "right":
			as = append(as, e.arrival(i, onRight))
		}
	}
	return as
}

func (e event) arrival(step, side int) arrival {
	return arrival{step: step, side: side, key: e.Key, value: e.Value, ts: e.TS, headers: e.Headers}
}

// due says what is wrong with the result without a partner of arrival of, sent when arrival by came. It is the rule
// itself, over all there is, and not how a join or the model goes about it: the window is closed, no partner came until
// then, and the result comes as soon as that is known. It is early, and no longer waits for a partner that is late, if it
// is of a record that comes when its window's end is passed, though not the grace, or that has no key.
func (m joinModel) due(arrivals []arrival, of, by int) (early bool, err error) {
	a := arrivals[of]
	if !m.alone[a.side] || a.value == nil {
		return false, errors.New("the record gives no result without a partner")
	}
	if a.key == nil {
		if by != of {
			return false, errors.New("a record without a key cannot wait for anything")
		}
		return true, nil
	}
	reach, back := m.after, m.before
	if a.side == onRight {
		reach, back = back, reach
	}
	newest := func(n int) (ts int64) { // of the first n
		for _, x := range arrivals[:n] {
			ts = max(ts, x.ts)
		}
		return ts
	}
	closed := func(n int) bool { return a.ts+reach+m.grace < newest(n) }
	switch {
	case by == of && max(0, a.ts+reach) < newest(by+1):
		early = !closed(by + 1)
	case !closed(by + 1):
		return false, errors.New("its window is not closed")
	case by > of && closed(by):
		return false, errors.New("its window was closed before")
	}
	// gone: a store does not show the time to who comes n-th.
	gone := func(x arrival, n int) bool {
		kept := int64(-1)
		for _, y := range arrivals[:n] {
			if y.side == x.side && y.key != nil && y.value != nil {
				kept = max(kept, y.ts)
			}
		}
		return x.ts <= kept-max(1, m.before+m.after+m.grace)
	}
	for i, p := range arrivals[:by] {
		if i == of || p.side == a.side || p.key == nil || p.value == nil || *p.key != *a.key {
			continue
		}
		first, last, lastAt := p, a, of
		from, to := a.ts-back, a.ts+reach // of the partners that a looks for
		if i > of {
			first, last, lastAt = a, p, i
			from, to = p.ts-reach, p.ts+back
		}
		if first.ts >= max(0, from) && first.ts <= max(0, to) && !gone(first, lastAt) {
			return false, fmt.Errorf("it had a partner: %s=%s @%d", *last.key, *p.value, p.ts)
		}
	}
	return early, nil
}
