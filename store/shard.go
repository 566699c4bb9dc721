package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// Shard is one part of a ShardedMap, with a lock of its own. Reads of a key
// take no lock, except while a step that changes several keys is made.
type Shard struct {
	// data may be read at any time; writers hold mu.
	data table
	// step is odd while a step changes keys of this shard: what is in data
	// must not be seen before all of the step is. It is changed under
	// ShardedMap.stepping.
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
	old = s.data.get(hash, r.key())
	s.replaceLocked(old, r)
	s.data.set(hash, r)
	return old
}

// replaceLocked has all but the hash table hold r in the place of old. Each may be the
// zero record, for nothing.
func (s *Shard) replaceLocked(old, r record) {
	if old.first != nil {
		s.size -= old.dataSize()
		s.unscheduleLocked(old)
		if r.first != nil {
			r.access().Store(old.access().Load()) // not shared yet
		} else if s.index != nil {
			s.index.delete(old)
		}
	}
	if r.first == nil {
		return
	}
	if s.index != nil {
		s.index.set(r)
	}
	s.size += r.dataSize()
	if r.expires() {
		s.expiring.set(r)
	}
}

func (s *Shard) delete(hash uint64, key string) (old record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleteLocked(hash, key)
}

func (s *Shard) deleteLocked(hash uint64, key string) (old record) {
	old = s.data.delete(hash, key)
	s.replaceLocked(old, record{})
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
