package stream_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// podium is a store that has the best of those that were offered to it, in the rows of a key-value store: its keys are
// in the order of points, the most first.
type podium struct {
	rows *state.KeyValues[string, int64]
}

var (
	podiumRows = state.NewKeyValue("podium", serde.String, serde.Int64)
	best       = state.NewCustom(podiumRows, func(rows *state.KeyValues[string, int64]) podium { return podium{rows} })
)

// Offer tells of points that somebody has now, and reports whether that is among the best three.
func (p podium) Offer(name string, points int64) (ok bool, err error) {
	rank := func(points int64) string { return fmt.Sprintf("%020d %s", math.MaxInt64-points, name) }
	rows := 0
	for row, err := range p.rows.All() {
		if err != nil {
			return false, err
		}
		if strings.HasSuffix(row.Key, " "+name) {
			if err := p.rows.Delete(row.Key); err != nil {
				return false, err
			}
			continue
		}
		if rows++; rows == 3 { // the last, or it makes room
			if row.Key < rank(points) {
				return false, nil
			}
			if err := p.rows.Delete(row.Key); err != nil {
				return false, err
			}
		}
	}
	return true, p.rows.Put(rank(points), points)
}

// Best lists who is on it.
func (p podium) Best() (names []string, err error) {
	for row, err := range p.rows.All() {
		if err != nil {
			return nil, err
		}
		_, name, _ := strings.Cut(row.Key, " ")
		names = append(names, fmt.Sprint(name, " ", row.Value))
	}
	return names, nil
}

// A store of one's own has the changelog, the restores and the exactly-once semantics of the store that it is made of.
func ExampleStores_custom() {
	points := stream.NewTopic("points", serde.String, serde.Int64)
	news := stream.NewTopic("podium-news", serde.String, serde.String)

	b := stream.NewBuilder()
	stream.ProcessFunc(stream.From(b, points), func(ctx *stream.Context[string, string], r stream.Record[string, int64]) error {
		podium := stream.StoreIn(ctx, best)
		ok, err := podium.Offer(r.Key, r.Value)
		if err != nil || !ok {
			return err
		}
		names, err := podium.Best()
		if err != nil {
			return err
		}
		return ctx.Forward(stream.Record[string, string]{Key: r.Key, Value: strings.Join(names, ", "), Timestamp: r.Timestamp})
	}, stream.Stores(best)).To(news)
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	drive(func(t testing.TB) {
		d := streamtest.New(t, topology)
		in, out := streamtest.Input(d, points), streamtest.Output(d, news)
		in.Pipe("ann", 3, 0)
		in.Pipe("ben", 5, 0)
		in.Pipe("cleo", 4, 0)
		_ = d.Commit()
		in.Pipe("dan", 1, 0)
		in.Pipe("ann", 9, 0)
		d.Restart() // what was not committed is done again
		in.Pipe("eve", 6, 0)
		for _, r := range out.All() {
			fmt.Println(r.Value)
		}
	})
	// Output:
	// ann 3
	// ben 5, ann 3
	// ben 5, cleo 4, ann 3
	// ann 9, ben 5, cleo 4
	// ann 9, eve 6, ben 5
}
