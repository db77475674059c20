package stream

// Pair is a left and a right value. With MakePair as its joiner, a join keeps both sides as they are: to
// join with a look at the key, let MapValuesWithKey follow.
type Pair[L, R any] struct {
	Left  L
	Right R
}

// MakePair is the joiner of inner joins that keeps both sides.
func MakePair[L, R any](l L, r R) Pair[L, R] { return Pair[L, R]{l, r} }

// Sides tells the joiner of an outer join which of the two sides there are: at least one. The other's value
// is the zero value.
type Sides uint8

const (
	leftSide Sides = 1 << iota
	rightSide
)

// Left reports whether there is a left value.
func (s Sides) Left() bool { return s&leftSide != 0 }

// Right reports whether there is a right value.
func (s Sides) Right() bool { return s&rightSide != 0 }

// sidesOf says which sides there are.
func sidesOf(left, right bool) (s Sides) {
	if left {
		s |= leftSide
	}
	if right {
		s |= rightSide
	}
	return s
}
