package wal

import (
	"math/bits"
	"time"
)

// HistogramBuckets is the number of buckets of a Histogram: their bounds are 1 µs to
// 33 s, and one has no bound.
const HistogramBuckets = 27

// Histogram counts durations in buckets, each twice as wide as the previous one. It
// is a value: copies don't change. It is not safe for concurrent use.
type Histogram struct {
	Counts [HistogramBuckets]uint64 // of durations up to BucketBound, and above the previous bucket's
	Sum    time.Duration            // of all durations
}

// BucketBound returns the longest duration that bucket i counts. The last bucket has
// no bound; for it the previous bucket's is returned.
func BucketBound(i int) time.Duration {
	return time.Microsecond << min(i, HistogramBuckets-2)
}

// Add counts d.
func (h *Histogram) Add(d time.Duration) {
	i := bits.Len64(uint64(max(d-1, 0) / time.Microsecond))
	h.Counts[min(i, HistogramBuckets-1)]++
	h.Sum += d
}

// Count returns the number of durations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile returns a duration that the share q of all, from 0 to 1, does not
// exceed: at most twice the true one. It is 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank, seen := q*float64(h.Count()), uint64(0)
	for i, c := range h.Counts {
		if seen += c; c > 0 && float64(seen) >= rank {
			return BucketBound(i)
		}
	}
	return 0
}

// Cumulative returns the histogram as Prometheus defines it: the number of durations,
// their sum in seconds, and for each bucket's bound in seconds the number of durations
// that don't exceed it.
func (h *Histogram) Cumulative() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64)
	for i, n := range h.Counts {
		count += n
		if i < HistogramBuckets-1 {
			buckets[BucketBound(i).Seconds()] = count
		}
	}
	return count, h.Sum.Seconds(), buckets
}
