package conformance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// This file owns the format of a vector, a file SCENARIO-SEED.json with one JSON object:
//
//	scenario, seed   as in the file's name
//	description      the topology in words
//	events           the steps, in order; one is
//	    {"in": TOPIC, "k": KEY, "v": VALUE, "ts": MS, "headers": [[NAME, VALUE], ...], "out": [...]}
//	                     a record into an input topic, or
//	    {"advanceWallClock": MS, "out": [...]}
//	                     the wall clock, 0 at the start, moves on
//	    out              what came out of the observed topics when all that the step set off had come to rest:
//	    {"out": TOPIC, "k": KEY, "v": VALUE, "ts": MS, "headers": [...]}
//	                     exactly in order within a topic, topic after topic
//	stores           NAME: {"type": TYPE, "rows": [...]}: what was in the stores after the last step, by key;
//	                 a row of type "kv+ts" is [KEY, VALUE, MS]
//
// Keys and values are strings or null, headers are left out when there are none.
type vector struct {
	Scenario    string              `json:"scenario"`
	Seed        int                 `json:"seed"`
	Description string              `json:"description"`
	Events      []event             `json:"events"`
	Stores      map[string]contents `json:"stores"`

	file      string // its path, for messages
	stepsOnly bool   // Stores are not to be compared: it is a vector's first steps
}

type event struct {
	In      string       `json:"in"`
	Key     S            `json:"k"`
	Value   S            `json:"v"`
	TS      int64        `json:"ts"`
	Headers [][2]*string `json:"headers"`
	Advance int64        `json:"advanceWallClock"` // ms
	Out     []record     `json:"out"`
}

type record struct {
	Topic   string       `json:"out"`
	Key     S            `json:"k"`
	Value   S            `json:"v"`
	TS      int64        `json:"ts"`
	Headers [][2]*string `json:"headers"`
}

// contents is what a store holds. A number in a row is a json.Number.
type contents struct {
	Type string  `json:"type"`
	Rows [][]any `json:"rows"`
}

// String writes a record in one line, in which null and the text "null" differ.
func (r record) String() string {
	s := fmt.Sprintf("%s %s=%s @%d", r.Topic, quote(r.Key), quote(r.Value), r.TS)
	for _, h := range r.Headers {
		s += fmt.Sprintf(" %s:%s", quote(h[0]), quote(h[1]))
	}
	return s
}

func quote(s S) string {
	if s == nil {
		return "null"
	}
	return fmt.Sprintf("%q", *s)
}

func (e event) String() string {
	if e.In == "" {
		return fmt.Sprintf("the wall clock by %d ms", e.Advance)
	}
	return record{e.In, e.Key, e.Value, e.TS, e.Headers}.String()
}

// lines writes a store's contents, a row in a line.
func (c contents) lines() []string {
	out := []string{"type " + c.Type}
	for _, r := range c.Rows {
		line, err := json.Marshal(r)
		if err != nil {
			line = []byte(err.Error())
		}
		out = append(out, string(line))
	}
	return out
}

// vectorName is what files with vectors are called; a directory may have others, such as README.md and
// topologies.json.
var vectorName = regexp.MustCompile(`^[a-z0-9_]+-[0-9]+\.json$`)

// vectorFiles returns the paths of the vectors in a directory. There must be one.
func vectorFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	var files []string
	for _, e := range entries {
		if vectorName.MatchString(e.Name()) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("vectors: there is none (SCENARIO-SEED.json) in %s", dir)
	}
	return files, nil
}

func readVector(file string) (*vector, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	v, err := parseVector(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if name := fmt.Sprintf("%s-%d.json", v.Scenario, v.Seed); name != filepath.Base(file) {
		return nil, fmt.Errorf("%s: it says that it is %s", file, name)
	}
	v.file = file
	return v, nil
}

// parseVector takes what it knows and nothing else: a kind of step that was passed over would go unchecked.
func parseVector(raw []byte) (*vector, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	d.UseNumber()
	v := new(vector)
	if err := d.Decode(v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the vector")
	}
	if len(v.Events) == 0 {
		return nil, errors.New("no steps")
	}
	for i, e := range v.Events {
		if (e.In == "") == (e.Advance <= 0) || e.Out == nil {
			return nil, fmt.Errorf("step %d is neither a record nor an advance of the clock with its answers", i+1)
		}
	}
	return v, nil
}

// notWantedError says that a scenario is not run, and why.
type notWantedError struct{ scenario, reason string }

func (e *notWantedError) Error() string {
	return fmt.Sprintf("scenario %s is not wanted: %s", e.scenario, e.reason)
}

// find reads a vector and finds its scenario, and what our topology answers.
func find(file string) (*vector, scenario, error) {
	v, err := readVector(file)
	if err != nil {
		return nil, scenario{}, err
	}
	if sc, ok := scenarios[v.Scenario]; ok {
		v, err = sc.expected(v)
		return v, sc, err
	}
	if reason := notWanted[v.Scenario]; reason != "" {
		return nil, scenario{}, &notWantedError{v.Scenario, reason}
	}
	return nil, scenario{}, fmt.Errorf("%s: scenario %s is unknown; write its topology in scenarios_test.go: %s", file, v.Scenario, v.Description)
}

// Each vector is run step by step in all ways, and end to end. With -short it is one of each scenario.
func TestVectors(t *testing.T) {
	dir, given := os.LookupEnv("MOLDAU_VECTORS")
	if !given {
		dir = "testdata"
	} else if !filepath.IsAbs(dir) {
		t.Fatalf("MOLDAU_VECTORS is %q; give an absolute path, since tests run in their package's directory", dir)
	}
	files, err := vectorFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if testing.Short() && !given && !oneOfThree(file) {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			v, sc, err := find(file)
			if unwanted := new(notWantedError); errors.As(err, &unwanted) {
				total.leave(unwanted.scenario)
				t.Skip(err)
			}
			defer func() { total.ran(!t.Failed()) }()
			if err != nil {
				t.Fatal(err)
			}
			topology := sc.topology(t)
			t.Run("step by step", func(t *testing.T) {
				if err := total.held(v, func(v *vector) error { return check(t, topology, v, sc) }); err != nil {
					t.Error(err)
				}
			})
			t.Run("end to end", func(t *testing.T) {
				if err := total.held(v, func(v *vector) error { return runLive(t.Context(), topology, v, sc, embedded(t), "app") }); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// oneOfThree reports whether a vector is one of a third: one of three seeds of each scenario.
func oneOfThree(file string) bool {
	scenario, seed, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), "-")
	h := fnv.New32a()
	h.Write([]byte(scenario))
	return fmt.Sprint(1+h.Sum32()%3) == seed
}

// total counts vectors.
var total = tally{left: map[string]int{}, forgotten: map[string]int{}}

type tally struct {
	mu             sync.Mutex
	passed, failed int
	left           map[string]int // not wanted, by scenario
	forgotten      map[string]int // passed up to that step, by file: see forgotten
}

func (c *tally) ran(passed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if passed {
		c.passed++
	} else {
		c.failed++
	}
}

func (c *tally) leave(scenario string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[scenario]++
}

func (c *tally) String() string {
	s := fmt.Sprintf("%d passed, %d failed\n", c.passed, c.failed)
	for _, file := range slices.Sorted(maps.Keys(c.forgotten)) {
		s += fmt.Sprintf("%s passed up to step %d, where Kafka Streams has forgotten a deletion: see docs/semantics.md\n",
			filepath.Base(file), c.forgotten[file]-1)
	}
	for _, name := range slices.Sorted(maps.Keys(c.left)) {
		s += fmt.Sprintf("%d of %s not run, which is not wanted: see docs/semantics.md\n", c.left[name], name)
	}
	return s
}

// TestMain writes the counts below all else.
func TestMain(m *testing.M) {
	code := m.Run()
	if total.passed+total.failed+len(total.left) > 0 {
		fmt.Print(&total)
	}
	os.Exit(code)
}
