package main

import (
	"math"
	"slices"
)

// median returns the middle of values, the mean of the two in the middle where
// their number is even, and NaN where there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratio returns the median of a/b within each round: what disturbed a round
// disturbed both. The two have as many rounds.
func ratio(a, b []float64) float64 { return median(ratios(a, b)) }

// spread returns the least and the greatest a/b within a round. There must be one.
func spread(a, b []float64) (least, most float64) {
	all := ratios(a, b)
	return slices.Min(all), slices.Max(all)
}

// ratios returns a/b for each round.
func ratios(a, b []float64) []float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = a[i] / b[i]
	}
	return all
}
