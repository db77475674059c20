package conformance_test

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/stream"
	"github.com/moldau-io/moldau/stream/streamtest"
)

// picky decodes nothing that begins with "!".
type picky struct{ serde.Serde[S] }

func (p picky) Decode(b []byte) (S, error) {
	if bytes.HasPrefix(b, []byte("!")) {
		return nil, fmt.Errorf("%q begins with an exclamation mark", b)
	}
	return p.Serde.Decode(b)
}

func pickyInput() stream.Topic[S, S] { return stream.NewTopic[S, S]("input", picky{str}, picky{str}) }

var (
	skipsUndecodable = stream.Config{OnDeserializationError: stream.Always(stream.Skip)}
	skipsFailed      = stream.Config{OnProcessingError: stream.Always(stream.Skip)}
)

// handlers are the scenario's, for the test driver.
func (sc scenario) handlers() []streamtest.Option {
	return []streamtest.Option{
		streamtest.OnDeserializationError(sc.config.OnDeserializationError),
		streamtest.OnProcessingError(sc.config.OnProcessingError),
	}
}

// Records that fail, and handlers that go on without them.
var errorScenarios = map[string]scenario{
	"deserialization_log_and_continue": {out: output, stores: isCount, config: skipsUndecodable, build: func(b *stream.Builder) {
		out(stream.GroupByKey(stream.From(b, pickyInput())).Count().As(counts), "output")
	}},
	"deserialization_table_log_and_continue": {out: output, stores: isText, config: skipsUndecodable, build: func(b *stream.Builder) {
		out(stream.TableFrom(b, pickyInput()).As(store), "output")
	}},
	"processing_log_and_continue": {out: output, stores: isText, config: skipsFailed, build: func(b *stream.Builder) {
		mapped := stream.MapValues(input(b), func(v S) S {
			if v == nil || strings.HasSuffix(*v, "7") {
				panic("null, or ends in 7")
			}
			return new(*v + "m")
		})
		out(stream.Aggregate(stream.GroupByKey(mapped).With(str, str), zero, func(k, v, agg S) S {
			if strings.HasSuffix(*v, "3m") {
				panic("ends in 3m")
			}
			return add(k, v, agg)
		}).As(store), "output")
	}},
}
