package cluster_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// BenchmarkPut_Evict puts new keys through the leader of three nodes, from many goroutines, with a
// quota that is reached under each policy, and without one. An operation is a put.
func BenchmarkPut_Evict(b *testing.B) {
	const keys = 20_000
	for _, eviction := range kv.Evictions {
		b.Run(eviction.String(), func(b *testing.B) {
			nodes := clustertest.Open(b, 3, nil)
			leader := clustertest.Leader(b, nodes)
			value := make([]byte, 100)
			var next atomic.Int64
			put := func() kv.Request {
				r := kv.Put(fmt.Sprintf("key-%012d", next.Add(1)), value)
				if eviction == kv.EvictionTTL {
					r.Then[0].TTL = kv.MaxTTL
				}
				return r
			}
			for range keys / 1000 {
				var requests wire.Requests
				for range 1000 {
					requests = fsm.Encode(requests, put())
				}
				if _, err := leader.Replica().Propose(b.Context(), requests); err != nil {
					b.Fatal(err)
				}
			}
			if eviction != kv.EvictionNone {
				if err := leader.SetSettings(b.Context(), kv.Settings{Quota: kv.Quota{MaxKeys: keys, Eviction: eviction}}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := leader.Do(b.Context(), put()); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
