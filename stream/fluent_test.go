//go:build go1.27

package stream_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

// From Go 1.27 on a topology is one chain.
func Example_fluent() {
	lines := stream.NewTopic("lines", serde.String, serde.String)
	counts := stream.NewTopic("counts", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.From(b, lines).
		FlatMapValues(strings.FieldsSeq).
		MapValues(strings.ToLower).
		GroupBy(func(_, word string) string { return word }).
		Aggregate(stream.Zero[int64], func(_, _ string, n int64) int64 { return n + 1 }).
		ToStream().
		MapValues(func(n int64) string { return fmt.Sprint(n) }).
		To(counts)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		streamtest.Input(d, lines).Pipe("", "The Moldau, the river", 0)
		for _, r := range streamtest.Output(d, counts).All() {
			fmt.Println(r.Key, r.Value)
		}
	})
	// Output:
	// the 1
	// moldau, 1
	// the 2
	// river 1
}

// parts are what the operators of TestFluent begin with.
type parts struct {
	stream     *stream.Stream[string, string]
	grouped    *stream.Grouped[string, string]
	table      *stream.Table[string, string]
	right      *stream.Stream[string, int64]
	rightTable *stream.Table[string, int64]
	global     *stream.GlobalTable[string, int64]
}

func newParts(b *stream.Builder) *parts {
	topic := func(name string) stream.Topic[string, int64] { return stream.NewTopic(name, serde.String, serde.Int64) }
	f := &parts{
		stream:     stream.From(b, stream.NewTopic("left", serde.String, serde.String)),
		table:      stream.TableFrom(b, stream.NewTopic("table", serde.String, serde.String)),
		right:      stream.From(b, topic("right")),
		rightTable: stream.TableFrom(b, topic("right-table")),
		global:     stream.GlobalTableFrom(b, topic("global")),
	}
	f.grouped = stream.GroupByKey(f.stream)
	return f
}

var (
	within = windows.Within(time.Minute)
	minute = windows.Tumbling(time.Minute)
	gap    = windows.Sessions(time.Minute)
	zero   = stream.Zero[int64]
)

func toInt(string) int64                            { return 0 }
func toIntWithKey(_, _ string) int64                { return 0 }
func swap(k, v string) (string, string)             { return v, k }
func toKey(_, v string) string                      { return v }
func toPairs(k, v string) iter.Seq2[string, string] { return maps.All(map[string]string{v: k}) }
func toValuesWithKey(_, v string) iter.Seq[string]  { return strings.FieldsSeq(v) }
func add(_, _ string, n int64) int64                { return n + 1 }
func merge(_ string, a, b int64) int64              { return a + b }
func foreignKey(_, v string) (string, bool)         { return v, true }
func inner(_ string, n int64) int64                 { return n }
func outerLeft(_ string, n int64, _ bool) int64     { return n }
func outer(_ string, n int64, _ stream.Sides) int64 { return n }

func processRecord(*stream.Context[string, int64], stream.Record[string, string]) error { return nil }
func processValue(*stream.ValueContext[int64], stream.Record[string, string]) error     { return nil }

type (
	records     struct{ _ int }
	valuesOnly  struct{ _ int }
	transformer struct{ _ int }
)

func newRecords() *records         { return &records{} }
func newValues() *valuesOnly       { return &valuesOnly{} }
func newTransformer() *transformer { return &transformer{} }

func (*records) Process(*stream.Context[string, int64], stream.Record[string, string]) error {
	return nil
}

func (*valuesOnly) Process(*stream.ValueContext[int64], stream.Record[string, string]) error {
	return nil
}

func (*transformer) Transform(*stream.TableContext, stream.Record[string, string]) (int64, bool, error) {
	return 0, false, nil
}

// fluent has every operator that is a method too, by the name of its function.
var fluent = []struct {
	function             string
	byMethod, byFunction func(f *parts)
}{
	{"Map",
		func(f *parts) { f.stream.Map(swap) },
		func(f *parts) { stream.Map(f.stream, swap) }},
	{"MapValues",
		func(f *parts) { f.stream.MapValues(toInt) },
		func(f *parts) { stream.MapValues(f.stream, toInt) }},
	{"MapValuesWithKey",
		func(f *parts) { f.stream.MapValuesWithKey(toIntWithKey) },
		func(f *parts) { stream.MapValuesWithKey(f.stream, toIntWithKey) }},
	{"FlatMap",
		func(f *parts) { f.stream.FlatMap(toPairs) },
		func(f *parts) { stream.FlatMap(f.stream, toPairs) }},
	{"FlatMapValues",
		func(f *parts) { f.stream.FlatMapValues(strings.FieldsSeq) },
		func(f *parts) { stream.FlatMapValues(f.stream, strings.FieldsSeq) }},
	{"FlatMapValuesWithKey",
		func(f *parts) { f.stream.FlatMapValuesWithKey(toValuesWithKey) },
		func(f *parts) { stream.FlatMapValuesWithKey(f.stream, toValuesWithKey) }},
	{"SelectKey",
		func(f *parts) { f.stream.SelectKey(toKey) },
		func(f *parts) { stream.SelectKey(f.stream, toKey) }},
	{"GroupBy",
		func(f *parts) { f.stream.GroupBy(toKey).Count() },
		func(f *parts) { stream.GroupBy(f.stream, toKey).Count() }},
	{"JoinStreams",
		func(f *parts) { f.stream.Join(f.right, within, inner) },
		func(f *parts) { stream.JoinStreams(f.stream, f.right, within, inner) }},
	{"LeftJoinStreams",
		func(f *parts) { f.stream.LeftJoin(f.right, within, outerLeft) },
		func(f *parts) { stream.LeftJoinStreams(f.stream, f.right, within, outerLeft) }},
	{"OuterJoinStreams",
		func(f *parts) { f.stream.OuterJoin(f.right, within, outer) },
		func(f *parts) { stream.OuterJoinStreams(f.stream, f.right, within, outer) }},
	{"JoinTable",
		func(f *parts) { f.stream.JoinTable(f.rightTable, inner) },
		func(f *parts) { stream.JoinTable(f.stream, f.rightTable, inner) }},
	{"LeftJoinTable",
		func(f *parts) { f.stream.LeftJoinTable(f.rightTable, outerLeft) },
		func(f *parts) { stream.LeftJoinTable(f.stream, f.rightTable, outerLeft) }},
	{"JoinGlobal",
		func(f *parts) { f.stream.JoinGlobal(f.global, foreignKey, inner) },
		func(f *parts) { stream.JoinGlobal(f.stream, f.global, foreignKey, inner) }},
	{"LeftJoinGlobal",
		func(f *parts) { f.stream.LeftJoinGlobal(f.global, foreignKey, outerLeft) },
		func(f *parts) { stream.LeftJoinGlobal(f.stream, f.global, foreignKey, outerLeft) }},
	{"Process",
		func(f *parts) { f.stream.Process(newRecords) },
		func(f *parts) { stream.Process[string, string, string, int64](f.stream, newRecords) }},
	{"ProcessFunc",
		func(f *parts) { f.stream.ProcessFunc(processRecord) },
		func(f *parts) { stream.ProcessFunc(f.stream, processRecord) }},
	{"ProcessValues",
		func(f *parts) { f.stream.ProcessValues(newValues) },
		func(f *parts) { stream.ProcessValues[string, string, int64](f.stream, newValues) }},
	{"ProcessValuesFunc",
		func(f *parts) { f.stream.ProcessValuesFunc(processValue) },
		func(f *parts) { stream.ProcessValuesFunc(f.stream, processValue) }},
	{"Aggregate",
		func(f *parts) { f.grouped.Aggregate(zero, add) },
		func(f *parts) { stream.Aggregate(f.grouped, zero, add) }},
	{"CoPart",
		func(f *parts) { stream.Cogroup(f.grouped.CoPart(add)).Aggregate(zero) },
		func(f *parts) { stream.Cogroup(stream.CoPart(f.grouped, add)).Aggregate(zero) }},
	{"AggregateWindows",
		func(f *parts) { f.grouped.WindowedBy(minute).Aggregate(zero, add) },
		func(f *parts) { stream.AggregateWindows(f.grouped.WindowedBy(minute), zero, add) }},
	{"AggregateSessions",
		func(f *parts) { f.grouped.SessionWindowedBy(gap).Aggregate(zero, add, merge) },
		func(f *parts) { stream.AggregateSessions(f.grouped.SessionWindowedBy(gap), zero, add, merge) }},
	{"GroupTable",
		func(f *parts) { f.table.GroupBy(swap).Count() },
		func(f *parts) { stream.GroupTable(f.table, swap).Count() }},
	{"AggregateTable",
		func(f *parts) { stream.GroupTable(f.table, swap).Aggregate(zero, add, add) },
		func(f *parts) { stream.AggregateTable(stream.GroupTable(f.table, swap), zero, add, add) }},
	{"MapTable",
		func(f *parts) { f.table.MapValues(toIntWithKey) },
		func(f *parts) { stream.MapTable(f.table, toIntWithKey) }},
	{"TransformTable",
		func(f *parts) { f.table.Transform(newTransformer) },
		func(f *parts) { stream.TransformTable[string, string, int64](f.table, newTransformer) }},
	{"JoinTables",
		func(f *parts) { f.table.Join(f.rightTable, inner) },
		func(f *parts) { stream.JoinTables(f.table, f.rightTable, inner) }},
	{"LeftJoinTables",
		func(f *parts) { f.table.LeftJoin(f.rightTable, outerLeft) },
		func(f *parts) { stream.LeftJoinTables(f.table, f.rightTable, outerLeft) }},
	{"OuterJoinTables",
		func(f *parts) { f.table.OuterJoin(f.rightTable, outer) },
		func(f *parts) { stream.OuterJoinTables(f.table, f.rightTable, outer) }},
	{"JoinForeign",
		func(f *parts) { f.table.JoinForeign(f.rightTable, foreignKey, inner) },
		func(f *parts) { stream.JoinForeign(f.table, f.rightTable, foreignKey, inner) }},
	{"LeftJoinForeign",
		func(f *parts) { f.table.LeftJoinForeign(f.rightTable, foreignKey, outerLeft) },
		func(f *parts) { stream.LeftJoinForeign(f.table, f.rightTable, foreignKey, outerLeft) }},
}

// A method makes what its function makes.
func TestFluent(t *testing.T) {
	for _, c := range fluent {
		t.Run(c.function, func(t *testing.T) {
			describe := func(make func(f *parts)) string {
				return build(t, func(b *stream.Builder) { make(newParts(b)) }).Describe()
			}
			none := describe(func(*parts) {})
			got, want := describe(c.byMethod), describe(c.byFunction)
			if got != want || got == none {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// functionsOnly cannot be methods: a chain of them would lead from a type to itself with a wrapped key or value.
var functionsOnly = []string{"GroupByKey", "OnLate"}

// Every operator that changes a type is a method, and has its row above.
func TestFluentIsComplete(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var operators, methods, rows []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || !f.Name.IsExported():
			case f.Recv != nil && f.Type.TypeParams != nil:
				methods = append(methods, calledBy(f))
			case f.Recv == nil && isOperator(f) && !slices.Contains(functionsOnly, f.Name.Name):
				operators = append(operators, f.Name.Name)
			}
		}
	}
	for _, c := range fluent {
		rows = append(rows, c.function)
	}
	slices.Sort(operators)
	slices.Sort(methods)
	slices.Sort(rows)
	if !slices.Equal(methods, operators) {
		t.Errorf("functions that are operators: %q\nthose that methods call:      %q", operators, methods)
	}
	if !slices.Equal(rows, operators) {
		t.Errorf("functions that are operators:   %q\nthose with a row in this file: %q", operators, rows)
	}
}

// isOperator says if a function's first parameter is something that a topology is made of.
func isOperator(f *ast.FuncDecl) bool {
	if f.Type.TypeParams == nil || len(f.Type.Params.List) == 0 {
		return false
	}
	first := f.Type.Params.List[0].Type
	if p, ok := first.(*ast.StarExpr); ok {
		first = p.X
	}
	generic, ok := first.(*ast.IndexListExpr)
	if !ok {
		return false
	}
	of, ok := generic.X.(*ast.Ident)
	return ok && slices.Contains([]string{"Stream", "Grouped", "Windowed", "SessionWindowed", "LateRecords", "Cogrouped", "Table",
		"GroupedTable", "GlobalTable"}, of.Name)
}

// calledBy is the function that a method of one line calls.
func calledBy(f *ast.FuncDecl) string {
	call := f.Body.List[0].(*ast.ReturnStmt).Results[0].(*ast.CallExpr).Fun
	switch generic := call.(type) {
	case *ast.IndexListExpr:
		call = generic.X
	case *ast.IndexExpr:
		call = generic.X
	}
	return call.(*ast.Ident).Name
}
