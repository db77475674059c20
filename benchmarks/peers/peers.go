// Package peers runs what others have made beside ours: a real Apache Kafka broker and Kafka's command-line
// classes, from their published jars. It needs a JDK, 17 or later, and Maven; the jars are fetched at the
// first use, into the user's cache directory. Tests get a broker from package peerstest, which skips them
// where there can be none.
package peers

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

//go:embed kafka/pom.xml
var kafkaPOM []byte

//go:embed tools/pom.xml
var toolsPOM []byte

// Available returns nil when brokers and tools can be started here, else what is missing and what to install.
// The first call of a process finds a JDK and, if they are not in the cache, fetches the jars, about 80 MB;
// later calls return what the first one found. Processes may call it at once.
func Available() error {
	_, err := found()
	return err
}

// installation is what there is to run.
type installation struct {
	java         string // the java command
	kafka, tools string // directories of jars
}

var found = sync.OnceValues(func() (installation, error) {
	var in installation
	if !canGuard {
		return in, fmt.Errorf("peers: no brokers on this system: a process could not be kept from living on without us")
	}
	var err error
	if in.java, err = Java(); err != nil {
		return in, err
	}
	if in.kafka, err = jars("kafka", kafkaPOM); err != nil {
		return in, err
	}
	in.tools, err = jars("tools", toolsPOM)
	return in, err
})

// Tool returns a command, not yet started, that runs one of Kafka's command-line classes; it is killed when
// ctx ends. A class without a package is one of org.apache.kafka.tools: "DumpLogSegments",
// "consumer.ConsoleConsumer", "TopicCommand".
func Tool(ctx context.Context, class string, args ...string) (*exec.Cmd, error) {
	in, err := found()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(class, "org.") && !strings.HasPrefix(class, "kafka.") {
		class = "org.apache.kafka.tools." + class
	}
	// TieredStopAtLevel: such a class ends before the better compiler has paid for itself.
	all := append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=ERROR",
		"-cp", filepath.Join(in.tools, "*"), class}, args...)
	return exec.CommandContext(ctx, in.java, all...), nil
}

// tail returns the end of a text file, for a message.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
