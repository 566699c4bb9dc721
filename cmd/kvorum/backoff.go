package main

import (
	"math/rand/v2"
	"time"
)

// backoff yields growing pauses between attempts, each drawn from the upper
// half of its bound so that many processes don't come back together.
type backoff struct{ bound, max time.Duration }

// newBackoff returns a backoff whose first pause is at most first, and each of
// the others at most max.
func newBackoff(first, max time.Duration) *backoff { return &backoff{bound: first, max: max} }

// next returns how long to wait before the next attempt.
func (b *backoff) next() time.Duration {
	pause := b.bound/2 + rand.N(b.bound/2)
	b.bound = min(2*b.bound, b.max)
	return pause
}
