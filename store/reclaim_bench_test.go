package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// BenchmarkStore_RemoveExpired measures how long the worker takes to remove keys
// that are all due, per key, with few shards and with as many as there may be.
func BenchmarkStore_RemoveExpired(b *testing.B) {
	const keys = 100_000
	for _, shards := range []int{store.DefaultShards, store.MaxShards} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				clock, left, done := newFakeClock(), atomic.Int64{}, make(chan struct{})
				left.Store(keys)
				s := mustNew(b, store.WithShardCount(shards), store.WithClock(clock.Now), store.WithOnExpire(func(string, []byte) {
					if left.Add(-1) == 0 {
						close(done)
					}
				}))
				for i := range keys {
					if err := s.SetWithTTL(fmt.Sprint(i), []byte("v"), time.Second+time.Duration(i)); err != nil {
						b.Fatal(err)
					}
				}
				clock.step(time.Minute)
				b.StartTimer()
				_, _ = s.Get("0") // wakes the worker
				<-done
				b.StopTimer()
				_ = s.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/key")
		})
	}
}

// BenchmarkStore_EvictMany measures the first Set of a store that was opened
// again with room for only a few of its keys, per key that has to go.
func BenchmarkStore_EvictMany(b *testing.B) {
	const keys, room = 20_000, 100
	files := crashfs.New()
	s, err := setup{store.PersistenceSnapshot, false}.open(files)
	if err != nil {
		b.Fatal(err)
	}
	for i := range keys {
		if err := s.SetWithTTL(fmt.Sprint(i), []byte("v"), time.Hour+time.Duration(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for _, policy := range []store.EvictionPolicy{store.EvictionLRU, store.EvictionLFU, store.EvictionRandom, store.EvictionTTL} {
		b.Run(policy.String(), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s, err := setup{store.PersistenceSnapshot, false}.open(files.Clone(), store.WithEvictionPolicy(policy), store.WithMaxEntries(room))
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := s.Set("new", []byte("v")); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if s.Len() > room {
					b.Fatalf("%d keys are left, there is room for %d", s.Len(), room)
				}
				_ = s.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/key")
		})
	}
}
