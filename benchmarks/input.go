//go:build unix

package main

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
)

const partitions = 4

// input is what a workload reads: the same records, in the same partitions and order, for every system and in
// every run.
type input struct {
	topic string
	units int64 // in all of it: words or records
	// records are valid until the next one.
	records iter.Seq[record]
	// counts tells what must come out, by the plainest way there is.
	counts func() map[string]int64
}

type record struct {
	partition  int32
	key, value []byte
}

const wordsPerLine = 10

// wordLines are n lines of ten words out of 50,000 each, drawn by Zipf's law with exponent 1.1; they have no
// key and go to one partition after another.
func wordLines(n int64) input {
	in := input{topic: "lines", units: n * wordsPerLine}
	in.records = func(yield func(record) bool) {
		words := vocabulary()
		zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 10, uint64(len(words)-1))
		var line []byte
		for i := range n {
			line = line[:0]
			for w := range wordsPerLine {
				if w > 0 {
					line = append(line, ' ')
				}
				line = append(line, words[zipf.Uint64()]...)
			}
			if !yield(record{int32(i % partitions), nil, line}) {
				return
			}
		}
	}
	in.counts = func() map[string]int64 {
		counts := map[string]int64{}
		for r := range in.records {
			for _, w := range strings.Split(string(r.value), " ") {
				counts[w]++
			}
		}
		return counts
	}
	return in
}

// vocabulary are 50,000 words of three to nine letters.
var vocabulary = sync.OnceValue(func() []string {
	random := rand.New(rand.NewPCG(7, 7))
	words := make([]string, 50_000)
	for i := range words {
		w := make([]byte, 3+random.IntN(7))
		for j := range w {
			w[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(w)
	}
	return words
})

// keyedRecords are n records of 100-byte values, whose keys are numbers below keys, each as likely.
func keyedRecords(n, keys int64) input {
	in := input{topic: "records", units: n}
	in.records = func(yield func(record) bool) {
		value := bytes.Repeat([]byte("0123456789"), 10)
		x := uint64(1)
		var key []byte
		for range n {
			x = x*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator
			k := (x >> 33) % uint64(keys)
			key = fmt.Appendf(key[:0], "%08d", k)
			if !yield(record{int32(k % partitions), key, value}) {
				return
			}
		}
	}
	in.counts = func() map[string]int64 {
		counts := map[string]int64{}
		for r := range in.records {
			counts[string(r.key)]++
		}
		return counts
	}
	return in
}
