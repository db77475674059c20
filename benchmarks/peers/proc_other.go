//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package peers

import (
	"errors"
	"os/exec"
)

const canGuard = false

type guarded struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

func guard(*exec.Cmd) (*guarded, error) { return nil, errors.ErrUnsupported }

func (g *guarded) terminate() error { return errors.ErrUnsupported }

func lockFile(string) (func(), error) { return nil, errors.ErrUnsupported }
