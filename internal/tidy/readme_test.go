package tidy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's program must be one that a stranger can copy: it builds as it stands.
func TestReadmeProgramBuilds(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindAllSubmatch(readme, -1)
	if len(programs) == 0 {
		t.Fatal("the README has no program")
	}
	for _, p := range programs {
		if out, err := vet(t, string(p[1])); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if out, err := vet(t, strings.Replace(string(programs[0][1]), "stream.From(", "stream.Form(", 1)); err == nil {
		t.Errorf("a program with a fault passes: %s", out)
	}
}

func vet(t *testing.T, program string) ([]byte, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(path, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "vet", path)
	cmd.Dir = "../.."
	return cmd.CombinedOutput()
}
