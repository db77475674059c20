package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/internal/engine"
)

// application is the group, and the prefix of the internal topics.
const application = "crash"

// lines are the input: the key is the line's number, the value its words.
var lines = stream.NewTopic("lines", serde.String, serde.String)

// line is one of the input; its number is its place.
type line []string

// makeLines draws an input with few words, so that every key is hit by many epochs.
func makeLines(rng *rand.Rand, n int) []line {
	out := make([]line, n)
	for i := range out {
		for range 1 + rng.IntN(4) {
			out[i] = append(out[i], "w"+strconv.Itoa(rng.IntN(7)))
		}
	}
	return out
}

// table is a table of the topology: a store, its changelog, and the output topic of the same name. For each
// word it has something made of the numbers of the lines that the word is in.
type table struct {
	name string
	// view is what stored bytes say.
	view func(value []byte) (row, error)
	// want is the content of the row of a word that is in lines of these numbers.
	want func(numbers []int) string
	// rows reads the store, all tasks' parts of it.
	rows func(e *engine.Engine) (map[string]row, error)
}

// row is what a table has for a word.
type row struct {
	n       int    // how many records made it
	content string // what want is compared with
	history string // begins with that of the update before; "" if the table keeps none
}

// newTable makes a table of a store that keeps values of type V.
func newTable[V any](store state.KeyValue[string, V], view func(V) row, want func([]int) string) table {
	_, values := store.Serdes()
	return table{
		name: store.Name(),
		want: want,
		view: func(b []byte) (row, error) {
			v, err := values.Decode(b)
			return view(v), err
		},
		rows: func(e *engine.Engine) (map[string]row, error) {
			rows := map[string]row{}
			for _, slot := range e.Slots() {
				for _, s := range slot.Task.Stores() {
					kv, ok := s.Store.(*state.KeyValueStore[string, V])
					if !ok || s.Name() != store.Name() {
						continue
					}
					for r, err := range kv.All() {
						if err != nil {
							return nil, err
						}
						if _, twice := rows[r.Key]; twice {
							return nil, fmt.Errorf("store %s has %q in two tasks", store.Name(), r.Key)
						}
						rows[r.Key] = view(r.Value)
					}
				}
			}
			return rows, nil
		},
	}
}

var (
	countStore  = state.NewKeyValue("counts", serde.String, serde.Int64)
	listStore   = state.NewKeyValue("lists", serde.String, serde.String)
	lengthStore = state.NewKeyValue("lengths", serde.String, serde.JSON[map[string]int64]())
)

// counts have the number of a word's occurrences.
func counts() table {
	return newTable(countStore,
		func(n int64) row { return row{n: int(n), content: strconv.FormatInt(n, 10)} },
		func(numbers []int) string { return strconv.Itoa(len(numbers)) })
}

// lists have the numbers of a word's lines, in the order in which they came: what is lost, counted twice or
// made of two histories shows.
func lists() table {
	return newTable(listStore,
		func(s string) row {
			parts := strings.Split(s, ",")
			slices.Sort(parts)
			return row{n: len(parts), content: strings.Join(parts, ","), history: s + ","}
		},
		func(numbers []int) string {
			var parts []string
			for _, n := range numbers {
				parts = append(parts, strconv.Itoa(n))
			}
			slices.Sort(parts)
			return strings.Join(parts, ",")
		})
}

// lengths have how many of a word's lines have a number with so many digits, in a map that the topology
// changes in place.
func lengths() table {
	show := func(m map[string]int64) row {
		r := row{content: fmt.Sprint(m)}
		for _, n := range m {
			r.n += int(n)
		}
		return r
	}
	return newTable(lengthStore, show, func(numbers []int) string {
		m := map[string]int64{}
		for _, n := range numbers {
			m[lengthOf(strconv.Itoa(n))]++
		}
		return show(m).content
	})
}

func lengthOf(number string) string { return "of " + strconv.Itoa(len(number)) }

// shape is a topology and what must come of it.
type shape struct {
	name   string
	tables []table
	build  func(b *stream.Builder)
}

// wordCount is the topology of the examples: split, repartition, count.
var wordCount = shape{
	name:   "count",
	tables: []table{counts()},
	build: func(b *stream.Builder) {
		words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
		stream.GroupBy(words, func(_, w string) string { return w }).Count().As(countStore).ToStream().To(output[int64](countStore))
	},
}

// several keeps three stores per task, which live in the same epochs.
var several = shape{
	name:   "several",
	tables: []table{counts(), lists(), lengths()},
	build: func(b *stream.Builder) {
		words := stream.FlatMapValues(stream.From(b, lines), strings.FieldsSeq)
		g := stream.GroupByKey(stream.Map(words, func(number, w string) (string, string) { return w, number }))
		g.Count().As(countStore).ToStream().To(output[int64](countStore))
		g.Reduce(func(old, number string) string { return old + "," + number }).As(listStore).ToStream().To(output[string](listStore))
		stream.Aggregate(g, func() map[string]int64 { return map[string]int64{} },
			func(_, number string, m map[string]int64) map[string]int64 {
				m[lengthOf(number)]++
				return m
			}).As(lengthStore).ToStream().To(output[map[string]int64](lengthStore))
	},
}

func output[V any](s state.KeyValue[string, V]) stream.Topic[string, V] {
	k, v := s.Serdes()
	return stream.NewTopic(s.Name(), k, v)
}

func (s shape) topology() (*stream.Topology, error) {
	b := stream.NewBuilder()
	s.build(b)
	return b.Build()
}

// wordLines lists for each word the numbers of its lines: an account of the input that shares nothing with
// the topology.
func wordLines(in []line) map[string][]int {
	m := map[string][]int{}
	for i, l := range in {
		for _, w := range l {
			m[w] = append(m[w], i)
		}
	}
	return m
}

// words lists the words of both maps.
func words[A, B any](a map[string]A, b map[string]B) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}
