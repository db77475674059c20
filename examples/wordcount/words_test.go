package main

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"", ""},
		{" \t\r", ""},
		{"the Quick  brown", "the quick brown"},
		{"one", "one"},
		{".one.", "one"},
		{"don't stop_now x-y", "don t stop now x y"},
		{"HTTP2 7up 42", "http2 7up 42"},
		{"Größe ÄRGER straße", "größe ärger straße"},
		{"ПРИВЕТ, мир!", "привет мир"},
		{"漢字かな交じり文", "漢字かな交じり文"},
		{"٣٤ ５６", "٣٤ ５６"},                      // digits of other scripts
		{"x² ½ Ⅷ", "x"},                         // numbers, but no digits: categories No and Nl
		{"\u212a\u2126 \u0130", "kω i"},         // Kelvin, Ohm, dotted I: single runes whose lower case is elsewhere
		{"e\u0301a", "e a"},                     // a combining mark is no letter
		{"a\xffb", "a b"},                       // an invalid byte separates
		{"a\xe2\x82b \xc3", "a b"},              // so do pieces of a rune
		{"a\ufffdb", "a b"},                     // and the replacement character itself
		{"A\xed\xa0\x80B", "a b"},               // and an encoded surrogate
		{"\x00a\x00b\x7f", "a b"},               // control characters
		{"ǅ ẞ Σας", "ǆ ß σας"},                  // title case; no rule for a sigma at the end
		{"日本\u3000語\u00a0x\u200by", "日本 語 x y"}, // spaces past ASCII, of width zero too
	} {
		if got := slices.Collect(Words(c.line)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("Words(%q) = %q, want %q", c.line, got, strings.Fields(c.want))
		}
	}
}

func TestWordsStops(t *testing.T) {
	for w := range Words("one two") {
		if w != "one" {
			t.Fatalf("went on to %q after break", w)
		}
		break
	}
}

// naive is the definition, word for word.
func naive(line string) []string {
	words := strings.FieldsFunc(line, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i, w := range words {
		var lower strings.Builder
		for _, r := range w {
			lower.WriteRune(unicode.ToLower(r))
		}
		words[i] = lower.String()
	}
	return words
}

func TestWordsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`[a-zA-Z0-9 .]*`),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		)).Draw(t, "pieces")
		line := strings.Join(pieces, "")
		if got, want := slices.Collect(Words(line)), naive(line); !slices.Equal(got, want) {
			t.Fatalf("Words(%q) = %q, want %q", line, got, want)
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add("The quick brown")
	f.Add("Größe\xff\xe2\x82 漢字")
	f.Fuzz(func(t *testing.T, line string) {
		if got, want := slices.Collect(Words(line)), naive(line); !slices.Equal(got, want) {
			t.Fatalf("Words(%q) = %q, want %q", line, got, want)
		}
	})
}

const prose = "the runtime reads a batch, hands it to the task, and commits once: offsets, state and output together"

func TestWordsOfLowerCaseAllocateNothing(t *testing.T) {
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		for range Words(prose) {
			n++
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a line in lower case, want 0", allocs)
	}
	if n == 0 {
		t.Error("no words")
	}
}

func BenchmarkWords(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"ascii", prose},
		{"mixed", "The Runtime reads a batch, hands it to the Task, and commits once: Offsets, State and Output together"},
		{"unicode", "Die Größe des Stapels hängt von der Übertragung ab; früher wäre es öfter überflüssig gewesen, натюрлих"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.line)))
			b.ReportAllocs()
			for b.Loop() {
				for range Words(c.line) {
				}
			}
		})
	}
}
