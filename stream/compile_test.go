package stream_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mustNotCompile are programs with a type that does not fit, each a function's body, and what the compiler says of it.
var mustNotCompile = []struct{ body, want string }{
	// Topics.
	{`texts.To(numbers)`, "as stream.Topic[string, string] value in argument to texts.To"},
	{`stream.NewTopic[string, string]("t", serde.String, serde.Int64)`, "serde.Serde[string]"},
	{`stream.From(b, texts)`, "does not match stream.Topic[K, V]"},

	// Stores.
	{`grouped.Count().As(state.NewKeyValue("s", serde.String, serde.String))`, "does not implement state.Handle[string, int64]"},
	{`grouped.Count().As(state.NewKeyValue("s", serde.Bytes, serde.Int64))`, "does not implement state.Handle[string, int64]"},
	{`grouped.Count().As(state.NewWindow("s", serde.String, serde.Int64))`, "does not implement state.Handle[string, int64]"},
	{`grouped.WindowedBy(minute).Count().As(state.NewKeyValue("s", serde.String, serde.Int64))`, "does not implement state.Handle[windows.Windowed[string], int64]"},
	{`var s *state.KeyValues[string, string] = stream.StoreIn(ctx, state.NewKeyValue("s", serde.String, serde.Int64)); _ = s`, "state.KeyValues[string, string]"},

	// Functions.
	{`texts.Filter(func(string, int64) bool { return true })`, "as func(string, string) bool value in argument to texts.Filter"},
	{`stream.MapValues(texts, func(n int64) string { return "" })`, "does not match"},
	{`stream.Aggregate(grouped, stream.Zero[int64], func(k, v, a string) string { return a })`, "does not match"},
	{`stream.AggregateSessions(grouped.SessionWindowedBy(gap), stream.Zero[int64], func(k, v string, n int64) int64 { return n })`, "not enough arguments"},
	{`stream.LeftJoinTable(texts, rows, func(v, r string) string { return v })`, "does not match"},
	{`stream.JoinGlobal(texts, global, func(k, v string) string { return v }, func(v, r string) string { return v })`, "does not match"},
	{`stream.ProcessFunc(texts, func(ctx *stream.Context[string, int64], r stream.Record[string, int64]) error { return nil })`, "does not match"},
	{`stream.ProcessFunc(texts, func(ctx *stream.Context[string, int64], r stream.Record[string, string]) error { return ctx.Forward(r) })`, "cannot use r (variable of struct type stream.Record[string, string])"},

	// What belongs together.
	{`stream.JoinStreams(texts, stream.From(b, bytes), windows.Within(0), stream.MakePair)`, "does not match"},
	{`stream.JoinTables(rows, stream.TableFrom(b, bytes), stream.MakePair)`, "does not match"},
	{`texts.Merge(stream.From(b, numbers))`, "cannot use"},
	{`stream.JoinTable(texts, texts, stream.MakePair)`, "does not match"},
	{`stream.AggregateWindows(grouped.SessionWindowedBy(gap), stream.Zero[int64], func(k, v string, n int64) int64 { return n })`, "does not match inferred type *stream.Windowed[string, string]"},
	{`grouped.WindowedBy(gap)`, "cannot use gap (variable of struct type windows.Session) as windows.Time"},
	{`grouped.EmitOnClose()`, "grouped.EmitOnClose undefined"},
	{`stream.GroupTable(rows, func(k, v string) (string, string) { return k, v }).Reduce(func(old, v string) string { return v })`, "not enough arguments"},

	// Options that mean nothing there.
	{`grouped.Count(stream.Partitions(3))`, "does not implement stream.Option"},
	{`stream.From(b, lines, stream.InMemory())`, "does not implement stream.SourceOption"},
	{`texts.Filter(func(string, string) bool { return true }, stream.Stores())`, "does not implement stream.Option"},
	{`stream.JoinTable(texts, rows, stream.MakePair, stream.StartAt(stream.Latest))`, "does not implement stream.JoinOption"},
}

// mustCompile is right, with all that the others have.
const mustCompile = `
	texts.Filter(func(string, string) bool { return true }, stream.Named("f")).To(lines)
	grouped.WindowedBy(minute).EmitOnClose().Count().As(state.NewWindow("s1", serde.String, serde.Int64))
	grouped.SessionWindowedBy(gap).Count().As(state.NewSession("s2", serde.String, serde.Int64))
	grouped.Count().As(state.NewKeyValue("s3", serde.String, serde.Int64)).ToStream().To(numbers)
	var s *state.KeyValues[string, int64] = stream.StoreIn(ctx, state.NewKeyValue("s4", serde.String, serde.Int64))
	_, _ = s, stream.From(b, bytes)
	stream.JoinStreams(texts, texts, windows.Within(0), stream.MakePair, stream.InMemory(), stream.Partitions(3))
	stream.JoinGlobal(texts, global, func(k, v string) (string, bool) { return v, true }, stream.MakePair)
	stream.JoinTables(rows, rows, stream.MakePair)`

// Every function has these.
const compileHead = `package p

import (
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/windows"
)

var (
	lines   = stream.NewTopic("lines", serde.String, serde.String)
	numbers = stream.NewTopic("numbers", serde.String, serde.Int64)
	bytes   = stream.NewTopic("bytes", serde.Bytes, serde.String)
	minute  = windows.Tumbling(1)
	gap     = windows.Sessions(1)

	b       = stream.NewBuilder()
	texts   = stream.From(b, lines)
	grouped = stream.GroupByKey(texts)
	rows    = stream.TableFrom(b, lines)
	global  = stream.GlobalTableFrom(b, lines)
	ctx     *stream.Context[string, string]

	_ = state.NewKeyValue[string, string]
)
`

// What compiles fits: topics, stores, functions and options of a wrong type are refused by the compiler, where they
// are. All programs are looked at in one go, as the functions of one file.
func TestWrongTypesDoNotCompile(t *testing.T) {
	var src strings.Builder
	src.WriteString(compileHead)
	for i, c := range mustNotCompile {
		fmt.Fprintf(&src, "func wrong%d() { %s }\n", i, c.body)
	}
	fmt.Fprintf(&src, "func right() {%s\n}\n", mustCompile)

	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", src.String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][]string{} // by function
	config := types.Config{Importer: compiled(t, fset), Error: func(err error) {
		e := err.(types.Error)
		in := "outside of functions"
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Pos() <= e.Pos && e.Pos < f.End() {
				in = f.Name.Name
			}
		}
		said[in] = append(said[in], e.Msg)
	}}
	_, _ = config.Check("p", fset, []*ast.File{file}, nil) // its error is the first of those told

	for i, c := range mustNotCompile {
		name := fmt.Sprintf("wrong%d", i)
		switch got := strings.Join(said[name], "\n\t"); {
		case got == "":
			t.Errorf("it compiles: %s", c.body)
		case !strings.Contains(got, c.want):
			t.Errorf("%s\n\t%q is not in:\n\t%s", c.body, c.want, got)
		}
		delete(said, name)
	}
	for in, what := range said {
		t.Errorf("%s: %q", in, what)
	}
}

// compiled imports packages as the go command has compiled them.
func compiled(t *testing.T, fset *token.FileSet) types.Importer {
	t.Helper()
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}}={{.Export}}{{end}}", "github.com/moldau-io/moldau/stream")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports := map[string]string{}
	for line := range bytes.Lines(out) {
		path, file, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		exports[path] = file
	}
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(filepath.Clean(exports[path]))
	})
}
