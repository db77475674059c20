package stream

import (
	"fmt"

	"github.com/moldau-io/moldau/serde"
)

// copies gives a function of the user's a value of its own each time, where one value is handed out more than
// once and the function may change it in place.
type copies[V any] struct {
	serde serde.Serde[V] // nil: values have nothing that can be changed
	of    []byte
}

func newCopies[V any](s serde.Serde[V]) copies[V] {
	if serde.SharesNothing(s) {
		return copies[V]{}
	}
	return copies[V]{serde: s}
}

// from takes the value to copy.
func (c *copies[V]) from(v V) (err error) {
	if c.serde != nil {
		if c.of, err = c.serde.Append(c.of[:0], v); err != nil {
			return fmt.Errorf("encode a value to copy it: %w", err)
		}
	}
	return nil
}

// another returns a copy; v is the value, for when it needs none.
func (c *copies[V]) another(v V) (V, error) {
	if c.serde == nil {
		return v, nil
	}
	return c.serde.Decode(append([]byte(nil), c.of...))
}
