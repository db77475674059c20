// Package tidy holds the project's style as tests. Each rule has planted samples in samples_test.go that it
// must catch, so that a rule which never fires is noticed.
package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root     = "../.."
	module   = "github.com/moldau-io/moldau"
	maxLines = 650
	// maxText is the largest file that is searched for paths: recorded data may be larger.
	maxText = 1 << 20
)

// file is one file of the tree, by its path from the root with forward slashes.
type file struct {
	path string
	text []byte
	fset *token.FileSet
	ast  *ast.File // nil unless it is Go
}

func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f *file) line(p token.Pos) int { return f.fset.Position(p).Line }

// report makes a finding that names the place.
func (f *file) report(p token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", f.path, f.line(p), fmt.Sprintf(format, args...))
}

// newFile parses Go; other text is taken as it is. stream/fluent.go is for a later Go, whose syntax go/parser
// may not know.
func newFile(name string, text []byte) (*file, error) {
	f := &file{path: name, text: text}
	if strings.HasSuffix(name, ".go") && name != "stream/fluent.go" && !strings.Contains(name, "testdata/") {
		f.fset = token.NewFileSet()
		var err error
		if f.ast, err = parser.ParseFile(f.fset, name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// rules are checked on one file each. Those of goRules see Go files only.
var (
	goRules = map[string]func(*file) []string{
		"length":     tooLong,
		"forbidden":  forbiddenImports,
		"direction":  importDirection,
		"documented": undocumented,
		"sleep":      sleeps,
		"log":        namedLog,
	}
	textRules = map[string]func(*file) []string{
		"machine":    machinePaths,
		"registries": registryHosts,
	}
)

func check(f *file) map[string][]string {
	found := map[string][]string{}
	for name, rule := range textRules {
		if fs := rule(f); len(fs) > 0 {
			found[name] = fs
		}
	}
	if f.ast == nil {
		return found
	}
	for name, rule := range goRules {
		if fs := rule(f); len(fs) > 0 {
			found[name] = fs
		}
	}
	return found
}

func TestTree(t *testing.T) {
	packages := map[string]bool{} // directory of Go files: has a package comment
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			// .ci is ours; other hidden directories, and those the go command skips, are not.
			if b := d.Name(); name != root && b != ".ci" && (b[0] == '.' || b[0] == '_' || b == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := d.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > maxText {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := newFile(filepath.ToSlash(rel), text)
		if err != nil {
			return err
		}
		for rule, findings := range check(f) {
			for _, finding := range findings {
				t.Errorf("%s (rule %s)", finding, rule)
			}
		}
		if f.ast != nil {
			packages[path.Dir(f.path)] = packages[path.Dir(f.path)] || f.ast.Doc != nil
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, documented := range packages {
		if !documented {
			t.Errorf("%s: no file has a package comment", dir)
		}
	}
	// A walk that finds nothing passes every rule.
	for _, dir := range []string{"serde", "log", "state", "stream", "internal/tidy"} {
		if _, seen := packages[dir]; !seen {
			t.Errorf("the walk did not come to %s", dir)
		}
	}
}

func tooLong(f *file) []string {
	n := bytes.Count(f.text, []byte("\n"))
	if f.isTest() || ast.IsGenerated(f.ast) || n <= maxLines {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d lines; split it by what a reader looks for (at most %d)", f.path, n, maxLines)}
}

// forbiddenImports are the standard log (diagnostics are log/slog; our log has its name) and cgo.
func forbiddenImports(f *file) (found []string) {
	for _, im := range f.ast.Imports {
		switch im.Path.Value {
		case `"log"`:
			found = append(found, f.report(im.Pos(), "imports the standard log; diagnostics are log/slog, the log is %s/log", module))
		case `"C"`:
			found = append(found, f.report(im.Pos(), "uses cgo; the project is pure Go"))
		}
	}
	return found
}

// mayImport says which of our packages those under a top-level directory may import besides their own. nil:
// all. It is DESIGN's table.
var mayImport = map[string][]string{
	"serde":      {},
	"windows":    {"serde"},
	"state":      {"serde", "windows"},
	"log":        {},
	"stream":     {"serde", "windows", "state", "log"},
	"kafka":      {"log"},
	"wire":       {"log"},
	"registry":   {"serde"},
	"connect":    {"stream", "log", "serde"},
	"dashboard":  {},
	"cmd":        nil,
	"examples":   nil,
	"benchmarks": nil,
	"internal":   nil,
}

// testDrivers are packages that users' tests import, and what they may besides: no application has it in.
var testDrivers = map[string][]string{"stream/streamtest": {"internal/crashfs"}}

// pure packages are state machines: events in, records and replies out. They import nothing of ours.
var pure = []string{"log/txn", "log/group"}

func importDirection(f *file) (found []string) {
	if f.isTest() {
		return nil
	}
	dir := path.Dir(f.path)
	top, _, _ := strings.Cut(dir, "/")
	allowed, known := mayImport[top]
	if !known {
		return []string{fmt.Sprintf("%s: say in internal/tidy what packages under %s may import", f.path, top)}
	}
	for _, im := range f.ast.Imports {
		target, ours := strings.CutPrefix(strings.Trim(im.Path.Value, `"`), module+"/")
		if !ours {
			continue
		}
		targetTop, _, _ := strings.Cut(target, "/")
		switch {
		case slices.Contains(pure, dir):
			found = append(found, f.report(im.Pos(), "%s is a pure state machine and must not import %s", dir, target))
		case targetTop == top || allowed == nil || slices.Contains(allowed, targetTop):
		case slices.Contains(testDrivers[dir], target):
		default:
			found = append(found, f.report(im.Pos(), "%s must not import %s", top, target))
		}
	}
	return found
}

// undocumented finds exported names without a comment. Methods that every error or Stringer has need none,
// nor do the methods of unexported types, nor the values of an enumeration.
func undocumented(f *file) (found []string) {
	if f.isTest() || f.ast.Name.Name == "main" {
		return nil
	}
	missing := func(n *ast.Ident) {
		found = append(found, f.report(n.Pos(), "exported %s has no comment", n.Name))
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && onExported(d) && !selfEvident(d) {
				missing(d.Name)
			}
		case *ast.GenDecl:
			if enumerates(d) {
				continue
			}
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
						missing(s.Name)
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if d.Doc == nil && s.Doc == nil && s.Comment == nil && n.IsExported() {
							missing(n)
						}
					}
				}
			}
		}
	}
	return found
}

// onExported reports whether d is a function, or a method of an exported type.
func onExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	exported := true
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			exported = n.IsExported()
			return false
		case *ast.IndexExpr: // a generic type: its name, not its parameters
			return inspectFirst(n.X, &exported)
		case *ast.IndexListExpr:
			return inspectFirst(n.X, &exported)
		}
		return true
	})
	return exported
}

func inspectFirst(x ast.Expr, exported *bool) bool {
	if id, ok := x.(*ast.Ident); ok {
		*exported = id.IsExported()
	}
	return false
}

// enumerates reports whether d lists the values of a type, whose own comment says what they are about.
func enumerates(d *ast.GenDecl) bool {
	if d.Tok != token.CONST || len(d.Specs) < 2 {
		return false
	}
	return d.Specs[0].(*ast.ValueSpec).Type != nil
}

func selfEvident(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "Is", "String"}, d.Name.Name)
}

// sleeps finds time.Sleep in tests: they wait for conditions. Under testing/synctest the clock is not real.
func sleeps(f *file) (found []string) {
	if !f.isTest() || slices.ContainsFunc(f.ast.Imports, func(im *ast.ImportSpec) bool { return im.Path.Value == `"testing/synctest"` }) {
		return nil
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				found = append(found, f.report(s.Pos(), "sleeps; wait for the condition, or use testing/synctest"))
			}
		}
		return true
	})
	return found
}

// namedLog finds variables, parameters and results called log, and packages imported under that name that are
// not ours. Fields may be: they hide nothing.
func namedLog(f *file) (found []string) {
	named := func(ids ...*ast.Ident) {
		for _, id := range ids {
			if id != nil && id.Name == "log" {
				found = append(found, f.report(id.Pos(), "is called log, which is a package here; a logger is called logger"))
			}
		}
	}
	parameters := func(list *ast.FieldList) {
		if list != nil {
			for _, field := range list.List {
				named(field.Names...)
			}
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			if n.Path.Value != `"`+module+`/log"` {
				named(n.Name)
			}
		case *ast.ValueSpec:
			named(n.Names...)
		case *ast.FuncType:
			parameters(n.Params)
			parameters(n.Results)
		case *ast.FuncDecl:
			parameters(n.Recv)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					if id, ok := e.(*ast.Ident); ok {
						named(id)
					}
				}
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					named(id)
				}
			}
		}
		return true
	})
	return found
}

var (
	machinePath  = regexp.MustCompile(`(?m)(?:^|[^\w.~*-])/(?:work|root|farm)/|/tmp/[b]ash`)
	registryHost = regexp.MustCompile(strings.NewReplacer("<dot>", `\.`).Replace(
		`\b(?:proxy<dot>golang|sum<dot>golang|pypi|files<dot>pythonhosted|registry<dot>npmjs|repo1<dot>maven|repo<dot>maven<dot>apache)<dot>org\b`))
)

// machinePaths finds absolute paths that exist on the machine of whoever wrote them.
func machinePaths(f *file) []string {
	// The pattern begins with a choice, which makes it slow where nothing matches.
	if !slices.ContainsFunc([]string{"work/", "root/", "farm/", "/tmp/"}, func(s string) bool { return bytes.Contains(f.text, []byte(s)) }) {
		return nil
	}
	return matches(f, machinePath, "is a path of one machine")
}

// registryHosts finds hosts of package registries: where packages come from is the affair of who builds.
func registryHosts(f *file) []string {
	if !bytes.Contains(f.text, []byte(".org")) {
		return nil
	}
	return matches(f, registryHost, "names a package registry's host")
}

func matches(f *file, re *regexp.Regexp, what string) (found []string) {
	for _, at := range re.FindAllIndex(f.text, -1) {
		n := 1 + bytes.Count(f.text[:at[0]], []byte("\n"))
		found = append(found, fmt.Sprintf("%s:%d: %q %s", f.path, n, f.text[at[0]:at[1]], what))
	}
	return found
}
