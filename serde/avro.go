package serde

import (
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/hamba/avro/v2"
)

// avroConfig bounds what a few hostile bytes can make the decoder allocate. Strings and byte slices are
// bounded to 1 MiB each by the library's default, which is that of a record.
var avroConfig = avro.Config{MaxSliceAllocSize: 1 << 20}.Freeze()

// Avro encodes values in Avro's binary form with the given schema, and nothing around it: no header, no
// schema id. Whoever reads must know the schema. T is a struct with `avro` tags, or whatever
// github.com/hamba/avro/v2 maps the schema to.
//
// A schema that cannot be parsed is an error when an application that uses the serde starts, and of every
// call before.
func Avro[T any](schema string) Serde[T] {
	parsed, err := avro.Parse(schema)
	if err != nil {
		err = fmt.Errorf("avro schema for %s: %w", reflect.TypeFor[T](), err)
	}
	return &avroSerde[T]{schema: parsed, err: err}
}

type avroSerde[T any] struct {
	schema avro.Schema
	err    error // of the schema
}

func (s *avroSerde[T]) ForTopic(string, bool) (Serde[T], error) {
	if s.err != nil {
		return nil, s.err
	}
	return s, nil
}

func (s *avroSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	if s.err != nil {
		return dst, s.err
	}
	b, err := avroConfig.Marshal(s.schema, v)
	if err != nil {
		return dst, fmt.Errorf("avro: %w", err)
	}
	return append(dst, b...), nil
}

func (s *avroSerde[T]) Decode(b []byte) (v T, err error) {
	if s.err != nil {
		return v, s.err
	}
	// An empty reader after b, since a Reader at its end asks for more.
	r := avro.NewReader(emptyReader{}, 0, avro.WithReaderConfig(avroConfig)).Reset(b)
	r.ReadVal(s.schema, &v)
	if r.Error != nil && !errors.Is(r.Error, io.EOF) {
		return v, fmt.Errorf("avro: %w", r.Error)
	}
	if r.Error != nil {
		return v, fmt.Errorf("avro: %d bytes are too few for the schema", len(b))
	}
	if r.Peek(); r.Error == nil {
		return v, errors.New("avro: bytes are left over after the value")
	}
	return v, nil
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }
