package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeTree makes files with their own names as text, below a new directory that is then the working directory.
func writeTree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	wd, err := os.Getwd() // dir may lead through a symbolic link
	if err != nil {
		t.Fatal(err)
	}
	return wd
}

func TestInputFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		tree  string
		args  string
		want  string // relative to the directory
		error string
	}{
		{name: "text of the tree", tree: "b.go a.md c.txt d/e.go d-f.md d/go Makefile", want: "a.md b.go d-f.md d/e.go"},
		{name: "hidden directories", tree: "a.md .git/b.md d/.x/c.go d/e.md .f.md", want: ".f.md a.md d/e.md"},
		{name: "nothing there", tree: "a.txt .x/b.md", error: "holds no Markdown or Go files"},
		{name: "as named", tree: "c.txt a.md b.go", args: "c.txt a.md", want: "c.txt a.md"},
		{name: "named twice", tree: "a.md d/b.md", args: "a.md d/b.md ./d/../a.md", want: "a.md d/b.md"},
		{name: "missing", tree: "a.md", args: "a.md b.md", error: "b.md"},
		{name: "a directory", tree: "d/a.md", args: "d", error: "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := writeTree(t, strings.Fields(c.tree)...)
			got, err := inputFiles(strings.Fields(c.args))
			if c.error != "" {
				if err == nil || !strings.Contains(err.Error(), c.error) {
					t.Fatalf("error %v, want one with %q", err, c.error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, name := range strings.Fields(c.want) {
				want = append(want, filepath.Join(dir, name))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A tree below a hidden directory is a tree like any other; only what is hidden inside it is left out.
func TestInputFilesInsideHiddenDirectory(t *testing.T) {
	dir := writeTree(t, ".cache/a.md")
	t.Chdir(".cache")
	got, err := inputFiles(nil)
	if want := []string{filepath.Join(dir, ".cache", "a.md")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
