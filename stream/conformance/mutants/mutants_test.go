package mutants_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const page = root + "/docs/mutations.md"

// seen is where a mutation was seen.
type seen struct{ vector, step, way string }

func (s seen) String() string {
	where := s.step
	if s.way != "step by step" {
		where += ", run " + s.way
	}
	return fmt.Sprintf("`%s`, %s", s.vector, where)
}

// failure is how the runner of the vectors names one (mismatch.Error, play.fault).
var failure = regexp.MustCompile(`scenario [a-z0-9_]+, testdata/([a-z0-9_]+-[0-9]+)\.json, (?:(step [0-9]+) of [0-9]+ \(.*\)|(after the last step)), run ([a-z ]+): `)

// run runs vectors with a mutation switched on, none if number is 0, and returns the first failure, if there is one,
// and all that the run says.
func run(t *testing.T, program string, number int, scenarios string) (first seen, failed bool, out []byte) {
	cmd := exec.CommandContext(t.Context(), program, "-test.timeout=5m", "-test.v", "-test.run=^TestVectors$/^("+scenarios+")-[0-9]+$/^step_by_step$")
	cmd.Dir = filepath.Join(root, "stream", "conformance")
	cmd.Env = append(os.Environ(), fmt.Sprint("MOLDAU_MUTANT=", number))
	out, err := cmd.CombinedOutput()
	var all []seen
	for _, f := range failure.FindAllStringSubmatch(string(out), -1) {
		all = append(all, seen{f[1], f[2] + f[3], f[4]})
	}
	if len(all) == 0 {
		return seen{}, err != nil, out
	}
	return slices.MinFunc(all, func(a, b seen) int { return strings.Compare(a.vector, b.vector) }), true, out
}

// Each mutation has a place to be made in.
func TestMutationsApply(t *testing.T) {
	for _, m := range list {
		src, err := os.ReadFile(filepath.Join(root, m.file))
		if err == nil {
			_, _, err = mutate(m.file, src, []mutant{m})
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// Each mutation is seen by a vector, the one that docs/mutations.md says; and without any, all pass.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the tests of the vectors again")
	}
	program, err := build(t.TempDir(), list)
	if err != nil {
		t.Fatal(err)
	}
	if _, failed, out := run(t, program, 0, ".*_grace_.*"); failed || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("without a mutation:\n%s", out)
	}
	rows := make([]string, len(list))
	t.Run("all", func(t *testing.T) {
		for i, m := range list {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				at, failed, out := run(t, program, i+1, m.scenarios)
				if !failed || at.vector == "" {
					t.Fatalf("not seen:\n%s", out)
				}
				t.Log(at)
				rows[i] = fmt.Sprintf("| %s | %s | %s |\n", m.name, m.file, at)
			})
		}
	})
	if t.Failed() || slices.Contains(rows, "") {
		return // or not all were run
	}
	text := head + strings.Join(rows, "")
	if os.Getenv("MOLDAU_MUTANTS") == "write" {
		if err := os.WriteFile(page, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != text {
		t.Errorf("docs/mutations.md is not what was seen: run make mutants (%v)", err)
	}
}

const head = `# Mutations

What Kafka Streams' vectors are worth shows when our code is wrong. Each row is a fault that is put into the code
(stream/conformance/mutants), and the first vector of ` + "`stream/conformance/testdata`" + ` that fails, with its step. All are
run step by step; a way that is named besides has commits, aborts or restarts between the steps. ` + "`make mutants`" + ` writes
this page.

| mutation | file | seen by |
|---|---|---|
`
