package store

import "slices"

// change is one step of apply: a record that takes key's place, the zero record
// where key is deleted.
type change struct {
	key    string
	hash   uint64
	record record
}

// apply makes several changes, in order, as one atomic step: no View sees part
// of it, and no two reads one after the other do. It locks every shard that has
// one of the keys, in the order of the shards, for as long as that takes. The
// map keeps the changes' records.
func (m *ShardedMap) apply(changes []change) {
	if len(changes) == 1 { // readers see it as a whole without a lock
		s := m.shardOf(changes[0].hash)
		s.mu.Lock()
		s.applyLocked(changes[0])
		s.mu.Unlock()
		return
	}
	numbers := make([]uint64, 0, len(changes))
	for _, c := range changes {
		numbers = append(numbers, c.hash&m.shardMask)
	}
	slices.Sort(numbers)
	var shards []*Shard
	for _, n := range slices.Compact(numbers) {
		shards = append(shards, m.shards[n])
	}
	defer begin(shards)()
	for _, c := range changes {
		m.shardOf(c.hash).applyLocked(c)
	}
}

func (s *Shard) applyLocked(c change) {
	if c.record.first == nil {
		s.deleteLocked(c.hash, c.key)
	} else {
		s.setLocked(c.hash, c.record)
	}
}

// Clear removes all keys as one atomic step.
func (m *ShardedMap) Clear() {
	defer begin(m.shards)()
	for _, s := range m.shards {
		s.clearLocked()
	}
}

// begin locks shards, which are in the map's order, for a step that changes
// several keys, and sends readers to the locks. It returns what ends the step.
// A reader can meet a change only in a shard that the step has left; by then
// all changes are made.
func begin(shards []*Shard) (end func()) {
	for _, s := range shards {
		s.mu.Lock()
		s.step.Add(1)
	}
	return func() {
		for _, s := range shards {
			s.step.Add(1)
			s.mu.Unlock()
		}
	}
}
