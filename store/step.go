package store

import "sync/atomic"

// Step collects changes of keys that readers of a ShardedMap see at once: none of
// them before Commit, all of them after it. Its own Get shows them before. A Step
// belongs to one goroutine, and may be used again after Commit. Nobody else may change
// the map between the Step's first call and its Commit.
type Step struct {
	m       *ShardedMap
	changes []change       // the newest of each key
	numbers map[string]int // of changes, by key; empty while there are few
}

// NewStep returns an empty Step of the map.
func (m *ShardedMap) NewStep() *Step { return &Step{m: m} }

// Get returns the Item that key has after the Step, and whether there is one. The
// Value must not be modified.
func (st *Step) Get(key string) (Item, bool) {
	var r record
	if i := st.find(key); i >= 0 {
		r = st.changes[i].record
	} else {
		r = st.m.get(key)
	}
	if r.first == nil {
		return Item{}, false
	}
	return r.item(), true
}

// Set has the Step put a copy of it in the place of the Item with the same key. It
// panics where ShardedMap.Set does.
func (st *Step) Set(it Item) {
	r := newRecord(it)
	st.add(change{key: r.key(), hash: hashOf(it.Key), record: r})
}

// Delete has the Step remove key, which need not exist.
func (st *Step) Delete(key string) { st.add(change{key: key, hash: hashOf(key)}) }

// find returns the number of key's change, -1 if there is none.
func (st *Step) find(key string) int {
	if len(st.changes) > overlaySmall {
		if i, ok := st.numbers[key]; ok {
			return i
		}
		return -1
	}
	for i := range st.changes {
		if st.changes[i].key == key {
			return i
		}
	}
	return -1
}

// add makes c its key's change.
func (st *Step) add(c change) {
	if i := st.find(c.key); i >= 0 {
		st.changes[i] = c
		return
	}
	st.changes = append(st.changes, c)
	switch n := len(st.changes); {
	case n == overlaySmall+1:
		if st.numbers == nil {
			st.numbers = make(map[string]int)
		}
		for i := range st.changes {
			st.numbers[st.changes[i].key] = i
		}
	case n > overlaySmall:
		st.numbers[c.key] = n - 1
	}
}

// Commit makes the changes, calls publish in the same moment, and empties the Step. A
// read that sees one of the changes, or what publish does, comes before no read that
// doesn't. Indexes are changed first, while readers go on: they wait only for
// as long as the changes of the hash tables take, and publish, which must be quick and
// must not use the map.
func (st *Step) Commit(publish func()) {
	shards := st.m.shardsOf(st.changes)
	lock(shards)
	for _, c := range st.changes {
		s := st.m.shardOf(c.hash)
		s.replaceLocked(s.data.get(c.hash, c.key), c.record)
	}
	st.m.enter(shards)
	for _, c := range st.changes {
		if data := &st.m.shardOf(c.hash).data; c.record.first == nil {
			data.delete(c.hash, c.key)
		} else {
			data.set(c.hash, c.record)
		}
	}
	publish()
	st.m.leave(shards)
	st.reset()
}

// reset empties the Step and keeps the memory of a usual one.
func (st *Step) reset() {
	if cap(st.changes) > 8*maxRoundWrites {
		*st = Step{m: st.m}
		return
	}
	clear(st.changes)
	clear(st.numbers)
	st.changes = st.changes[:0]
}

// GetWith returns the Item of key, whether there is one, and the number that n has
// while the key is like that. Only the publish of a Step of the map may change n.
func (m *ShardedMap) GetWith(key string, n *atomic.Uint64) (it Item, number uint64, found bool) {
	hash := hashOf(key)
	s := m.shardOf(hash)
	before := s.step.Load()
	number = n.Load()
	r := s.data.get(hash, key)
	if before&1 != 0 || s.step.Load() != before {
		r, number = m.getWithWaiting(s, hash, key, n)
	}
	if r.first == nil {
		return Item{}, number, false
	}
	return r.item(), number, true
}

// getWithWaiting is getWaiting for GetWith.
func (m *ShardedMap) getWithWaiting(s *Shard, hash uint64, key string, n *atomic.Uint64) (record, uint64) {
	m.stepping.RLock()
	defer m.stepping.RUnlock()
	return s.data.get(hash, key), n.Load()
}
