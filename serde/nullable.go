package serde

import "fmt"

// Nullable makes s's type one that has a nil, so that functions of a topology see Kafka's null as they do
// in Kafka Streams: null is a nil pointer. Each decoded value is a fresh one. As with every serde, null
// itself never reaches the result; a nil pointer that does is an error.
//
// If s is bound to a topic (TopicBinder), so is the result.
func Nullable[T any](s Serde[T]) Serde[*T] {
	if _, ok := s.(TopicBinder[T]); ok {
		return nullableBinder[T]{nullable[T]{s}}
	}
	return nullable[T]{s}
}

type nullable[T any] struct{ of Serde[T] }

func (n nullable[T]) Append(dst []byte, v *T) ([]byte, error) {
	if v == nil {
		return dst, fmt.Errorf("serde: Nullable: %w", errNull)
	}
	return n.of.Append(dst, *v)
}

func (n nullable[T]) Decode(b []byte) (*T, error) {
	v, err := n.of.Decode(b)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

type nullableBinder[T any] struct{ nullable[T] }

func (n nullableBinder[T]) ForTopic(topic string, isKey bool) (Serde[*T], error) {
	s, err := Bind(n.of, topic, isKey)
	if err != nil {
		return nil, err
	}
	return Nullable(s), nil
}
