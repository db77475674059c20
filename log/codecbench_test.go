package log

import (
	"fmt"
	"testing"
)

// benchRecords are n records of keySize and valueSize bytes; size 0 is null. Times ascend by a millisecond now
// and then.
func benchBlock(n, keySize, valueSize int) *Block {
	b := new(Block)
	data := text(1 << 20)
	for i := range n {
		var key, value []byte
		if keySize > 0 {
			key = data[i*7%(1<<19):][:keySize]
		}
		if valueSize > 0 {
			value = data[i*13%(1<<19):][:valueSize]
		}
		b.Append(1_700_000_000_000+int64(i/20), key, value, nil)
	}
	return b
}

var benchShapes = []struct{ keySize, valueSize int }{{0, 100}, {8, 8}, {0, 10}, {16, 1000}}

// perRecord reports time and size by record, which is what the figures in the documents are.
func perRecord(b *testing.B, records, bytes int) {
	b.SetBytes(int64(bytes))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
	b.ReportMetric(float64(bytes)/float64(records), "bytes/record")
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range allCompressions {
		for _, shape := range benchShapes {
			b.Run(fmt.Sprintf("%v/key=%d/value=%d", c, shape.keySize, shape.valueSize), func(b *testing.B) {
				n := (1 << 20) / (shape.keySize + shape.valueSize + 8)
				block := benchBlock(n, shape.keySize, shape.valueSize)
				var dst []byte
				for b.Loop() {
					var err error
					if dst, err = appendBatch(dst[:0], block, 0, n, c, noProducer); err != nil {
						b.Fatal(err)
					}
				}
				perRecord(b, n, len(dst))
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range allCompressions {
		for _, shape := range benchShapes {
			b.Run(fmt.Sprintf("%v/key=%d/value=%d", c, shape.keySize, shape.valueSize), func(b *testing.B) {
				n := (1 << 20) / (shape.keySize + shape.valueSize + 8)
				buf, err := appendBatch(nil, benchBlock(n, shape.keySize, shape.valueSize), 0, n, c, noProducer)
				if err != nil {
					b.Fatal(err)
				}
				dst := make([]Record, 256)
				for b.Loop() {
					cursor, read := newCursor(buf, 0, int64(n), nil), 0
					for {
						k, err := cursor.Next(dst)
						if err != nil {
							b.Fatal(err)
						}
						if k == 0 {
							break
						}
						read += k
					}
					if read != n {
						b.Fatalf("%d records of %d", read, n)
					}
				}
				perRecord(b, n, len(buf))
			})
		}
	}
}

func BenchmarkFit(b *testing.B) {
	block := benchBlock(10_000, 0, 100)
	for b.Loop() {
		if to := block.fit(0, 900_000); to < 8000 || to > 9000 {
			b.Fatal(to)
		}
	}
	perRecord(b, 8500, 900_000)
}

func BenchmarkCRC(b *testing.B) {
	batch := mustEncode(b, variedRecords(8000), CompressionNone, noProducer, 0)
	for b.Loop() {
		if err := checkBatchCRC(batch); err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b, 8000, len(batch))
}
