// Package zipf makes text for tests and benchmarks: words drawn by Zipf's law, as in natural language a few
// words often and most of them hardly ever, in sentences and lines.
package zipf

import (
	"math/rand/v2"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Vocabulary is the number of different words. Text of a few megabytes has most of them.
const Vocabulary = 50_000

// Text returns size bytes of text, the same for the same seed on every machine and with every version of
// Go. It is valid UTF-8 in lines of about 70 bytes, the last of which ends too; some words are not ASCII,
// and sentences begin with a capital letter.
func Text(seed uint64, size int) []byte {
	// The largest word and what may follow it; text that could be too long by this much is filled up instead.
	const room = 24
	const lineBytes = 70
	random := rand.NewPCG(seed, 0)
	text := make([]byte, 0, size)
	line := 0 // where the line starts
	capital := true
	for len(text)+room < size {
		start := len(text)
		text = append(text, words[draw(random.Uint64())]...)
		if capital {
			// The capitals of our letters are as long as they are.
			r, _ := utf8.DecodeRune(text[start:])
			utf8.EncodeRune(text[start:], unicode.ToUpper(r))
		}
		punctuation := random.Uint64() % 16
		capital = punctuation == 0
		switch punctuation {
		case 0:
			text = append(text, '.')
		case 1, 2:
			text = append(text, ',')
		}
		if len(text)-line >= lineBytes {
			text = append(text, '\n')
			line = len(text)
		} else {
			text = append(text, ' ')
		}
	}
	for len(text) < size {
		text = append(text, '.')
	}
	if size > 0 {
		text[size-1] = '\n'
	}
	return text
}

// words is the vocabulary, most frequent first.
var words = func() []string {
	// Syllables of two letters, so that different runs of them are different words.
	var syllables []string
	for _, c := range "bdfghjklmnprstvz" {
		for _, v := range "aeiou" {
			syllables = append(syllables, string([]rune{c, v}))
		}
	}
	ws := make([]string, Vocabulary)
	for i := range ws {
		var w string
		// Numbers without a zero: each run of syllables comes once, short ones first.
		for n := i + 1; n > 0; n = (n - 1) / len(syllables) {
			w = syllables[(n-1)%len(syllables)] + w
		}
		// No other word begins like these.
		switch i % 40 {
		case 11:
			w = "ü" + w
		case 23:
			w = "жé" + w
		case 37:
			w = "漢" + w
		}
		ws[i] = w
	}
	return ws
}()

// cumulative[i] is the weight of the words up to i. The weight of the word of rank k is 1/k, in integers,
// since floating-point results may differ between machines.
var cumulative = func() []uint64 {
	c := make([]uint64, Vocabulary)
	sum := uint64(0)
	for i := range c {
		sum += 1 << 40 / uint64(i+1)
		c[i] = sum
	}
	return c
}()

// draw gives the index of the word that the random number r falls on.
func draw(r uint64) int {
	r %= cumulative[Vocabulary-1]                // a bias of 2^-20 is nothing here
	i, _ := slices.BinarySearch(cumulative, r+1) // the first whose cumulative weight is above r
	return i
}
