package wal_test

import (
	"testing"
	"time"

	"github.com/kvorum/kvorum/wal"
)

func TestHistogram(t *testing.T) {
	var h wal.Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("empty: got %v, want 0", got)
	}
	for _, tt := range []struct {
		d      time.Duration
		bucket int
	}{
		{0, 0}, {time.Microsecond, 0}, {time.Microsecond + 1, 1}, {2 * time.Microsecond, 1}, {2*time.Microsecond + 1, 2},
		{wal.BucketBound(wal.HistogramBuckets - 2), wal.HistogramBuckets - 2},
		{wal.BucketBound(wal.HistogramBuckets-2) + 1, wal.HistogramBuckets - 1}, {time.Hour, wal.HistogramBuckets - 1},
	} {
		before := h
		h.Add(tt.d)
		if h.Counts[tt.bucket] != before.Counts[tt.bucket]+1 || h.Sum != before.Sum+tt.d {
			t.Errorf("Add(%v): bucket %d did not count it", tt.d, tt.bucket)
		}
	}
	if got := h.Count(); got != 8 {
		t.Errorf("Count: got %d, want 8", got)
	}
	for _, tt := range []struct {
		q    float64
		want time.Duration
	}{{0, time.Microsecond}, {0.25, time.Microsecond}, {0.5, 2 * time.Microsecond}, {0.6, 4 * time.Microsecond}, {1, wal.BucketBound(wal.HistogramBuckets - 1)}} {
		if got := h.Quantile(tt.q); got != tt.want {
			t.Errorf("Quantile(%v): got %v, want %v", tt.q, got, tt.want)
		}
	}
}
