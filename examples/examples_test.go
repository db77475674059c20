// Package examples_test runs the examples as their users do, and counts again what they say.
package examples_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moldau-io/moldau/log"
)

// patience bounds each wait for a process. It is not reached unless something hangs.
const patience = 3 * time.Minute

// examples are the programs, and what their logs and their last lines must have, by an independent count of the
// generated input: it is read from the log's topics, and gone through in the simplest way there is.
var examples = []struct {
	name   string
	topics string
	check  func(t *testing.T, topics topics, out string)
}{
	{"pageviews", "views views-per-minute late-views", checkPageviews},
	{"orders", "orders payments customers settled-orders revenue", checkOrders},
	{"sessions", "clicks sessions late-clicks", checkSessions},
	{"alerts", "readings alerts", checkAlerts},
}

// Each program ends by itself, and is right. Killed on its way and run again, it goes on, and ends with the same.
func TestExamples(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "./...").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, x := range examples {
		t.Run(x.name, func(t *testing.T) {
			topics := strings.Fields(x.topics)
			program, whole, killed := filepath.Join(bin, x.name), t.TempDir(), t.TempDir()
			out := run(t, program, "-speed", "0", "-seed", "7", "-data", whole)
			x.check(t, read(t, whole, topics...), out)
			if again := run(t, program, "-speed", "0", "-seed", "7", "-data", whole); last(again) != last(out) {
				t.Errorf("a second run has nothing to do, and says %q; the first said %q", last(again), last(out))
			}

			killIt(t, program, "-speed", "200", "-seed", "7", "-data", killed)
			resumed := run(t, program, "-speed", "0", "-seed", "7", "-data", killed)
			x.check(t, read(t, killed, topics...), resumed)
			if last(resumed) != last(out) {
				t.Errorf("killed and run again, it says %q; undisturbed %q", last(resumed), last(out))
			}
		})
	}
}

// run runs a program to its end, and returns what it wrote: no terminal is there, and so no escape sequence.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out.String(), errs.String())
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("%s: an escape sequence, and no terminal:\n%q", cmd, out.String())
	}
	return out.String()
}

// killIt kills a program that has written some of its results.
func killIt(t *testing.T, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = os.Stderr
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make([]byte, 600)
	if _, err := io.ReadFull(r, seen); err != nil {
		t.Errorf("%s ended before it was killed: %v", cmd, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
}

// last is the last line that is a summary: the one after the empty line.
func last(out string) string {
	_, after, _ := strings.Cut(out[strings.LastIndex(out, "\n\n"):], "\n\n")
	return after
}

// record is a record of a topic.
type record struct {
	key, value string
	null       bool // the value
	at         int64
}

func (r record) json(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.value), into); err != nil {
		t.Fatalf("%q: %v", r.value, err)
	}
}

// topics are the committed records of a log: by topic, partition and offset.
type topics map[string][][]record

func (x topics) all(topic string) []record { return slices.Concat(x[topic]...) }

func read(t *testing.T, data string, names ...string) topics {
	t.Helper()
	lg, err := log.Open(filepath.Join(data, "log"), log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer lg.Close()
	infos, err := lg.Topics(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	x := topics{}
	for _, info := range infos {
		if info.Err != nil {
			t.Fatal(info.Err)
		}
		for p := range info.Partitions {
			records, err := readPartition(t.Context(), lg, log.TopicPartition{Topic: info.Name, Partition: p})
			if err != nil {
				t.Fatal(err)
			}
			x[info.Name] = append(x[info.Name], records)
		}
	}
	return x
}

func readPartition(ctx context.Context, lg *log.Log, tp log.TopicPartition) (all []record, err error) {
	p, err := lg.Partition(tp)
	if err != nil {
		return nil, err
	}
	r, err := lg.Open(ctx, tp, log.Earliest, log.ReadCommitted)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	recs := make([]log.Record, 100)
	for r.Position() < p.Offsets().LastStable {
		n, err := r.Read(ctx, recs)
		if err != nil {
			return nil, err
		}
		for _, r := range recs[:n] {
			all = append(all, record{string(r.Key), string(r.Value), r.Value == nil, r.Timestamp})
		}
	}
	return all, nil
}

// same compares what came with what should have.
func same[T comparable](t *testing.T, what string, got, want map[string]T) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[k]; !ok {
			t.Errorf("%s: %s is missing, want %v", what, k, want[k])
		} else if g != want[k] {
			t.Errorf("%s: %s is %v, want %v", what, k, g, want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %s is %v, and should not be there", what, k, got[k])
		}
	}
	if len(want) == 0 {
		t.Errorf("%s: the input has none, so this shows nothing", what)
	}
}

// says checks a summary.
func says(t *testing.T, out, format string, a ...any) {
	t.Helper()
	if want := fmt.Sprintf(format, a...); !strings.HasPrefix(last(out), want) {
		t.Errorf("it says %q, want %q", last(out), want)
	}
}

// unwindow is a windowed key's text, and its bounds as far as they are in it.
func unwindow(key string, bounds int) string {
	text := key[:len(key)-8*bounds]
	for b := []byte(key[len(text):]); len(b) > 0; b = b[8:] {
		text += fmt.Sprintf(" %d", binary.BigEndian.Uint64(b))
	}
	return text
}

func int64Of(r record) int64 { return int64(binary.BigEndian.Uint64([]byte(r.value))) }

// late is what a topic of late records tells.
type late struct {
	Start, End, StreamTime, Closed int64
	Reason                         string
}

func lateRecords(t *testing.T, records []record) map[string]late {
	t.Helper()
	got := map[string]late{}
	for _, r := range records {
		var l late
		r.json(t, &l)
		got[fmt.Sprintf("%s %d in %d", r.key, r.at, l.Start)] = l
	}
	return got
}

const minute = int64(60_000)

func checkPageviews(t *testing.T, topics topics, out string) {
	const grace = 15_000
	views := topics.all("views")
	counts, tooLate := map[string]int64{}, map[string]late{}
	var now int64
	for _, v := range views {
		now = max(now, v.at)
		start := v.at / minute * minute
		if closed := start + minute + grace; closed <= now {
			tooLate[fmt.Sprintf("%s %d in %d", v.key, v.at, start)] = late{start, start + minute, now, closed, "window closed"}
		} else {
			counts[fmt.Sprintf("%s %d", v.key, start)]++
		}
	}
	var counted int64
	maps.DeleteFunc(counts, func(k string, n int64) bool {
		var start int64
		if _, err := fmt.Sscanf(k[strings.LastIndex(k, " "):], "%d", &start); err != nil {
			t.Fatal(err)
		}
		open := start+minute+grace > now
		if !open {
			counted += n
		}
		return open
	})
	got, sent := map[string]int64{}, topics.all("views-per-minute")
	for _, r := range sent {
		got[unwindow(r.key, 1)] = int64Of(r)
	}
	if len(got) != len(sent) {
		t.Errorf("%d results for %d minutes and pages: each comes once", len(sent), len(got))
	}
	same(t, "views", got, counts)
	same(t, "late views", lateRecords(t, topics.all("late-views")), tooLate)
	says(t, out, "%d views: %d in minutes that are closed, %d too late, %d in minutes that are still open\n",
		len(views), counted, len(tooLate), int64(len(views))-counted-int64(len(tooLate)))
}

func checkOrders(t *testing.T, topics topics, out string) {
	type amount struct {
		Cents    int64
		Customer string
	}
	type settled struct {
		Order, State, Customer, Name, Country string
		Cents                                 int64
	}
	const within, grace = 10 * minute, 2 * minute
	customers := map[string]settled{}
	for _, r := range topics.all("customers") {
		var c settled
		r.json(t, &c)
		customers[r.key] = c
	}
	want, revenue, n := map[string]settled{}, map[string]int64{}, map[string]int{}
	settle := func(id, state, customer string, cents int64) {
		s := settled{id, state, customer, "", "unknown", cents}
		if c, ok := customers[customer]; ok {
			s.Name, s.Country = c.Name, c.Country
		}
		want[id+" "+state] = s
		n[state]++
		if state == "paid" {
			revenue[s.Country] += cents
		}
	}
	orders, payments := topics["orders"], topics["payments"]
	for p := range orders {
		var now int64
		for _, r := range slices.Concat(orders[p], payments[p]) {
			now = max(now, r.at)
		}
		meets := func(o, paid record) bool { return o.key == paid.key && o.at <= paid.at && paid.at <= o.at+within }
		for _, o := range orders[p] {
			var a amount
			o.json(t, &a)
			if i := slices.IndexFunc(payments[p], func(r record) bool { return meets(o, r) }); i >= 0 {
				settle(o.key, "paid", a.Customer, a.Cents)
			} else if o.at+within+grace < now {
				settle(o.key, "unpaid", a.Customer, a.Cents)
			}
		}
		for _, r := range payments[p] {
			if slices.ContainsFunc(orders[p], func(o record) bool { return meets(o, r) }) || r.at+grace >= now {
				continue
			}
			var a amount
			r.json(t, &a)
			settle(r.key, "owed back", "", a.Cents)
		}
	}
	got, sent := map[string]settled{}, topics.all("settled-orders")
	for _, r := range sent {
		var s settled
		r.json(t, &s)
		got[s.Order+" "+s.State] = s
	}
	if len(got) != len(sent) {
		t.Errorf("%d results for %d orders", len(sent), len(got))
	}
	same(t, "orders", got, want)
	sums := map[string]int64{}
	for _, r := range topics.all("revenue") {
		sums[r.key] = int64Of(r)
	}
	same(t, "revenue", sums, revenue)
	all := len(topics.all("orders"))
	says(t, out, "%d orders: %d paid, %d unpaid, %d still open. %d payments without an order are owed back.",
		all, n["paid"], n["unpaid"], all-n["paid"]-n["unpaid"], n["owed back"])
}

func checkSessions(t *testing.T, topics topics, out string) {
	type visit struct {
		start, end int64
		user       string
		clicks     int
		bought     bool
	}
	const gap, grace = 5 * minute, minute
	want, tooLate := map[string]string{}, map[string]late{}
	clicks, over, going, goingClicks, bought := 0, 0, 0, 0, 0
	for _, partition := range topics["clicks"] {
		var now int64
		var visits []visit
		for _, r := range partition {
			now = max(now, r.at)
			closed := now - gap - grace
			var c struct{ Page string }
			r.json(t, &c)
			v := visit{r.at, r.at, r.key, 1, c.Page == "/thanks"}
			rest := slices.DeleteFunc(slices.Clone(visits), func(x visit) bool {
				meets := x.user == v.user && x.end >= r.at-gap && x.start <= r.at+gap && x.end >= closed
				if meets {
					v = visit{min(v.start, x.start), max(v.end, x.end), v.user, v.clicks + x.clicks, v.bought || x.bought}
				}
				return meets
			})
			if v.end < closed {
				tooLate[fmt.Sprintf("%s %d in %d", r.key, r.at, v.start)] = late{v.start, v.end, now, v.end + gap + grace + 1, "session closed"}
				continue
			}
			visits = append(rest, v)
		}
		for _, v := range visits {
			if v.end+gap+grace > now {
				going++
				goingClicks += v.clicks
				continue
			}
			want[fmt.Sprintf("%s %d %d", v.user, v.end, v.start)] = fmt.Sprint(v.clicks, " ", v.bought)
			over++
			clicks += v.clicks
			if v.bought {
				bought++
			}
		}
	}
	got, sent := map[string]string{}, topics.all("sessions")
	for _, r := range sent {
		var v struct {
			Clicks int
			Pages  map[string]int
			Bought bool
		}
		r.json(t, &v)
		n := 0
		for _, k := range v.Pages {
			n += k
		}
		if n != v.Clicks {
			t.Errorf("%s has %d clicks, and %d on its pages", unwindow(r.key, 2), v.Clicks, n)
		}
		got[unwindow(r.key, 2)] = fmt.Sprint(v.Clicks, " ", v.Bought)
	}
	if len(got) != len(sent) {
		t.Errorf("%d results for %d sessions: each comes once", len(sent), len(got))
	}
	same(t, "sessions", got, want)
	same(t, "late clicks", lateRecords(t, topics.all("late-clicks")), tooLate)
	says(t, out, "%d clicks: %d in %d sessions that are over, %d in %d that are going on, %d too late. %d sessions bought something.\n",
		len(topics.all("clicks")), clicks, over, goingClicks, going, len(tooLate), bought)
}
