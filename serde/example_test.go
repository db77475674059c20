package serde_test

import (
	"fmt"

	"github.com/moldau-io/moldau/serde"
)

func ExampleSerde() {
	b, _ := serde.Int64.Append(nil, 258) // as Kafka's LongSerializer
	fmt.Printf("%x\n", b)
	_, err := serde.Int64.Decode(b[:7])
	fmt.Println(err)
	// Output:
	// 0000000000000102
	// serde: Int64 takes 8 bytes, got 7
}

func ExampleFor() {
	s, ok := serde.For[string]()
	b, _ := s.Append([]byte("topic/"), "word")
	fmt.Println(ok, string(b))
	_, ok = serde.For[map[string]int]()
	fmt.Println(ok)
	// Output:
	// true topic/word
	// false
}

func ExampleJSON() {
	type order struct {
		ID    string `json:"id"`
		Cents int64  `json:"cents"`
	}
	orders := serde.JSON[order]()
	b, _ := orders.Append(nil, order{"o-1", 1250})
	fmt.Println(string(b))
	o, _ := orders.Decode([]byte(`{"id":"o-2","cents":99}`))
	fmt.Println(o.ID, o.Cents)
	// Output:
	// {"id":"o-1","cents":1250}
	// o-2 99
}

func ExampleNullable() {
	s := serde.Nullable(serde.Int64)
	n := int64(7)
	b, _ := s.Append(nil, &n)
	v, _ := s.Decode(b)
	fmt.Println(*v)
	// Output: 7
}
