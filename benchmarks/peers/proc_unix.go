//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package peers

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

const canGuard = true

// guarded is a process that is killed when ours ends, however that happens.
type guarded struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended, after err is set
	err  error
}

// guard starts cmd in a process group of its own, so that a Ctrl-C on the terminal is ours to answer, and next
// to it a shell that waits for the end of a pipe which only we hold open, and then kills it. Pdeathsig would
// do that on Linux only, and for the end of a thread.
func guard(cmd *exec.Cmd) (*guarded, error) {
	watchdog := exec.Command("/bin/sh", "-c", "read pid; read end; kill -9 $pid")
	group := &syscall.SysProcAttr{Setpgid: true}
	watchdog.SysProcAttr, cmd.SysProcAttr = group, group
	pipe, err := watchdog.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := watchdog.Start(); err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	g := &guarded{cmd: cmd, done: make(chan struct{})}
	err = cmd.Start()
	if err == nil {
		_, err = io.WriteString(pipe, fmt.Sprintln(cmd.Process.Pid))
		if err != nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	if err != nil {
		watchdog.Process.Kill()
		watchdog.Wait()
		return nil, err
	}
	go func() {
		defer close(g.done)
		// The watchdog must not outlive the pid, which may soon be another's. Between the end of the process and
		// ours of the watchdog nothing closes the pipe but our own death.
		g.err = cmd.Wait()
		watchdog.Process.Kill()
		watchdog.Wait()
		pipe.Close()
	}()
	return g, nil
}

// terminate asks it to end.
func (g *guarded) terminate() error { return g.cmd.Process.Signal(syscall.SIGTERM) }

// lockFile waits for the lock on a file, which ends with the process at the latest.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
