package log

import (
	"errors"
	"fmt"
)

// ErrCorrupt is matched by every error that means stored bytes cannot be trusted. Stop and restore; never retry.
var ErrCorrupt = errors.New("log: corrupt")

// CorruptError says which bytes of which file were refused, and why.
type CorruptError struct {
	Path   string // segment file
	Offset int64  // byte position of the batch header in Path
	Err    error  // for example a CRC mismatch, with both sums
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log: corrupt batch at %s:%d: %v", e.Path, e.Offset, e.Err)
}
func (e *CorruptError) Unwrap() error        { return e.Err }
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
