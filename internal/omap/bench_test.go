package omap_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/internal/omap"
)

// BenchmarkMap_HeapPerKey reports the heap that a key of 16 bytes with a
// value of 100 takes, map and index included, in a map of a million.
func BenchmarkMap_HeapPerKey(b *testing.B) {
	const n = 1_000_000
	for _, order := range []string{"ascending", "random"} {
		b.Run(order, func(b *testing.B) {
			indexes := make([]int, n)
			for i := range indexes {
				indexes[i] = i
			}
			if order == "random" {
				rand.Shuffle(n, func(i, j int) { indexes[i], indexes[j] = indexes[j], indexes[i] })
			}
			for b.Loop() {
				before := heapInUse()
				m := omap.New(0)
				value := make([]byte, 100)
				for i, k := range indexes {
					r := uint64(i + 1)
					m.Set(omap.Item{Key: key(k), Value: value, CreateRevision: r, ModRevision: r, Version: 1})
				}
				b.ReportMetric(float64(heapInUse()-before)/n, "heap-B/key")
				runtime.KeepAlive(m)
			}
		})
	}
}

func BenchmarkMap_Get(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			m, keys := filled(n)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(n); pb.Next(); i++ {
					if _, ok := m.Get(keys[i%n]); !ok {
						b.Error("key is missing")
					}
				}
			})
		})
	}
}

func BenchmarkMap_Set(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			m, keys := filled(n)
			value := make([]byte, 100)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(n); pb.Next(); i++ {
					m.Set(omap.Item{Key: keys[i%n], Value: value})
				}
			})
		})
	}
}

// BenchmarkMap_View takes views beside a writer, so that each view
// waits for locks and every write after it copies nodes.
func BenchmarkMap_View(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			m, keys := filled(n)
			done := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
						m.Set(omap.Item{Key: keys[i%n], Value: []byte("changed")})
					}
				}
			})
			for b.Loop() {
				m.View()
			}
			close(done)
			wg.Wait()
		})
	}
}

// BenchmarkView_All lists 100 keys of a prefix; its cost must not depend on the number of
// other keys.
func BenchmarkView_All(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			m, keys := filled(n)
			v := m.View()
			prefix := keys[n/2][:14]
			for b.Loop() {
				got := 0
				for range v.All(prefix, "") {
					got++
				}
				if got != 100 {
					b.Fatalf("got %d keys, want 100", got)
				}
			}
		})
	}
}

// BenchmarkView_Walk reports the cost of each key of a whole walk.
func BenchmarkView_Walk(b *testing.B) {
	const n = 1_000_000
	m, _ := filled(n)
	v := m.View()
	for b.Loop() {
		for range v.All("", "") {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
}

// key returns a key of 16 bytes.
func key(i int) string { return fmt.Sprintf("key-%012d", i) }

func filled(n int) (*omap.Map, []string) {
	m := omap.New(0)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key(i)
		m.Set(omap.Item{Key: keys[i], Value: make([]byte, 100)})
	}
	return m, keys
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapInuse
}
