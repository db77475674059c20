package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/moldau-io/moldau/log"
	"pgregory.net/rapid"
)

func TestCutLines(t *testing.T) {
	const longest = 8
	for _, c := range []struct {
		name    string
		data    string
		atEOF   bool
		advance int
		line    string
		error   bool
	}{
		{name: "a line", data: "ab\ncd", advance: 3, line: "ab"},
		{name: "an empty line", data: "\ncd", advance: 1, line: ""},
		{name: "CRLF", data: "ab\r\n", advance: 4, line: "ab\r"},
		{name: "a line longer than the longest", data: "abcdefghij\n", advance: 11, line: "abcdefghij"},
		{name: "nothing yet", data: "", advance: 0},
		{name: "nothing more", data: "", atEOF: true, advance: 0},
		{name: "not yet a line", data: "a b c d", advance: 0},
		{name: "the last line", data: "a b c d", atEOF: true, advance: 7, line: "a b c d"},
		{name: "too long", data: "ab cd ef", advance: 6, line: "ab cd "},
		{name: "too long, the last line", data: "ab cd ef", atEOF: true, advance: 8, line: "ab cd ef"},
		{name: "too long, ends with a separator", data: "ab cdef.", advance: 8, line: "ab cdef."},
		{name: "too long, one word", data: "abcdefgh", error: true},
		{name: "too long, one word after a separator", data: " abcdefg", advance: 1, line: " "},
		{name: "too long, separator of two bytes", data: "a\u00a0bcdef", advance: 3, line: "a\u00a0"},
		{name: "too long, invalid byte", data: "abcd\xffefg", advance: 5, line: "abcd\xff"},
		{name: "too long, separator in part", data: "ab cde\xe2\x80", advance: 3, line: "ab "},
		{name: "too long, letter in part", data: "ab. cde\xc3", advance: 4, line: "ab. "},
		{name: "too long, letter of three bytes", data: "ab cd\xe6\xbc\xa2", advance: 3, line: "ab "},
		{name: "too long, only continuation bytes", data: "\x80\x80\x80\x80\x80\x80\x80\x80", advance: 8, line: "\x80\x80\x80\x80\x80\x80\x80\x80"},
		{name: "too long, a word but for a rune in part", data: "abcde\xf0\x9f\x98", error: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			advance, line, err := cutLines(longest)([]byte(c.data), c.atEOF)
			if (err != nil) != c.error || advance != c.advance || string(line) != c.line {
				t.Errorf("advance %d, line %q, %v; want %d, %q, error: %v", advance, line, err, c.advance, c.line, c.error)
			}
			if c.advance > 0 && line == nil {
				t.Error("no line: the scanner would go on to the next")
			}
		})
	}
}

func TestSeamInWord(t *testing.T) {
	for _, c := range []struct {
		before, after string
		want          bool
	}{
		{"", "a", false},
		{"a", "", false},
		{"a", "b", true},
		{"a", " b", false},
		{"a ", "b", false},
		{"a\n", "b", false},
		{"a", "\nb", false},
		{"é", "é", true},
		{"1", "é", true},
		{"é", "—", false},
		{"漢", "字", true},
		{"\xe6", "\xbc\xa2", true},    // 漢
		{"a\xe6\xbc", "\xa2", true},   // 漢
		{" \xe2", "\x80\x94 ", false}, // a dash
		{"a\xe2", "\x80\x94b", false},
		{"a\xff", "b", false},
		{"a", "\xffb", false},
		{"\xe6\xbc", "b", false}, // never became a rune
		{"a", "\u0301", false},   // a combining accent is no letter
	} {
		// What is read around the seam may start in the middle of a rune.
		for _, left := range []string{"", "漢"[1:], " ", "— "} {
			if got := seamInWord([]byte(left+c.before+c.after), len(left)+len(c.before)); got != c.want {
				t.Errorf("%q, %q: %v, want %v", left+c.before, c.after, got, c.want)
			}
		}
	}
}

// hardBytes draws text in which words, separators, invalid bytes and parts of runes are close together.
func hardBytes(t *rapid.T, label string) []byte {
	pieces := rapid.SliceOf(rapid.OneOf(
		rapid.SampledFrom([]string{"a", "Bc", "9", " ", "\n", "\r\n", ".", "é", "漢", "—", "\u00a0", "𝔸", "😀", "\x00"}),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 4), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"\xe6", "\xbc", "\xa2", "\xf0\x9f", "\x98", "\xc3", "\xff", "\xed\xa0\x80"}),
	)).Draw(t, label)
	return []byte(strings.Join(pieces, ""))
}

// However a text comes in and wherever its lines are cut, its words are those of the whole; nothing is lost
// between two lines.
func TestCutLinesKeepsWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := hardBytes(t, "text")
		longest := rapid.IntRange(5, 40).Draw(t, "longest")
		var r io.Reader = bytes.NewReader(text)
		switch rapid.IntRange(0, 3).Draw(t, "reader") {
		case 0:
			r = iotest.OneByteReader(r)
		case 1:
			r = iotest.HalfReader(r)
		case 2:
			r = iotest.DataErrReader(r)
		}
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, rapid.IntRange(1, longest).Draw(t, "buffer")), longest+1)
		bytesDone := 0
		cut := cutLines(longest)
		s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
			n, line, err := cut(data, atEOF)
			bytesDone += n
			return n, line, err
		})
		got := map[string]int64{}
		for s.Scan() {
			for w := range Words(s.Text()) {
				got[w]++
			}
		}
		if err := s.Err(); err != nil {
			if errors.Is(err, bufio.ErrTooLong) {
				t.Fatal(err)
			}
			for i, r := range string(text[bytesDone:]) {
				if i <= longest-utf8.UTFMax && !isWord(r) {
					t.Fatalf("%v, though %q at byte %d is in none", err, r, bytesDone+i)
				}
			}
			return
		}
		if bytesDone != len(text) {
			t.Fatalf("read %d bytes of %d", bytesDone, len(text))
		}
		if err := differ(got, countWords(text)); err != nil {
			t.Fatal(err)
		}
	})
}

// A seam is in a word exactly when counting the two parts is not counting the whole.
func TestSeamInWordIsWhereCountsDiffer(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		text := hardBytes(t, "text")
		at := rapid.IntRange(0, len(text)).Draw(t, "seam")
		name := filepath.Join(dir, "text")
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		parts := differ(addCounts(countWords(text[:at]), countWords(text[at:]), 1), countWords(text))
		if err := checkSeam(f, int64(at), ""); (err != nil) != (parts != nil) {
			t.Errorf("%v, and counted apart: %v", err, parts)
		}
	})
}

// Loading that is stopped anywhere and begun again loads each line once, over several files and partitions.
func TestLoadGoesOn(t *testing.T) {
	dir := t.TempDir()
	var files []string
	want := map[string]int{}
	for _, name := range []string{"a", "b", "c"} {
		var text strings.Builder
		for i := range 30_000 { // several transactions
			line := name + strings.Repeat("x", i%100)
			want[line]++
			text.WriteString(line + "\n")
		}
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lg, err := log.Open(filepath.Join(dir, "log"), log.Options{Sync: log.SyncOS, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer lg.Close()
	if err := createTopics(t.Context(), lg, 3, ""); err != nil {
		t.Fatal(err)
	}
	for stopAfter := int64(1); ; stopAfter += 17_011 {
		ctx, cancel := context.WithCancel(t.Context())
		var loaded atomic.Int64
		err := load(stopped{ctx, cancel, new(atomic.Int64), stopAfter}, lg, files, "", &loaded)
		cancel()
		if err == nil {
			if loaded.Load() != 90_000 {
				t.Errorf("says that it loaded %d lines", loaded.Load())
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	got := map[string]int{}
	for p := range int32(3) {
		err := readAll(t.Context(), lg, log.TopicPartition{Topic: topicName, Partition: p}, func(r *log.Record) error {
			got[string(r.Value)]++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for line, n := range want {
		if got[line] != n {
			t.Fatalf("%q was loaded %d times, want %d", line, got[line], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d different lines, want %d", len(got), len(want))
	}
}

// stopped is a context that is done once its Err was asked for often enough.
type stopped struct {
	context.Context
	cancel context.CancelFunc
	asked  *atomic.Int64
	after  int64
}

func (s stopped) Err() error {
	if s.asked.Add(1) > s.after {
		s.cancel()
	}
	return s.Context.Err()
}

// Empty lines take room too: they do not gather into one huge transaction.
func TestLoadCommitsEmptyLines(t *testing.T) {
	dir := t.TempDir()
	const lineCount = 1_000_000
	path := filepath.Join(dir, "text")
	if err := os.WriteFile(path, bytes.Repeat([]byte("\n"), lineCount), 0o644); err != nil {
		t.Fatal(err)
	}
	lg, err := log.Open(filepath.Join(dir, "log"), log.Options{Sync: log.SyncOS, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer lg.Close()
	if err := createTopics(t.Context(), lg, 1, ""); err != nil {
		t.Fatal(err)
	}
	var loaded atomic.Int64
	if err := load(t.Context(), lg, []string{path}, "", &loaded); err != nil || loaded.Load() != lineCount {
		t.Fatalf("loaded %d lines, %v", loaded.Load(), err)
	}
	transactions := 0
	err = readAll(t.Context(), lg, log.TopicPartition{Topic: positions}, func(*log.Record) error {
		transactions++
		return nil
	})
	if err != nil || transactions < 3 {
		t.Errorf("%d transactions, %v", transactions, err)
	}
}
