package report

import (
	"math"
	"slices"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// maxColumns is the maximum number of columns of a chart.
const maxColumns = 600

// column has the figures of one or several neighbouring seconds of a run.
type column struct {
	from, to         float64 // seconds since the run began
	acked, reads     spread
	refused, unknown spread
	p50              float64 // the median of the seconds' medians, in milliseconds; 0 without a write
	p99              float64 // the highest of the seconds' values
	quiet            int     // the number of seconds without an acknowledged write
}

// spread is the mean of several seconds' figures and its extremes.
type spread struct {
	low, mean, high float64
}

// columns sums up seconds so that at most maxColumns are left.
func columns(all []record.Second) []column {
	size := (len(all) + maxColumns - 1) / maxColumns
	var cols []column
	for from := 0; from < len(all); from += size {
		to := min(from+size, len(all))
		cols = append(cols, newColumn(from, to, all[from:to]))
	}
	return cols
}

// newColumn sums up the seconds between two of them.
func newColumn(from, to int, some []record.Second) column {
	c := column{from: float64(from), to: float64(to)}
	c.acked = spreadOf(some, func(s record.Second) int { return s.Acknowledged })
	c.reads = spreadOf(some, func(s record.Second) int { return s.Reads })
	c.refused = spreadOf(some, func(s record.Second) int { return s.Refused })
	c.unknown = spreadOf(some, func(s record.Second) int { return s.Unknown })
	var medians []float64
	for _, s := range some {
		if s.Acknowledged > 0 {
			medians = append(medians, s.P50)
			c.p99 = max(c.p99, s.P99)
		} else {
			c.quiet++
		}
	}
	c.p50 = median(medians)
	return c
}

// spreadOf returns the spread of one figure of some seconds, of which there is one.
func spreadOf(some []record.Second, figure func(record.Second) int) spread {
	s := spread{low: math.Inf(1)}
	for _, second := range some {
		v := float64(figure(second))
		s.low, s.high = min(s.low, v), max(s.high, v)
		s.mean += v / float64(len(some))
	}
	return s
}

// median returns the middle one of some values, and 0 of none.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile returns the value that a part of all values does not exceed, and 0 of none.
func quantile(values []float64, part float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}

// sums are figures of all seconds of a run.
type sums struct {
	acked, reads, refused, unknown int
}

// sumUp adds up all seconds.
func sumUp(all []record.Second) sums {
	var s sums
	for _, second := range all {
		s.acked += second.Acknowledged
		s.reads += second.Reads
		s.refused += second.Refused
		s.unknown += second.Unknown
	}
	return s
}
