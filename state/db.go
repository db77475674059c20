// Package state keeps what a topology remembers: typed stores, one per task, over one Pebble database per
// application instance.
//
// A store answers from a cache that it writes to in epochs: what an epoch puts can be taken back until the
// epoch commits, and only committed content goes to Pebble, in the background, in one sorted batch per task
// together with the changelog position it reflects. The changelog is the truth and Pebble a copy of it: it
// is never synced, may lose its last batches in a crash, and may be deleted between two runs.
//
// The reading order is keyvalue.go (a record's way), cache.go (the two slots), task.go (epoch, flush, trim),
// db.go, gate.go (when the disk is full), layout.go (the bytes).
package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options are a database's settings; the zero value is a good one.
type Options struct {
	// FS is where the files lie; nil: the operating system's file system.
	FS vfs.FS
	// CacheBytes bounds the cached entries of all stores together; 0: 128 MiB. Entries of the open epoch, and
	// those Pebble does not have yet, cannot be evicted and may exceed it. Pebble's block cache and write
	// buffers together take up to as much again, and at least 32 MiB.
	CacheBytes int64
	// FlushBytes is how much committed content may wait for its flush, over all tasks; 0: 64 MiB. It is
	// never more than half of CacheBytes.
	FlushBytes int64
	// FlushInterval is how long committed content may wait for its flush; 0: 30 s. A restart after a crash
	// reads as much of the changelog again.
	FlushInterval time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Logger gets Pebble's messages; nil: none.
	Logger *slog.Logger

	memTableBytes uint64                // 0: defaultMemTableBytes; tests that want tables and compactions soon set less
	tune          func(*pebble.Options) // changes in a test what Pebble is opened with; nil: nothing
}

const (
	defaultCacheBytes    = 128 << 20
	defaultFlushBytes    = 64 << 20
	defaultFlushInterval = 30 * time.Second
)

// DB is an application instance's state. Its methods may be called concurrently; tasks and their stores
// belong to one goroutine at a time each.
type DB struct {
	dir    string
	opts   Options
	logger *slog.Logger
	gate   *gate
	pebble *pebble.DB

	cacheBytes  atomic.Int64 // in the caches of all tasks
	unflushed   atomic.Int64 // about how much of it is committed and not yet handed to the flusher
	flushing    atomic.Int64 // bytes handed to the flusher and not yet in Pebble
	openTasks   atomic.Int64
	poisoned    atomic.Bool // a panic left Pebble's locks in an unknown state
	flushTurn   chan struct{}
	background  sync.WaitGroup
	failed      chan struct{}
	failure     error // set before failed is closed
	failureOnce sync.Once
	closeOnce   sync.Once
	closeErr    error

	reads      sync.RWMutex // held for reading around each look at Pebble from outside of the tasks, until readsEnded
	readsEnded bool
	snapshotMu sync.Mutex
	snapshots  map[*snapshot]struct{} // whose iterators are open

	batchMu   sync.Mutex // held from a batch's numbering to its writing
	lastBatch uint64     // of Pebble; 0: it has none

	mu      sync.Mutex
	tasks   map[string]bool
	catalog map[storeName]uint32
	lastID  uint32
}

type storeName struct{ task, store string }

// Open opens the database in dir, or makes one. The directory is locked while it is open.
func Open(dir string, o Options) (*DB, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.FlushBytes == 0 {
		o.FlushBytes = defaultFlushBytes
	}
	o.FlushBytes = min(o.FlushBytes, o.CacheBytes/2)
	if o.FlushInterval == 0 {
		o.FlushInterval = defaultFlushInterval
	}
	if o.memTableBytes == 0 {
		o.memTableBytes = defaultMemTableBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	db := &DB{
		dir:       dir,
		opts:      o,
		logger:    o.Logger,
		flushTurn: make(chan struct{}, 1),
		failed:    make(chan struct{}),
		tasks:     make(map[string]bool),
		catalog:   make(map[storeName]uint32),
		snapshots: make(map[*snapshot]struct{}),
	}
	var err error
	if db.gate, err = newGate(o.FS, dir, db.fail); err != nil {
		return nil, fmt.Errorf("state: %s: %w", dir, err)
	}
	if err := db.open(); err != nil {
		db.fail(fmt.Errorf("open: %w", err)) // unless the gate has seen the cause, which Pebble may not pass on
		return nil, db.Close()
	}
	return db, nil
}

func (db *DB) open() (err error) {
	defer db.recovered(&err)
	if err := db.gate.MkdirAll(db.dir, 0o755); err != nil {
		return err
	}
	cache := pebble.NewCache(max(db.opts.CacheBytes, minPebbleBytes))
	defer cache.Unref() // Pebble holds its own reference
	if db.pebble, err = pebble.Open(db.dir, db.pebbleOptions(cache)); err != nil {
		// Pebble does not call it corruption when a table that the manifest names is missing or cut short.
		if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "object size mismatch") {
			return corruptError(err)
		}
		return err
	}
	if err := db.checkVersion(); err != nil {
		return err
	}
	if err := db.findMark(); err != nil {
		return err
	}
	if err := db.loadCatalog(); err != nil {
		return err
	}
	return db.Err() // Pebble has not heard of it
}

const (
	// minPebbleBytes leaves room for blocks: write buffers, and batches that wait to become a table, are taken
	// off the block cache.
	minPebbleBytes = 32 << 20
	// defaultMemTableBytes is the size of Pebble's write buffers. Batches of half of it and more do not go
	// through one: they are kept as they are until they are written as a table.
	defaultMemTableBytes = 8 << 20
	// maxMemTables bounds what waits to become a table, in memtables: about FlushBytes and half as much again.
	// Whoever writes more waits.
	maxMemTables = 12
	// bloomBits per key cost a look at one of a hundred tables in vain. The last level has no filter: it would
	// be larger than all others together, for keys that are mostly there.
	bloomBits = 10
	// tableBytes is small, since a table's filter is one block: it is read, and evicted, as a whole.
	tableBytes = 4 << 20
)

func (db *DB) pebbleOptions(cache *pebble.Cache) *pebble.Options {
	logger := pebbleLogger{db.logger, db.fail}
	o := &pebble.Options{
		FS:                          db.gate,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		Logger:                      logger,
		EventListener:               &pebble.EventListener{BackgroundError: logger.backgroundError, DataCorruption: logger.dataCorruption},
		MemTableSize:                db.opts.memTableBytes,
		MemTableStopWritesThreshold: maxMemTables,
		MaxOpenFiles:                500,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
		o.TargetFileSizes[i] = tableBytes
	}
	o.Levels[len(o.Levels)-1].FilterPolicy = pebble.NoFilterPolicy
	if db.opts.tune != nil {
		db.opts.tune(o)
	}
	return o
}

func (db *DB) checkVersion() error {
	v, closer, err := db.pebble.Get(versionKey())
	switch {
	case err == nil:
		defer func() { _ = closer.Close() }() // releases a block of the cache: it has no error to tell
		if len(v) != 1 || v[0] != layoutVersion {
			return fmt.Errorf("%w: layout %x, this program knows %d; move the directory away or delete it: "+
				"the stores will be restored from their changelogs", ErrVersion, v, layoutVersion)
		}
		return nil
	case !errors.Is(err, pebble.ErrNotFound):
		return err
	}
	it, err := db.pebble.NewIter(nil)
	if err != nil {
		return err
	}
	used := it.First()
	if err := it.Close(); err != nil {
		return err
	}
	if used {
		if err := db.findMark(); err != nil {
			return err
		}
		if db.lastBatch > 0 {
			return corruptError(errors.New("the manifest is damaged: the first batches are missing"))
		}
		return fmt.Errorf("%w: the directory holds a Pebble database that is not a Moldau state; choose another directory", ErrVersion)
	}
	b := db.pebble.NewBatch()
	if err := b.Set(versionKey(), []byte{layoutVersion}, nil); err != nil {
		return errors.Join(err, b.Close())
	}
	return db.apply(b)
}

// findMark finds out which batch was the last. A record of Pebble's manifest that cannot be read is taken for its
// end by Pebble: the tables it speaks of are gone then, while what is in the WAL, which is newer, is not. Nobody
// but the marks could tell.
func (db *DB) findMark() error {
	it, err := db.pebble.NewIter(&pebble.IterOptions{
		LowerBound: append(appendID(nil, metaID), kindMark),
		UpperBound: append(appendID(nil, metaID), kindMark+1),
	})
	if err != nil {
		return err
	}
	var last uint64
	for it.First(); it.Valid() && err == nil; it.Next() {
		number, ok := parseMark(it.Key())
		switch {
		case !ok:
			err = fmt.Errorf("%w: mark of a batch with a key of %d bytes", ErrCorrupt, len(it.Key()))
		case last > 0:
			err = corruptError(fmt.Errorf("the manifest is damaged: batch %d is there, and not all between it and batch %d are", number, last))
		default:
			last = number
		}
	}
	db.lastBatch = last
	return errors.Join(err, it.Error(), it.Close())
}

func (db *DB) loadCatalog() error {
	prefix := append(appendID(nil, metaID), kindID)
	it, err := db.pebble.NewIter(&pebble.IterOptions{
		LowerBound: prefix,
		UpperBound: append(appendID(nil, metaID), kindID+1),
	})
	if err != nil {
		return err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		var n storeName
		if n.task, n.store, err = parseCatalogKey(it.Key()[len(prefix):]); err != nil {
			break
		}
		if v := it.Value(); len(v) != idLen {
			err = fmt.Errorf("%w: id of store %s of task %s has %d bytes", ErrCorrupt, n.store, n.task, len(v))
		} else {
			id := binary.BigEndian.Uint32(v)
			db.catalog[n] = id
			db.lastID = max(db.lastID, id)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// storeID returns the store's id; a new store gets one.
func (db *DB) storeID(n storeName) (uint32, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if id, ok := db.catalog[n]; ok {
		return id, nil
	}
	if db.lastID >= maxID {
		return 0, fmt.Errorf("state: %s has no id left for store %s of task %s; delete the directory: the stores will be restored", db.dir, n.store, n.task)
	}
	id := db.lastID + 1
	b := db.pebble.NewBatch()
	if err := b.Set(catalogKey(n.task, n.store), appendID(nil, id), nil); err != nil {
		return 0, errors.Join(err, b.Close())
	}
	if err := db.apply(b); err != nil {
		return 0, err
	}
	db.catalog[n], db.lastID = id, id
	return id, nil
}

// Failed is closed when the database can no longer write; Err then says why. It happens once, and for good:
// the application must stop. Reads may go on failing or not.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Err returns the error that made the database fail, or nil. A full disk is recognised by
// errors.Is(err, syscall.ENOSPC).
func (db *DB) Err() error {
	select {
	case <-db.failed:
		return db.failure
	default:
		return nil
	}
}

// dbError is why a database is not written any more.
type dbError struct {
	dir string
	err error
}

func (e *dbError) Error() string { return fmt.Sprintf("state: %s: %v", e.dir, e.err) }
func (e *dbError) Unwrap() error { return e.err }

// fail stops all writing, with the first error it is called with.
func (db *DB) fail(err error) {
	db.failureOnce.Do(func() {
		db.failure = &dbError{db.dir, corrupt(err)}
		close(db.failed)
		db.gate.shut()
	})
}

// recovered makes an error of a panic of Pebble's, which may leave its locks behind.
func (db *DB) recovered(err *error) {
	if p := recover(); p != nil {
		db.poisoned.Store(true)
		*err = fatalError("panic: %v", []any{p})
		db.logger.Error("panic in Pebble", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		db.fail(*err)
	}
}

// apply writes the batch and takes it over. An error is the database's failure.
func (db *DB) apply(b *pebble.Batch) error {
	err := db.Err()
	if err == nil {
		err = db.write(b)
	}
	if err := errors.Join(err, b.Close()); err != nil {
		db.fail(fmt.Errorf("write batch: %w", err))
	}
	return db.Err()
}

func (db *DB) write(b *pebble.Batch) (err error) {
	defer db.recovered(&err)
	db.batchMu.Lock()
	defer db.batchMu.Unlock()
	number := db.lastBatch + 1
	if err := b.Set(markKey(number), nil, nil); err != nil {
		return err
	}
	if db.lastBatch > 0 {
		if err := b.Delete(markKey(db.lastBatch), nil); err != nil {
			return err
		}
	}
	if err := db.pebble.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	db.lastBatch = number
	return nil
}

// closePatience is how long Close waits for a Pebble that has failed in a way of its own.
const closePatience = time.Second

// Close ends the database. Flushes that were started are waited for, nothing else is flushed. It returns
// the error of a failed database, and does not hang on it. Tasks must be closed, or at least unused.
func (db *DB) Close() error {
	db.closeOnce.Do(func() { db.closeErr = db.close() })
	return db.closeErr
}

func (db *DB) close() error {
	closed := make(chan error, 1)
	go func() { closed <- db.closePebble() }()
	var err error
	select {
	case err = <-closed:
	case <-db.failed:
		select {
		case err = <-closed:
		case <-time.After(closePatience):
			err = errors.New("pebble does not close; it is left behind")
		}
	}
	if err != nil {
		err = fmt.Errorf("state: close %s: %w", db.dir, err)
	}
	if failure := db.Err(); failure != nil {
		err = failure // the rest is its consequence
	}
	return errors.Join(err, db.gate.unlock())
}

func (db *DB) closePebble() (err error) {
	db.background.Wait()
	if db.pebble == nil || db.poisoned.Load() {
		return nil
	}
	defer db.recovered(&err)
	return errors.Join(db.endReads(), db.pebble.Close())
}

// Task opens the named task's part, such as "word-count/3". A task is open once at a time.
func (db *DB) Task(name string) (*Task, error) {
	if len(name) > maxTaskName {
		return nil, fmt.Errorf("state: task name of %d bytes is longer than %d", len(name), maxTaskName)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.tasks[name] {
		return nil, fmt.Errorf("state: task %s is open already", name)
	}
	if err := db.Err(); err != nil {
		return nil, err
	}
	db.tasks[name] = true
	db.openTasks.Add(1)
	return &Task{db: db, name: name}, nil
}
