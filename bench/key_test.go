package main

import (
	"math/rand/v2"
	"testing"
)

func TestOrder(t *testing.T) {
	next := 0
	o := newOrder(3, func() int { next++; return next })
	if got := o.len(); got != 3 {
		t.Fatalf("got %d keys, want 3", got)
	}
	for i := range 3 {
		if got, want := o.key(i), keyOf(i+1); got != want || len(got) != keyBytes {
			t.Errorf("key %d: got %q, want %q", i, got, want)
		}
	}
}

func TestZipf(t *testing.T) {
	const n, picks = 1000, 10_000
	count := map[int]int{}
	pick := zipf(n, rand.New(rand.NewPCG(1, 2)))
	for range picks {
		i := pick()
		if i < 0 || i >= n {
			t.Fatalf("picked %d of %d", i, n)
		}
		count[i]++
	}
	most := 0
	for _, c := range count {
		most = max(most, c)
	}
	if most < picks/20 || len(count) < n/10 {
		t.Errorf("most frequent of %d picks: %d, numbers seen: %d", picks, most, len(count))
	}
}
