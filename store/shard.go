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
	size  int64 // bytes of keys and values
}

func newShard() *Shard {
	return &Shard{
		data:  make(map[string]record),
		index: btree.NewG(indexDegree, lessRecord),
	}
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
	key, size := r.key(), r.dataSize()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, existed = s.index.ReplaceOrInsert(r)
	s.data[key] = r
	s.size += size
	if existed {
		s.size -= old.dataSize()
	}
	return old, existed
}

func (s *Shard) delete(key string) (old record, existed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, existed = s.data[key]
	if !existed {
		return record{}, false
	}
	delete(s.data, key)
	s.index.Delete(old)
	s.size -= old.dataSize()
	return old, true
}

// cloneLocked returns a frozen copy of the index. The caller holds mu for
// writing: Clone changes the tree that it copies.
func (s *Shard) cloneLocked() *btree.BTreeG[record] { return s.index.Clone() }
