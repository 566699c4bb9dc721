package store

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Numbers of shards.
const (
	// DefaultShards is the number of shards when none is asked for.
	DefaultShards = 32
	// MaxShards is the greatest number of shards: a View costs by their number.
	MaxShards = 4096
)

// ShardedMap is an ordered map from keys to Items, safe for concurrent use. It
// spreads its keys over a power of two of shards by a hash of the key. Each Shard
// has a lock for its writers, an extendible hash table that is read without
// locks, a B-tree of the same records in byte order of their keys, and one of
// those with a deadline. Trees are copied on write: View clones every shard's in
// time proportional to the number of shards, whatever they hold, and from then on
// neither side disturbs the other. A walk merges the shards and costs by what it
// yields.
type ShardedMap struct {
	shards    []*Shard
	shardMask uint64      // len(shards) - 1, where len(shards) is a power of two
	deferred  atomic.Bool // a shard may have no index; see DeferOrder

	// stepping is held by a step that changes several keys, while it changes hash tables,
	// and by readers that meet it. It is taken after the locks of shards. Readers do
	// not wait for those: a step holds them for as long as indexes take.
	stepping sync.RWMutex

	visitForTesting func() // if it is set, called for each look at a shard's deadlines
}

// NewShardedMap returns an empty map. The number of shards is rounded up to a
// power of two and is at most MaxShards; 0 or less means DefaultShards.
func NewShardedMap(shards int) *ShardedMap {
	switch {
	case shards <= 0:
		shards = DefaultShards
	case shards >= MaxShards:
		shards = MaxShards
	default:
		shards = 1 << bits.Len(uint(shards-1))
	}
	m := &ShardedMap{shards: make([]*Shard, shards), shardMask: uint64(shards - 1)}
	for i := range m.shards {
		m.shards[i] = newShard()
	}
	return m
}

// Get returns the Item of key and whether there is one.
func (m *ShardedMap) Get(key string) (Item, bool) {
	r := m.get(key)
	if r.first == nil {
		return Item{}, false
	}
	return r.item(), true
}

// get returns key's record, the zero record if there is none.
func (m *ShardedMap) get(key string) record {
	hash := hashOf(key)
	s := m.shardOf(hash)
	before := s.step.Load()
	if r := s.data.get(hash, key); before&1 == 0 && s.step.Load() == before {
		return r
	}
	return m.getWaiting(s, hash, key)
}

// getWaiting returns key's record to a reader that met a step, whose end it waits for.
func (m *ShardedMap) getWaiting(s *Shard, hash uint64, key string) record {
	m.stepping.RLock()
	defer m.stepping.RUnlock()
	return s.data.get(hash, key)
}

// Set puts a copy of it in the place of the Item with the same key, and returns
// that one and whether there was one. It panics if it is larger than MaxItemSize,
// or its key than MaxKeyLength.
func (m *ShardedMap) Set(it Item) (old Item, existed bool) {
	hash := hashOf(it.Key)
	r := m.shardOf(hash).set(hash, newRecord(it))
	if r.first == nil {
		return Item{}, false
	}
	return r.item(), true
}

// Delete removes key and returns its Item and whether there was one.
func (m *ShardedMap) Delete(key string) (old Item, existed bool) {
	hash := hashOf(key)
	r := m.shardOf(hash).delete(hash, key)
	if r.first == nil {
		return Item{}, false
	}
	return r.item(), true
}

// Len returns the number of keys.
func (m *ShardedMap) Len() int {
	n := 0
	for _, s := range m.shards {
		n += s.Len()
	}
	return n
}

// Size returns the number of bytes that all keys and values have.
func (m *ShardedMap) Size() int64 {
	var n int64
	for _, s := range m.shards {
		n += s.Size()
	}
	return n
}

// Shards returns the map's shards, for their accounting. The caller must not
// modify the slice.
func (m *ShardedMap) Shards() []*Shard { return m.shards }

// Shard returns the shard that key belongs to.
func (m *ShardedMap) Shard(key string) *Shard { return m.shardOf(hashOf(key)) }

// View returns the whole map as it is at one instant. It locks every shard for
// as long as cloning all of them takes, which depends on their number alone; but
// where the map's order was deferred, it is made first.
func (m *ShardedMap) View() *View {
	m.Order()
	v := &View{indexes: make([]*index, len(m.shards))}
	// Several of these locks are taken in this order.
	for _, s := range m.shards {
		s.mu.Lock()
	}
	for i, s := range m.shards {
		v.indexes[i] = s.index.clone()
		v.length += s.data.count
		v.size += s.size
	}
	for _, s := range m.shards {
		s.mu.Unlock()
	}
	return v
}

// shardOf returns the shard that the keys with this hash belong to.
func (m *ShardedMap) shardOf(hash uint64) *Shard { return m.shards[hash&m.shardMask] }

// Reserve makes room for about n keys in a map that is empty, so that filling it
// moves nothing. A map that holds something is left as it is.
func (m *ShardedMap) Reserve(n int) {
	for _, s := range m.shards {
		s.mu.Lock()
		if s.data.count == 0 {
			s.data.init(n / len(m.shards))
		}
		s.mu.Unlock()
	}
}
