package omap

import "slices"

// Change is what Apply does to one key. Put and Removal make it.
type Change struct {
	key    string
	hash   uint64
	record Record // the zero Record where the key is removed
}

// Put returns the Change that puts r in the place of the Record with the same key.
func Put(r Record) Change {
	key := r.Key()
	return Change{key: key, hash: hashOf(key), record: r}
}

// Removal returns the Change that removes key, which need not exist.
func Removal(key string) Change { return Change{key: key, hash: hashOf(key)} }

// Key returns the key that is changed.
func (c Change) Key() string { return c.key }

// Record returns what key gets, the zero Record if key is removed.
func (c Change) Record() Record { return c.record }

// Apply makes several changes, in order, as one atomic step: no View sees part
// of it, and no two reads one after the other do. It locks every shard that has
// one of the keys, in the order of the shards, and has their readers wait, for as
// long as that takes. The Map keeps the changes' Records, each of which must be in no
// Map yet.
func (m *Map) Apply(changes []Change) {
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
func (m *Map) shardsOf(changes []Change) []*Shard {
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

func (s *Shard) applyLocked(c Change) {
	if c.record.IsZero() {
		s.deleteLocked(c.hash, c.key)
	} else {
		s.setLocked(c.hash, c.record)
	}
}

// Clear removes all keys as one atomic step.
func (m *Map) Clear() {
	defer m.begin(m.shards)()
	for _, s := range m.shards {
		s.clearLocked()
	}
}

// begin locks shards, which are in the map's order, and enters them. The function that
// it returns ends the step.
func (m *Map) begin(shards []*Shard) (end func()) {
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
func (m *Map) enter(shards []*Shard) {
	m.stepping.Lock()
	for _, s := range shards {
		s.step.Add(1)
	}
}

// leave lets the readers and the locks of shards go.
func (m *Map) leave(shards []*Shard) {
	for _, s := range shards {
		s.step.Add(1)
	}
	m.stepping.Unlock()
	for _, s := range shards {
		s.mu.Unlock()
	}
}
