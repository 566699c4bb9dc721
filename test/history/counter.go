package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// addition is an addition to a counter and its answer.
type addition struct {
	delta, sum int64
	revision   uint64
	unknown    bool
	call, ret  int64 // of History.clock
}

// CounterReport is what CheckCounters found.
type CounterReport struct {
	Counters, Additions int
	Unknown             int // number of additions whose outcome is unknown
	Failures            []string
}

// AddCount records an addition to a counter, whose answer was a sum at a revision, or whose
// outcome is unknown. A counter is a number that is only added to, by deltas above 0, and
// never deleted. Additions that were certainly not done are not recorded.
func (h *History) AddCount(key string, delta, sum int64, revision uint64, unknown bool, c Call) {
	a := addition{delta: delta, sum: sum, revision: revision, unknown: unknown, call: c.clock, ret: h.clock.Add(1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counters[key] = append(h.counters[key], a)
}

// IsNumber reports whether a key is a counter, or one that a transaction has added to. Its
// values are not unique.
func (h *History) IsNumber(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counters[key] != nil || h.numbers[key]
}

// IsWritten reports whether a transaction or an addition may have written a key.
func (h *History) IsWritten(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counters[key] != nil || h.inTxns[key]
}

// CheckCounters checks each counter. Its final value, which final returns, is at least the
// sum of all acknowledged additions, and at most that plus the unknown ones. Each answer
// is the sum right after one addition: the parts that two of them added do not overlap. Sums
// grow with their revisions, and with time.
func (h *History) CheckCounters(final func(key string) int64) CounterReport {
	h.mu.Lock()
	counters := maps.Clone(h.counters)
	h.mu.Unlock()
	report := CounterReport{Counters: len(counters)}
	for _, key := range slices.Sorted(maps.Keys(counters)) {
		var known []addition
		var acknowledged, unknown int64
		for _, a := range counters[key] {
			report.Additions++
			if a.unknown {
				report.Unknown++
				unknown += a.delta
				continue
			}
			acknowledged += a.delta
			known = append(known, a)
		}
		if n := final(key); n < acknowledged || n > acknowledged+unknown {
			report.Failures = append(report.Failures, fmt.Sprintf("%s is %d in the end: %d were acknowledged, and %d are unknown", key, n, acknowledged, unknown))
		}
		report.Failures = append(report.Failures, checkSums(key, known)...)
	}
	return report
}

// checkSums compares the answers of one counter with each other.
func checkSums(key string, known []addition) (failures []string) {
	slices.SortFunc(known, func(a, b addition) int { return cmp.Compare(a.sum, b.sum) })
	for i := 1; i < len(known); i++ {
		a, b := known[i-1], known[i]
		if b.sum-b.delta < a.sum {
			failures = append(failures, fmt.Sprintf("%s: an addition of %d gave %d, and one of %d gave %d", key, a.delta, a.sum, b.delta, b.sum))
		}
		if b.revision <= a.revision {
			failures = append(failures, fmt.Sprintf("%s: %d at revision %d, and %d at revision %d", key, a.sum, a.revision, b.sum, b.revision))
		}
	}
	return append(failures, checkTimes(key, known)...)
}

// checkTimes finds sums that are below one that was answered before they were asked for.
func checkTimes(key string, known []addition) (failures []string) {
	byReturn := slices.Clone(known)
	slices.SortFunc(byReturn, func(a, b addition) int { return cmp.Compare(a.ret, b.ret) })
	slices.SortFunc(known, func(a, b addition) int { return cmp.Compare(a.call, b.call) })
	highest, next := int64(0), 0
	for _, a := range known {
		for ; byReturn[next].ret < a.call; next++ {
			highest = max(highest, byReturn[next].sum)
		}
		if a.sum <= highest {
			failures = append(failures, fmt.Sprintf("%s: an addition gave %d after another one had given %d", key, a.sum, highest))
		}
	}
	return failures
}
