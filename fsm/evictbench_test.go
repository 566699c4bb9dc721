package fsm_test

import (
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// BenchmarkPut_Evict puts new keys, 64 with each entry, into a state of 100,000 keys: with a quota of
// so many under each policy, and without one. An operation is a put.
func BenchmarkPut_Evict(b *testing.B) {
	const keys, batch = 100_000, 64
	for _, eviction := range kv.Evictions {
		b.Run(eviction.String(), func(b *testing.B) {
			f := fsm.New(fsm.Config{})
			defer f.Close()
			quota := kv.Quota{MaxKeys: keys, Eviction: eviction}
			if eviction == kv.EvictionNone {
				quota.MaxKeys = 0
			}
			value, next, index := make([]byte, 100), 0, uint64(0)
			put := func() {
				var requests wire.Requests
				for range batch {
					next++
					r := kv.Put(fmt.Sprintf("key-%012d", next), value)
					if eviction == kv.EvictionTTL {
						r.Then[0].TTL = kv.MaxTTL
					}
					requests = fsm.Encode(requests, r)
				}
				all := []wire.Requests{requests}
				evict, _, err := f.MakeRoom(requests)
				if err != nil {
					b.Fatal(err)
				}
				if evict.Count > 0 {
					all = []wire.Requests{evict, requests}
				}
				index++
				f.Apply(entry(index, 1, int64(next), all...))
			}
			index++
			f.Apply(entry(index, 1, 0, fsm.SettingsRequest(kv.Settings{Quota: quota})))
			for next < keys {
				put()
			}
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				put()
			}
		})
	}
}

// BenchmarkGet_Uses reads keys from several goroutines with the uses of keys noted, and without.
func BenchmarkGet_Uses(b *testing.B) {
	const keys = 100_000
	for _, eviction := range []kv.Eviction{kv.EvictionNone, kv.EvictionRandom, kv.EvictionLRU} {
		b.Run(eviction.String(), func(b *testing.B) {
			f := fsm.New(fsm.Config{})
			defer f.Close()
			names := make([]string, keys)
			var requests wire.Requests
			for i := range names {
				names[i] = fmt.Sprintf("key-%012d", i)
				requests = fsm.Encode(requests, kv.Put(names[i], nil))
			}
			f.Apply(entry(1, 1, 0, fsm.SettingsRequest(kv.Settings{Quota: kv.Quota{MaxKeys: 2 * keys, Eviction: eviction}}), requests))
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i = (i + 7919) % keys {
					f.Get(names[i])
				}
			})
		})
	}
}
