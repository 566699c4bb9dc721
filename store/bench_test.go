package store_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
)

// key returns a key of 16 bytes.
func key(i int) string { return fmt.Sprintf("key-%012d", i) }

// BenchmarkStore_GetShared reads in parallel through all that a Store adds to
// its map, with and without counting.
func BenchmarkStore_GetShared(b *testing.B) {
	const n = 10_000
	for _, count := range []bool{true, false} {
		b.Run(fmt.Sprintf("counted=%t", count), func(b *testing.B) {
			s, keys := filledStore(b, n, store.WithCountReads(count))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(n); pb.Next(); i++ {
					if _, err := s.GetShared(keys[i%n]); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkStore_GetSharedChecked reads keys about which there is more to ask: those
// that have a deadline, and those that are not there.
func BenchmarkStore_GetSharedChecked(b *testing.B) {
	const n = 10_000
	s, keys := filledStore(b, n)
	missing := make([]string, n)
	for i, k := range keys {
		missing[i] = "no " + k
		if err := s.Expire(k, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	for name, keys := range map[string][]string{"deadline": keys, "missing": missing} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := s.GetShared(keys[i%n]); (err != nil) != (name == "missing") {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStore_GetSharedClocked reads in parallel what needs the clock: keys that
// have a deadline, and any key where a policy of eviction notes when it was read.
func BenchmarkStore_GetSharedClocked(b *testing.B) {
	const n = 10_000
	for name, opts := range map[string][]store.Option{
		"deadline": nil,
		"LRU":      {store.WithEvictionPolicy(store.EvictionLRU)},
	} {
		b.Run(name, func(b *testing.B) {
			s, keys := filledStore(b, n, append(opts, store.WithCountReads(false))...)
			for _, k := range keys {
				if err := s.Expire(k, time.Hour); name == "deadline" && err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(n); pb.Next(); i++ {
					if _, err := s.GetShared(keys[i%n]); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkStore_Set writes in parallel: in memory alone, with a log that is
// synced at intervals, and with a sync before each Set returns, which writers
// that wait share.
func BenchmarkStore_Set(b *testing.B) {
	for _, mode := range []string{"memory", "interval", "sync"} {
		b.Run(mode, func(b *testing.B) {
			const n = 10_000
			opts := []store.Option{store.WithPersistenceMode(store.PersistenceNone)}
			if mode != "memory" {
				opts = []store.Option{store.WithDataDir(b.TempDir()), store.WithPersistenceMode(store.PersistenceWAL), store.WithSyncWrites(mode == "sync")}
			}
			s, keys := filledStore(b, n, opts...)
			value := make([]byte, 100)
			b.ReportAllocs()
			b.SetParallelism(64)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(n); pb.Next(); i++ {
					if err := s.Set(keys[i%n], value); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// filledStore returns a store of n keys, which is closed with the benchmark.
func filledStore(b *testing.B, n int, opts ...store.Option) (*store.Store, []string) {
	s, err := store.New(opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key(i)
	}
	err = s.Batch(func(batch *store.Batch) error {
		for _, k := range keys {
			if err := batch.Set(k, make([]byte, 100)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return s, keys
}

// BenchmarkNew_Reopen opens a store of a million keys: from a snapshot, and
// from the log alone.
func BenchmarkNew_Reopen(b *testing.B) {
	const n = 1_000_000
	for _, mode := range []store.PersistenceMode{store.PersistenceSnapshot, store.PersistenceWAL} {
		b.Run(mode.String(), func(b *testing.B) {
			opts := []store.Option{store.WithDataDir(b.TempDir()), store.WithPersistenceMode(mode), store.WithMaxEntries(2 * n)}
			s, err := store.New(opts...)
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 100)
			for i := range n {
				if err := s.Set(key(i), value); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				runtime.GC()
				b.StartTimer()
				if s, err = store.New(opts...); err != nil {
					b.Fatal(err)
				}
				if s.Len() != n {
					b.Fatalf("got %d keys", s.Len())
				}
			}
			_ = s.Close()
		})
	}
}
