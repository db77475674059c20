//go:build unix

package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		args   string
		reason string // "": taken
	}{
		{"", ""},
		{"-peer kstreams -only words -trials 1 -size 0.1", ""},
		{"-peer flink", "kstreams"},
		{"-trials 0", "at least 1"},
		{"-size 0", "above 0"},
		{"-size NaN", "above 0"},
		{"words", "flags"},
		{"-nonsense", "not defined"},
	} {
		_, err := parse(strings.Fields(c.args), io.Discard)
		if got := errorText(err); (got == "") != (c.reason == "") || !strings.Contains(got, c.reason) {
			t.Errorf("%q: error %q, want %q", c.args, got, c.reason)
		}
	}
}

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration // 0: an error
	}{
		{"4242 (java) S 1 4242 4242 0 -1 4194304 100 0 0 0 1234 66 0 0 20 0 50 0 1000 1 1", 13 * time.Second},
		{"1 (a) b) c) R 1 1 1 0 -1 0 0 0 0 0 5 7 0 0", 120 * time.Millisecond},
		{"4242 (java) S 1 4242", 0},
		{"1 (java) S 1 1 1 0 -1 0 0 0 0 0 many 7 0 0", 0},
		{"", 0},
	} {
		got, err := parseStat(c.text)
		if c.want == 0 && err == nil || c.want != 0 && (err != nil || got != c.want) {
			t.Errorf("%q: %v, %v; want %v", c.text, got, err, c.want)
		}
	}
}

// What /proc says of this process is what the system call says.
func TestProcessCPU(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc")
	}
	for began := ownCPU(); ownCPU()-began < 50*time.Millisecond; {
	}
	before := ownCPU()
	got, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after := ownCPU(); got < before-4*tick || got > after+4*tick {
		t.Errorf("%v, want between %v and %v", got, before, after)
	}
	if _, err := processCPU(1 << 30); err == nil {
		t.Error("a process that is not there has a CPU time")
	}
}

func TestParseMachine(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
	}{
		//   user nice sys idle iowait irq softirq steal guest guestnice
		{"cpu  100 10 50 9999 999 5 6 29 70 7\ncpu0 1 1 1 1\n", 2 * time.Second},
		{"cpu  100 10 50\n", 0},
		{"", 0},
		{"cpu  x 10 50 9999 999 5 6 29 0 0\n", 0},
	} {
		if got := parseMachine(c.text); got != c.want {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
	}
}

func TestResult(t *testing.T) {
	at := time.Now()
	a := cpus{at: at, app: time.Second, broker: time.Second, machine: 10 * time.Second}
	b := cpus{at: at.Add(2 * time.Second), app: 2 * time.Second, broker: 4 * time.Second, machine: 17 * time.Second}
	r := b.since(a, 1000)
	if r.perCPUSecond() != 250 || r.perAppSecond() != 1000 || r.perSecond() != 500 || r.others != 1.5 {
		t.Errorf("%v per CPU-second, %v of the application, %v per second, %v others; want 250, 1000, 500, 1.5",
			r.perCPUSecond(), r.perAppSecond(), r.perSecond(), r.others)
	}
	rs := []result{{units: 3, wall: time.Second}, {units: 1, wall: time.Second}, {units: 2_000_000, wall: time.Second}}
	if got := over(rs, result.perSecond).String(); got != "3 [1 2.00M]" {
		t.Errorf("spread %q", got)
	}
}

// A ratio below what is promised is not passed over.
func TestVerdict(t *testing.T) {
	rate := func(units int64) result { return result{units: units, app: time.Second} }
	peer := []result{rate(90), rate(100), rate(110)}
	for _, c := range []struct {
		ours []result
		want string
	}{
		{[]result{rate(500), rate(450), rate(440)}, "4.50 times Kafka Streams, by CPU (our worst trial by its best: 4.00); at least 4: yes"},
		{[]result{rate(399), rate(390), rate(990)}, "3.99 times Kafka Streams, by CPU (our worst trial by its best: 3.55); SHORT of 4"},
	} {
		if got := ratio("CPU", c.ours, peer, result.perCPUSecond, 4); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	for _, c := range []struct {
		highest time.Duration
		want    string
	}{{900 * time.Millisecond, "0.50 s [0.10 0.90]; below 1s: yes"}, {time.Second, "0.50 s [0.10 1.00]; NOT below 1s"}} {
		if got := times([]time.Duration{c.highest, 100 * time.Millisecond, 500 * time.Millisecond}, time.Second); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if got := times([]time.Duration{time.Second}, 0); got != "1.00 s [1.00 1.00]" {
		t.Errorf("without a bound: %q", got)
	}
}
