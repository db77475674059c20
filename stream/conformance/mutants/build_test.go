package mutants_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const root = "../../.."

// switched is what each package with mutations gets: which of them is on, none if it is 0.
const switched = `package %s

import (
	"os"
	"strconv"
)

var mutantOn, _ = strconv.Atoi(os.Getenv("MOLDAU_MUTANT"))
`

// place is where a mutation is made.
type place struct {
	number   int // of the mutation, from 1
	from, to int // what is replaced
	text     string
}

// mutate puts mutations into a file: each into a copy of its function's body, before the body itself.
func mutate(file string, src []byte, list []mutant) ([]byte, string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, "", err
	}
	at := map[*ast.FuncDecl][]place{}
	for i, m := range list {
		if m.file != file {
			continue
		}
		if n := bytes.Count(src, []byte(m.old)); n != 1 {
			return nil, "", fmt.Errorf("%s has %d places for the mutation %q, want 1: %s", file, n, m.name, m.old)
		}
		p := place{number: i + 1, text: m.new}
		p.from = bytes.Index(src, []byte(m.old))
		p.to = p.from + len(m.old)
		f := functionAt(parsed, p)
		if f == nil {
			return nil, "", fmt.Errorf("%s: the mutation %q is not in a function's body", file, m.name)
		}
		at[f] = append(at[f], p)
	}
	functions := slices.SortedFunc(maps.Keys(at), func(a, b *ast.FuncDecl) int { return int(a.Pos() - b.Pos()) })
	var out bytes.Buffer
	done := 0
	for _, f := range functions {
		from, to := int(f.Body.Lbrace), int(f.Body.Rbrace)-1 // positions count from 1: of what is inside the braces
		out.Write(src[done:from])
		for _, p := range at[f] {
			fmt.Fprintf(&out, "\nif mutantOn == %d {%s%s%s", p.number, src[from:p.from], p.text, src[p.to:to])
			if f.Type.Results == nil {
				out.WriteString("\nreturn\n")
			}
			out.WriteString("}\n")
		}
		done = from
	}
	out.Write(src[done:])
	return out.Bytes(), parsed.Name.Name, nil
}

func functionAt(file *ast.File, p place) *ast.FuncDecl {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && int(f.Body.Lbrace) <= p.from && p.to < int(f.Body.Rbrace) {
			return f
		}
	}
	return nil
}

// build compiles the tests of the vectors with all mutations, and returns the program.
func build(dir string, list []mutant) (program string, err error) {
	replace := map[string]string{}
	put := func(name string, text []byte) error {
		original, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			return err
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "+"))
		replace[original] = file
		return os.WriteFile(file, text, 0o666)
	}
	files := map[string]bool{}
	for _, m := range list {
		files[m.file] = true
	}
	for file := range files {
		src, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", err
		}
		text, pkg, err := mutate(file, src, list)
		if err != nil {
			return "", err
		}
		if err := put(file, text); err != nil {
			return "", err
		}
		if err := put(filepath.Dir(file)+"/mutants.go", fmt.Appendf(nil, switched, pkg)); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	described := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(described, overlay, 0o666); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "conformance.test")
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay", described, "-o", program, "./stream/conformance")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the mutations: %w\n%s", err, out)
	}
	return program, nil
}
