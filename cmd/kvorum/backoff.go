package main

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// newBackoff returns growing pauses between attempts. Each is drawn from the upper half
// of its bound, so that many processes don't come back together. The first bound is
// first, and each later one is twice the one before, at most max.
func newBackoff(first, max time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     first * 3 / 4,
		MaxInterval:         max * 3 / 4,
		RandomizationFactor: 1. / 3,
		Multiplier:          2,
	}
}
