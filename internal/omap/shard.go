package omap

import (
	"sync"
	"sync/atomic"
)

// Shard is a part of a Map, with a lock of its own for writers. It is safe for concurrent
// use. Reads of a key take no lock, except while a step changes several keys.
type Shard struct {
	// data may be read at any time; writers hold mu.
	data table
	// step is odd while a step changes keys of this shard: then data may have only some
	// of the step's changes, and must not be used. It is changed under Map.stepping.
	step atomic.Uint64

	mu sync.Mutex // guards the fields below

	index *index // of the records in data, by key
	// expiring holds the records with a deadline, in the order in which they expire.
	expiring *index
	size     int64 // bytes of keys and values
}

func newShard() *Shard {
	s := new(Shard)
	s.clearLocked()
	return s
}

// Len returns the number of keys in the shard.
func (s *Shard) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.count
}

// Size returns the size in bytes of the shard's keys and values.
func (s *Shard) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// set adds r, or replaces the record with the same key, and returns the replaced record, the
// zero record if there was none.
func (s *Shard) set(hash uint64, r Record) (old Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setLocked(hash, r)
}

func (s *Shard) setLocked(hash uint64, r Record) (old Record) {
	old = s.data.get(hash, r.Key())
	s.replaceLocked(old, r)
	s.data.set(hash, r)
	return old
}

// replaceLocked replaces old by r in all structures except the hash table. A new key has the
// zero record as old, a removed key has it as r.
func (s *Shard) replaceLocked(old, r Record) {
	if !old.IsZero() {
		s.size -= old.Size()
		s.unscheduleLocked(old)
		if !r.IsZero() {
			r.Word().Store(old.Word().Load()) // no other goroutine has r yet
		} else {
			s.index.delete(old)
		}
	}
	if r.IsZero() {
		return
	}
	s.index.set(r)
	s.size += r.Size()
	if r.Expires() {
		s.expiring.set(r)
	}
}

func (s *Shard) delete(hash uint64, key string) (old Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleteLocked(hash, key)
}

func (s *Shard) deleteLocked(hash uint64, key string) (old Record) {
	old = s.data.delete(hash, key)
	s.replaceLocked(old, Record{})
	return old
}

func (s *Shard) unscheduleLocked(r Record) {
	if r.Expires() {
		s.expiring.delete(r)
	}
}

// clearLocked removes all records.
func (s *Shard) clearLocked() {
	s.data.init(0)
	s.index = newIndex(&keyOrder)
	s.expiring = newIndex(&deadlineOrder)
	s.size = 0
}
