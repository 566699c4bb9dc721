package store

import (
	"slices"
)

// Change is one step of Apply: Item is put, or the key of Item deleted.
type Change struct {
	Item   Item
	Delete bool
}

// Apply makes several changes, in order, as one atomic step: no View sees part
// of it, and no two reads one after the other do. It locks every shard that has
// one of the keys, in the order of the shards, for as long as that takes.
func (m *ShardedMap) Apply(changes []Change) {
	shards := make([]uint64, 0, len(changes))
	for _, c := range changes {
		shards = append(shards, m.shardOf(c.Item.Key))
	}
	locked := slices.Compact(slices.Sorted(slices.Values(shards)))
	for _, i := range locked {
		m.shards[i].mu.Lock()
	}
	for i, c := range changes {
		if s := m.shards[shards[i]]; c.Delete {
			s.deleteLocked(c.Item.Key)
		} else {
			s.setLocked(newRecord(c.Item))
		}
	}
	for _, i := range locked {
		m.shards[i].mu.Unlock()
	}
}

// Clear removes all keys as one atomic step.
func (m *ShardedMap) Clear() {
	for _, s := range m.shards {
		s.mu.Lock()
	}
	for _, s := range m.shards {
		s.clearLocked()
	}
	for _, s := range m.shards {
		s.mu.Unlock()
	}
}
