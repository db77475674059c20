package peers

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Options are a broker's. The zero value is a small broker on free ports, whose data goes with it.
type Options struct {
	// Dir is the directory of the data, which stays after Stop. "": a temporary one.
	Dir string
	// Port is the clients' on 127.0.0.1; the controller takes the next one. 0: two that are free.
	Port int
	// Props are more lines of server.properties, KEY=VALUE; they win over ours.
	Props []string
	// Heap is the JVM's heap as -Xmx has it, "1500m", taken at once. "": up to 512m, taken as needed.
	Heap string
	// Logger hears of starts and ends. nil: nobody does.
	Logger *slog.Logger
}

// Kafka is a broker, KRaft's broker and controller in one process, on the loopback interface only. Topics are
// not created by naming them. It is killed when our process ends. Methods may be called concurrently; each
// waits for the one before.
type Kafka struct {
	o      Options
	logger *slog.Logger
	java   string
	jars   string
	dir    string // ours, removed by Stop: configuration, the broker's log, and temporary data
	data   string
	port   int

	mu      sync.Mutex
	proc    *guarded // nil before the first start
	stopped bool
}

// Start starts a broker and returns when it answers and takes part in its cluster: about 5 s on an idle
// machine. An error of a broker that ended has the end of its log. A lack of JDK, Maven or jars is
// Available's error.
func Start(ctx context.Context, o Options) (*Kafka, error) {
	in, err := found()
	if err != nil {
		return nil, err
	}
	k := &Kafka{o: o, logger: o.Logger, java: in.java, jars: in.kafka, data: o.Dir, port: o.Port}
	if k.logger == nil {
		k.logger = slog.New(slog.DiscardHandler)
	}
	if k.dir, err = os.MkdirTemp("", "moldau-kafka-"); err != nil {
		return nil, fmt.Errorf("peers: start a broker: %w", err)
	}
	if k.data == "" {
		k.data = filepath.Join(k.dir, "data")
	}
	// Another process may take a free port before the broker does.
	for attempt := 1; ; attempt++ {
		if o.Port == 0 {
			if k.port, err = freePorts(); err != nil {
				break
			}
		}
		if err = k.start(ctx); err == nil || attempt == 3 || o.Port != 0 || !k.portTaken() {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("peers: start a broker: %w", err), k.Stop())
	}
	return k, nil
}

// Bootstrap returns the broker's address, HOST:PORT.
func (k *Kafka) Bootstrap() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(k.port)) }

// DataDir returns the directory of the data; topics' partitions are below it as TOPIC-PARTITION.
func (k *Kafka) DataDir() string { return k.data }

// LogFile returns the file with what the broker prints, all of its starts one after another. Stop removes it.
func (k *Kafka) LogFile() string { return filepath.Join(k.dir, "broker.log") }

// PID returns the id of the broker's process, or of its last one.
func (k *Kafka) PID() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.proc.cmd.Process.Pid
}

// Kill ends the process as kill -9 does, and returns when it has ended; a broker that has ended already is
// fine. Data and port stay for Restart.
func (k *Kafka) Kill() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kill()
	k.logger.Info("broker killed", "bootstrap", k.Bootstrap())
	return nil
}

// Restart starts the broker again on its data and port, and returns as Start does. One that runs is stopped
// first, in order.
func (k *Kafka) Restart(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return errors.New("peers: restart a broker: it was stopped")
	}
	k.terminate()
	if err := k.start(ctx); err != nil {
		return fmt.Errorf("peers: restart the broker on %s: %w", k.Bootstrap(), err)
	}
	return nil
}

// Stop ends the broker, in order if its data stay, and removes what is temporary. It may be called again.
func (k *Kafka) Stop() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	if k.o.Dir == "" {
		k.kill() // nobody will miss what it would write
	} else {
		k.terminate()
	}
	return os.RemoveAll(k.dir)
}

// LogTail returns the last lines that the broker printed, for a message.
func (k *Kafka) LogTail() string { return tail(k.LogFile()) }

func (k *Kafka) kill() {
	if k.proc != nil {
		k.proc.cmd.Process.Kill() // fails only if it has ended
		<-k.proc.done
	}
}

func (k *Kafka) terminate() {
	if k.proc == nil {
		return
	}
	if k.proc.terminate() == nil {
		select {
		case <-k.proc.done:
		case <-time.After(30 * time.Second):
			k.logger.Warn("broker does not stop, killed", "bootstrap", k.Bootstrap())
		}
	}
	k.kill()
}

// start formats the data if they are new, starts the process and waits until it is ready.
func (k *Kafka) start(ctx context.Context) error {
	properties := filepath.Join(k.dir, "server.properties")
	if err := os.WriteFile(properties, []byte(k.properties()), 0o644); err != nil {
		return err
	}
	logging := filepath.Join(k.dir, "log4j2.yaml")
	if err := os.WriteFile(logging, []byte(log4j2), 0o644); err != nil {
		return err
	}
	jvm := []string{"-Dlog4j2.configurationFile=file:" + logging, "-cp", filepath.Join(k.jars, "*")}
	if _, err := os.Stat(filepath.Join(k.data, "meta.properties")); errors.Is(err, fs.ErrNotExist) {
		var id [16]byte
		rand.Read(id[:])
		id[0] &= 0x7f // an id that began with '-' would be taken for a flag
		format := exec.CommandContext(ctx, k.java, append([]string{"-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"},
			append(jvm, "kafka.tools.StorageTool", "format", "-t", base64.RawURLEncoding.EncodeToString(id[:]), "-c", properties)...)...)
		if out, err := format.CombinedOutput(); err != nil {
			return fmt.Errorf("format %s: %w\n%s", k.data, err, out)
		}
	}
	out, err := os.OpenFile(k.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	heap := []string{"-Xmx512m"}
	if k.o.Heap != "" {
		heap = []string{"-Xms" + k.o.Heap, "-Xmx" + k.o.Heap}
	}
	// Kafka's own start script sets these.
	flags := append(heap, "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
		"-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true")
	cmd := exec.Command(k.java, append(flags, append(jvm, "kafka.Kafka", properties)...)...)
	cmd.Stdout, cmd.Stderr = out, out
	began := time.Now()
	if k.proc, err = guard(cmd); err != nil {
		return err
	}
	if err := k.awaitReady(ctx); err != nil {
		k.kill()
		return err
	}
	k.logger.Info("broker started", "bootstrap", k.Bootstrap(), "pid", cmd.Process.Pid, "took", time.Since(began))
	return nil
}

// awaitReady returns when the broker answers, and says that it is a member of its cluster: before that it
// takes connections, but creates no topics.
func (k *Kafka) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if k.ready(ctx) {
			return nil
		}
		select {
		case <-k.proc.done:
			return fmt.Errorf("it ended: %w; the end of its log:\n%s", errors.Join(k.proc.err, errEnded), k.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w; the end of its log:\n%s", context.Cause(ctx), k.LogTail())
		case <-tick.C:
		}
	}
}

var errEnded = errors.New("before it was ready")

func (k *Kafka) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", k.Bootstrap())
	if err != nil {
		return false
	}
	conn.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Bootstrap()), kgo.RequestRetries(0))
	if err != nil {
		return false
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none; nil would be all
	resp, err := req.RequestWith(ctx, cl)
	return err == nil && len(resp.Brokers) > 0
}

// portTaken reports whether somebody else has one of our ports. The broker has ended.
func (k *Kafka) portTaken() bool {
	for _, p := range []int{k.port, k.port + 1} {
		l, err := listen(p)
		if err != nil {
			return errors.Is(err, syscall.EADDRINUSE)
		}
		l.Close()
	}
	return strings.Contains(k.LogTail(), "Address already in use")
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// freePorts returns a port that is free as the next one is. They are below those that systems give to outgoing
// connections: else a client that tries to reach a killed broker may take its port, or connect to itself.
func freePorts() (int, error) {
	var last error
	for range 100 {
		port := 20_000 + 2*mathrand.IntN(5_000)
		a, err := listen(port)
		if err != nil {
			last = err
			continue
		}
		b, err := listen(port + 1)
		a.Close()
		if err != nil {
			last = err
			continue
		}
		b.Close()
		return port, nil
	}
	return 0, fmt.Errorf("find free ports: %w", last)
}

// properties are the broker's settings: Kafka's defaults but for what one broker, started and killed often,
// needs. A broker that comes back is let in when the session of the one that was killed is over, hence the
// short sessions. A later line wins.
func (k *Kafka) properties() string {
	return fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=%[3]s
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
auto.create.topics.enable=false
broker.heartbeat.interval.ms=400
broker.session.timeout.ms=2000
num.network.threads=2
num.io.threads=4
%[4]s
`, k.port, k.port+1, k.data, strings.Join(k.o.Props, "\n"))
}

const log4j2 = `Configuration:
  status: error
  Appenders:
    Console:
      name: C
      PatternLayout: { pattern: "%d %p %m (%c{1})%n%throwable" }
  Loggers:
    Root: { level: WARN, AppenderRef: { ref: C } }
    Logger: { name: kafka.server.KafkaRaftServer, level: INFO }
`
