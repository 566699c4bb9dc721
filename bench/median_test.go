package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v): got %v, want %v", tt.values, got, tt.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing: got %v, want NaN", got)
	}
}

func TestMedian_KeepsOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	median(values)
	if values[0] != 3 {
		t.Errorf("values were sorted in place: %v", values)
	}
}

// TestRatio shows that a round that was slow for both does not change the ratio.
func TestRatio(t *testing.T) {
	if got := ratio([]float64{20, 2, 22}, []float64{10, 1, 11}); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
}
