package wal_test

import (
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/wal"
)

func openBench(b *testing.B, opts wal.Options) *wal.WAL {
	b.Helper()
	w, err := wal.Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { mustClose(b, w) })
	return w
}

// BenchmarkAppend measures one synced batch of 256-byte records.
func BenchmarkAppend(b *testing.B) {
	for _, records := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			w := openBench(b, wal.Options{})
			sizes := make([]int, records)
			for i := range sizes {
				sizes[i] = 256
			}
			frames := batch(1, 0, sizes...)
			b.SetBytes(int64(records * 256))
			b.ReportAllocs()
			for next := uint64(1); b.Loop(); next += uint64(records) {
				mustAppend(b, w, next, frames)
			}
		})
	}
}

// BenchmarkGet measures reading one record of 256 bytes.
func BenchmarkGet(b *testing.B) {
	for name, cacheBytes := range map[string]int64{"cache": 0, "file": 1} {
		b.Run(name, func(b *testing.B) {
			w := openBench(b, wal.Options{CacheBytes: cacheBytes})
			const records = 10_000
			sizes := make([]int, records)
			for i := range sizes {
				sizes[i] = 256
			}
			mustAppend(b, w, 1, batch(1, 0, sizes...))
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				if _, err := w.Get(1 + i*7919%records); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
