package testkit

import (
	"sync"
	"time"
)

// Clock is the clocks of one machine in a test: a wall clock that may be wrong and jump, and a
// monotonic one that may run at a rate of its own. A new one is right. The wall clock runs as
// the monotonic one does. All methods are safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	since time.Time     // guarded by mu; since when it runs at rate
	ran   time.Duration // guarded by mu; what it had run until then
	rate  float64       // guarded by mu
	wall  time.Time     // guarded by mu; the wall clock's reading when ran was 0
}

// NewClock returns a clock that is right.
func NewClock() *Clock {
	now := time.Now()
	return &Clock{since: now, rate: 1, wall: now.Round(0)}
}

// Run makes both clocks run rate times as fast as true time; at 0 they stand still.
func (c *Clock) Run(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.ran, c.since, c.rate = c.elapsed(now), now, rate
}

// Jump moves the wall clock.
func (c *Clock) Jump(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(by)
}

// Elapsed is the monotonic clock: the time since NewClock.
func (c *Clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elapsed(time.Now())
}

// Wall is the wall clock.
func (c *Clock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall.Add(c.elapsed(time.Now()))
}

// elapsed is Elapsed at a time. The caller holds mu.
func (c *Clock) elapsed(now time.Time) time.Duration {
	return c.ran + time.Duration(float64(now.Sub(c.since))*c.rate)
}
