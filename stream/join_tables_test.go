package stream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
	"github.com/moldau-io/moldau/windows"
)

var (
	left  = stream.NewTopic("left", serde.String, serde.String)
	right = stream.NewTopic("right", serde.String, serde.String)
)

// joinKinds are the joins that scripts name.
var joinKinds = map[string]func(b *stream.Builder, c joinScript){
	"JoinTable": func(b *stream.Builder, c joinScript) {
		stream.JoinTable(stream.From(b, left), c.table(b, right), dashed, c.grace()...).To(out)
	},
	"LeftJoinTable": func(b *stream.Builder, c joinScript) {
		stream.LeftJoinTable(stream.From(b, left), c.table(b, right), dashedLeft, c.grace()...).To(out)
	},
	"JoinStreams": func(b *stream.Builder, c joinScript) {
		l, r := stream.From(b, left), stream.From(b, left)
		if _, self := c.settings["self"]; !self {
			r = stream.From(b, right)
		}
		stream.JoinStreams(l, r, c.window(), dashed).To(out)
	},
	"LeftJoinStreams": func(b *stream.Builder, c joinScript) {
		stream.LeftJoinStreams(stream.From(b, left), stream.From(b, right), c.window(), dashedLeft).To(out)
	},
	"JoinForeign": func(b *stream.Builder, c joinScript) {
		stream.JoinForeign(c.table(b, left), c.table(b, right), valueAsKey, dashed).ToStream().To(out)
	},
	"LeftJoinForeign": func(b *stream.Builder, c joinScript) {
		stream.LeftJoinForeign(c.table(b, left), c.table(b, right), valueAsKey, dashedLeft).ToStream().To(out)
	},
	"OuterJoinStreams": func(b *stream.Builder, c joinScript) {
		stream.OuterJoinStreams(stream.From(b, left), stream.From(b, right), c.window(), dashedOuter).To(out)
	},
	"JoinTables":      tablesJoin,
	"LeftJoinTables":  tablesJoin,
	"OuterJoinTables": tablesJoin,
}

// tablesJoin is a join of two tables, whose rows lie in a store, as in Kafka's tests. The setting "then" names a
// second join, of the first with the right table once more.
func tablesJoin(b *stream.Builder, c joinScript) {
	l := c.table(b, left)
	r := c.table(b, right)
	t := joinOfTables[c.join](l, r)
	if then, ok := c.settings["then"]; ok {
		t = joinOfTables[then](t, r)
	}
	t.As(derived).ToStream().To(out)
}

var joinOfTables = map[string]func(l, r stringTable) stringTable{
	"JoinTables":      func(l, r stringTable) stringTable { return stream.JoinTables(l, r, dashed) },
	"LeftJoinTables":  func(l, r stringTable) stringTable { return stream.LeftJoinTables(l, r, dashedLeft) },
	"OuterJoinTables": func(l, r stringTable) stringTable { return stream.OuterJoinTables(l, r, dashedOuter) },
}

func valueAsKey(_, v string) (string, bool) { return v, true }

func dashed(l, r string) string { return l + "-" + r }

func dashedLeft(l, r string, ok bool) string {
	if !ok {
		r = "null"
	}
	return l + "-" + r
}

func dashedOuter(l, r string, have stream.Sides) string {
	if !have.Left() {
		l = "null"
	}
	return dashedLeft(l, r, have.Right())
}

// joinScript is one of Kafka's join tables: a join, and what each input row gives.
type joinScript struct {
	join     string
	settings map[string]string
	rows     []joinRow
}

type joinRow struct {
	line int
	side string   // L or R
	in   string   // value@ms, or key=value@ms
	out  []string // likewise
}

func (c joinScript) duration(name string) time.Duration {
	d, err := time.ParseDuration(c.settings[name])
	if err != nil {
		panic(err)
	}
	return d
}

func (c joinScript) window() windows.Join { return windows.Within(c.duration("within")) }

// table is a side as a table. The setting "versioned" says which are kept as versions: left, right or both.
func (c joinScript) table(b *stream.Builder, t stream.Topic[string, string]) stringTable {
	table := stream.TableFrom(b, t)
	if v := c.settings["versioned"]; v == t.Name() || v == "both" {
		table.As(state.NewVersioned(t.Name(), serde.String, serde.String, 5*time.Minute))
	}
	return table
}

// grace is the setting "grace".
func (c joinScript) grace() []stream.JoinOption {
	if c.settings["grace"] == "" {
		return nil
	}
	return []stream.JoinOption{stream.Grace(c.duration("grace"))}
}

func readJoinScript(t *testing.T, path string) (c joinScript) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.settings = map[string]string{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "join":
			c.join = words[1]
			for _, w := range words[2:] {
				name, value, _ := strings.Cut(w, "=")
				c.settings[name] = value
			}
		case len(words) > 1 && (words[0] == "L" || words[0] == "R"):
			c.rows = append(c.rows, joinRow{n, words[0], words[1], words[2:]})
		default:
			t.Fatalf("%s:%d: what is this? %s", path, n, line)
		}
	}
	return c
}

// joinRecord reads value@ms or key=value@ms; without a key it is "k".
func joinRecord(t *testing.T, s string) stream.Record[string, string] {
	t.Helper()
	s, at, _ := strings.Cut(s, "@")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		key, value = "k", s
	}
	return rec(key, value, ms)
}

// Kafka's own join tables give row by row what Kafka's joins give, also if the application is stopped, and
// its state lost, after each row.
func TestJoinTables(t *testing.T) {
	paths, err := filepath.Glob("testdata/joins/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		c := readJoinScript(t, path)
		make, ok := joinKinds[c.join]
		if !ok {
			t.Fatalf("%s: unknown join %q", path, c.join)
		}
		for _, w := range joinWays {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txt")+"/"+w.name, func(t *testing.T) {
				d := streamtest.New(t, build(t, func(b *stream.Builder) { make(b, c) }))
				c.run(t, d, path, w)
			})
		}
	}
}

// joinWay is what happens around each row.
type joinWay struct {
	name   string
	abort  bool // it is aborted and done again
	commit bool
	after  func(d *streamtest.Driver)
}

var joinWays = []joinWay{
	{name: "undisturbed"},
	{name: "committed", commit: true},
	{name: "aborted", abort: true, commit: true},
	{name: "restarted", commit: true, after: (*streamtest.Driver).Restart},
	{name: "state lost", commit: true, after: (*streamtest.Driver).RestartWithoutState},
}

func (c joinScript) run(t *testing.T, d *streamtest.Driver, path string, w joinWay) {
	o := streamtest.Output(d, out)
	in := map[string]*streamtest.InputTopic[string, string]{"L": streamtest.Input(d, left)}
	if slices.ContainsFunc(c.rows, func(r joinRow) bool { return r.side == "R" }) {
		in["R"] = streamtest.Input(d, right)
	}
	for _, row := range c.rows {
		err := in[row.side].PipeRecord(joinRecord(t, row.in))
		if err == nil && w.abort {
			d.Abort()
			err = d.Settle()
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range o.All() {
			value := r.Value
			if r.ValueIsNull() {
				value = "null"
			}
			if r.Key != "k" && !r.KeyIsNull() {
				value = r.Key + "=" + value
			}
			got = append(got, fmt.Sprintf("%s@%d", value, r.Timestamp))
		}
		if !slices.Equal(got, row.out) {
			t.Errorf("%s:%d: %s %s: got %q, want %q", path, row.line, row.side, row.in, got, row.out)
		}
		if w.commit {
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if w.after != nil {
			w.after(d)
		}
	}
}
