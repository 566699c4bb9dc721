package store

import (
	"cmp"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
)

// evictionSample is the number of keys in the random sample from which LRU and LFU
// take a victim. A larger sample is closer to the exact policy and costs more.
const evictionSample = 16

// evictsMany reports whether more than a quarter of a map's keys have to go. Samples
// would then mostly hit keys that were chosen already.
func evictsMany(share, all int64) bool { return share > all/4 }

// victims yields the records that the policy evicts, the best victim first. It skips
// every record for which taken returns true; taken must also return true for the
// records that were yielded. If many is set, victims compares all records once, in
// time proportional to their number; otherwise it takes samples.
//
// LRU and LFU are approximate: of a random sample of keys they evict the one that was
// read least recently, or least often. A write counts as recent use. TTL is exact: it
// yields keys in the order of their deadlines, beginning behind the record after (the
// zero record for all), and then random ones. None has no victims.
func (m *ShardedMap) victims(policy EvictionPolicy, after record, many bool, taken func(key string) bool) iter.Seq[record] {
	return func(yield func(record) bool) {
		switch policy {
		case EvictionNone:
			return
		case EvictionTTL:
			for r := range m.byDeadline(after, math.MaxInt64) {
				if !taken(r.key()) && !yield(r) {
					return
				}
			}
			policy = EvictionRandom
		}
		for !many {
			r, ok := m.leastUsed(policy, taken)
			if !ok {
				break // most is taken: choose from the rest
			}
			if !yield(r) {
				return
			}
		}
		for _, c := range m.ranked(policy, taken) {
			if !yield(c.record) {
				return
			}
		}
	}
}

// candidate is a record that may be evicted, with its use at one moment.
type candidate struct {
	record
	last  int64
	count uint64
}

func candidateOf(r record) candidate {
	last, count := r.used()
	return candidate{r, last, count}
}

// compareUse orders candidates for a policy, the better victim first.
func compareUse(policy EvictionPolicy, a, b candidate) int {
	if policy == EvictionLFU && a.count != b.count {
		return cmp.Compare(a.count, b.count)
	}
	return cmp.Compare(a.last, b.last)
}

// leastUsed returns the best victim of a random sample of what is not taken,
// false where the sample is empty.
func (m *ShardedMap) leastUsed(policy EvictionPolicy, taken func(string) bool) (record, bool) {
	var best candidate
	found := 0
	for tries := 8 * evictionSample; tries > 0 && found < evictionSample; tries-- {
		r := m.shards[rand.Uint64()&m.shardMask].data.random()
		if r.first == nil || taken(r.key()) {
			continue
		}
		if policy == EvictionRandom {
			return r, true
		}
		c := candidateOf(r)
		if found++; found == 1 || compareUse(policy, c, best) < 0 {
			best = c
		}
	}
	return best.record, found > 0
}

// ranked returns everything that is not taken, the best victim first.
func (m *ShardedMap) ranked(policy EvictionPolicy, taken func(string) bool) []candidate {
	var all []candidate
	for _, s := range m.shards {
		s.mu.Lock()
		s.data.all(func(r record) bool {
			if !taken(r.key()) {
				all = append(all, candidateOf(r))
			}
			return true
		})
		s.mu.Unlock()
	}
	if policy == EvictionRandom {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	} else {
		slices.SortFunc(all, func(a, b candidate) int { return compareUse(policy, a, b) })
	}
	return all
}
