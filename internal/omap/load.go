package omap

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// loaderBatch is the number of records of one shard that a Loader collects before it takes
// the shard's lock.
const loaderBatch = 64

// Loader puts many Items into a Map, in less time than Set. It belongs to one goroutine,
// but several Loaders may fill one Map. The added Items are in the Map once Flush has
// returned. They are put in no order, and not as one step.
type Loader struct {
	m       *Map
	pending [][]loaded // by shard
}

// loaded is a record on its way into a map.
type loaded struct {
	hash uint64
	Record
}

// NewLoader returns a Loader of the Map.
func (m *Map) NewLoader() *Loader {
	return &Loader{m: m, pending: make([][]loaded, len(m.shards))}
}

// Add adds a copy of it. It replaces the Item with the same key, whose Word is lost. It
// panics where Set does.
func (l *Loader) Add(it Item) {
	hash := hashOf(it.Key)
	i := hash & l.m.shardMask
	l.pending[i] = append(l.pending[i], loaded{hash, NewRecord(it)})
	if len(l.pending[i]) >= loaderBatch {
		l.flush(i)
	}
}

// Flush puts all added Items into the Map.
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

// loadLocked is setLocked for a record whose key most likely is new.
func (s *Shard) loadLocked(r loaded) {
	if old := s.data.set(r.hash, r.Record); !old.IsZero() {
		s.size -= old.Size()
		s.unscheduleLocked(old)
	}
	if s.index != nil {
		s.index.set(r.Record)
	}
	s.size += r.Size()
	if r.Expires() {
		s.expiring.set(r.Record)
	}
}

// DeferOrder makes a Map keep no order of its keys until Order is called, or View, which
// needs the order. Until then a write takes a fraction of its usual time: it searches a hash
// table, and no tree. No other goroutine may use the Map yet.
func (m *Map) DeferOrder() {
	for _, s := range m.shards {
		s.mu.Lock()
		s.index = nil
		s.mu.Unlock()
	}
	m.deferred.Store(true)
}

// Order makes the order of all keys if it was deferred, on all processors. From then on the
// Map keeps it. Each shard is locked while its own keys are sorted.
func (m *Map) Order() {
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

// order makes the shard's index if it has none.
func (s *Shard) order() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index == nil {
		s.index = buildIndex(s.sortedLocked())
	}
}

// headed is a record with a head of its key; see index.
type headed struct {
	head uint64
	Record
}

// sortedLocked returns the shard's records in the order of their keys.
func (s *Shard) sortedLocked() []headed {
	all := make([]headed, 0, s.data.count)
	skip := 0 // bytes that all keys have in common
	s.data.all(func(r Record) bool {
		if len(all) == 0 {
			skip = len(r.Key())
		} else {
			skip = min(skip, keyOrder.shared(all[0].Record, r))
		}
		all = append(all, headed{Record: r})
		return true
	})
	for i := range all {
		all[i].head = keyOrder.head(all[i].Record, skip)
	}
	slices.SortFunc(all, func(a, b headed) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return keyOrder.compare(a.Record, b.Record)
	})
	return all
}

// nodeFill is the number of records of a node in an index that is built of many records at
// once. It leaves room, so that later records don't split every node.
const nodeFill = 46

// buildIndex returns an index by key of records in that order.
func buildIndex(sorted []headed) *index {
	x := newIndex(&keyOrder)
	x.count = len(sorted)
	if len(sorted) == 0 {
		return x
	}
	height, room := 0, nodeFill // room of a tree of that height with nodeFill records in each node
	for room < len(sorted) {
		height, room = height+1, roomAbove(room)
	}
	x.root = x.build(sorted, height, room)
	return x
}

// roomAbove returns the number of records that a tree has room for if each of its subtrees
// has room for room.
func roomAbove(room int) int { return nodeFill + (nodeFill+1)*room }

// build returns the root of a tree of the sorted records. The height is that of the
// root above the leaves, and room the number of records that such a tree has room for.
//
// Invariant: a tree has more than half the records that it has room for, or no lower tree
// has room for them; so every node except the root has at least nodeMin.
func (x *index) build(sorted []headed, height, room int) *node {
	n := &node{owner: x.owner}
	if height == 0 {
		for i, r := range sorted {
			n.items[i] = r.Record
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
			n.items[n.length] = sorted[0].Record
			n.length++
			sorted = sorted[1:]
		}
	}
	x.setHeads(n)
	return n
}
