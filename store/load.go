package store

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// loaderBatch is how many records of a shard a Loader collects before it takes
// the shard's lock.
const loaderBatch = 64

// Loader puts many Items into a map. It belongs to one goroutine; several may fill
// one map. What was added is in the map once Flush has returned.
type Loader struct {
	m       *ShardedMap
	pending [][]loaded // by shard
}

// loaded is a record on its way into a map.
type loaded struct {
	hash uint64
	record
}

// NewLoader returns a Loader of m.
func (m *ShardedMap) NewLoader() *Loader {
	return &Loader{m: m, pending: make([][]loaded, len(m.shards))}
}

// Add puts a copy of it in the place of the Item with the same key. It panics
// where Set does.
func (l *Loader) Add(it Item) {
	hash := hashOf(it.Key)
	i := hash & l.m.shardMask
	l.pending[i] = append(l.pending[i], loaded{hash, newRecord(it)})
	if len(l.pending[i]) >= loaderBatch {
		l.flush(i)
	}
}

// Flush puts what was added into the map.
func (l *Loader) Flush() {
	for i := range l.pending {
		l.flush(uint64(i))
	}
}

func (l *Loader) flush(i uint64) {
	s := l.m.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range l.pending[i] {
		s.loadLocked(r)
	}
	clear(l.pending[i])
	l.pending[i] = l.pending[i][:0]
}

// loadLocked is setLocked of a record that most likely is new.
func (s *Shard) loadLocked(r loaded) {
	if old := s.data.set(r.hash, r.record); old.first != nil {
		s.size -= old.dataSize()
		s.unscheduleLocked(old)
	}
	if s.index != nil {
		s.index.set(r.record)
	}
	s.size += r.dataSize()
	if r.expires() {
		s.expiring.set(r.record)
	}
}

// DeferOrder has a map that nobody else uses yet keep no order of its keys, until
// Order is called, or View, which needs it. Until then a write takes a fraction
// of its time: one search in a hash table instead of that and one in a tree.
func (m *ShardedMap) DeferOrder() {
	for _, s := range m.shards {
		s.mu.Lock()
		s.index = nil
		s.mu.Unlock()
	}
	m.deferred.Store(true)
}

// Order makes the order of all keys, on all processors, where it was deferred, and
// keeps it from now on. Each shard is locked while its own keys are sorted.
func (m *ShardedMap) Order() {
	if !m.deferred.Load() {
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(m.shards)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(m.shards); i = int(next.Add(1)) - 1 {
				m.shards[i].order()
			}
		})
	}
	wg.Wait()
	m.deferred.Store(false)
}

// order makes the shard's index where it has none.
func (s *Shard) order() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index == nil {
		s.index = buildIndex(s.sortedLocked())
	}
}

// headed is a record with a head of its key.
type headed struct {
	head uint64
	record
}

// sortedLocked returns the shard's records in the order of their keys.
func (s *Shard) sortedLocked() []headed {
	all := make([]headed, 0, s.data.count)
	skip := 0 // bytes that all keys have in common
	s.data.all(func(r record) bool {
		if len(all) == 0 {
			skip = len(r.key())
		} else {
			skip = min(skip, keyOrder.shared(all[0].record, r))
		}
		all = append(all, headed{record: r})
		return true
	})
	for i := range all {
		all[i].head = keyOrder.head(all[i].record, skip)
	}
	slices.SortFunc(all, func(a, b headed) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return keyOrder.compare(a.record, b.record)
	})
	return all
}

// nodeFill is how many records a node is given in an index that is built of many
// at once. It leaves room, so that the next ones don't split every node.
const nodeFill = 46

// buildIndex returns an index by key of records in that order.
func buildIndex(sorted []headed) *index {
	x := newIndex(&keyOrder)
	x.count = len(sorted)
	if len(sorted) == 0 {
		return x
	}
	height, room := 0, nodeFill // of a tree of that height, with nodes filled so far
	for room < len(sorted) {
		height, room = height+1, roomAbove(room)
	}
	x.root = x.build(sorted, height, room)
	return x
}

// roomAbove returns how many records a tree has room for whose subtrees have room
// for so many.
func roomAbove(room int) int { return nodeFill + (nodeFill+1)*room }

// build returns a node of a height above its leaves, with room for so many records
// in all, that has these.
//
// Invariant: a tree has more than half the records that it has room for, or is as
// low as can be; so every node but the root has nodeMin at least.
func (x *index) build(sorted []headed, height, room int) *node {
	n := &node{owner: x.owner}
	if height == 0 {
		for i, r := range sorted {
			n.items[i] = r.record
		}
		n.length = len(sorted)
		x.setHeads(n)
		return n
	}
	n.children = new([nodeItems + 1]*node)
	below := (room - nodeFill) / (nodeFill + 1)
	children := (len(sorted) + below + 1) / (below + 1) // rounded up, as a record lies between two
	for left := children; left > 0; left-- {
		size := (len(sorted) - (left - 1)) / left
		n.children[n.length] = x.build(sorted[:size], height-1, below)
		if sorted = sorted[size:]; left > 1 {
			n.items[n.length] = sorted[0].record
			n.length++
			sorted = sorted[1:]
		}
	}
	x.setHeads(n)
	return n
}
