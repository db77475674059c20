//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau-io/moldau/benchmarks/peers"
	"github.com/moldau-io/moldau/benchmarks/peers/peerstest"
	"github.com/moldau-io/moldau/internal/zipf"
)

const (
	// kafkaKillsVariable makes TestKillKafka a longer one: so many kills of the example, and a quarter as many of
	// the broker.
	kafkaKillsVariable = "MOLDAU_KAFKA_KILLS"
	defaultKafkaKills  = 3
)

// On a real Kafka broker the example is killed with SIGKILL again and again, and the broker while the example
// runs, and then it is left to finish: each word is counted as often as it stands in the file. That is what the
// example says, and what Kafka's own consumer reads under read_committed: for each word ever larger counts, the
// last of which is right.
func TestKillKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	kills := defaultKafkaKills
	if v := os.Getenv(kafkaKillsVariable); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil || kills < 1 {
			t.Fatalf("%s=%q: want a number of kills", kafkaKillsVariable, v)
		}
	}
	j := newClusterJob(t, peerstest.Kafka(t, peers.Options{}), zipf.Text(9, 8<<20))
	everyRun := max(kills/max(kills/4, 1), 1) // a broker is killed after so many kills of the example
	for i := range kills {
		if j.random.IntN(3) == 0 {
			must(t, os.RemoveAll(filepath.Join(j.data, "state")))
		}
		j.killExample(t)
		if i%everyRun == everyRun-1 {
			j.killBroker(t)
		}
	}
	for range 2 { // the second run has nothing to do
		if err := differ(countAll(t, j.args()...), j.want); err != nil {
			t.Fatalf("after %d kills: %v", kills, err)
		}
	}
	if err := differ(j.javaCounts(t), j.want); err != nil {
		t.Errorf("Kafka's consumer reads other counts: %v", err)
	}
	t.Logf("%d kills of the example, %d of them with its transaction open, and %d of the broker; %d runs came to their end before",
		kills, j.open, j.brokerKills, j.finished)
	if j.open == 0 && kills >= 10 { // with fewer it may be chance
		t.Error("no kill came inside a transaction: this test has not shown what it is for")
	}
}

// clusterJob is a file that is counted on a broker, and what is known of both.
type clusterJob struct {
	cluster    *peers.Kafka
	data, file string
	want       map[string]int64
	random     *rand.Rand

	finished, open, brokerKills int
}

func newClusterJob(t *testing.T, cluster *peers.Kafka, text []byte) *clusterJob {
	return &clusterJob{
		cluster: cluster, data: filepath.Join(t.TempDir(), "data"), file: writeFile(t, text), want: countWords(text),
		random: rand.New(rand.NewPCG(9, 9)),
	}
}

func (j *clusterJob) args() []string {
	return []string{"-brokers", j.cluster.Bootstrap(), "-data", j.data, "-partitions", "3", j.file}
}

// killExample starts the example and kills it some time after it has written to its changelog. A run that comes
// to its end before has to be right, and there is more to count for the next.
func (j *clusterJob) killExample(t *testing.T) {
	t.Helper()
	for {
		p, committing := j.start(t)
		if committing {
			within := 10 * time.Millisecond // the commit may not be over then
			if j.random.IntN(3) == 0 {
				within = 150 * time.Millisecond
			}
			timer := time.NewTimer(time.Duration(j.random.Int64N(int64(within))))
			select {
			case <-timer.C:
				must(t, p.cmd.Process.Kill())
			case <-p.exited:
			}
		}
		<-p.exited
		if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
			if j.transactionOpen(t) {
				j.open++
			}
			return
		}
		j.ended(t, p)
	}
}

// killBroker kills the broker while the example runs, and starts it again. The example goes on.
func (j *clusterJob) killBroker(t *testing.T) {
	t.Helper()
	for {
		p, committing := j.start(t)
		if !committing {
			j.ended(t, p)
			continue
		}
		must(t, j.cluster.Kill())
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		must(t, j.cluster.Restart(ctx))
		j.brokerKills++
		j.ended(t, p)
		return
	}
}

// ended waits for a run to end by itself with the right counts, and makes the file longer.
func (j *clusterJob) ended(t *testing.T, p *process) {
	t.Helper()
	p.wait(t, 0)
	if err := differ(parseCounts(t, p.stdout.String()), j.want); err != nil {
		t.Fatalf("a run that was not killed: %v; it wrote\n%s", err, p.stderr.String())
	}
	j.finished++
	more := zipf.Text(j.random.Uint64(), 8<<20)
	appendFile(t, j.file, more)
	j.want = addCounts(j.want, countWords(more), 1)
}

// start starts the example and waits until it writes to its changelog, which it does in commits only, or ends.
func (j *clusterJob) start(t *testing.T) (p *process, committing bool) {
	t.Helper()
	before := j.changelogBytes()
	p = start(t, append([]string{"-top", "0"}, j.args()...)...)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for j.changelogBytes() <= before {
		select {
		case <-p.exited:
			return p, false
		case <-tick.C:
		}
	}
	return p, true
}

func (j *clusterJob) changelogBytes() (sum int64) {
	for _, size := range sizes(glob(filepath.Join(j.cluster.DataDir(), changelog+"-*", "*.log"))) {
		sum += size
	}
	return sum
}

// transactionOpen asks the broker whether the killed example has left its transaction open.
func (j *clusterJob) transactionOpen(t *testing.T) bool {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(j.cluster.Bootstrap()))
	must(t, err)
	defer client.Close()
	all, err := kadm.NewClient(client).DescribeTransactions(t.Context(), "word-count")
	must(t, err)
	return all["word-count"].State == "Ongoing"
}

// javaCounts has Kafka's own consumer read the counts under read_committed. Those of one word only grow.
func (j *clusterJob) javaCounts(t *testing.T) map[string]int64 {
	t.Helper()
	cmd, err := peers.Tool(t.Context(), "consumer.ConsoleConsumer", "--bootstrap-server", j.cluster.Bootstrap(),
		"--topic", wordCounts.Name(), "--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", "5000",
		"--formatter-property", "print.key=true",
		"--formatter-property", "key.deserializer=org.apache.kafka.common.serialization.StringDeserializer",
		"--formatter-property", "value.deserializer=org.apache.kafka.common.serialization.LongDeserializer")
	must(t, err)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	counts, err := growing(stdout.String())
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// growing reads lines of WORD<TAB>COUNT and returns the last count of each word. One that is not larger than the
// one before it was written twice. Lines without a tab are what the consumer has to say, such as that no more came.
func growing(text string) (map[string]int64, error) {
	counts := map[string]int64{}
	for line := range strings.Lines(text) {
		word, number, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read %q, want WORD<TAB>COUNT", line)
		}
		if n <= counts[word] {
			return nil, fmt.Errorf("%q has count %d after %d", word, n, counts[word])
		}
		counts[word] = n
	}
	return counts, nil
}

func TestGrowing(t *testing.T) {
	for text, ok := range map[string]bool{
		"":                       true,
		"a\t1\nb\t7\na\t2\n":     true,
		"a\t1\na\t1\n":           false,
		"a\t2\na\t1\n":           false,
		"a\t2\tb\n":              false,
		"a\tmany\n":              false,
		"no more\nb\t1":          true,
		"é\t9223372036854775807": true,
	} {
		if _, err := growing(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The same topology counts the same on a cluster, with or without the state of the run before, and a second
// process takes the place of the first.
func TestRunOnKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a broker")
	}
	text := zipf.Text(10, 256<<10)
	j := newClusterJob(t, peerstest.Kafka(t, peers.Options{}), text)
	for range 2 {
		wantCounts(t, start(t, append([]string{"-top", "0"}, j.args()...)...), text)
		must(t, os.RemoveAll(j.data))
	}
	must(t, os.Truncate(j.file, 1000))
	wantFailure(t, start(t, j.args()...), 1, j.file, "has shrunk", "count it in new topics")
	wantFailure(t, start(t, "-brokers", j.cluster.Bootstrap(), "-partitions", "2", j.file), 1, "-partitions 2", "the cluster's topics", "has 3 partitions")
	wantFailure(t, start(t, "-brokers", "127.0.0.1:1", j.file), 1, "no broker answers at 127.0.0.1:1", "HOST:PORT")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
