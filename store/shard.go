package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// Shard is one part of a ShardedMap, with a lock of its own. Reads of a key
// take no lock, except while a step that changes several keys is under way.
type Shard struct {
	// data may be read at any time; writers hold mu.
	data table
	// step is odd while a change of several keys is under way: what is in data
	// must not be seen before all of it is.
	step atomic.Uint64

	mu sync.Mutex // guards the fields below

	index *index // of what data holds, by key; nil while the order is deferred
	// expiring holds those records that have a deadline, in the order in which they expire.
	expiring *index
	size     int64 // bytes of keys and values
}

func newShard() *Shard {
	s := &Shard{index: newIndex(&keyOrder)}
	s.clearLocked()
	return s
}

// Len returns the number of keys in the shard.
func (s *Shard) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.count
}

// Size returns the number of bytes that the shard's keys and values have.
func (s *Shard) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// getWaiting returns key's record to a reader that met a step of several keys,
// whose end it waits for.
func (s *Shard) getWaiting(hash uint64, key string) record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.get(hash, key)
}

// Get returns a view of key, whose value is a copy, and notes the read. It returns
// false where there is no such key in the shard, or it has expired by the wall
// clock. Store, which has a clock of its own, goes by that instead.
func (s *Shard) Get(key string) (*Entry, bool) {
	s.mu.Lock()
	r := s.data.get(hashOf(key), key)
	s.mu.Unlock()
	now := time.Now().UnixNano()
	if r.first == nil || r.expired(now) {
		return nil, false
	}
	r.touch(now)
	return viewOf(r), true
}

// Set puts a copy of entry in the place of the one with the same key, and returns
// that one, nil if there was none. The shard must be the one that the key
// belongs to; see ShardedMap.Shard.
func (s *Shard) Set(entry *Entry) *Entry {
	old := s.set(hashOf(entry.Key), newRecord(itemOf(entry)))
	if old.first == nil {
		return nil
	}
	return viewOf(old)
}

// set puts r in the place of the record with the same key, and returns that
// one, the zero record if there was none.
func (s *Shard) set(hash uint64, r record) (old record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setLocked(hash, r)
}

func (s *Shard) setLocked(hash uint64, r record) (old record) {
	if old = s.data.get(hash, r.key()); old.first != nil {
		s.size -= old.dataSize()
		s.unscheduleLocked(old)
		r.access().Store(old.access().Load()) // not shared yet
	}
	s.data.set(hash, r)
	if s.index != nil {
		s.index.set(r)
	}
	s.size += r.dataSize()
	if r.expires() {
		s.expiring.set(r)
	}
	return old
}

func (s *Shard) delete(hash uint64, key string) (old record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleteLocked(hash, key)
}

func (s *Shard) deleteLocked(hash uint64, key string) (old record) {
	if old = s.data.delete(hash, key); old.first != nil {
		if s.index != nil {
			s.index.delete(old)
		}
		s.size -= old.dataSize()
		s.unscheduleLocked(old)
	}
	return old
}

func (s *Shard) unscheduleLocked(r record) {
	if r.expires() {
		s.expiring.delete(r)
	}
}

// clearLocked removes everything.
func (s *Shard) clearLocked() {
	s.data.init(0)
	if s.index != nil {
		s.index = newIndex(&keyOrder)
	}
	s.expiring = newIndex(&deadlineOrder)
	s.size = 0
}
