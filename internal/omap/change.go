package omap

import "slices"

// Change is a change of one key, for Apply. Put and Removal make it.
type Change struct {
	key    string
	hash   uint64
	record Record // the zero Record for a removal
}

// Put returns the Change that replaces the Record with r's key by r, or adds r.
func Put(r Record) Change {
	key := r.Key()
	return Change{key: key, hash: hashOf(key), record: r}
}

// Removal returns the Change that removes key, which need not exist.
func Removal(key string) Change { return Change{key: key, hash: hashOf(key)} }

// Key returns the key that is changed.
func (c Change) Key() string { return c.key }

// Record returns the key's new Record, the zero Record for a removal.
func (c Change) Record() Record { return c.record }

// Apply makes several changes, in order, as one atomic step: neither a View nor two reads
// one after the other see a part of it. Meanwhile it locks every shard that has one of the
// keys, in the order of the shards, and makes their readers wait. The Map keeps the
// changes' Records, each of which must not be in a Map yet.
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

// enter makes readers of locked shards wait for leave. A reader can see a change only in a
// shard that the step has left; then all changes are made.
func (m *Map) enter(shards []*Shard) {
	m.stepping.Lock()
	for _, s := range shards {
		s.step.Add(1)
	}
}

// leave releases the readers and the locks of shards.
func (m *Map) leave(shards []*Shard) {
	for _, s := range shards {
		s.step.Add(1)
	}
	m.stepping.Unlock()
	for _, s := range shards {
		s.mu.Unlock()
	}
}
