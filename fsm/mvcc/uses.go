package mvcc

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/internal/access"
)

// UseOptions say which keys a Store keeps ready for eviction.
type UseOptions struct {
	// Reads says that reads of single keys are noted, for LRU and LFU.
	Reads bool
	// Protected are the prefixes of keys that are not evicted.
	Protected []string
}

// protects reports whether a key is not evicted.
func (o *UseOptions) protects(key string) bool {
	for _, prefix := range o.Protected {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// uses has the keys that may be evicted, and when and how often each was used. It is local to its
// replica: nothing depends on it but the choice of keys to evict. Readers note their reads without
// a lock. A read of a key whose slot has no page yet is not noted.
type uses struct {
	options UseOptions
	pages   atomic.Pointer[[]*usePage] // by slots
	// live are the slots of the keys that exist and may be evicted, in no order. Guarded by
	// Store.mu, as are the places of slots in it.
	live  []uint32
	bytes int64 // of their items; guarded by Store.mu

	sample readSample // of reads, for other replicas

	// pool are the slots of the best keys of earlier samples that were not evicted, 0 for none.
	// Guarded by Store.mu.
	pool [access.Sample]uint32
}

// use is what uses has for one slot.
type use struct {
	word  atomic.Uint64 // see package access
	place uint32        // in live, plus 1; 0 is none
}

type usePage [pageSlots]use

// at returns that of a slot, nil if it has no page.
func (u *uses) at(slot uint32) *use {
	pages := *u.pages.Load()
	if int(slot/pageSlots) >= len(pages) {
		return nil
	}
	return &pages[slot/pageSlots][slot%pageSlots]
}

// addLocked adds a key that was made.
func (u *uses) addLocked(slot uint32, key string, bytes, now int64) {
	if u.options.protects(key) {
		return
	}
	if pages := *u.pages.Load(); int(slot/pageSlots) >= len(pages) {
		more := make([]*usePage, slot/pageSlots+1)
		for i := copy(more, pages); i < len(more); i++ {
			more[i] = new(usePage)
		}
		u.pages.Store(&more)
	}
	one := u.at(slot)
	one.word.Store(0) // of an earlier key
	access.Written(&one.word, now)
	u.bytes += bytes
	u.live = append(u.live, slot)
	one.place = uint32(len(u.live))
}

// removeLocked removes a key that was deleted.
func (u *uses) removeLocked(slot uint32, bytes int64) {
	one := u.at(slot)
	if one == nil || one.place == 0 {
		return
	}
	u.bytes -= bytes
	last := len(u.live) - 1
	moved := u.live[last]
	u.live[one.place-1] = moved
	u.at(moved).place = one.place
	u.live, one.place = u.live[:last], 0
}

// TrackUses makes the store keep keys ready for eviction, or no longer if options is nil. It takes
// a time that grows with the number of keys, during which nothing is written, unless the options
// are those of before.
func (s *Store) TrackUses(options *UseOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if options == nil {
		s.uses.Store(nil)
		return
	}
	u := &uses{options: *options}
	u.pages.Store(new([]*usePage))
	now, before := time.Now().UnixMilli(), s.uses.Load()
	for slot := uint32(1); slot <= s.keys.slots.used; slot++ {
		rec, _ := s.keys.newest(slot)
		if !rec.exists() {
			continue
		}
		it := rec.item()
		u.addLocked(slot, it.Key, Bytes(&it), now)
		if before == nil {
			continue
		}
		if known, kept := before.at(slot), u.at(slot); known != nil && kept != nil {
			kept.word.Store(known.word.Load())
		}
	}
	s.uses.Store(u)
}

// noteRead notes a read of the key in a slot.
func (s *Store) noteRead(slot uint32) {
	u := s.uses.Load()
	if u == nil || !u.options.Reads {
		return
	}
	if one := u.at(slot); one != nil {
		access.Read(&one.word, time.Now().UnixMilli(), 1)
		u.sample.note(slot)
	}
}

// noteWriteLocked notes a write of a key, which may have been made by it, and has so many bytes more.
func (s *Store) noteWriteLocked(slot uint32, key string, made bool, bytes int64) {
	u := s.uses.Load()
	if u == nil {
		return
	}
	now := time.Now().UnixMilli()
	if made {
		u.addLocked(slot, key, bytes, now)
	} else if one := u.at(slot); one != nil && one.place != 0 {
		u.bytes += bytes
		access.Written(&one.word, now)
	}
}

// noteDeleteLocked notes the deletion of a key of so many bytes.
func (s *Store) noteDeleteLocked(slot uint32, bytes int64) {
	if u := s.uses.Load(); u != nil {
		u.removeLocked(slot, bytes)
	}
}

// Evictable returns the number of keys that may be evicted, and of their bytes; 0 unless the store
// tracks uses.
func (s *Store) Evictable() (keys, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uses.Load()
	if u == nil {
		return 0, 0
	}
	return int64(len(u.live)), u.bytes
}

// Policy is the order in which keys are evicted.
type Policy uint8

// Policies.
const (
	LeastRecentlyUsed Policy = iota
	LeastOftenRead           // and of those the least recently used
	Random
	EarliestDeadline // keys without one never
)

// Victim is a key to evict.
type Victim struct {
	Key         string // aliases the store's memory
	ModRevision uint64
	Bytes       int64 // of the item; see Bytes
}

// drawn is the number of keys that are drawn for each victim of a sample. The others of the sample are
// the best of those before.
const drawn = access.Sample / 3

// maxLooks is the maximum number of keys that the search for one victim looks at.
const maxLooks = 4096

// Victims calls yield with keys to evict, the best first, until it returns false or there is no
// other. It returns none that skip has. LeastRecentlyUsed and LeastOftenRead are approximate: they
// take the best of a random sample. The store must track uses. Entries wait meanwhile.
func (s *Store) Victims(policy Policy, skip func(key string) bool, yield func(Victim) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uses.Load()
	if u == nil {
		return
	}
	c := chooser{s: s, u: u, policy: policy, skip: skip, taken: make(map[uint32]bool)}
	if policy == EarliestDeadline {
		s.deadlines.order.Ascend(func(one expiry) bool {
			return !c.evictable(one.slot) || yield(c.victim(one.slot))
		})
		return
	}
	for {
		slot, ok := c.best()
		if !ok {
			return
		}
		c.taken[slot] = true
		if !skip(s.keys.key(slot)) && !yield(c.victim(slot)) {
			return
		}
	}
}

// chooser looks for victims.
type chooser struct {
	s      *Store
	u      *uses
	policy Policy
	skip   func(key string) bool
	taken  map[uint32]bool // slots of victims, and of keys that were skipped
}

// evictable reports whether the key in a slot is not protected, and not skipped.
func (c *chooser) evictable(slot uint32) bool {
	one := c.u.at(slot)
	return one != nil && one.place != 0 && !c.skip(c.s.keys.key(slot))
}

// victim returns the key in a slot.
func (c *chooser) victim(slot uint32) Victim {
	rec, _ := c.s.keys.newest(slot)
	it := rec.item()
	return Victim{it.Key, it.ModRevision, Bytes(&it)}
}

// best returns the slot of the best key of a random sample of those that are not taken. If there are no
// more than a sample has, that is the best of all; if most are taken, the best of those behind a random
// one.
func (c *chooser) best() (slot uint32, ok bool) {
	live := c.u.live
	if len(live) > access.Sample {
		if slot, ok = c.sampled(live); ok {
			return slot, true
		}
	}
	if len(live) == 0 {
		return 0, false
	}
	var best candidate
	first := rand.IntN(len(live))
	for i := range live {
		c.look(&best, live[(first+i)%len(live)])
		if best.slot != 0 && (c.policy == Random || i >= maxLooks) {
			break
		}
	}
	return best.slot, best.slot != 0
}

// sampled returns the best of a random sample, false if all of it is taken. The best of earlier samples
// are a part of it, so that few keys need be drawn for each victim.
func (c *chooser) sampled(live []uint32) (slot uint32, ok bool) {
	if c.policy == Random {
		slot = live[rand.IntN(len(live))]
		return slot, !c.taken[slot]
	}
	pool := &c.u.pool
	for range drawn {
		c.offer(live[rand.IntN(len(live))])
	}
	var best candidate
	at := 0
	for i, slot := range pool {
		if one := c.u.at(slot); slot == 0 || one == nil || one.place == 0 {
			pool[i] = 0 // it was deleted
			continue
		}
		if c.look(&best, slot) {
			at = i
		}
	}
	if best.slot == 0 {
		return 0, false
	}
	pool[at] = 0
	return best.slot, true
}

// offer puts a slot that is not taken into the pool, in place of the worst there if it is better.
func (c *chooser) offer(slot uint32) {
	if c.taken[slot] {
		return
	}
	pool := &c.u.pool
	worst := 0
	for i, other := range pool {
		if other == slot {
			return
		}
		if pool[worst] != 0 && (other == 0 || c.better(c.candidate(pool[worst]), c.candidate(other))) {
			worst = i
		}
	}
	if pool[worst] == 0 || c.better(c.candidate(slot), c.candidate(pool[worst])) {
		pool[worst] = slot
	}
}

// candidate is a key that may be taken, with its use. Slot 0 is none.
type candidate struct {
	slot  uint32
	last  int64
	count uint64
}

// candidate returns the key in a slot, which has a page.
func (c *chooser) candidate(slot uint32) candidate {
	one := candidate{slot: slot}
	one.last, one.count = access.Last(c.u.at(slot).word.Load())
	return one
}

// better reports whether a is to be evicted before b.
func (c *chooser) better(a, b candidate) bool {
	if c.policy == LeastOftenRead && a.count != b.count {
		return a.count < b.count
	}
	return a.last < b.last
}

// look makes best the key in a slot if it is not taken, and better. It reports whether it did.
func (c *chooser) look(best *candidate, slot uint32) bool {
	one := c.candidate(slot)
	if best.slot != 0 && !c.better(one, *best) || c.taken[slot] {
		return false
	}
	*best = one
	return true
}
