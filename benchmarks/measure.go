//go:build unix

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// result is one trial's figures.
type result struct {
	units       int64 // of the workload: records, words
	wall        time.Duration
	app, broker time.Duration // CPU, user and system; broker is 0 where the log is in the application
	others      float64       // CPUs that the rest of the machine used meanwhile; below 0 if not known
	mallocs     uint64
	bytes       uint64
}

func (r result) perCPUSecond() float64 { return float64(r.units) / (r.app + r.broker).Seconds() }
func (r result) perAppSecond() float64 { return float64(r.units) / r.app.Seconds() }
func (r result) perSecond() float64    { return float64(r.units) / r.wall.Seconds() }

// spread are the median, lowest and highest of a figure over trials.
type spread struct{ mid, low, high float64 }

func over(rs []result, figure func(result) float64) spread {
	fs := make([]float64, len(rs))
	for i, r := range rs {
		fs[i] = figure(r)
	}
	slices.Sort(fs)
	return spread{fs[len(fs)/2], fs[0], fs[len(fs)-1]}
}

func (s spread) String() string {
	return fmt.Sprintf("%s [%s %s]", human(s.mid), human(s.low), human(s.high))
}

func human(f float64) string {
	switch {
	case f >= 1e6:
		return fmt.Sprintf("%.2fM", f/1e6)
	case f >= 1e3:
		return fmt.Sprintf("%.0fk", f/1e3)
	}
	return fmt.Sprintf("%.0f", f)
}

// cpus is what has been used since some time before.
type cpus struct {
	at                   time.Time
	app, broker, machine time.Duration
}

// cpuSample reads the clocks. A pid of 0 is this process for the application, and none for the broker.
func cpuSample(appPID, brokerPID int) (cpus, error) {
	s := cpus{at: time.Now(), machine: machineCPU()}
	var err, brokerErr error
	if appPID == 0 {
		s.app = ownCPU()
	} else {
		s.app, err = processCPU(appPID)
	}
	if brokerPID != 0 {
		s.broker, brokerErr = processCPU(brokerPID)
	}
	return s, errors.Join(err, brokerErr)
}

// since are the figures of what was used from a to s.
func (s cpus) since(a cpus, units int64) result {
	r := result{units: units, wall: s.at.Sub(a.at), app: s.app - a.app, broker: s.broker - a.broker, others: -1}
	if s.machine > 0 && a.machine > 0 {
		r.others = max(0, (s.machine-a.machine-r.app-r.broker).Seconds()/r.wall.Seconds())
	}
	return r
}

// meter measures the part of a run between begin and end, in this process and, if there is one, the broker's.
type meter struct {
	result
	brokerPID int
	profile   io.Writer
	start     cpus
	memStart  runtime.MemStats
}

func (m *meter) begin() error {
	runtime.GC()
	if m.profile != nil {
		if err := pprof.StartCPUProfile(m.profile); err != nil {
			return err
		}
	}
	runtime.ReadMemStats(&m.memStart)
	var err error
	m.start, err = cpuSample(0, m.brokerPID)
	return err
}

func (m *meter) end(units int64) error {
	end, err := cpuSample(0, m.brokerPID)
	m.result = end.since(m.start, units)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.mallocs, m.bytes = mem.Mallocs-m.memStart.Mallocs, mem.TotalAlloc-m.memStart.TotalAlloc
	if m.profile != nil {
		pprof.StopCPUProfile()
	}
	return err
}

// ownCPU is what this process has used, user and system.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it cannot fail for RUSAGE_SELF
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ticks are the units of /proc: what it calls USER_HZ is 100 wherever Go runs.
const tick = time.Second / 100

// processCPU is what another process and its threads have used, to a hundredth of a second.
func processCPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("the CPU time of process %d: %w", pid, err)
	}
	return parseStat(string(text))
}

// parseStat takes fields 14 and 15, user and system time, of proc(5)'s stat. Field 2, the name, is in
// parentheses and may have any character.
func parseStat(text string) (time.Duration, error) {
	var fields []string
	if i := strings.LastIndexByte(text, ')'); i >= 0 {
		fields = strings.Fields(text[i+1:])
	}
	if len(fields) < 13 {
		return 0, fmt.Errorf("the CPU time of a process: %q is not what stat looks like", text)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, cmp.Or(err1, err2)
}

// machineCPU is what all processes of the machine have used, and what a hypervisor took; 0 if not known.
func machineCPU() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return parseMachine(string(text))
}

// parseMachine adds up the first line of /proc/stat but for idle and iowait, its fourth and fifth figure, and
// guests' time, from the ninth on, which is in the others.
func parseMachine(text string) time.Duration {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0
	}
	sum := int64(0)
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0
		}
		sum += n
	}
	return time.Duration(sum) * tick
}

// loadAverage is the system's over the last minute, for the record.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
