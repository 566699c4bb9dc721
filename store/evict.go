package store

import (
	"cmp"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/kvorum/kvorum/internal/access"
	"github.com/kvorum/kvorum/internal/omap"
)

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
func (s *Store) victims(policy EvictionPolicy, after omap.Record, many bool, taken func(key string) bool) iter.Seq[omap.Record] {
	return func(yield func(omap.Record) bool) {
		switch policy {
		case EvictionNone:
			return
		case EvictionTTL:
			for r := range s.byDeadline(after, math.MaxInt64) {
				if !taken(r.Key()) && !yield(r) {
					return
				}
			}
			policy = EvictionRandom
		}
		for !many {
			r, ok := s.leastUsed(policy, taken)
			if !ok {
				break // most is taken: choose from the rest
			}
			if !yield(r) {
				return
			}
		}
		for _, c := range s.ranked(policy, taken) {
			if !yield(c.Record) {
				return
			}
		}
	}
}

// candidate is a record that may be evicted, with its use at one moment.
type candidate struct {
	omap.Record
	last  int64
	count uint64
}

func candidateOf(r omap.Record) candidate {
	last, count := used(r)
	return candidate{r, last, count}
}

// compareUse orders candidates for a policy, the better victim first.
func compareUse(policy EvictionPolicy, a, b candidate) int {
	if policy == EvictionLFU && a.count != b.count {
		return cmp.Compare(a.count, b.count)
	}
	return cmp.Compare(a.last, b.last)
}

// leastUsed returns the best victim of a random sample of the records that are not
// taken, false if the sample is empty.
func (s *Store) leastUsed(policy EvictionPolicy, taken func(string) bool) (omap.Record, bool) {
	var best candidate
	found := 0
	for tries := 8 * access.Sample; tries > 0 && found < access.Sample; tries-- {
		r := s.data.Sample()
		if r.IsZero() || taken(r.Key()) {
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
	return best.Record, found > 0
}

// ranked returns every record that is not taken, the best victim first.
func (s *Store) ranked(policy EvictionPolicy, taken func(string) bool) []candidate {
	var all []candidate
	for r := range s.data.Records() {
		if !taken(r.Key()) {
			all = append(all, candidateOf(r))
		}
	}
	if policy == EvictionRandom {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	} else {
		slices.SortFunc(all, func(a, b candidate) int { return compareUse(policy, a, b) })
	}
	return all
}
