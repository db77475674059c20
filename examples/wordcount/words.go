package main

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// class says what a byte is to Words. All bytes of runes past ASCII are others: those runes are decoded.
type class uint8

const (
	separator class = iota
	lower           // a to z and 0 to 9: part of a word as it is
	upper
	other
)

var classes = func() (c [256]class) {
	for b := range c {
		switch {
		case 'a' <= b && b <= 'z' || '0' <= b && b <= '9':
			c[b] = lower
		case 'A' <= b && b <= 'Z':
			c[b] = upper
		case b >= utf8.RuneSelf:
			c[b] = other
		}
	}
	return c
}()

// Words returns the words of a line, in order: the longest runs of runes for which unicode.IsLetter or
// unicode.IsDigit holds, each rune lower-cased by unicode.ToLower. A byte that is not UTF-8 separates.
//
// A word that is in lower case already is a part of line, not a copy.
func Words(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 0; i < len(line); {
			start, lowered, past := i, true, 1
		word:
			for i < len(line) {
				switch classes[line[i]] {
				case lower:
					i++
				case upper:
					lowered = false
					i++
				case other:
					// An invalid byte decodes as U+FFFD, which is no letter.
					r, size := utf8.DecodeRuneInString(line[i:])
					if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
						past = size
						break word
					}
					lowered = lowered && unicode.ToLower(r) == r
					i += size
				default:
					break word
				}
			}
			if i > start {
				word := line[start:i]
				if !lowered {
					word = strings.ToLower(word)
				}
				if !yield(word) {
					return
				}
			}
			i += past // the rune that ended the word
		}
	}
}
