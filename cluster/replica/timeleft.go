package replica

import (
	"sync/atomic"
	"time"
)

// The cluster clock moves with the entries of the log alone. While nothing is written, it stands
// still, and what is left until a deadline does not get less by it. So answers to clients add the
// time for which this node has had the clock. No decision depends on that sum: the clock alone
// decides what exists.

// clockReading is the newest reading of the cluster clock. Its zero value is ready. The state
// machine's goroutine sets it, and any goroutine reads it.
type clockReading struct{ newest atomic.Pointer[reading] }

// reading is a cluster clock, and when this node applied the first entry with it.
type reading struct {
	clock int64 // in nanoseconds since the Unix epoch
	since time.Time
}

// applied notes the clock of the state after entries were applied.
func (c *clockReading) applied(clock int64) {
	if newest := c.newest.Load(); newest == nil || newest.clock != clock {
		c.newest.Store(&reading{clock, time.Now()})
	}
}

// now returns a clock of the state, with the time since that was applied if that is known.
func (c *clockReading) now(clock int64) int64 {
	if newest := c.newest.Load(); newest != nil && newest.clock == clock {
		return clock + int64(time.Since(newest.since))
	}
	return clock
}

// ClockNow returns the cluster clock of the state and the time for which this node has had it, in
// nanoseconds since the Unix epoch together: about the clock of an entry that a leader would
// write now. It is less if this node is behind, or has just loaded its state, and more while
// there is no leader.
func (r *Replica) ClockNow() int64 { return r.clock.now(r.machine.Clock()) }
