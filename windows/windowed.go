package windows

import (
	"fmt"
	"math"
)

// Windowed is a key in a window. Start and End are in milliseconds since the epoch. What they enclose is the
// kind's to say: of tumbling, hopping, unlimited and calendar windows End is the first millisecond after the
// window, of sliding ones and sessions the last in it.
type Windowed[K any] struct {
	Key        K
	Start, End int64
}

// String is KEY@START/END.
func (w Windowed[K]) String() string { return fmt.Sprintf("%v@%d/%d", w.Key, w.Start, w.End) }

// Forever is the end of a window that has none.
const Forever = math.MaxInt64
