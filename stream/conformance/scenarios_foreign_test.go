package conformance_test

import (
	"github.com/moldau-io/moldau/stream"
)

// foreignKey is FK: the first character, or none if that is "-".
func foreignKey(_, v S) (S, bool) {
	if v == nil || (*v)[0] == '-' {
		return nil, false
	}
	return new((*v)[:1]), true
}

func innerForeign(l, r texts) texts { return stream.JoinForeign(l, r, foreignKey, pair) }
func leftForeign(l, r texts) texts  { return stream.LeftJoinForeign(l, r, foreignKey, pairLeft) }

var foreignScenarios = map[string]scenario{
	"fk_inner":                kept(ofTables(innerForeign)),
	"fk_left":                 kept(ofTables(leftForeign)),
	"fk_inner_unmaterialized": unkept(ofTables(innerForeign)),
	"fk_left_unmaterialized":  unkept(ofTables(leftForeign)),
	"fk_inner_by_key": kept(ofTables(func(l, r texts) texts {
		return stream.JoinForeign(l, r, func(k, v S) (S, bool) {
			if even(k, v) {
				return new((*k)[:1]), true
			}
			return new("c"), true
		}, pair)
	})),
	"fk_inner_group_by": {out: output, stores: isText, build: func(b *stream.Builder) {
		joined := ofTables(innerForeign)(b).With(str, str)
		out(aggregated(stream.GroupTable(joined, func(k, v S) (S, S) {
			fk, _ := foreignKey(k, v)
			return fk, k
		}).With(str, str)).As(store), "output")
	}},
	"fk_inner_versioned": joinOfPasts(innerForeign),
	"fk_chain": kept(func(b *stream.Builder) texts {
		l, r, third := threeTables(b)
		lastDigit := func(_, v S) (S, bool) { return new((*v)[len(*v)-1:]), true }
		return stream.LeftJoinForeign(innerForeign(l, r).With(str, str), third, lastDigit, pairLeft)
	}),
}
