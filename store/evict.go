package store

import (
	"math/rand/v2"
)

// evictionSample is how many keys are looked at for each victim of LRU and LFU.
// A larger sample comes nearer to the ideal and costs more.
const evictionSample = 16

// Victims returns up to n keys to remove, chosen by policy, without those that
// spare names, and without removing them.
//
// LRU and LFU are approximate: of a random sample of keys the one least
// recently, or least often, read goes; a write counts as recent use. Reads
// count only where Touch is called.
// TTL is exact: the key that expires first, and a random one where
// none has a deadline. None has no victims.
func (m *ShardedMap) Victims(policy EvictionPolicy, n int, spare func(key string) bool) []Item {
	var items []Item
	for _, r := range m.victims(policy, n, spare) {
		items = append(items, r.item())
	}
	return items
}

// victims is Victims of records.
func (m *ShardedMap) victims(policy EvictionPolicy, n int, spare func(key string) bool) (victims []record) {
	if policy == EvictionNone {
		return nil
	}
	chosen := make(map[string]bool)
	taken := func(key string) bool { return chosen[key] || spare(key) }
	for len(victims) < n {
		r, ok := m.victim(policy, taken)
		if !ok {
			break
		}
		chosen[r.key()] = true
		victims = append(victims, r)
	}
	return victims
}

// victim returns the next key to go.
func (m *ShardedMap) victim(policy EvictionPolicy, taken func(string) bool) (record, bool) {
	if policy == EvictionTTL {
		if r, ok := m.soonestOf(taken); ok {
			return r, true
		}
		policy = EvictionRandom
	}
	var best record
	for _, r := range m.sample(taken, evictionSample) {
		if best.first == nil || lessUsed(policy, r, best) {
			best = r
		}
	}
	return best, best.first != nil
}

// lessUsed says whether a is the better victim.
func lessUsed(policy EvictionPolicy, a, b record) bool {
	lastA, countA := a.used()
	lastB, countB := b.used()
	switch {
	case policy == EvictionLFU && countA != countB:
		return countA < countB
	case policy == EvictionRandom:
		return false
	}
	return lastA < lastB
}

// sample returns up to n records that are not taken, each of them as likely as
// any other, and some of them perhaps more than once.
func (m *ShardedMap) sample(taken func(string) bool, n int) []record {
	found := make([]record, 0, n)
	for tries := 8 * n; tries > 0 && len(found) < n; tries-- {
		if r := m.shards[rand.Uint64()&m.shardMask].data.random(); r.first != nil && !taken(r.key()) {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return m.anyOf(taken)
	}
	return found
}

// anyOf looks through everything for one record that is not taken; the samples
// found none.
func (m *ShardedMap) anyOf(taken func(string) bool) (found []record) {
	for _, s := range m.shards {
		s.mu.Lock()
		s.data.all(func(r record) bool {
			if !taken(r.key()) {
				found = append(found, r)
			}
			return len(found) == 0
		})
		s.mu.Unlock()
		if len(found) > 0 {
			break
		}
	}
	return found
}

// soonestOf returns the record that expires first of those not taken.
func (m *ShardedMap) soonestOf(taken func(string) bool) (record, bool) {
	var best record
	for _, s := range m.shards {
		if r, ok := s.soonestOf(taken); ok && (best.first == nil || lessDeadline(r, best)) {
			best = r
		}
	}
	return best, best.first != nil
}

func (s *Shard) soonestOf(taken func(string) bool) (found record, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiring.Ascend(func(r record) bool {
		if ok = !taken(r.key()); ok {
			found = r
		}
		return !ok
	})
	return found, ok
}

// Touch notes a read of key at now, in nanoseconds since the Unix epoch, for
// the eviction policies that ask for it.
func (m *ShardedMap) Touch(key string, now int64) {
	if r := m.get(key); r.first != nil {
		r.touch(now)
	}
}

// Accessed returns when key was last read, in nanoseconds since the Unix epoch
// or 0 for never, and how often, as far as Touch was told.
func (m *ShardedMap) Accessed(key string) (last int64, count uint64) {
	if r := m.get(key); r.first != nil {
		return r.accessed()
	}
	return 0, 0
}
