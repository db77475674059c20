package conformance_test

import (
	"strings"

	"github.com/moldau-io/moldau/stream"
)

func globalTable(b *stream.Builder, name string) *stream.GlobalTable[S, S] {
	return stream.GlobalTableFrom(b, topic(name))
}

// byFirst is the first character of the value, or null if it is null or begins with n.
func byFirst(_, v S) (S, bool) {
	if v == nil || strings.HasPrefix(*v, "n") {
		return nil, false
	}
	return new((*v)[:1]), true
}

func keyItself(k, _ S) (S, bool) { return k, true }

// Joins of a stream and a global table.
var globalScenarios = map[string]scenario{
	"stream_global_inner": {out: output, stores: isText, build: func(b *stream.Builder) {
		stream.JoinGlobal(from(b, "left"), globalTable(b, "right").As(store), byFirst, pair).To(topic("output"))
	}},
	"stream_global_left": {out: output, stores: isText, build: func(b *stream.Builder) {
		stream.LeftJoinGlobal(from(b, "left"), globalTable(b, "right").As(store), byFirst, pairLeft).To(topic("output"))
	}},
	"stream_global_left_by_key": {out: output, build: func(b *stream.Builder) {
		stream.LeftJoinGlobal(from(b, "left"), globalTable(b, "right"), keyItself, pairLeft).To(topic("output"))
	}},
	"null_key_stream_global_inner": {out: output, build: func(b *stream.Builder) {
		stream.JoinGlobal(from(b, "left"), globalTable(b, "right"), keyItself, pair).To(topic("output"))
	}},
}
