package store

import (
	"cmp"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
)

// evictionSample is how many keys are looked at for each victim of LRU and LFU.
// A larger sample comes nearer to the ideal and costs more.
const evictionSample = 16

// evictsMany says whether so large a share of a map has to go that sampling
// would find ever less to choose from.
func evictsMany(share, all int64) bool { return share > all/4 }

// victims yields what policy gives up, one record after the other. It asks
// taken about each, which must name those that were yielded, too. Where many are
// wanted it compares all records once, which costs by their number.
//
// LRU and LFU are approximate: of a random sample of keys the one least
// recently, or least often, read goes; a write counts as recent use. TTL is
// exact: the key that expires first, of those behind the record after where it is
// not the zero record, and a random one where none has a deadline.
// None has no victims.
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
