package peers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// StreamsVersion is the version of Kafka Streams that is measured; kstreams/pom.xml has it too.
const StreamsVersion = "4.3.1"

//go:embed kstreams
var streamsProject embed.FS

// Streams is one run of a Kafka Streams application on a broker, exactly once: kstreams/.../Bench.java, whose
// head says what the fields mean. Dir gets its state.
type Streams struct {
	Bootstrap           string
	ID                  string // application.id; that of the warm-up has -warm at the end
	Workload            string // "words" or "count"
	In, Out             string // topics; the warm-up writes to Out with -warm at the end
	Units, Warm         int64  // words or records to process, and before that for warming up
	Threads, Partitions int
	CacheBytes          int64
	CommitInterval      time.Duration
	Dir                 string
	Heap                string // as -Xmx has it
}

// Phases of Streams.Run.
const (
	// First: the first unit after the warm-up is processed.
	First = "FIRST"
	// Closed: all units are processed and committed, and the application is closed. The JVM runs still.
	Closed = "CLOSED"
)

// Run runs it to its end, and calls at for each phase with the id of the JVM's process, which runs on
// meanwhile. If it fails, its output is in the error. It is killed when ctx ends. The first Run on a machine
// builds the application and fetches what it needs, about 80 MB.
func (s Streams) Run(ctx context.Context, at func(phase string, pid int)) error {
	in, err := found()
	if err != nil {
		return err
	}
	target, err := builtStreams()
	if err != nil {
		return err
	}
	// The heap is touched before anything is measured: the first touch is dear on a virtual machine.
	cmd := exec.Command(in.java, "-Xms"+s.Heap, "-Xmx"+s.Heap, "-XX:+AlwaysPreTouch", "-XX:+UseParallelGC",
		"--enable-native-access=ALL-UNNAMED",
		"-cp", filepath.Join(target, "*")+string(os.PathListSeparator)+filepath.Join(target, "lib", "*"), "bench.Bench",
		"bootstrap="+s.Bootstrap, "id="+s.ID, "workload="+s.Workload, "in="+s.In, "out="+s.Out,
		"units="+strconv.FormatInt(s.Units, 10), "warm="+strconv.FormatInt(s.Warm, 10),
		"threads="+strconv.Itoa(s.Threads), "partitions="+strconv.Itoa(s.Partitions),
		"cache="+strconv.FormatInt(s.CacheBytes, 10), "commit="+strconv.FormatInt(s.CommitInterval.Milliseconds(), 10),
		"dir="+s.Dir)
	stdout, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdout.Close()
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &stderr
	g, err := guard(cmd)
	w.Close()
	if err != nil {
		return fmt.Errorf("peers: start Kafka Streams: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	reached := ""
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if phase := lines.Text(); phase == First || phase == Closed {
			reached = phase
			at(phase, cmd.Process.Pid)
		}
	}
	<-g.done
	err = g.err
	if err == nil && reached != Closed {
		err = errors.New("it ended early")
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		text := bytes.TrimSpace(stderr.Bytes())
		return fmt.Errorf("peers: Kafka Streams %s: %w\n%s", s.ID, err, text[max(0, len(text)-4000):])
	}
	return nil
}

// builtStreams returns the directory with the application's jar, and in lib those it needs.
var builtStreams = sync.OnceValues(func() (string, error) {
	project, err := fs.Sub(streamsProject, "kstreams")
	if err != nil {
		return "", err
	}
	return Built("kstreams", project)
})

// Built packages a Maven project, unless that was done before on this machine, and returns its directory target as it
// was then, in the user's cache. Name is the project's there.
func Built(name string, project fs.FS) (string, error) {
	sum := sha256.New()
	if err := fs.WalkDir(project, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(project, path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	}); err != nil {
		return "", fmt.Errorf("peers: build %s: %w", name, err)
	}
	return cached(fmt.Sprintf("%s-%x", name, sum.Sum(nil)[:4]), func(temp string) (string, error) {
		copied := filepath.Join(temp, "project")
		if err := os.CopyFS(copied, project); err != nil {
			return "", err
		}
		return filepath.Join(copied, "target"), Maven("-f", filepath.Join(copied, "pom.xml"), "-Dmaven.test.skip=true", "package")
	})
}
