package conformance_test

import (
	"bytes"
	"context"
	"embed"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/moldau-io/moldau/benchmarks/peers"
)

//go:embed generator/pom.xml generator/src
var generatorProject embed.FS

// The generator in this repository is the one that made testdata: it gives the same bytes again.
func TestGenerator(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a JDK and Maven")
	}
	if err := peers.Available(); err != nil {
		if os.Getenv("MOLDAU_PEERS") == "require" {
			t.Fatalf("MOLDAU_PEERS=require: %v", err)
		}
		t.Skip(err)
	}
	project, err := fs.Sub(generatorProject, "generator")
	if err != nil {
		t.Fatal(err)
	}
	target, err := peers.Built("vectors", project)
	if err != nil {
		t.Fatal(err)
	}
	java, err := peers.Java()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	class := filepath.Join(target, "*") + string(os.PathListSeparator) + filepath.Join(target, "lib", "*")
	for _, args := range [][]string{
		{"1-3", "only=stream_outer.*|fk_left|suppress_.*"},
		{"1-0"}, // no vector, but what tells of all
	} {
		if out, err := exec.CommandContext(ctx, java, append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx400m", "-cp", class,
			"conformance.Generate", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	files, err := vectorFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join(dir, "README.md"), filepath.Join(dir, "topologies.json"))
	for _, file := range files {
		name := filepath.Base(file)
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if os.IsNotExist(err) {
			continue // not built
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator makes", name)
		}
	}
	t.Logf("%d files made again", len(files))
}
