package store_test

import (
	"container/heap"
	"container/list"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
)

// Figures of the trace: reads of zipfKeys keys, of which zipfRoom fit.
const (
	zipfKeys  = 100_000
	zipfRoom  = zipfKeys / 10
	zipfReads = 200_000 // of which the first half only warms up
)

// cache is what a trace is run against. Access reads a key, adds it where it is
// missing, and says whether it was there.
type cache interface{ access(key uint64) bool }

// hitRate returns the share of hits in the second half of the trace.
func hitRate(c cache, trace []uint64) float64 {
	hits := 0
	for i, key := range trace {
		if c.access(key) && i >= len(trace)/2 {
			hits++
		}
	}
	return float64(hits) / float64(len(trace)-len(trace)/2)
}

// zipfTrace returns reads of keys of which the n-th most frequent one is read in
// proportion to 1/n^s.
func zipfTrace(s float64, reads int) []uint64 {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), s, 1, zipfKeys-1)
	trace := make([]uint64, reads)
	for i := range trace {
		trace[i] = zipf.Uint64()
	}
	return trace
}

// exactLRU always evicts the key that was read longest ago.
type exactLRU struct {
	room  int
	order *list.List // of keys, the latest in front
	keys  map[uint64]*list.Element
}

func (c *exactLRU) access(key uint64) bool {
	if e, ok := c.keys[key]; ok {
		c.order.MoveToFront(e)
		return true
	}
	if len(c.keys) == c.room {
		delete(c.keys, c.order.Remove(c.order.Back()).(uint64))
	}
	c.keys[key] = c.order.PushFront(key)
	return false
}

// exactLFU always evicts the key that was read least often since it came, and
// of several the one that was read longest ago. What is gone is forgotten.
type exactLFU struct {
	room int
	tick int
	heap lfuHeap
	keys map[uint64]*lfuKey
}

type lfuKey struct {
	key           uint64
	reads, latest int
	place         int // in the heap
}

func (c *exactLFU) access(key uint64) bool {
	c.tick++
	if k, ok := c.keys[key]; ok {
		k.reads, k.latest = k.reads+1, c.tick
		heap.Fix(&c.heap, k.place)
		return true
	}
	if len(c.keys) == c.room {
		delete(c.keys, heap.Pop(&c.heap).(*lfuKey).key)
	}
	k := &lfuKey{key: key, latest: c.tick}
	c.keys[key] = k
	heap.Push(&c.heap, k)
	return false
}

type lfuHeap []*lfuKey

func (h lfuHeap) Len() int { return len(h) }

func (h lfuHeap) Less(i, j int) bool {
	if h[i].reads != h[j].reads {
		return h[i].reads < h[j].reads
	}
	return h[i].latest < h[j].latest
}

func (h lfuHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *lfuHeap) Push(x any) {
	k := x.(*lfuKey)
	k.place = len(*h)
	*h = append(*h, k)
}

func (h *lfuHeap) Pop() any {
	last := len(*h) - 1
	k := (*h)[last]
	*h = (*h)[:last]
	return k
}

// storeCache is a store that evicts, whose clock advances by a millisecond with
// each access.
type storeCache struct {
	s     *store.Store
	clock *fakeClock
}

func newStoreCache(t testing.TB, policy store.EvictionPolicy) *storeCache {
	clock := newFakeClock()
	return &storeCache{mustNew(t, store.WithMaxEntries(zipfRoom), store.WithEvictionPolicy(policy), store.WithClock(clock.Now)), clock}
}

func (c *storeCache) access(key uint64) bool {
	c.clock.step(time.Millisecond)
	name := fmt.Sprint(key)
	if _, err := c.s.GetShared(name); err == nil {
		return true
	}
	if err := c.s.Set(name, []byte("v")); err != nil {
		panic(err)
	}
	return false
}

// TestEviction_ZipfHitRate compares the store's hit rate on Zipf traces with
// that of the exact policies: LRU and LFU by sampling come within half a point
// of them (measured: 0.1), and are better than chance by more than a point
// (measured: 1.9 and more).
func TestEviction_ZipfHitRate(t *testing.T) {
	lessGC(t)
	t.Logf("%d keys, room for %d, %d reads of which the second half counts", zipfKeys, zipfRoom, scaled(zipfReads))
	t.Logf("%5s %10s %10s %10s %10s %10s", "s", "lru", "exact lru", "lfu", "exact lfu", "random")
	for _, s := range []float64{1.01, 1.1, 1.2} {
		trace := zipfTrace(s, scaled(zipfReads))
		lru := hitRate(newStoreCache(t, store.EvictionLRU), trace)
		lfu := hitRate(newStoreCache(t, store.EvictionLFU), trace)
		random := hitRate(newStoreCache(t, store.EvictionRandom), trace)
		exactLRU := hitRate(&exactLRU{room: zipfRoom, order: list.New(), keys: map[uint64]*list.Element{}}, trace)
		exactLFU := hitRate(&exactLFU{room: zipfRoom, keys: map[uint64]*lfuKey{}}, trace)
		t.Logf("%5.2f %9.2f%% %9.2f%% %9.2f%% %9.2f%% %9.2f%%", s, 100*lru, 100*exactLRU, 100*lfu, 100*exactLFU, 100*random)
		if lru < exactLRU-0.005 || lfu < exactLFU-0.005 {
			t.Errorf("s = %v: too far from the exact policies", s)
		}
		if scaled(zipfReads) == zipfReads && min(lru, lfu) < random+0.01 { // else most of the trace fills the store
			t.Errorf("s = %v: hardly better than chance", s)
		}
	}
}
