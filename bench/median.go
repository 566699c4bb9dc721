package main

import (
	"math"
	"slices"
)

// median returns the middle one of values, the mean of the two in the middle if their
// number is even, and NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratio returns the median of a/b within each round: a disturbance in a round affects both.
// a and b have the same number of rounds.
func ratio(a, b []float64) float64 { return median(ratios(a, b)) }

// spread returns the least and the greatest a/b within a round. There must be at least one
// round.
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
