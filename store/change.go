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
// one of the keys, in the order of the shards, and has their readers wait, for as
// long as that takes. The map keeps the changes' records.
func (m *ShardedMap) apply(changes []change) {
	if len(changes) == 1 { // readers see it as a whole without a lock
		s := m.shardOf(changes[0].hash)
		s.mu.Lock()
		s.applyLocked(changes[0])
		s.mu.Unlock()
		return
	}
	defer m.begin(m.shardsOf(changes))()
	for _, c := range changes {
		m.shardOf(c.hash).applyLocked(c)
	}
}

// shardsOf returns the shards that have a key of changes, in the map's order.
func (m *ShardedMap) shardsOf(changes []change) []*Shard {
	numbers := make([]uint64, 0, len(changes))
	for _, c := range changes {
		numbers = append(numbers, c.hash&m.shardMask)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	shards := make([]*Shard, 0, len(numbers))
	for _, n := range numbers {
		shards = append(shards, m.shards[n])
	}
	return shards
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
	defer m.begin(m.shards)()
	for _, s := range m.shards {
		s.clearLocked()
	}
}

// begin locks shards, which are in the map's order, and enters them. It returns what
// leaves them.
func (m *ShardedMap) begin(shards []*Shard) (end func()) {
	lock(shards)
	m.enter(shards)
	return func() { m.leave(shards) }
}

// lock locks shards, which are in the map's order.
func lock(shards []*Shard) {
	for _, s := range shards {
		s.mu.Lock()
	}
}

// enter has readers of locked shards wait for leave. A reader can meet a change only in
// a shard that the step has left; by then all changes are made.
func (m *ShardedMap) enter(shards []*Shard) {
	m.stepping.Lock()
	for _, s := range shards {
		s.step.Add(1)
	}
}

// leave lets the readers and the locks of shards go.
func (m *ShardedMap) leave(shards []*Shard) {
	for _, s := range shards {
		s.step.Add(1)
	}
	m.stepping.Unlock()
	for _, s := range shards {
		s.mu.Unlock()
	}
}
