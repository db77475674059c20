package conformance_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// This file owns the one difference that is wanted: results without a partner, of left and outer joins of two
// streams, come as soon as their window is closed, and in Kafka Streams when a remembered minimum happens to
// allow it. For these scenarios a model of the join says what comes of each step, and is itself held to what
// Kafka Streams answered:
//
//   - all other results are the same, step by step, in order;
//   - each result without a partner that Kafka Streams sent is there, at the same step or an earlier one, but for
//     its headers, which are those of the record that set it free;
//   - those it never sent, as they were still held back at the end or lost to a partner that came after their
//     window was closed, are there by the rule: window closed, no partner until then. All others obey it too, but
//     for those that Kafka Streams sends earlier and we in the same step. The rule is checked apart from the model
//     (joinModel.due).

// expected is what our topology answers: a vector itself, but for scenarios with a model.
func (sc scenario) expected(v *vector) (*vector, error) {
	if sc.unmatched == nil {
		return v, nil
	}
	ours := *v
	ours.Events = slices.Clone(v.Events)
	alone := map[string]int{} // results without a partner that the model sent and Kafka Streams has not yet
	results := sc.unmatched(v.Events)
	for i, e := range v.Events {
		var got []joined
		for len(results) > 0 && results[0].step == i {
			got, results = append(got, results[0]), results[1:]
		}
		var all []record
		var pairs, kafkas []string
		for _, r := range got {
			if r.wrong != nil {
				return nil, fmt.Errorf("scenario %s, %s, step %d: the model's result without a partner, %v: %w", v.Scenario, v.file, i+1, r.record, r.wrong)
			}
			if r.early && !slices.ContainsFunc(e.Out, func(k record) bool { return withoutHeaders(k) == withoutHeaders(r.record) }) {
				return nil, &mismatch{v, "the model", i + 1, "without a partner, before the window is closed", []string{r.String()}, show1(e.Out)}
			}
			all = append(all, r.record)
			if r.alone {
				alone[withoutHeaders(r.record)]++
			} else {
				pairs = append(pairs, r.String())
			}
		}
		for _, r := range e.Out {
			if !isAlone(r) {
				kafkas = append(kafkas, r.String())
				continue
			}
			if alone[withoutHeaders(r)]--; alone[withoutHeaders(r)] < 0 {
				return nil, &mismatch{v, "the model", i + 1, "without a partner", show1(all), []string{r.String(), "or that earlier"}}
			}
		}
		if !slices.Equal(pairs, kafkas) {
			return nil, &mismatch{v, "the model", i + 1, "results of two records", pairs, kafkas}
		}
		ours.Events[i].Out = all
	}
	if len(results) > 0 {
		return nil, fmt.Errorf("scenario %s, %s: the model has results after the last step: %v", v.Scenario, v.file, results)
	}
	return &ours, nil
}

// isAlone reports whether a result, the text of PAIR, has no partner.
func isAlone(r record) bool {
	return r.Value != nil && (strings.HasPrefix(*r.Value, "null,") || strings.HasSuffix(*r.Value, ",null"))
}

func withoutHeaders(r record) string {
	r.Headers = nil
	return r.String()
}

func show1(rs []record) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.String())
	}
	return out
}

// The rule sees what is against it.
func TestRuleOfResultsWithoutAPartner(t *testing.T) {
	m := joinModel{before: 20, after: 10, grace: 5, alone: [2]bool{onLeft: true}}
	at := func(side int, key string, ts int64) arrival {
		return arrival{side: side, key: new(key), value: new("v"), ts: ts}
	}
	none := at(onLeft, "", 40)
	none.key = nil
	as := []arrival{
		at(onLeft, "a", 0), at(onRight, "b", 0), at(onLeft, "b", 5), // 0, 1, 2
		at(onRight, "c", 15), at(onLeft, "d", 4), // 3: 0's window is passed, not its grace; 4: late
		at(onRight, "c", 16), none, at(onRight, "a", 10), // 5: 0's window is closed; 6; 7: 0's partner, too late
	}
	for _, c := range []struct {
		of, by int
		early  bool
		want   string
	}{
		{0, 5, false, ""},
		{0, 3, false, "not closed"},
		{0, 0, false, "not closed"},
		{0, 6, false, "closed before"},
		{2, 6, false, "had a partner"},
		{1, 5, false, "gives no result"},
		{4, 4, true, ""},
		{4, 5, false, "not closed"},
		{6, 6, true, ""},
		{6, 7, false, "cannot wait"},
	} {
		early, err := m.due(as, c.of, c.by)
		if got := fmt.Sprint(err); early != c.early || (err == nil) != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("of %d, by %d: early %v, %v; want early %v, %q", c.of, c.by, early, err, c.early, c.want)
		}
	}
}

// How much that difference is, as docs/semantics.md says it.
func TestWantedDifferenceIsCounted(t *testing.T) {
	files, err := vectorFiles("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var vectors, same, earlier, only int
	for _, file := range files {
		v, err := readVector(file)
		if err != nil {
			t.Fatal(err)
		}
		sc := scenarios[v.Scenario]
		if sc.unmatched == nil {
			continue
		}
		ours, err := sc.expected(v)
		if err != nil {
			t.Fatal(err)
		}
		vectors++
		sent := map[string][]int{} // by us, of which Kafka Streams has sent nothing yet: the steps
		for i := range v.Events {
			for _, r := range ours.Events[i].Out {
				if isAlone(r) {
					sent[withoutHeaders(r)] = append(sent[withoutHeaders(r)], i)
				}
			}
			for _, r := range v.Events[i].Out {
				if !isAlone(r) {
					continue
				}
				steps := sent[withoutHeaders(r)]
				if steps[0] == i {
					same++
				} else {
					earlier++
				}
				sent[withoutHeaders(r)] = steps[1:]
			}
		}
		for _, steps := range sent {
			only += len(steps)
		}
	}
	text, err := os.ReadFile("../../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	claim := fmt.Sprintf("in %d vectors %d in the same step, %d earlier, and %d more", vectors, same, earlier, only)
	if !strings.Contains(string(text), claim) {
		t.Errorf("docs/semantics.md does not say: %s", claim)
	}
}
