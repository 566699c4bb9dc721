package omap

import "sync/atomic"

// stepSmall is the maximum number of changes in which a Step searches a key one by one. With
// more changes it keeps a map of them.
const stepSmall = 8

// stepKept is the maximum number of changes for which a Step keeps the memory after
// Commit.
const stepKept = 8 << 10

// Step collects changes of keys that readers of a Map see together: none of them before
// Commit, all of them after it. Only its own Get shows them before. A Step belongs to one
// goroutine, and may be used again after Commit. No other goroutine may change the Map
// between the Step's first call and its Commit.
type Step struct {
	m       *Map
	changes []Change       // the newest of each key
	numbers map[string]int // of changes, by key; empty while there are few
}

// NewStep returns an empty Step of the Map.
func (m *Map) NewStep() *Step { return &Step{m: m} }

// Get returns the Item that key has after the Step, and whether there is one. The
// Value must not be modified.
func (st *Step) Get(key string) (Item, bool) {
	var r Record
	if i := st.find(key); i >= 0 {
		r = st.changes[i].record
	} else {
		r = st.m.Record(key)
	}
	return r.Item(), !r.IsZero()
}

// Set makes the Step add a copy of it, or replace the Item with the same key. It panics
// where Map.Set does.
func (st *Step) Set(it Item) { st.add(Put(NewRecord(it))) }

// Delete makes the Step remove key, which need not exist.
func (st *Step) Delete(key string) { st.add(Removal(key)) }

// find returns the number of key's change, -1 if there is none.
func (st *Step) find(key string) int {
	if len(st.changes) > stepSmall {
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
func (st *Step) add(c Change) {
	if i := st.find(c.key); i >= 0 {
		st.changes[i] = c
		return
	}
	st.changes = append(st.changes, c)
	switch n := len(st.changes); {
	case n == stepSmall+1:
		if st.numbers == nil {
			st.numbers = make(map[string]int)
		}
		for i := range st.changes {
			st.numbers[st.changes[i].key] = i
		}
	case n > stepSmall:
		st.numbers[c.key] = n - 1
	}
}

// Commit makes the changes and calls publish at the same instant, and empties the Step. Once
// a read has seen one of the changes, or the effect of publish, every later read sees all
// of them. The indexes are changed first, and readers don't wait for that. They wait only
// for the changes of the hash tables and for publish, which must be quick and must not use
// the Map.
func (st *Step) Commit(publish func()) {
	shards := st.m.shardsOf(st.changes)
	lock(shards)
	for _, c := range st.changes {
		s := st.m.shardOf(c.hash)
		s.replaceLocked(s.data.get(c.hash, c.key), c.record)
	}
	st.m.enter(shards)
	for _, c := range st.changes {
		if data := &st.m.shardOf(c.hash).data; c.record.IsZero() {
			data.delete(c.hash, c.key)
		} else {
			data.set(c.hash, c.record)
		}
	}
	publish()
	st.m.leave(shards)
	st.reset()
}

// reset empties the Step. It keeps the memory for a number of changes up to stepKept.
func (st *Step) reset() {
	if cap(st.changes) > stepKept {
		*st = Step{m: st.m}
		return
	}
	clear(st.changes)
	clear(st.numbers)
	st.changes = st.changes[:0]
}

// GetWith returns the Item of key, whether there is one, and the value of n at the same
// instant. Only the publish of a Step of the Map may change n.
func (m *Map) GetWith(key string, n *atomic.Uint64) (it Item, number uint64, found bool) {
	hash := hashOf(key)
	s := m.shardOf(hash)
	before := s.step.Load()
	number = n.Load()
	r := s.data.get(hash, key)
	if before&1 != 0 || s.step.Load() != before {
		r, number = m.recordWithWaiting(s, hash, key, n)
	}
	return r.Item(), number, !r.IsZero()
}

// recordWithWaiting is recordWaiting for GetWith.
func (m *Map) recordWithWaiting(s *Shard, hash uint64, key string, n *atomic.Uint64) (Record, uint64) {
	m.stepping.RLock()
	defer m.stepping.RUnlock()
	return s.data.get(hash, key), n.Load()
}
