package stream

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Suppression says how long a table's changes are held back, and how many. Make one with UntilWindowCloses or
// UntilTimeLimit.
type Suppression struct {
	kind       suppression
	limit      time.Duration
	maxRecords int
	maxBytes   int64
	fails      bool
	err        error
}

type suppression int8

const (
	noSuppression suppression = iota
	untilClose
	untilLimit
)

// UntilWindowCloses holds back a windowed table's changes until their window closes, and sends the last one then:
// one result for each window. It is by the time of the table's changes that windows close.
func UntilWindowCloses() Suppression {
	return Suppression{kind: untilClose, maxRecords: math.MaxInt, maxBytes: math.MaxInt64}
}

// UntilTimeLimit holds back a row's changes until stream time, by the table's changes, is d past the first of them,
// and sends the last one then.
func UntilTimeLimit(d time.Duration) Suppression {
	s := Suppression{kind: untilLimit, limit: d, maxRecords: math.MaxInt, maxBytes: math.MaxInt64}
	switch {
	case d < 0:
		s.err = fmt.Errorf("a time limit of %s is negative", d)
	case d%time.Millisecond != 0:
		s.err = fmt.Errorf("a time limit of %s is not a whole number of milliseconds, which is as fine as timestamps are", d)
	}
	return s
}

// MaxRecords bounds the number of rows held back, at least 1. With one more, UntilTimeLimit sends the oldest early,
// and UntilWindowCloses, which promises one result, fails. Without bounds what is held back takes room on the disk.
func (s Suppression) MaxRecords(n int) Suppression {
	if n < 1 {
		s.fail(fmt.Errorf("MaxRecords(%d): at least 1 is needed", n))
	}
	s.maxRecords = n
	return s
}

// MaxBytes bounds the bytes held back, encoded keys and values. See MaxRecords.
func (s Suppression) MaxBytes(n int64) Suppression {
	if n < 1 {
		s.fail(fmt.Errorf("MaxBytes(%d): at least 1 is needed", n))
	}
	s.maxBytes = n
	return s
}

// FailWhenFull has UntilTimeLimit fail where it would send early.
func (s Suppression) FailWhenFull() Suppression {
	s.fails = true
	return s
}

func (s *Suppression) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// check is what is wrong with it for a table, windowed or not.
func (s Suppression) check(windowed bool) error {
	switch {
	case s.kind == noSuppression:
		return errors.New("the zero Suppression holds nothing back: use UntilWindowCloses or UntilTimeLimit")
	case s.kind == untilClose && !windowed:
		return errors.New("UntilWindowCloses is for tables of windowed aggregations: this one's keys have no windows, or none that close")
	}
	return s.err
}

func (s Suppression) bounded() bool { return s.maxRecords < math.MaxInt || s.maxBytes < math.MaxInt64 }
