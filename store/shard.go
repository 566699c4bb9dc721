package store

import (
	"sync"

	"github.com/google/btree"
)

// indexDegree is the B-tree's degree: a node holds up to 63 records, so that
// the nodes which the first write after a View copies stay at about 1 KiB each.
const indexDegree = 32

// Shard is one part of a ShardedMap, with a lock of its own.
type Shard struct {
	mu sync.RWMutex // guards the fields below

	// data and index hold the same records.
	data  map[string]record
	index *btree.BTreeG[record]
	// expiring holds those of them that have a deadline, in the order in which they expire.
	expiring *btree.BTreeG[record]
	size     int64 // bytes of keys and values
}

func newShard() *Shard {
	return &Shard{
		data:     make(map[string]record),
		index:    btree.NewG(indexDegree, lessRecord),
		expiring: btree.NewG(indexDegree, lessDeadline),
	}
}

// lessDeadline orders records by their deadlines, and by their keys within one.
func lessDeadline(a, b record) bool {
	if da, db := a.deadline(), b.deadline(); da != db {
		return da < db
	}
	return lessRecord(a, b)
}

// Len returns the number of keys in the shard.
func (s *Shard) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.data)
}

// Size returns the number of bytes that the shard's keys and values have.
func (s *Shard) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.size
}

func (s *Shard) get(key string) (record, bool) {
	s.mu.RLock()
	r, ok := s.data[key]
	s.mu.RUnlock()
	return r, ok
}

// set puts r in the place of the record with the same key.
func (s *Shard) set(r record) (old record, existed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setLocked(r)
}

func (s *Shard) setLocked(r record) (old record, existed bool) {
	old, existed = s.data[r.key()]
	if existed {
		s.size -= old.dataSize()
		s.unscheduleLocked(old)
		r.access().Store(old.access().Load()) // not shared yet
	}
	s.index.ReplaceOrInsert(r)
	s.data[r.key()] = r
	s.size += r.dataSize()
	if r.deadline() != 0 {
		s.expiring.ReplaceOrInsert(r)
	}
	return old, existed
}

func (s *Shard) delete(key string) (old record, existed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleteLocked(key)
}

func (s *Shard) deleteLocked(key string) (old record, existed bool) {
	old, existed = s.data[key]
	if !existed {
		return record{}, false
	}
	delete(s.data, key)
	s.index.Delete(old)
	s.size -= old.dataSize()
	s.unscheduleLocked(old)
	return old, true
}

func (s *Shard) unscheduleLocked(r record) {
	if r.deadline() != 0 {
		s.expiring.Delete(r)
	}
}

// clearLocked removes everything.
func (s *Shard) clearLocked() {
	fresh := newShard()
	s.data, s.index, s.expiring, s.size = fresh.data, fresh.index, fresh.expiring, 0
}

// due returns up to max records whose deadline is at or before now, in the
// order in which they expire.
func (s *Shard) due(now int64, max int) []record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var due []record
	s.expiring.Ascend(func(r record) bool {
		if r.deadline() > now || len(due) == max {
			return false
		}
		due = append(due, r)
		return true
	})
	return due
}

// soonest returns the record that expires first.
func (s *Shard) soonest() (record, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.expiring.Min()
}

// sample appends up to n records to out, from a place that Go's map iteration
// picks at random.
func (s *Shard) sample(out []record, n int) []record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.data {
		if n--; n < 0 {
			break
		}
		out = append(out, r)
	}
	return out
}

// cloneLocked returns a frozen copy of the index. The caller holds mu for
// writing: Clone changes the tree that it copies.
func (s *Shard) cloneLocked() *btree.BTreeG[record] { return s.index.Clone() }
