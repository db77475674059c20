package conformance_test

import (
	"errors"
	"slices"
	"testing"
)

// This file owns one difference in versioned stores. Where the latest value of a key is deleted by a record with the
// value's own timestamp, and nothing older of the key ended just then, Kafka Streams removes the value and keeps no
// trace of the deletion; a record that is older comes back as if there had been none. Our stores remember it. A vector
// that comes to such a record is held to Kafka Streams' answers up to there, and counted.

// forgotten returns the first step, from 1, that puts a record older than a deletion of its key that Kafka Streams has
// forgotten; 0 if there is none, or no versioned store.
func (v *vector) forgotten() int {
	versioned := false
	for _, c := range v.Stores {
		versioned = versioned || c.Type == "versioned"
	}
	if !versioned {
		return 0
	}
	type history struct {
		ts      int64 // of the latest record
		present bool  // it is a value
		ended   bool  // an older value ended when it began
		lost    []int64
	}
	keys := map[string]*history{}
	for i, e := range v.Events {
		if e.In == "" || e.Key == nil {
			continue
		}
		id := e.In + "\x00" + *e.Key
		h := keys[id]
		if h == nil {
			keys[id] = &history{ts: e.TS, present: e.Value != nil}
			continue
		}
		if slices.ContainsFunc(h.lost, func(ts int64) bool { return e.TS < ts }) {
			return i + 1
		}
		switch {
		case e.TS > h.ts:
			h.ended = h.present
		case e.TS < h.ts:
			h.ended = true // what came late ends then, or what ended then is there already
			continue
		case h.present && e.Value == nil && !h.ended:
			h.lost = append(h.lost, e.TS)
		}
		h.ts, h.present = e.TS, e.Value != nil
	}
	return 0
}

// upTo is the vector's first steps, without the contents of stores after them.
func (v *vector) upTo(steps int) *vector {
	cut := *v
	cut.Events, cut.stepsOnly = v.Events[:steps], true
	return &cut
}

// held runs a vector. One that differs from where Kafka Streams has forgotten a deletion is run up to there, and
// counted.
func (c *tally) held(v *vector, run func(*vector) error) error {
	err := run(v)
	at := v.forgotten()
	m := new(mismatch)
	if at == 0 || !errors.As(err, &m) || m.step > 0 && m.step < at {
		return err
	}
	if err := run(v.upTo(at - 1)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten[v.file] = at
	return nil
}

func TestForgotten(t *testing.T) {
	versioned := map[string]contents{"source": {Type: "versioned"}}
	put := func(key, value string, ts int64) event {
		e := event{In: "input", Key: &key, TS: ts}
		if value != "" {
			e.Value = &value
		}
		return e
	}
	for _, c := range []struct {
		name   string
		stores map[string]contents
		events []event
		want   int
	}{
		{"older than the deletion", versioned, []event{put("a", "1", 7), put("a", "", 7), put("a", "2", 0)}, 3},
		{"another key", versioned, []event{put("a", "1", 7), put("a", "", 7), put("b", "2", 0)}, 0},
		{"no versioned store", map[string]contents{"store": {Type: "kv+ts"}}, []event{put("a", "1", 7), put("a", "", 7), put("a", "2", 0)}, 0},
		{"a later deletion", versioned, []event{put("a", "1", 7), put("a", "", 8), put("a", "2", 0)}, 0},
		{"newer than the deletion", versioned, []event{put("a", "1", 7), put("a", "", 7), put("a", "2", 8)}, 0},
		{"older, after a newer one", versioned, []event{put("a", "1", 7), put("a", "", 7), put("a", "2", 9), put("a", "3", 6)}, 4},
		{"between deletion and a newer one", versioned, []event{put("a", "1", 7), put("a", "", 7), put("a", "2", 9), put("a", "3", 8)}, 0},
		{"an older value ended then", versioned, []event{put("a", "0", 5), put("a", "1", 7), put("a", "", 7), put("a", "2", 0)}, 0},
		{"a late value ended then", versioned, []event{put("a", "1", 7), put("a", "0", 5), put("a", "", 7), put("a", "2", 0)}, 0},
		{"a deletion came before", versioned, []event{put("a", "", 5), put("a", "1", 7), put("a", "", 7), put("a", "2", 6)}, 4},
		{"replaced, then deleted", versioned, []event{put("a", "0", 7), put("a", "1", 7), put("a", "", 7), put("a", "2", 6)}, 4},
	} {
		if got := (&vector{Stores: c.stores, Events: c.events}).forgotten(); got != c.want {
			t.Errorf("%s: step %d, want %d", c.name, got, c.want)
		}
	}
}

// What differs before a deletion is forgotten, or where none is, is a difference.
func TestHeld(t *testing.T) {
	a, one := "a", "1"
	events := []event{{In: "input", Key: &a, Value: &one, TS: 7}, {In: "input", Key: &a, TS: 7}, {In: "input", Key: &a, Value: &one, TS: 0}}
	v := &vector{Stores: map[string]contents{"source": {Type: "versioned"}}, Events: events, file: "v"}
	for _, c := range []struct {
		step    int
		passes  bool
		counted int
	}{{1, false, 0}, {2, false, 0}, {3, true, 1}, {0, true, 1}} {
		all := tally{forgotten: map[string]int{}}
		err := all.held(v, func(v *vector) error {
			if len(v.Events) < len(events) && (c.step == 0 || c.step > len(v.Events)) {
				return nil
			}
			return &mismatch{v: v, step: c.step}
		})
		if (err == nil) != c.passes || len(all.forgotten) != c.counted {
			t.Errorf("a difference in step %d: %v, %d counted", c.step, err, len(all.forgotten))
		}
	}
}
