//go:build unix

package main

import (
	"encoding/binary"
	"fmt"
)

// checker takes an output of counts, in each partition's order, and tells whether it is right: exactly once.
type checker struct {
	eachUpdate bool // every count of a key is there, 1, 2, 3, ...; else they only grow
	last       map[string]int64
}

func newChecker(eachUpdate bool) *checker {
	return &checker{eachUpdate: eachUpdate, last: map[string]int64{}}
}

// add takes one record: a key, and its count in 8 bytes.
func (c *checker) add(key, value []byte) error {
	if len(value) != 8 {
		return fmt.Errorf("the count of %q has %d bytes", key, len(value))
	}
	n, last := int64(binary.BigEndian.Uint64(value)), c.last[string(key)]
	if n <= last || c.eachUpdate && n != last+1 {
		return fmt.Errorf("the count of %q goes from %d to %d", key, last, n)
	}
	c.last[string(key)] = n
	return nil
}

// done compares the last counts with those that must come out.
func (c *checker) done(want map[string]int64) error {
	for key, n := range want {
		if got := c.last[key]; got != n {
			return fmt.Errorf("the count of %q ends at %d, not at %d", key, got, n)
		}
	}
	if len(c.last) != len(want) {
		return fmt.Errorf("there are counts of %d keys, not of %d", len(c.last), len(want))
	}
	return nil
}

// check is all of it, over what read passes on.
func check(eachUpdate bool, want map[string]int64, read func(add func(key, value []byte) error) error) error {
	c := newChecker(eachUpdate)
	if err := read(c.add); err != nil {
		return err
	}
	return c.done(want)
}
