package log

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/moldau-io/moldau/log/txn"
)

// What is in a log's directory:
//
//	LOCK, OWNER            who has the log open (lock.go)
//	meta/checkpoint        topics, offsets, producers, and where each segment ends (checkpoint.go)
//	journal/NUMBER         what came after the checkpoint (frame.go)
//	topics/ID-PARTITION/   segments, named after their first offset (segment.go)
//	state/                 of the applications; the log does not look at it
const (
	metaDir    = "meta"
	journalDir = "journal"
	topicsDir  = "topics"
	stateDir   = "state"
)

// Open opens the log in dir, or makes a new one. It brings the log to where it was: what is in the journal
// goes into the segments again, a torn tail is cut, and transactions that were open are aborted. There is one
// Log on a directory at a time.
//
// Errors: *LockedError if somebody has it open; ErrCorrupt if bytes that were synced are damaged and it is not
// known whose they are (a damaged partition alone is opened, and fails when it is used); ErrDiskFull.
func Open(dir string, o Options) (*Log, error) {
	l, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", dir, err)
	}
	return l, nil
}

func open(dir string, o Options) (*Log, error) {
	fs := newFiles(o.FS)
	logger := o.Logger
	if logger == nil {
		logger = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.JournalBytes < 0 {
		return nil, fmt.Errorf("log: JournalBytes is %d", o.JournalBytes)
	}
	if o.JournalBytes == 0 {
		o.JournalBytes = defaultJournalBytes
	}
	if err := fs.mkdirDurable(dir); err != nil {
		return nil, err
	}
	dir, err := fs.canonical(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(fs, dir)
	if err != nil {
		return nil, err
	}
	l := &Log{
		dir:         dir,
		fs:          fs,
		mode:        o.Sync,
		logger:      logger,
		clock:       o.Clock,
		lock:        lock,
		topics:      make(map[string]*topic),
		owners:      make(map[string]*owner),
		members:     make(map[string]*member),
		checkpoints: newCheckpointer(),
		syncPoke:    make(chan struct{}, 1),
	}
	l.life.done = make(chan struct{})
	l.meta.owners = make(map[string]txn.Identity)
	if err := l.bringUp(o.JournalBytes); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	l.background.Go(l.runCheckpoints)
	l.background.Go(l.runSync)
	return l, nil
}

// bringUp does all that is between the lock and the first append.
func (l *Log) bringUp(journalBytes int64) error {
	for _, d := range []string{metaDir, journalDir, topicsDir} {
		if err := l.fs.mkdirDurable(l.fs.PathJoin(l.dir, d)); err != nil {
			return err
		}
	}
	r := &recovery{l: l}
	if err := r.run(); err != nil {
		return err
	}
	// The state as it is now, durable, before anything of the old journal is given up: a crash up to here
	// finds all as it was found this time.
	unlock := l.lockEverything()
	snap := l.snapshot(false, r.nextFile, 0, r.sequence)
	unlock()
	if err := l.save(snap); err != nil {
		return err
	}
	l.journal = &journal{
		fs:        l.fs,
		dir:       l.fs.PathJoin(l.dir, journalDir),
		fileBytes: journalBytes,
		mode:      l.mode,
		logger:    l.logger,
		rolled:    l.checkpoints.request,
	}
	if err := l.journal.start(r.nextFile, r.sequence, r.journalFiles); err != nil {
		return err
	}
	for _, p := range l.partitions {
		p.mu.Lock()
		l.journal.reveal(p.mark(r.sequence - 1))
		p.mu.Unlock()
	}
	return l.abortOpenTransactions()
}

// abortOpenTransactions ends what the processes before have left open. All producers were in such a process:
// with it they are gone.
func (l *Log) abortOpenTransactions() error {
	open := make(map[int64][]int32)
	for _, p := range l.partitions {
		for _, t := range p.producers.open {
			open[t.producerID] = append(open[t.producerID], p.number)
		}
	}
	var last uint64
	for name, who := range l.meta.owners {
		o := &owner{name: name, machine: txn.Machine{Current: who, Previous: who}}
		l.owners[name] = o
		partitions := open[who.ID]
		if len(partitions) == 0 {
			continue
		}
		o.machine.State, o.machine.Partitions = txn.Ongoing, partitions
		o.mu.Lock()
		sequence, err := o.step(l, txn.Event{Kind: txn.Abort, Who: who}, "", nil)
		o.mu.Unlock()
		if err != nil {
			return fmt.Errorf("abort the open transaction of %s: %w", name, err)
		}
		last = sequence
		l.logger.Info("aborted a transaction that was left open", "owner", name, "partitions", len(partitions))
	}
	if last == 0 {
		return nil
	}
	return l.ack(last)
}

// newState is that of a log that is made now: one topic, for the groups' offsets.
func newState() *logState {
	return &logState{
		clean:    true,
		sequence: 1,
		file:     1,
		topics:   []topicState{{name: offsetsTopic, id: uuid.New(), config: map[string]string{"cleanup.policy": "compact"}}},
	}
}

// mkdirDurable makes a directory whose name outlives a crash. One that is there may be what is left of an attempt
// that did not come to the sync of its name: that is done again, as far up as this process may.
func (fs files) mkdirDurable(dir string) error {
	parent := fs.PathDir(dir)
	_, err := fs.FS.Stat(dir)
	there := err == nil
	if parent != dir && parent != "." {
		if err := fs.mkdirDurable(parent); err != nil {
			return err
		}
	}
	if !there {
		if err := fs.mkdir(dir); err != nil {
			return err
		}
	}
	if parent == dir {
		return nil
	}
	if err := fs.syncDir(parent); err != nil && !(there && errors.Is(err, os.ErrPermission)) {
		return err
	}
	return nil
}

// bootID tells this boot of the machine from others: what was written survives the end of a process, but not
// always that of the machine. "" if there is no telling.
func bootID(fs files) string {
	if !fs.onDisk {
		return ""
	}
	b, err := os.ReadFile(filepath.FromSlash("/proc/sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
