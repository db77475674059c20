package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/moldau-io/moldau/log"
)

// positions is the topic that says how far each file was loaded: the path, and a position as JSON. It is
// written in the transaction that has the lines.
const positions = "file-positions"

// position is how far a file was loaded.
type position struct {
	Bytes int64 `json:"bytes"`
	Lines int64 `json:"lines"`
}

const (
	commitBytes  = 2 << 20   // of lines in one transaction
	blockBytes   = 256 << 10 // of lines in one batch
	lineOverhead = 8         // what a line counts for beside its text: empty ones are not free
	longestLine  = 512 << 10 // longer ones are cut between two words
)

// maxAborts is how often loading begins again because the broker has aborted a transaction.
const maxAborts = 20

// errAborted: the broker has aborted a transaction.
var errAborted = errors.New("the lines since the last commit were taken back")

// load appends to the lines topic what the files have and the topic has not. lines counts those that are
// committed, and those that were before. again says what to count in when a file cannot be counted on from where
// it stands.
func load(ctx context.Context, broker log.Broker, files []string, again string, lines *atomic.Int64) error {
	infos, err := broker.Topics(ctx, []string{topicName})
	if err != nil {
		return err
	}
	if err := infos[0].Err; err != nil {
		return err
	}
	// First the member, which fences the loader of a run before: what that one has committed is decided then.
	m, err := broker.Join(ctx, log.MemberSpec{Group: "wordcount-loader"})
	if err != nil {
		return err
	}
	for aborts := 0; ; aborts++ {
		lines.Store(0)
		l := &loader{ctx: ctx, member: m, again: again, blocks: make([]*log.Block, infos[0].Partitions), moved: map[string]position{}, lines: lines}
		if err = l.files(broker, files); err == nil || !errors.Is(err, errAborted) || aborts == maxAborts {
			return errors.Join(err, m.Close())
		}
	}
}

var topicName = lines.Name()

// loader gathers lines, and commits them with the positions of their files.
type loader struct {
	ctx    context.Context
	member log.Member
	again  string
	lines  *atomic.Int64

	epoch  log.Epoch    // nil: none is open
	blocks []*log.Block // by partition
	next   int          // partition that gets the next lines
	bytes  int          // of lines in the epoch
	count  int64
	moved  map[string]position // of files in the epoch
}

// files loads what the files have and was not loaded.
func (l *loader) files(broker log.Broker, files []string) error {
	defer l.abort()
	known := map[string]position{}
	err := readAll(l.ctx, broker, log.TopicPartition{Topic: positions}, func(r *log.Record) error {
		var p position
		err := json.Unmarshal(r.Value, &p)
		known[string(r.Key)] = p
		return err
	})
	if err != nil {
		return err
	}
	for _, path := range files {
		if err := l.file(path, known[path]); err != nil {
			return err
		}
	}
	return l.commit()
}

// file loads what follows from a position of a file.
func (l *loader) file(path string, at position) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < at.Bytes {
		return fmt.Errorf("%s has shrunk from %d bytes to %d since it was counted, and its words cannot be taken back: count it in %s",
			path, at.Bytes, info.Size(), l.again)
	}
	l.lines.Add(at.Lines)
	if info.Size() == at.Bytes {
		return nil
	}
	if err := checkSeam(f, at.Bytes, l.again); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := f.Seek(at.Bytes, io.SeekStart); err != nil {
		return err
	}
	// What is appended while we read waits for the next run.
	s := bufio.NewScanner(io.LimitReader(f, info.Size()-at.Bytes))
	s.Buffer(make([]byte, 64<<10), longestLine+1)
	advanced, cut := 0, cutLines(longestLine)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, line, err := cut(data, atEOF)
		advanced = n
		return n, line, err
	})
	for s.Scan() {
		at.Bytes += int64(advanced)
		at.Lines++
		if err := l.line(s.Bytes(), path, at); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s, after byte %d: %w", path, at.Bytes, err)
	}
	return nil
}

// line adds a line; at is the position after it.
func (l *loader) line(text []byte, path string, at position) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if l.epoch == nil {
		epoch, err := l.member.Begin()
		if err != nil {
			return err
		}
		l.epoch = epoch
	}
	b := l.blocks[l.next]
	if b == nil {
		b = log.NewBlock()
		l.blocks[l.next] = b
	}
	b.Append(time.Now().UnixMilli(), nil, text, nil)
	l.bytes += len(text) + lineOverhead
	l.count++
	l.moved[path] = at
	if b.Bytes()+b.Len()*lineOverhead >= blockBytes {
		if err := l.flush(l.next); err != nil {
			return err
		}
		l.next = (l.next + 1) % len(l.blocks)
	}
	if l.bytes >= commitBytes {
		return l.commit()
	}
	return nil
}

func (l *loader) flush(partition int) error {
	b := l.blocks[partition]
	if b == nil {
		return nil
	}
	l.blocks[partition] = nil
	_, err := l.epoch.Append(log.TopicPartition{Topic: topicName, Partition: int32(partition)}, b)
	return err
}

// commit makes the lines since the last commit, and the positions after them, durable together.
func (l *loader) commit() error {
	if l.epoch == nil {
		return nil
	}
	for p := range l.blocks {
		if err := l.flush(p); err != nil {
			return err
		}
	}
	b := log.NewBlock()
	for path, at := range l.moved {
		value, err := json.Marshal(at)
		if err != nil {
			return err
		}
		b.Append(time.Now().UnixMilli(), []byte(path), value, nil)
	}
	if _, err := l.epoch.Append(log.TopicPartition{Topic: positions}, b); err != nil {
		return err
	}
	epoch := l.epoch
	l.epoch = nil
	switch outcome, err := epoch.Commit(l.ctx, nil); {
	case outcome == log.OutcomeAborted && l.ctx.Err() == nil:
		return fmt.Errorf("%w: %w", errAborted, err)
	case err != nil:
		return err
	}
	l.lines.Add(l.count)
	l.bytes, l.count = 0, 0
	clear(l.moved)
	return nil
}

// abort takes back what is not committed. What cannot be aborted now is when the next loader joins.
func (l *loader) abort() {
	if l.epoch != nil {
		_ = l.epoch.Abort(context.WithoutCancel(l.ctx))
	}
	for _, b := range l.blocks {
		if b != nil {
			b.Release()
		}
	}
}

// cutLines is a bufio.SplitFunc for lines, without their end. One of more than longest bytes is cut between two words;
// the scanner's buffer has to hold longest bytes.
func cutLines(longest int) bufio.SplitFunc {
	return func(data []byte, atEOF bool) (advance int, line []byte, err error) {
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		switch {
		case len(data) == 0 || !atEOF && len(data) < longest:
			return 0, nil, nil // more is needed, or there is no more
		case atEOF:
			return len(data), data, nil
		}
		n := lastSeparator(data)
		if n == 0 {
			return 0, nil, fmt.Errorf("a word of more than %d bytes", longest-utf8.UTFMax)
		}
		return n, data[:n], nil
	}
}

// lastSeparator is where the last rune of text ends that is not part of a word; 0: there is none. The runes
// before it, and those after it with whatever follows, are those of the whole.
func lastSeparator(text []byte) int {
	end := len(text)
	for i := end - 1; i >= max(end-utf8.UTFMax+1, 0); i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				end = i // the rest of that rune is to come
			}
			break
		}
	}
	for end > 0 {
		r, size := utf8.DecodeLastRune(text[:end])
		if !isWord(r) {
			break
		}
		end -= size
	}
	return end
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// checkSeam makes sure that the end of what was loaded before was not in the middle of a word, which then
// was counted in part.
func checkSeam(f *os.File, at int64, again string) error {
	if at == 0 {
		return nil
	}
	buf := make([]byte, 2*utf8.UTFMax)
	start := max(at-utf8.UTFMax, 0)
	n, err := f.ReadAt(buf, start)
	if err != nil && err != io.EOF {
		return err
	}
	if seamInWord(buf[:n], int(at-start)) {
		return fmt.Errorf("it has grown, at byte %d, in the middle of a word that was counted: count it in %s", at, again)
	}
	return nil
}

// seamInWord reports whether text[:seam] and text[seam:] share a word, or a rune.
func seamInWord(text []byte, seam int) bool {
	before := false // the rune before the seam is part of a word
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		word := isWord(r)
		switch {
		case i < seam && i+size > seam:
			return word
		case i == seam:
			return before && word
		}
		before = word
		i += size
	}
	return false
}
