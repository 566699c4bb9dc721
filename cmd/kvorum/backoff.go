package main

import (
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

// backoff yields growing pauses between attempts, each drawn from the upper
// half of its bound so that many clients don't come back together.
type backoff struct{ bound time.Duration }

func newBackoff() *backoff { return &backoff{bound: firstBackoff} }

// next returns how long to wait before the next attempt.
func (b *backoff) next() time.Duration {
	pause := b.bound/2 + rand.N(b.bound/2)
	b.bound = min(2*b.bound, maxBackoff)
	return pause
}
