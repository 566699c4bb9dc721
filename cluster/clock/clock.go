package clock

import (
	"slices"
	"sync"
	"time"
)

// spread is the maximum distance between a voter's count and the cluster clock after a round.
const spread = int64(50 * time.Millisecond)

// Reading is a voter's answer to the leader's question for its clocks.
type Reading struct {
	Voter string
	// Run is a random number of the voter's process, whose monotonic clock Elapsed is. It is 0
	// if the voter's build does not tell Elapsed.
	Run     uint64
	Elapsed time.Duration // by the voter's monotonic clock, since a fixed time of the process
	// Clock is the cluster clock as the voter has counted it on, or its wall clock. It is in
	// nanoseconds since the Unix epoch, and matters only at the beginning of a term.
	Clock int64
	// Sent and Received are when the leader asked and when it had the answer, by the leader's
	// monotonic clock.
	Sent, Received time.Duration
}

// middle is the time halfway between question and answer, by the leader's monotonic clock.
func (r Reading) middle() int64 { return int64(r.Sent + (r.Received-r.Sent)/2) }

// Clock is the cluster clock in the hands of one leader, in one term. All methods are safe for
// concurrent use.
type Clock struct {
	elapsed func() time.Duration // the leader's monotonic clock

	mu     sync.Mutex
	offset int64             // guarded by mu; the cluster clock less elapsed, in nanoseconds
	last   int64             // guarded by mu; the greatest stamp
	counts map[string]*count // guarded by mu; by voter
}

// count is the cluster clock by the monotonic clock of one voter. All are in nanoseconds.
type count struct {
	run  uint64
	skew int64 // the voter's monotonic clock less the leader's, by the newest answer
	base int64 // the count less the voter's monotonic clock
}

// offset is the count less the leader's monotonic clock.
func (c *count) offset() int64 { return c.skew + c.base }

// Begin returns the clock of a term: the median of what the readings have as the cluster
// clock. There must be at least one. elapsed is the leader's monotonic clock.
func Begin(elapsed func() time.Duration, readings []Reading) *Clock {
	c := &Clock{elapsed: elapsed, counts: make(map[string]*count)}
	offsets := make([]int64, 0, len(readings))
	for _, r := range readings {
		offsets = append(offsets, r.Clock-r.middle())
	}
	c.offset = median(offsets)
	for _, r := range readings {
		if r.Run != 0 {
			c.counts[r.Voter] = c.newCount(r)
		}
	}
	return c
}

// newCount returns a count that is equal to the cluster clock. The caller holds mu, or has
// the only reference.
func (c *Clock) newCount(r Reading) *count {
	skew := int64(r.Elapsed) - r.middle()
	return &count{run: r.Run, skew: skew, base: c.offset - skew}
}

// Raise moves the clock ahead to at least clock, which an earlier leader has written.
func (c *Clock) Raise(clock int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ahead := clock - int64(c.elapsed()) - c.offset
	if ahead <= 0 {
		return
	}
	c.offset += ahead
	for _, one := range c.counts {
		one.base += ahead
	}
}

// Follow moves the clock to the median of the voters' counts, and reports whether that
// has changed it. It does nothing unless the readings tell the monotonic clocks of more than
// half of so many voters. A voter that is asked for the first time since it started gets a
// count that is equal to the clock.
func (c *Clock) Follow(readings []Reading, voters int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var offsets []int64
	var unknown []Reading
	for _, r := range readings {
		if one := c.counts[r.Voter]; one != nil && one.run == r.Run {
			// The answer was given between Sent and Received.
			one.skew = min(max(one.skew, int64(r.Elapsed-r.Received)), int64(r.Elapsed-r.Sent))
			offsets = append(offsets, one.offset())
		} else if r.Run != 0 {
			unknown = append(unknown, r)
		}
	}
	if len(offsets)+len(unknown) <= voters/2 {
		return false
	}
	before := c.offset
	for len(offsets) <= voters/2 {
		offsets = append(offsets, before)
	}
	c.offset = median(offsets)
	for _, r := range unknown {
		c.counts[r.Voter] = c.newCount(r)
	}
	for _, r := range readings {
		if one := c.counts[r.Voter]; one != nil {
			one.base = min(max(one.offset(), c.offset-spread), c.offset+spread) - one.skew
		}
	}
	return c.offset != before
}

// Stamp returns the cluster clock now, in nanoseconds since the Unix epoch. It never goes back.
func (c *Clock) Stamp() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, int64(c.elapsed())+c.offset)
	return c.last
}

// median returns the median, or the lower of the two in the middle. It sorts all, of which
// there must be one.
func median(all []int64) int64 {
	slices.Sort(all)
	return all[(len(all)-1)/2]
}
