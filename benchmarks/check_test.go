//go:build unix

package main

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"
)

type counted struct {
	key string
	n   int64
}

// Outputs that are not exactly once are refused, each for its reason.
func TestCheckerRefuses(t *testing.T) {
	want := map[string]int64{"a": 3, "b": 1}
	for _, c := range []struct {
		name       string
		eachUpdate bool
		output     []counted
		reason     string // "": it is right
	}{
		{"each update", true, []counted{{"a", 1}, {"b", 1}, {"a", 2}, {"a", 3}}, ""},
		{"on commit", false, []counted{{"a", 2}, {"b", 1}, {"a", 3}}, ""},
		{"each update, on commit", false, []counted{{"a", 1}, {"a", 2}, {"a", 3}, {"b", 1}}, ""},
		{"an update left out", true, []counted{{"a", 1}, {"a", 3}, {"b", 1}}, "from 1 to 3"},
		{"an update twice", true, []counted{{"a", 1}, {"a", 1}}, "from 1 to 1"},
		{"replayed", false, []counted{{"a", 2}, {"a", 1}}, "from 2 to 1"},
		{"one too many", false, []counted{{"a", 4}, {"b", 1}}, "ends at 4, not at 3"},
		{"one lost", true, []counted{{"a", 1}, {"a", 2}, {"b", 1}}, "ends at 2, not at 3"},
		{"a key lost", false, []counted{{"a", 3}}, "ends at 0, not at 1"},
		{"a key too many", false, []counted{{"a", 3}, {"b", 1}, {"c", 1}}, "3 keys, not of 2"},
		{"nothing", false, nil, "ends at 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check(c.eachUpdate, want, func(add func(key, value []byte) error) error {
				for _, r := range c.output {
					if err := add([]byte(r.key), binary.BigEndian.AppendUint64(nil, uint64(r.n))); err != nil {
						return err
					}
				}
				return nil
			})
			if got := errorText(err); (got == "") != (c.reason == "") || !strings.Contains(got, c.reason) {
				t.Errorf("error %q, want %q", got, c.reason)
			}
		})
	}
	if err := newChecker(false).add([]byte("a"), []byte("1")); err == nil {
		t.Error("a count that is no 8 bytes is taken")
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Every system gets the same bytes, and what must come out adds up.
func TestInputs(t *testing.T) {
	for _, c := range []struct {
		in   input
		keys int
	}{
		{wordLines(1000), 1000},
		{keyedRecords(10_000, 1000), 1000},
	} {
		read := func() []string {
			var all []string
			for r := range c.in.records {
				if r.partition < 0 || r.partition >= partitions {
					t.Fatalf("partition %d", r.partition)
				}
				all = append(all, string(r.key)+"="+string(r.value))
			}
			return all
		}
		if a := read(); !slices.Equal(a, read()) {
			t.Errorf("%s: two readings differ", c.in.topic)
		}
		counts, sum := c.in.counts(), int64(0)
		for n := range maps.Values(counts) {
			sum += n
		}
		if sum != c.in.units || len(counts) < c.keys*9/10 {
			t.Errorf("%s: %d units of %d keys, want %d of about %d", c.in.topic, sum, len(counts), c.in.units, c.keys)
		}
	}
}

// The first words are as frequent as the law has it: the k-th has a weight of (k+9)^-1.1.
func TestWordsAreZipf(t *testing.T) {
	in := wordLines(20_000)
	counts := in.counts()
	words := vocabulary()
	for _, c := range []struct {
		rank  int
		share float64
	}{{1, 0.01729}, {11, 0.00807}, {91, 0.00137}} {
		got := float64(counts[words[c.rank-1]]) / float64(in.units)
		if got < 0.9*c.share || got > 1.1*c.share {
			t.Errorf("rank %d has a share of %.5f, want about %.5f", c.rank, got, c.share)
		}
	}
}
