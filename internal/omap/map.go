package omap

import (
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
)

// Numbers of shards.
const (
	// DefaultShards is the default number of shards.
	DefaultShards = 32
	// MaxShards is the maximum number of shards: the cost of a View grows with their number.
	MaxShards = 4096
)

// Map is an ordered map from keys to Items. It is safe for concurrent use.
type Map struct {
	shards    []*Shard
	shardMask uint64 // len(shards) - 1, where len(shards) is a power of two

	// stepping is held by a step that changes several keys while it changes hash tables,
	// and by readers that meet the step. It is taken after the locks of shards. Readers do
	// not wait for the locks of shards, which a step holds while it changes indexes.
	stepping sync.RWMutex
}

// New returns an empty Map. The number of shards is rounded up to a power of two
// and is at most MaxShards; 0 or less means DefaultShards.
func New(shards int) *Map {
	switch {
	case shards <= 0:
		shards = DefaultShards
	case shards >= MaxShards:
		shards = MaxShards
	default:
		shards = 1 << bits.Len(uint(shards-1))
	}
	m := &Map{shards: make([]*Shard, shards), shardMask: uint64(shards - 1)}
	for i := range m.shards {
		m.shards[i] = newShard()
	}
	return m
}

// Get returns the Item of key and whether there is one. Its Value must not be modified.
func (m *Map) Get(key string) (Item, bool) {
	r := m.Record(key)
	return r.Item(), !r.IsZero()
}

// Record returns key's Record, the zero Record if there is none. It takes less time than
// Get, because it decodes nothing.
func (m *Map) Record(key string) Record {
	hash := hashOf(key)
	s := m.shardOf(hash)
	before := s.step.Load()
	if r := s.data.get(hash, key); before&1 == 0 && s.step.Load() == before {
		return r
	}
	return m.recordWaiting(s, hash, key)
}

// recordWaiting waits for the end of the present step and returns key's record.
func (m *Map) recordWaiting(s *Shard, hash uint64, key string) Record {
	m.stepping.RLock()
	defer m.stepping.RUnlock()
	return s.data.get(hash, key)
}

// Set adds a copy of it, or replaces the Item with the same key. It returns the replaced Item
// and whether there was one. It panics if it is larger than MaxItemSize, or its key than
// MaxKeyLength.
func (m *Map) Set(it Item) (old Item, existed bool) {
	hash := hashOf(it.Key)
	r := m.shardOf(hash).set(hash, NewRecord(it))
	return r.Item(), !r.IsZero()
}

// Put adds r, which must not be in a Map yet, or replaces the Record with the same key. It
// returns the replaced Record, the zero Record if there was none. The Map keeps r.
func (m *Map) Put(r Record) (old Record) {
	hash := hashOf(r.Key())
	return m.shardOf(hash).set(hash, r)
}

// Delete removes key and returns its Item and whether there was one.
func (m *Map) Delete(key string) (old Item, existed bool) {
	hash := hashOf(key)
	r := m.shardOf(hash).delete(hash, key)
	return r.Item(), !r.IsZero()
}

// Len returns the number of keys. Its cost grows with the number of shards.
func (m *Map) Len() int {
	n := 0
	for _, s := range m.shards {
		n += s.Len()
	}
	return n
}

// Size returns the size in bytes of all keys and values. Its cost grows with the number of
// shards.
func (m *Map) Size() int64 {
	var n int64
	for _, s := range m.shards {
		n += s.Size()
	}
	return n
}

// Shards returns the Map's shards, for their accounting. The caller must not
// modify the slice.
func (m *Map) Shards() []*Shard { return m.shards }

// ShardOf returns the number, in Shards, of the shard that key belongs to.
func (m *Map) ShardOf(key string) int { return int(hashOf(key) & m.shardMask) }

// shardOf returns the shard that the keys with this hash belong to.
func (m *Map) shardOf(hash uint64) *Shard { return m.shards[hash&m.shardMask] }

// View returns the whole Map at one instant. It locks every shard while it clones their
// indexes, for a time that depends only on their number.
func (m *Map) View() *View {
	v := &View{indexes: make([]*index, len(m.shards))}
	// Every goroutine that takes several of these locks takes them in this order.
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

// Sample returns a random Record. Each is about as likely as any other. It may return the
// zero Record although the Map is not empty, more often if its tables are nearly empty.
func (m *Map) Sample() Record { return m.shards[rand.Uint64()&m.shardMask].data.random() }

// Records yields every Record, in no order. Each shard is locked while its Records are
// collected, and not while they are yielded. So the loop may show some of the changes that
// are made meanwhile.
func (m *Map) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		var all []Record
		for _, s := range m.shards {
			all = s.appendRecords(all[:0])
			for _, r := range all {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// appendRecords appends all of the shard's records to some.
func (s *Shard) appendRecords(some []Record) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	some = slices.Grow(some, s.data.count)
	s.data.all(func(r Record) bool {
		some = append(some, r)
		return true
	})
	return some
}

// Reserve makes room for about n keys in an empty Map, so that no records are moved while it
// is filled. Shards that hold keys are not changed.
func (m *Map) Reserve(n int) {
	for _, s := range m.shards {
		s.mu.Lock()
		if s.data.count == 0 {
			s.data.init(n / len(m.shards))
		}
		s.mu.Unlock()
	}
}
