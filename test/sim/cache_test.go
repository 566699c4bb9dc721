package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

const (
	// cachePrefix is that of keys that may be evicted. They are among those that the model leaves
	// out, as keys with a time to live are.
	cachePrefix = sessionPrefix + "cache-"
	// cacheNames is the number of such keys that the clients use.
	cacheNames = 300
	// cacheReads is the number of them that an operation of a client reads.
	cacheReads = 5
	// cacheRoom is the maximum number of them that a new quota has room for, and leastRoom the
	// minimum. Other keys may take their place before the next one.
	leastRoom, cacheRoom = 30, 90
	// quotaEvery is the time between two changes of the quota, after which it is lower or higher.
	quotaEvery = 5 * time.Second
)

// protectedPrefixes returns prefixes of all keys of the simulation that are not to be evicted.
func protectedPrefixes() (prefixes []string) {
	for c := 'a'; c <= 'z'; c++ {
		if c != rune(sessionPrefix[0]) {
			prefixes = append(prefixes, string(c))
		}
		if c != rune(cachePrefix[len(sessionPrefix)]) {
			prefixes = append(prefixes, sessionPrefix+string(c))
		}
	}
	for c := '0'; c <= '9'; c++ {
		prefixes = append(prefixes, sessionPrefix+string(c))
	}
	return prefixes
}

// changeQuota gives the cluster a quota with room for a few keys that may be evicted, until the
// simulation ends. The other settings are those given.
func (w *world) changeQuota(rng *rand.Rand, settings kv.Settings, stop <-chan struct{}) {
	policies := []kv.Eviction{kv.EvictionLRU, kv.EvictionLFU, kv.EvictionRandom}
	settings.Quota = kv.Quota{Eviction: policies[rng.IntN(len(policies))], ProtectedPrefixes: protectedPrefixes()}
	for {
		if node, p := w.hosts[rng.IntN(len(w.hosts))].live(); node != nil {
			ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
			if view, err := node.View(ctx, kv.ReadOptions{}); err == nil {
				all, cached := view.Count(kv.All()), view.Count(kv.Prefix(cachePrefix))
				_ = view.Close() // always nil
				settings.Quota.MaxKeys = int64(all - cached + leastRoom + rng.IntN(cacheRoom-leastRoom))
				_ = node.SetSettings(ctx, settings) // it may fail
			}
			cancel()
		}
		select {
		case <-stop:
			return
		case <-w.broken:
			return
		case <-time.After(quotaEvery):
		}
	}
}

// cache reads keys that may be evicted, some of them more often than others, and puts those that are
// not there.
func (c *client) cache(ctx context.Context, node *cluster.Node) {
	for range cacheReads {
		key := fmt.Sprint(cachePrefix, min(c.rng.IntN(cacheNames), c.rng.IntN(cacheNames)))
		if got, err := node.Get(ctx, key, kv.ReadOptions{Level: kv.Stale}); err != nil || got.Found {
			continue
		}
		_, _ = node.Do(ctx, kv.Put(key, []byte(key))) // nobody needs it
	}
	if s := node.Status(); s.Limits != nil {
		c.w.count.evicted.Store(max(c.w.count.evicted.Load(), int64(s.Limits.Quota.Evicted)))
	}
}
