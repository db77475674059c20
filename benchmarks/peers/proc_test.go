//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package peers

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A broker must not outlive a test that is killed: it would hold memory and ports for ever. What is started
// without guard does, and the test sees it.
func TestGuardKillsWithParent(t *testing.T) {
	if way := os.Getenv("PEERS_TEST_GUARD"); way != "" {
		startAndHang(way)
	}
	if child, lives := killParent(t, "guard", time.Minute); lives {
		t.Errorf("process %d lives on", child)
	}
	if _, lives := killParent(t, "plain", 200*time.Millisecond); !lives {
		t.Error("a process that nobody guards is seen to end")
	}
}

// killParent runs this test as another process, which starts a third, kills the second, and reports whether
// the third is there after a wait. It is gone at the end.
func killParent(t *testing.T, way string, wait time.Duration) (child int, lives bool) {
	// The end of the file comes when all that have the pipe are gone.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	parent := exec.Command(os.Args[0], "-test.run=^TestGuardKillsWithParent$")
	parent.Env = append(os.Environ(), "PEERS_TEST_GUARD="+way)
	parent.Stdout, parent.Stderr = w, os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	defer parent.Wait()
	defer parent.Process.Kill()
	if _, err := fmt.Fscanln(r, &child); err != nil {
		t.Fatalf("the child's pid: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err != nil {
		syscall.Kill(child, syscall.SIGKILL)
		return child, true
	}
	return child, false
}

func startAndHang(way string) {
	cmd := exec.Command("sleep", "600")
	cmd.Stdout = os.Stdout
	ended := func() { cmd.Wait() }
	var err error
	if way == "guard" {
		var g *guarded
		if g, err = guard(cmd); err == nil {
			ended = func() { <-g.done }
		}
	} else {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	ended()
	os.Exit(0)
}

func TestGuardTellsTheEnd(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	g, err := guard(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.terminate(); err != nil {
		t.Fatal(err)
	}
	<-g.done
	if g.err == nil {
		t.Error("a process ended by a signal has no error")
	}
}

func TestLockFileExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		second, err := lockFile(path)
		if err == nil {
			second()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("locked twice: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestJavaVersion(t *testing.T) {
	for _, c := range []struct {
		script string
		want   int
	}{
		{`echo 'openjdk version "17.0.15" 2025-04-15' >&2`, 17},
		{`echo 'openjdk version "25" 2025-09-16 LTS' >&2`, 25},
		{`echo 'java version "1.8.0_402"' >&2`, 1},
		{`echo hello`, 0},
		{`exit 1`, 0},
	} {
		path := filepath.Join(t.TempDir(), "java")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := javaVersion(t.Context(), path); got != c.want {
			t.Errorf("%s: version %d, want %d", c.script, got, c.want)
		}
	}
	if got := javaVersion(t.Context(), filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("no file: version %d", got)
	}
}
