package examples_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// freezer is what is known of one, as it is answered over HTTP.
type freezer struct {
	Name       string
	Heard      time.Time
	Celsius    float64
	WarmInARow int
	Alert      string
	Late       int
}

func (f freezer) String() string {
	return fmt.Sprint(f.Name, " ", f.Heard.UnixMilli(), " ", f.Celsius, " ", f.WarmInARow, " ", f.Alert, " ", f.Late)
}

// watched goes through the readings as somebody would who writes it all down: what alerts there must be, as
// "freezer kind time", and what is known of each freezer in the end.
func watched(t *testing.T, readings [][]record) (alerts map[string]float64, known map[string]freezer) {
	const tooWarm, silence, look = -15, minute, int64(10_000)
	alerts, known = map[string]float64{}, map[string]freezer{}
	for _, partition := range readings {
		here := map[string]bool{}
		var now, next int64
		for _, r := range partition {
			var said struct{ Celsius float64 }
			r.json(t, &said)
			f := known[r.key]
			note := func(kind string, at int64) { alerts[fmt.Sprint(r.key, " ", kind, " ", at)] = said.Celsius }
			if here[r.key] && r.at <= f.Heard.UnixMilli() {
				f.Late++
			} else {
				here[r.key] = true
				f.Name, f.Heard, f.Celsius = r.key, time.UnixMilli(r.at), said.Celsius
				if f.WarmInARow++; said.Celsius < tooWarm {
					f.WarmInARow = 0
				}
				if f.Alert == "silent" {
					note("back", r.at)
					f.Alert = ""
				}
				if f.Alert == "warm" && f.WarmInARow == 0 {
					note("cold", r.at)
					f.Alert = ""
				}
				if f.Alert == "" && f.WarmInARow == 3 {
					note("warm", r.at)
					f.Alert = "warm"
				}
			}
			known[r.key] = f
			if now = max(now, r.at); now < next {
				continue
			}
			next = now - now%look + look
			for name := range here {
				f := known[name]
				if f.Alert != "silent" && now-f.Heard.UnixMilli() >= silence {
					f.Alert, f.WarmInARow = "silent", 0
					alerts[fmt.Sprint(name, " silent ", now)] = f.Celsius
					known[name] = f
				}
			}
		}
	}
	return alerts, known
}

func checkAlerts(t *testing.T, topics topics, out string) {
	want, known := watched(t, topics["readings"])
	got, sent := map[string]float64{}, topics.all("alerts")
	n, late := map[string]int{}, 0
	for _, r := range sent {
		var a struct {
			Kind    string
			Celsius float64
		}
		r.json(t, &a)
		n[a.Kind]++
		got[fmt.Sprint(r.key, " ", a.Kind, " ", r.at)] = a.Celsius
	}
	if len(got) != len(sent) {
		t.Errorf("%d results for %d alerts: each comes once", len(sent), len(got))
	}
	same(t, "alerts", got, want)
	for _, f := range known {
		late += f.Late
	}
	for _, kind := range []string{"silent", "back", "warm", "cold"} {
		if n[kind] == 0 {
			t.Errorf("no alert is %q: the input shows nothing", kind)
		}
	}
	says(t, out, "%d readings, %d of them after a newer one. %d alerts: silent %d, heard again %d, warm %d, cold again %d. Asked at the end, it answered:\n",
		len(topics.all("readings")), late, len(sent), n["silent"], n["back"], n["warm"], n["cold"])
	for _, name := range slices.Sorted(maps.Keys(known)) {
		f := known[name]
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^  %s +%.1f °C .*heard at %s *%s$`, name, f.Celsius, f.Heard.UTC().Format(time.TimeOnly), f.Alert))
		if !line.MatchString(last(out)) {
			t.Errorf("the answer at the end has no line %s:\n%s", line, last(out))
		}
	}
}

// What the example answers over HTTP while it runs is what an independent count comes to, to the last field.
func TestAlertsAnswers(t *testing.T) {
	program, data := filepath.Join(t.TempDir(), "alerts"), t.TempDir()
	if out, err := exec.Command("go", "build", "-o", program, "./alerts").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-speed", "0", "-seed", "7", "-data", data, "-stay")
	cmd.Stderr = os.Stderr
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	url := ""
	lines := bufio.NewScanner(r)
	for url == "" && lines.Scan() {
		out.WriteString(lines.Text() + "\n")
		if _, rest, ok := strings.Cut(lines.Text(), "It goes on answering at "); ok {
			url, _, _ = strings.Cut(rest, ",")
		}
	}
	var all []freezer
	get(t, ctx, url, http.StatusOK, &all)
	var one freezer
	get(t, ctx, url+"/freezer-04", http.StatusOK, &one)
	get(t, ctx, url+"/freezer-99", http.StatusNotFound, nil)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		out.WriteString(lines.Text() + "\n")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", cmd, err)
	}

	topics := read(t, data, "readings", "alerts")
	checkAlerts(t, topics, out.String())
	_, known := watched(t, topics["readings"])
	got, want := map[string]string{}, map[string]string{}
	for name, f := range known {
		want[name] = f.String()
	}
	for _, f := range all {
		got[f.Name] = f.String()
	}
	same(t, "answers", got, want)
	if !slices.IsSortedFunc(all, func(a, b freezer) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("the answer is in no order: %v", all)
	}
	if one.String() != want["freezer-04"] {
		t.Errorf("got %s, want %s", one, want["freezer-04"])
	}
}

// get asks for what is at a URL.
func get(t *testing.T, ctx context.Context, url string, status int, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("GET %s: %s, %v: %s", url, resp.Status, err, b)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("GET %s: %v: %s", url, err, b)
	}
}
