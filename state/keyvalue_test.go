package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/moldau-io/moldau/serde"
)

func openDB(t testing.TB, o Options) *DB {
	t.Helper()
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	db, err := Open("state", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openTask(t testing.TB, db *DB, name string) *Task {
	t.Helper()
	task, err := db.Task(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := task.Close(); err != nil {
			t.Error(err)
		}
	})
	return task
}

func openStore[V any](t testing.TB, task *Task, name string, v serde.Serde[V]) *KeyValueStore[string, V] {
	t.Helper()
	s, err := OpenKeyValue(task, name, serde.String, v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put[V any](t testing.TB, s *KeyValueStore[string, V], k string, v V) {
	t.Helper()
	if err := s.Put(k, v, 1); err != nil {
		t.Fatal(err)
	}
}

func get[V any](t testing.TB, s *KeyValueStore[string, V], k string) Value[V] {
	t.Helper()
	v, err := s.Get(k)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// begin starts the task's next epoch.
func begin(task *Task) { task.BeginEpoch(task.last + 1) }

// The demand of the hot path: a known key costs no allocation, over several epochs.
func TestKnownKeysAllocateNothing(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s := openStore(t, task, "counts", serde.Int64)
	keys := words(1000)
	epoch := func() {
		begin(task)
		for _, k := range keys {
			add(t, s, k, 1)
			if v, err := s.Get(k); err != nil || !v.OK {
				t.Fatal(v, err)
			}
		}
		task.CommitEpoch()
	}
	epoch()
	epoch()
	if n := testing.AllocsPerRun(10, epoch); n != 0 {
		t.Errorf("%v allocations in an epoch of %d keys", n, len(keys))
	}
	if v := get(t, s, keys[0]); v.V < 3 {
		t.Errorf("the count is %d", v.V)
	}
}

// Encoded values are put without allocation too; reading one costs its decoding.
func TestEncodedPutAllocatesNothing(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s := openStore(t, task, "bytes", serde.Bytes)
	value := []byte("a value")
	epoch := func() {
		begin(task)
		put(t, s, "k", value)
		task.CommitEpoch()
	}
	epoch()
	epoch()
	if n := testing.AllocsPerRun(10, epoch); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a function does to a value it was given, or gave, changes nothing in the store: not the current
// value, not the one before the epoch, not what an abort brings back.
func TestValuesMayBeMutated(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s := openStore(t, task, "carts", serde.JSON[map[string]int]())
	begin(task)
	put(t, s, "ann", map[string]int{"apple": 1})
	task.CommitEpoch()

	begin(task)
	e, err := s.Entry("ann")
	if err != nil {
		t.Fatal(err)
	}
	cart, err := e.Get()
	if err != nil {
		t.Fatal(err)
	}
	cart.V["pear"] = 2 // an aggregator that changes its map in place
	if err := e.Put(cart.V, 2); err != nil {
		t.Fatal(err)
	}
	cart.V["plum"] = 3
	check := func(what string, got Value[map[string]int], want string) {
		t.Helper()
		if fmt.Sprint(got.V) != want {
			t.Errorf("%s is %v, want %s", what, got.V, want)
		}
		got.V["mutated"] = 1
	}
	for range 2 {
		check("current", get(t, s, "ann"), "map[apple:1 pear:2]")
		if err := s.EachTouched(func(k string, now, before Value[map[string]int]) error {
			check("now", now, "map[apple:1 pear:2]")
			check("before", before, "map[apple:1]")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	task.AbortEpoch()
	for range 2 {
		check("after an abort", get(t, s, "ann"), "map[apple:1]")
	}
}

// The cache keeps no part of what it was given: a key or value of a fetched batch would keep all of it.
func TestCachePinsNothing(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s := openStore(t, task, "names", serde.String)
	fetched := []byte("key value")
	k, _ := serde.String.Decode(fetched[:3])
	v, _ := serde.String.Decode(fetched[4:])
	begin(task)
	put(t, s, k, v)
	got := get(t, s, "key")
	if got.V != "value" || unsafe.StringData(got.V) == unsafe.StringData(v) {
		t.Error("the value aliases the batch it came from")
	}
	copy(fetched, "xxx xxxxx")
	if got := get(t, s, "key"); got.V != "value" {
		t.Errorf("the value became %q", got.V)
	}
}

// A type that its serde calls immutable, but that holds pointers, is kept encoded: it could not be counted.
type immutable struct{ serde.Serde[[]string] }

func (immutable) SharesNothing() bool { return true }

type label string

type labels struct{}

func (labels) Append(dst []byte, v label) ([]byte, error) { return append(dst, v...), nil }
func (labels) Decode(b []byte) (label, error)             { return label(b), nil }

func TestWhichValuesAreLive(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	if s := openStore(t, task, "int64", serde.Int64); s.live == nil {
		t.Error("an int64 is kept encoded")
	}
	if s := openStore(t, task, "struct", serde.JSON[struct{ A, B [2]int64 }]()); s.live == nil {
		t.Error("a struct of numbers is kept encoded")
	}
	if s := openStore(t, task, "string", serde.String); s.live == nil {
		t.Error("a string is kept encoded")
	}
	s := openStore(t, task, "label", serde.Serde[label](labels{}))
	if s.live == nil {
		t.Error("a type defined as string is kept encoded")
	}
	begin(task)
	put(t, s, "k", "a label")
	if got := get(t, s, "k"); got.V != "a label" {
		t.Errorf("the label is %q", got.V)
	}
	task.CommitEpoch()
	if s := openStore(t, task, "slice", serde.Serde[[]string](immutable{serde.JSON[[]string]()})); s.live != nil {
		t.Error("a slice is kept live")
	}
	if s := openStore(t, task, "nullable", serde.Nullable(serde.Int64)); s.live != nil {
		t.Error("a pointer is kept live")
	}
}

// A value that cannot be encoded leaves the one before alone, and the key untouched.
func TestFailedPutChangesNothing(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s := openStore(t, task, "any", serde.JSON[[]any]())
	begin(task)
	put(t, s, "k", []any{"good"})
	task.CommitEpoch()
	begin(task)
	err := s.Put("k", []any{"long enough to overwrite it", func() {}}, 1)
	if err == nil || !strings.Contains(err.Error(), "store any of task app/0: encode value") {
		t.Errorf("put of a function: %v", err)
	}
	if got := get(t, s, "k"); fmt.Sprint(got.V) != "[good]" || s.Touched() != 0 {
		t.Errorf("the value is %v, touched %d", got.V, s.Touched())
	}
}

// A live value that cannot be encoded is found when the changes are appended; the epoch can be aborted.
func TestLiveValueThatCannotBeEncoded(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s := openStore(t, task, "floats", serde.JSON[float64]())
	begin(task)
	zero := 0.0
	put(t, s, "k", zero/zero)
	var c changelog
	if err := s.AppendChanges(&c); err == nil || !strings.Contains(err.Error(), "store floats of task app/0: append changes") {
		t.Errorf("append changes: %v", err)
	}
	task.AbortEpoch()
	if v := get(t, s, "k"); v.OK {
		t.Errorf("after an abort: %+v", v)
	}
}

func TestEachTouched(t *testing.T) {
	task := openTask(t, openDB(t, Options{}), "app/0")
	s := openStore(t, task, "counts", serde.Int64)
	begin(task)
	put(t, s, "b", 1)
	put(t, s, "a", 1)
	put(t, s, "b", 2)
	var seen []string
	touch := func(k string, now, before Value[int64]) error {
		seen = append(seen, fmt.Sprintf("%s %d", k, now.V))
		if k == "a" { // a cycle comes back to the store
			put(t, s, "c", 3)
		}
		return nil
	}
	if err := s.EachTouched(touch); err != nil {
		t.Fatal(err)
	}
	if want := []string{"b 2", "a 1", "c 3"}; !slices.Equal(seen, want) {
		t.Errorf("touched %q, want %q", seen, want)
	}
	stop := errors.New("stop")
	if err := s.EachTouched(func(string, Value[int64], Value[int64]) error { return stop }); err != stop {
		t.Errorf("the error of yield came back as %v", err)
	}
	task.CommitEpoch()
	if n := s.Touched(); n != 0 {
		t.Errorf("%d keys are touched after the commit", n)
	}
}

func TestMisuse(t *testing.T) {
	db := openDB(t, Options{})
	task := openTask(t, db, "app/0")
	s := openStore(t, task, "counts", serde.Int64)
	fails := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	fails(s.Put("k", 1, 1), "no epoch is open")
	fails(s.Delete("k", 1), "no epoch is open")
	_, err := db.Task("app/0")
	fails(err, "task app/0 is open already")
	_, err = db.Task(strings.Repeat("x", maxTaskName+1))
	fails(err, "longer than 65535")
	_, err = OpenKeyValue(task, "counts", serde.String, serde.Int64)
	fails(err, "store counts of task app/0 is open already")
	begin(task)
	_, err = OpenKeyValue(task, "other", serde.String, serde.Int64)
	fails(err, "within epoch 1")
	fails(task.StartFlush(), "within epoch 1")
	fails(s.Discard(), "epoch 1 is open")
	fails(s.Restore([]byte("k"), []byte("12345678"), 1), "epoch 1 is open")
	fails(s.Restored(Position{}), "epoch 1 is open")
	put(t, s, "k", 1)
	task.CommitEpoch()
	fails(s.Restore([]byte("k"), []byte("12345678"), 1), "1 keys wait to be flushed")
	for name, f := range map[string]func(){
		"an epoch that is not greater": func() { task.BeginEpoch(1) },
		"a commit without an epoch":    func() { task.CommitEpoch() },
		"an epoch in an epoch":         func() { task.BeginEpoch(5); defer task.AbortEpoch(); task.BeginEpoch(6) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s passes", name)
				}
			}()
			f()
		}()
	}
	task.AbortEpoch() // without one, it does nothing
}

// Rows that cannot be decoded are an error of the read that names them; other keys go on.
func TestCorruptRow(t *testing.T) {
	fs := vfs.NewMem()
	db := openDB(t, Options{FS: fs})
	task := openTask(t, db, "app/0")
	s := openStore(t, task, "counts", serde.Int64)
	for key, row := range map[string]string{"no timestamp": "1234", "no value": "\x00\x00\x00\x00\x00\x00\x00\x01" + "1234", "good": "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x05"} {
		if err := db.pebble.Set(append(appendID(nil, s.id), key...), []byte(row), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	s.live.complete = false
	if _, err := s.Get("no timestamp"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "store counts of task app/0: read: key 6e6f2074696d657374616d70") {
		t.Errorf("a row without a timestamp: %v", err)
	}
	if _, err := s.Get("no value"); err == nil || !strings.Contains(err.Error(), "Int64 takes 8 bytes, got 4") {
		t.Errorf("a row with a short value: %v", err)
	}
	if _, err := s.Get("no value"); err == nil {
		t.Error("the second read of it passes")
	}
	if v := get(t, s, "good"); v.V != 5 || v.Timestamp != 1 {
		t.Errorf("the good row is %+v", v)
	}
	var last error
	rows := 0
	for _, err := range s.All() {
		last = err
		rows++
	}
	if last == nil || rows != 2 {
		t.Errorf("a scan ends with %v after %d steps; want the good row and an error", last, rows)
	}
}

func Example() {
	db, err := Open("state", Options{FS: vfs.NewMem()})
	if err != nil {
		panic(err)
	}
	task, err := db.Task("word-count/0")
	if err != nil {
		panic(err)
	}
	counts, err := OpenKeyValue(task, "counts", serde.String, serde.Int64)
	if err != nil {
		panic(err)
	}
	count := func(word string) {
		e, err := counts.Entry(word)
		if err != nil {
			panic(err)
		}
		n, err := e.Get()
		if err != nil {
			panic(err)
		}
		if err := e.Put(n.V+1, 1000); err != nil {
			panic(err)
		}
	}
	task.BeginEpoch(1)
	count("vltava")
	count("vltava")
	task.CommitEpoch()
	task.BeginEpoch(2)
	count("vltava")
	count("moldau")
	task.AbortEpoch()
	for row, err := range counts.All() {
		fmt.Println(row.Key, row.Value, err)
	}
	if err := errors.Join(task.Close(), db.Close()); err != nil {
		panic(err)
	}
	// Output: vltava 2 <nil>
}
