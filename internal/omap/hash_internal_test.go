package omap

import (
	"fmt"
	"hash/fnv"
	"testing"
)

// BenchmarkHash compares the map's hash with the FNV-1a that small maps are
// often given, on keys of 16 and of 64 bytes.
func BenchmarkHash(b *testing.B) {
	for _, key := range []string{"key-000000001234", fmt.Sprintf("%064d", 1)} {
		b.Run(fmt.Sprintf("runtime/len=%d", len(key)), func(b *testing.B) {
			for b.Loop() {
				hashOf(key)
			}
		})
		b.Run(fmt.Sprintf("fnv-1a/len=%d", len(key)), func(b *testing.B) {
			bytes, h := []byte(key), fnv.New64a()
			for b.Loop() {
				h.Reset()
				h.Write(bytes)
				h.Sum64()
			}
		})
	}
}
