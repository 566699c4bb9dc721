package mvcc

import (
	"iter"
	"maps"

	"github.com/google/btree"

	"github.com/kvorum/kvorum/kv"
)

// attachment is a key that exists and is attached to a lease.
type attachment struct {
	lease kv.LeaseID
	slot  uint32 // of the key
}

// attachments is the index of the keys that exist and are attached to a lease: by lease, and in
// byte order of the keys of one. Its nodes have no pointers beside those to their children. It
// belongs to the writer.
type attachments struct {
	order  *btree.BTreeG[attachment]
	counts map[kv.LeaseID]int // the number of keys of each lease that has one
}

// init makes a an empty index of keys.
func (a *attachments) init(k *keys) {
	a.counts = make(map[kv.LeaseID]int)
	a.order = btree.NewG(expiryDegree, func(a, b attachment) bool {
		if a.lease != b.lease {
			return a.lease < b.lease
		}
		if a.slot == 0 || b.slot == 0 { // no key has slot 0, which is before all keys
			return a.slot < b.slot
		}
		return a.slot != b.slot && k.key(a.slot) < k.key(b.slot)
	})
}

// change attaches a key to another lease; 0 is none. The key's slot has a version.
func (a *attachments) change(slot uint32, before, after kv.LeaseID) {
	if before == after {
		return
	}
	if before != 0 {
		a.order.Delete(attachment{before, slot})
		if a.counts[before]--; a.counts[before] == 0 {
			delete(a.counts, before)
		}
	}
	if after != 0 {
		a.order.ReplaceOrInsert(attachment{after, slot})
		a.counts[after]++
	}
}

// slots yields the slots of the keys of a lease, in byte order of the keys.
func (a *attachments) slots(lease kv.LeaseID) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if a.counts[lease] == 0 {
			return
		}
		a.order.AscendGreaterOrEqual(attachment{lease: lease}, func(one attachment) bool {
			return one.lease == lease && yield(one.slot)
		})
	}
}

// bytes returns about the memory of the index.
func (a *attachments) bytes() int64 { return int64(a.order.Len())*24 + int64(len(a.counts))*40 }

// LeaseKeys appends to keys those that exist and are attached to a lease, in byte order. Keys
// whose deadlines the clock has reached, and which were not removed, are among them. The keys
// alias the store's memory.
func (t *Tx) LeaseKeys(keys []string, lease kv.LeaseID) []string {
	for slot := range t.s.attachments.slots(lease) {
		keys = append(keys, t.s.keys.key(slot))
	}
	return keys
}

// LeaseLen returns the number of keys that LeaseKeys appends.
func (t *Tx) LeaseLen(lease kv.LeaseID) int { return t.s.attachments.counts[lease] }

// LeaseKeys returns the keys that are attached to a lease, in byte order, without those whose
// deadlines the clock has reached. No Tx may be open. The keys alias the store's memory.
func (s *Store) LeaseKeys(lease kv.LeaseID) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, clock := make([]string, 0, s.attachments.counts[lease]), s.clock.Load()
	for slot := range s.attachments.slots(lease) {
		if rec, _ := s.keys.newest(slot); rec.existsAt(clock) {
			keys = append(keys, rec.key())
		}
	}
	return keys
}

// LeaseLen returns the number of keys that are attached to a lease, with those that have expired
// and were not removed, and with the changes of an open Tx.
func (s *Store) LeaseLen(lease kv.LeaseID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attachments.counts[lease]
}

// AttachedLeases yields the leases to which keys are attached, in no order. No Tx may be open.
func (s *Store) AttachedLeases() iter.Seq[kv.LeaseID] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Keys(s.attachments.counts)
}
