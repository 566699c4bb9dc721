package versus

import (
	"slices"
	"time"
)

// timeline has the times at which writes were acknowledged, in order, counted from the
// load's beginning.
type timeline []time.Duration

// newTimeline merges the times of several writers, which need not be in order.
func newTimeline(writers ...[]time.Duration) timeline {
	all := slices.Concat(writers...)
	slices.Sort(all)
	return all
}

// span returns the part of t that is not before from and before to.
func (t timeline) span(from, to time.Duration) timeline {
	first, _ := slices.BinarySearch(t, from)
	end, _ := slices.BinarySearch(t, to)
	return t[first:max(first, end)]
}

// rate returns the acknowledged writes per second between two moments, 0 if there is
// no time between them.
func (t timeline) rate(from, to time.Duration) float64 {
	if to <= from {
		return 0
	}
	return float64(len(t.span(from, to))) / (to - from).Seconds()
}

// longestGap returns the longest time between two times in which no write was acknowledged.
// The two times themselves count as acknowledged writes.
func (t timeline) longestGap(from, to time.Duration) time.Duration {
	longest := time.Duration(0)
	for _, at := range t.span(from, to) {
		longest = max(longest, at-from)
		from = at
	}
	return max(longest, to-from)
}
