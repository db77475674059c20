package log

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// This file owns DIR/LOCK and DIR/OWNER. The first is locked for as long as a log is open; taking the lock
// empties the file, so who holds it is written beside it, for the message that the next one gets:
//
//	{"pid":4711,"program":"wordcount","since":"2026-11-22T21:01:41Z"}
//
// OWNER is only for people: it is not synced, and one left behind by a crash means nothing.

type lockOwner struct {
	PID     int       `json:"pid"`
	Program string    `json:"program"`
	Since   time.Time `json:"since"`
}

// lockDir takes the directory for this process. The error is a *LockedError if somebody has it.
func lockDir(fs files, dir string) (io.Closer, error) {
	ownerPath := fs.PathJoin(dir, "OWNER")
	lock, err := fs.FS.Lock(fs.PathJoin(dir, "LOCK"))
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return nil, fileError("lock", fs.PathJoin(dir, "LOCK"), err) // not there to be locked: no rights, no room
	}
	if err != nil {
		locked := &LockedError{Dir: dir, Err: err}
		// An OWNER that cannot be read only makes the message poorer.
		if b, rerr := fs.readFile(ownerPath); rerr == nil {
			var o lockOwner
			if json.Unmarshal(b, &o) == nil {
				locked.PID, locked.Program, locked.Since = o.PID, o.Program, o.Since
			}
		}
		return nil, locked
	}
	b, err := json.Marshal(lockOwner{PID: os.Getpid(), Program: filepath.Base(os.Args[0]), Since: time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		err = writeOwner(fs, ownerPath, append(b, '\n'))
	}
	if err != nil {
		_ = lock.Close() // err is what matters
		return nil, err
	}
	return lock, nil
}

func writeOwner(fs files, path string, b []byte) error {
	f, err := fs.create(path)
	if err != nil {
		return err
	}
	err = f.writeAt(b, 0)
	if cerr := f.close(); err == nil {
		err = cerr
	}
	return err
}
