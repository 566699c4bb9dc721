package test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/store"
)

// A cache of a tenth of the keys, on a trace in which few keys are read often.
const (
	cacheKeys = 300
	traceKeys = 10 * cacheKeys
	traceLen  = 60_000
)

// TestEviction_HitRate reads the same trace through two caches, the replicated state and the embedded
// store. The hit rate of the first is at least 98 % of that of the second, under each policy.
func TestEviction_HitRate(t *testing.T) {
	for eviction, policy := range map[kv.Eviction]store.EvictionPolicy{kv.EvictionLRU: store.EvictionLRU, kv.EvictionLFU: store.EvictionLFU} {
		synctest.Test(t, func(t *testing.T) {
			embedded, err := store.New(store.WithMaxEntries(cacheKeys), store.WithEvictionPolicy(policy))
			if err != nil {
				t.Fatal(err)
			}
			defer embedded.Close()
			replicated := newCache(t, eviction)
			const seed = 7
			trace := rand.NewZipf(rand.New(rand.NewPCG(seed, seed)), 1.1, 4, traceKeys-1)
			var hits [2]float64
			for range traceLen {
				time.Sleep(time.Millisecond) // of the bubble
				key := strconv.FormatUint(trace.Uint64(), 10)
				if _, err := embedded.Get(key); err == nil {
					hits[0]++
				} else if err := embedded.Set(key, []byte("v")); err != nil {
					t.Fatal(err)
				}
				if replicated.read(t, key) {
					hits[1]++
				}
			}
			if hits[1] < 0.98*hits[0] || hits[0] < traceLen/3 {
				t.Errorf("%s: hit rate of the store %.3f, of the replicated state %.3f", eviction, hits[0]/traceLen, hits[1]/traceLen)
			}
		})
	}
}

// cache is a state machine with a quota, used as a leader uses it.
type cache struct {
	*fsm.FSM
	index uint64
}

func newCache(t *testing.T, eviction kv.Eviction) *cache {
	c := &cache{FSM: fsm.New(fsm.Config{OnFatal: func(err error) { t.Error(err) }})}
	t.Cleanup(func() { c.Close() })
	c.apply(fsm.SettingsRequest(kv.Settings{Quota: kv.Quota{MaxKeys: cacheKeys, Eviction: eviction}}))
	return c
}

// apply applies an entry with these requests.
func (c *cache) apply(requests ...wire.Requests) {
	var all wire.Requests
	var parts [][]byte
	for _, r := range requests {
		all.Note(r)
		parts = append(parts, r.Data)
	}
	c.index++
	c.Apply(&raft.Log{Index: c.index, Term: 1, Data: fsm.AppendEntry(nil, time.Now().UnixNano(), all.Version, all.Count, parts...)})
}

// read reads a key, and puts it unless it is there. It reports whether it was.
func (c *cache) read(t *testing.T, key string) bool {
	if _, found := c.Get(key); found {
		return true
	}
	put := fsm.Encode(wire.Requests{}, kv.Put(key, []byte("v")))
	evict, done, err := c.MakeRoom(put)
	if err != nil || !done {
		t.Fatalf("got %v, %v", done, err)
	}
	c.apply(evict, put)
	return false
}
