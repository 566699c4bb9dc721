package main

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// newBackoff returns growing pauses between attempts. The maximum of the first pause is
// first. It doubles with each pause, up to max. Each pause is random, at least half of its
// maximum, so that many processes don't retry at the same time.
func newBackoff(first, max time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     first * 3 / 4,
		MaxInterval:         max * 3 / 4,
		RandomizationFactor: 1. / 3,
		Multiplier:          2,
	}
}
