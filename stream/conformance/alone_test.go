package conformance_test

import (
	"fmt"
	"slices"
	"strings"
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
//     window was closed, are due by the model's rule alone: window closed, no partner until then.

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
