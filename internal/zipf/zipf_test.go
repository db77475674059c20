package zipf

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Figures and failures name a seed and a size: what these stand for must never change.
func TestTextIsPinned(t *testing.T) {
	for _, c := range []struct {
		seed uint64
		size int
		sum  uint32
	}{
		{1, 1 << 20, 0x4c10c765},
		{2, 1 << 20, 0x77b2c104},
		{1, 1000, 0xc83305ad},
	} {
		if got := crc32.ChecksumIEEE(Text(c.seed, c.size)); got != c.sum {
			t.Errorf("Text(%d, %d) has CRC-32 %#x, want %#x", c.seed, c.size, got, c.sum)
		}
	}
}

func TestTextHasItsSize(t *testing.T) {
	for size := range 300 {
		text := Text(7, size)
		if len(text) != size || !utf8.Valid(text) {
			t.Fatalf("Text(7, %d) has %d bytes, valid %v", size, len(text), utf8.Valid(text))
		}
		if size > 0 && text[size-1] != '\n' {
			t.Fatalf("Text(7, %d) does not end its line: %q", size, text)
		}
	}
}

func TestVocabularyIsDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range words {
		seen[w] = true
		if len(w) > 16 {
			t.Errorf("%q is longer than Text leaves room for", w)
		}
	}
	if len(seen) != Vocabulary {
		t.Errorf("%d different words, want %d", len(seen), Vocabulary)
	}
}

func TestTextIsZipf(t *testing.T) {
	text := Text(3, 4<<20)
	counts := map[string]int{}
	total := 0
	for _, w := range strings.FieldsFunc(strings.ToLower(string(text)), func(r rune) bool { return strings.ContainsRune(" .,\n", r) }) {
		counts[w]++
		total++
	}
	// The harmonic number of 50,000 is 11.4: that is the share of the first word, the second has half of it.
	for rank := 1; rank <= 64; rank *= 2 {
		share := float64(counts[words[rank-1]]) / float64(total)
		if want := 1 / 11.4 / float64(rank); share < 0.9*want || share > 1.1*want {
			t.Errorf("rank %d has a share of %.5f, want about %.5f", rank, share, want)
		}
	}
	if len(counts) < Vocabulary/2 || len(counts) > Vocabulary {
		t.Errorf("%d different words in 4 MiB", len(counts))
	}
	for _, w := range []string{words[11], words[23], words[37]} {
		if counts[w] == 0 {
			t.Errorf("%q does not occur", w)
		}
	}
	for _, capital := range []string{"Ü", "Ж", "B"} {
		if !bytes.Contains(text, []byte(capital)) {
			t.Errorf("no word begins with %s", capital)
		}
	}
	longest := len(slices.MaxFunc(bytes.Split(text, []byte("\n")), func(a, b []byte) int { return len(a) - len(b) }))
	if longest > 100 {
		t.Errorf("a line of %d bytes", longest)
	}
}

func TestSeedsDiffer(t *testing.T) {
	if bytes.Equal(Text(1, 1000), Text(2, 1000)) {
		t.Error("seeds 1 and 2 give the same text")
	}
}

func BenchmarkText(b *testing.B) {
	const size = 1 << 20
	b.SetBytes(size)
	for b.Loop() {
		Text(1, size)
	}
}

func ExampleText() {
	fmt.Printf("%s", Text(1, 100))
	// Output:
	// Basu bimo binine haka bajube feko, vo disa bupo busa ka do bi, ve ba bajo
	// duju ....................
}
