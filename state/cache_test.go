package state

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/moldau-io/moldau/serde"
)

func int64Cache(complete bool) *cache[int64] {
	return newCache(codec[int64]{load: serde.Int64.Decode, append: serde.Int64.Append}, complete)
}

// set puts a committed value as an epoch would.
func (c *cache[P]) set(key []byte, p P) {
	h := c.hash(key)
	i, ok := c.find(key, h)
	if !ok {
		i = c.add(key, h)
	}
	e := c.touch(i)
	e.current = p
	e.flags |= currentThere
}

// The table beside a map, through growth, evictions of what is clean, and rebuilds. Keys are long and short,
// and many share their first eight bytes.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := int64Cache(true)
		want := map[string]int64{}   // what was ever put
		flushed := map[string]bool{} // of it, what may be evicted
		n := uint64(0)
		key := func(i int) []byte {
			k := fmt.Sprintf("%d", i)
			if i%3 == 0 {
				k = fmt.Sprintf("a long common prefix %d", i)
			}
			if i%50 == 0 {
				k += string(make([]byte, 2000))
			}
			return []byte(k)
		}
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			n++
			c.begin(n)
			from, count := rapid.IntRange(0, 3000).Draw(t, "from"), rapid.IntRange(0, 2000).Draw(t, "count")
			for i := from; i < from+count; i++ {
				c.set(key(i), int64(n))
				want[string(key(i))] = int64(n)
				delete(flushed, string(key(i)))
			}
			c.commit()
			if rapid.Bool().Draw(t, "flush") {
				r := &rows{}
				if err := c.gather(r); err != nil {
					t.Fatal(err)
				}
				for _, ref := range r.refs {
					k := string(r.key(ref))
					if v := binary.BigEndian.Uint64(r.arena[ref.start+len(k)+timestampLen:]); int64(v) != want[k] || flushed[k] {
						t.Fatalf("flush has %q=%d, want %d", k, v, want[k])
					}
					flushed[k] = true
				}
				if len(flushed) != len(want) {
					t.Fatalf("%d of %d keys flushed", len(flushed), len(want))
				}
				c.handedOver(uint32(n))
			}
			if rapid.Bool().Draw(t, "evict") {
				size := c.size()
				aim := rapid.Int64Range(0, 300_000).Draw(t, "bytes")
				freed := c.evict(aim, uint32(n))
				if freed != size-c.size() {
					t.Fatalf("evict says %d bytes are freed, of %d %d are left", freed, size, c.size())
				}
				if over := int64(3000); freed > aim+over {
					t.Fatalf("asked to free %d bytes, evict freed %d", aim, freed)
				}
				if freed < aim && len(flushed) > 0 && c.dirtyCount() < c.liveCount() {
					t.Fatalf("asked to free %d bytes, evict freed %d; %d of %d entries are dirty", aim, freed, c.dirtyCount(), c.liveCount())
				}
			}
			for k, v := range want {
				i, ok := c.find([]byte(k), c.hash([]byte(k)))
				if !ok && (!flushed[k] || c.complete) {
					t.Fatalf("%q is lost", k)
				}
				if !ok {
					continue
				}
				if e := c.at(i); e.current != v || e.flags&currentThere == 0 || string(c.key(e)) != k {
					t.Fatalf("%q is %d, want %d", k, e.current, v)
				}
			}
			if used := c.liveCount() + len(c.free); used != int(c.used) {
				t.Fatalf("%d entries live or free, %d handed out", used, c.used)
			}
			if c.deadKeys > 2*maxChunk && c.deadKeys > c.keyBytes {
				t.Fatalf("%d bytes of keys of evicted entries, %d of others", c.deadKeys, c.keyBytes)
			}
		}
	})
}

// Keys are told apart when their hashes and their first eight bytes are the same.
func TestCacheCollisions(t *testing.T) {
	keys := []string{"", "\x00", "a", "a\x00", "a\x00\x00", "12345678", "12345678\x00", "12345678a", "12345678b"}
	c := int64Cache(true)
	const hash = 7
	var numbers []uint32
	for _, k := range keys {
		if i, ok := c.find([]byte(k), hash); ok {
			t.Fatalf("%q was found as %q", k, c.key(c.at(i)))
		}
		numbers = append(numbers, c.add([]byte(k), hash))
	}
	for n, k := range keys {
		if i, ok := c.find([]byte(k), hash); !ok || i != numbers[n] {
			t.Fatalf("%q is %d, %v; want %d", k, i, ok, numbers[n])
		}
	}
}

// Keys may be aliased by what was decoded from them, whatever happens to their entries.
func TestCacheKeysAreNeverRewritten(t *testing.T) {
	c := int64Cache(true)
	var keys [][]byte
	for round := range 50 {
		c.begin(uint64(round + 1))
		for i := range 500 {
			c.set(fmt.Appendf(nil, "round %d key %d", round, i), 1)
		}
		for _, i := range c.touched {
			keys = append(keys, c.key(c.at(i)))
		}
		c.commit()
		c.handedOver(uint32(round + 1))
		c.evict(1<<40, uint32(round+1))
	}
	for n, k := range keys {
		if want := fmt.Sprintf("round %d key %d", n/500, n%500); string(k) != want {
			t.Fatalf("key %q became %q", want, k)
		}
	}
	held := 0
	for _, chunk := range c.chunks {
		held += cap(chunk)
	}
	if held > 3*maxChunk {
		t.Errorf("the keys of no entries hold %d bytes", held)
	}
}

// An entry that was used since the hand passed outlives one that was not.
func TestCacheEvictsTheUnused(t *testing.T) {
	c := int64Cache(true)
	c.begin(1)
	for i := range 1000 {
		c.set(fmt.Appendf(nil, "%d", i), 1)
	}
	c.commit()
	c.handedOver(1)
	c.evict(1, 1) // takes all marks, and one entry
	var hot []string
	for i := 0; i < 1000; i += 10 {
		k := fmt.Sprint(i)
		if _, ok := c.find([]byte(k), c.hash([]byte(k))); ok {
			hot = append(hot, k)
		}
	}
	c.evict(c.size()/2, 1)
	if c.complete {
		t.Error("a cache that has evicted rows says it has them all")
	}
	for _, k := range hot {
		if _, ok := c.find([]byte(k), c.hash([]byte(k))); !ok {
			t.Errorf("%s was used and is gone, of %d entries %d are left", k, 1000, c.live)
		}
	}
}

// Nothing is evicted that Pebble does not have.
func TestCacheEvictsNoDirtyEntry(t *testing.T) {
	c := int64Cache(true)
	c.begin(1)
	c.set([]byte("in flight"), 1)
	c.commit()
	c.handedOver(1)
	c.begin(2)
	c.set([]byte("dirty"), 1)
	c.commit()
	c.evict(1<<40, 0)
	if c.live != 2 {
		t.Errorf("%d entries are left, want both", c.live)
	}
	c.evict(1<<40, 1)
	if _, ok := c.find([]byte("dirty"), c.hash([]byte("dirty"))); !ok || c.live != 1 {
		t.Errorf("dirty is there: %v; entries left: %d", ok, c.live)
	}
}

func TestRowsSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &rows{}
		var want []string
		for range rapid.IntRange(0, 50).Draw(t, "n") {
			k := string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 255}), 0, 11).Draw(t, "key"))
			r.delete([]byte(k))
			want = append(want, k)
		}
		r.sort()
		slices.Sort(want)
		for i, ref := range r.refs {
			if got := string(r.key(ref)); got != want[i] {
				t.Fatalf("row %d is %q, want %q", i, got, want[i])
			}
			if i > 0 && want[i] == want[i-1] && ref.start < r.refs[i-1].start {
				t.Fatalf("rows of key %q are out of order", want[i])
			}
		}
	})
}
