package crash

import (
	"fmt"
	"strings"

	"github.com/moldau-io/moldau/log"
	"github.com/moldau-io/moldau/stream"
)

// oracle is one of the things that are held against an independent account.
type oracle string

const (
	input     oracle = "input"      // acknowledged lines are in the log, each once, in their order
	takenBack oracle = "taken back" // committed output that a reader saw stays what it is
	lost      oracle = "lost"       // every record counts
	doubled   oracle = "doubled"    // no record counts twice
	wrong     oracle = "wrong"      // updates follow from one another and end in what the input makes
	stored    oracle = "stored"     // the stores are the tables
	changes   oracle = "changelog"  // and so are their changelogs
)

// finding is what an oracle says against a run.
type finding struct {
	oracle oracle
	what   string
}

func (f *finding) Error() string { return string(f.oracle) + ": " + f.what }

func fault(o oracle, format string, a ...any) error { return &finding{o, fmt.Sprintf(format, a...)} }

// check holds everything that is left after all input was processed against the account of the lines.
func (w *world) check() error {
	account := wordLines(w.lines)
	for _, t := range w.shape.tables {
		updates, _, err := w.updates(t, t.name)
		if err != nil {
			return err
		}
		for _, word := range words(account, updates) {
			if err := w.checkUpdates(t, word, updates[word], account[word]); err != nil {
				return err
			}
		}
		rows, err := t.rows(w.engine)
		if err != nil {
			return err
		}
		if err := compare(stored, t, rows, account); err != nil {
			return err
		}
		_, last, err := w.updates(t, fmt.Sprintf("%s-%s-changelog", application, t.name))
		if err != nil {
			return err
		}
		if err := compare(changes, t, last, account); err != nil {
			return err
		}
	}
	return nil
}

// updates reads the committed updates of each word from a topic, and the last of each.
func (w *world) updates(t table, topic string) (all map[string][]row, last map[string]row, err error) {
	all, last = map[string][]row{}, map[string]row{}
	for p := range w.partitions {
		at := map[string]bool{}
		if err := w.read(log.TopicPartition{Topic: topic, Partition: p}, func(r *log.Record) error {
			v, err := t.view(r.Value)
			if err != nil {
				return fmt.Errorf("topic %s partition %d offset %d: %w", topic, p, r.Offset, err)
			}
			word := string(r.Key)
			if len(all[word]) > 0 && !at[word] {
				return fault(wrong, "topic %s has %q in two partitions", topic, word)
			}
			at[word] = true
			all[word], last[word] = append(all[word], v), v
			return nil
		}); err != nil {
			return nil, nil, err
		}
	}
	return all, last, nil
}

// checkUpdates checks the updates that a word's row has sent on. Under EachUpdate there is one for each
// record; under OnCommit some of them, the last among them.
func (w *world) checkUpdates(t table, word string, updates []row, numbers []int) error {
	var final row
	if len(updates) > 0 {
		final = updates[len(updates)-1]
	}
	switch {
	case final.n < len(numbers):
		return fault(lost, "%s: %s ends with %d of %d", t.name, word, final.n, len(numbers))
	case final.n > len(numbers):
		return fault(doubled, "%s: %s ends with %d, want %d", t.name, word, final.n, len(numbers))
	case final.content != t.want(numbers):
		return fault(wrong, "%s: %s ends with %s, want %s", t.name, word, final.content, t.want(numbers))
	}
	var before row
	for i, u := range updates {
		switch {
		case u.n <= before.n:
			return fault(doubled, "%s: %s: update %d is %d, after %d", t.name, word, i, u.n, before.n)
		case u.n > before.n+1 && w.emit == stream.EachUpdate:
			return fault(lost, "%s: %s: update %d is %d, after %d", t.name, word, i, u.n, before.n)
		case !strings.HasPrefix(u.history, before.history):
			return fault(wrong, "%s: %s: update %d is %q, after %q", t.name, word, i, u.history, before.history)
		}
		before = u
	}
	return nil
}

// compare holds the rows of a store, or of a changelog, against the account.
func compare(o oracle, t table, rows map[string]row, account map[string][]int) error {
	for _, word := range words(rows, account) {
		r, ok := rows[word]
		if !ok {
			return fault(o, "%s: %s is missing, want %s", t.name, word, t.want(account[word]))
		}
		if want := t.want(account[word]); r.content != want {
			return fault(o, "%s: %s is %s, want %s", t.name, word, r.content, want)
		}
	}
	return nil
}
