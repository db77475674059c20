package stream

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The vectors are those of Kafka's own test of its hash (UtilsTest.testMurmur2).
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("%q hashes to %d, want %d", key, got, want)
		}
	}
}

// A foreign client must find a key where we put it.
func TestKeyPartitionIsThatOfFranzGo(t *testing.T) {
	p := kgo.StickyKeyPartitioner(nil).ForTopic("x")
	for n := 1; n < 40; n++ {
		for i := range 200 {
			key := fmt.Append(nil, "key-", i*i)
			if got, want := keyPartition(key, int32(n)), p.Partition(&kgo.Record{Key: key}, n); int(got) != want {
				t.Fatalf("%s of %d partitions: %d, franz-go says %d", key, n, got, want)
			}
		}
	}
}
