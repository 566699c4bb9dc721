package mvcc

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/internal/access"
)

const (
	// recentReads is the maximum number of reads of a sample.
	recentReads = 1024
	// readShare is the part of the reads that is considered for a sample: one in so many.
	readShare = 4
)

// readSample is a random sample of the reads since the last one was taken, for another replica that
// evicts. A read that is considered takes the place of an earlier one. Readers take no lock.
type readSample struct {
	considered atomic.Uint64
	slots      [recentReads]atomic.Uint32
}

// note considers a read of the key in a slot.
func (s *readSample) note(slot uint32) {
	r := rand.Uint32()
	if r%readShare != 0 {
		return
	}
	s.considered.Add(1)
	s.slots[r/readShare%recentReads].Store(slot)
}

// Reads is a sample of the reads of keys: some keys, each with about the number of its reads.
type Reads []KeyReads

// KeyReads are reads of one key.
type KeyReads struct {
	Key   string
	Count uint64
}

// TakeReads returns a sample of the reads of keys since the last call: up to 1,024 keys, which have
// up to maxBytes bytes together. It is nil unless the store tracks reads. The keys alias the store's
// memory.
func (s *Store) TakeReads(maxBytes int) (sample Reads) {
	u := s.uses.Load()
	if u == nil || !u.options.Reads {
		return nil
	}
	reads := u.sample.considered.Swap(0) * readShare
	var slots []uint32
	for i := range u.sample.slots {
		if slot := u.sample.slots[i].Swap(0); slot != 0 {
			slots = append(slots, slot)
		}
	}
	slices.Sort(slots)
	for i := 0; i < len(slots); {
		first := i
		for i < len(slots) && slots[i] == slots[first] {
			i++
		}
		key := s.keys.key(slots[first])
		if maxBytes -= len(key); key == "" || maxBytes < 0 {
			continue // it was deleted
		}
		sample = append(sample, KeyReads{key, max(1, reads*uint64(i-first)/uint64(len(slots)))})
	}
	return sample
}

// NoteReads notes reads of keys on another replica, as of now. Keys that do not exist are skipped.
func (s *Store) NoteReads(reads Reads) {
	u := s.uses.Load()
	if u == nil || !u.options.Reads {
		return
	}
	now := time.Now().UnixMilli()
	for _, one := range reads {
		slot, newest, _ := s.table.get(hashOf(one.Key), one.Key)
		if used := u.at(slot); newest.exists() && used != nil {
			access.Read(&used.word, now, one.Count)
		}
	}
}
