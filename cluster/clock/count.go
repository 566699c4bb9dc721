package clock

import (
	"sync"
	"time"
)

// Count is one node's count of the cluster clock: what a leader has told it last, and the time
// that has passed since by its own monotonic clock. The zero value knows no clock. All
// methods are safe for concurrent use.
type Count struct {
	mu    sync.Mutex
	term  uint64        // guarded by mu; of the leader that has told clock
	clock int64         // guarded by mu; nanoseconds since the Unix epoch; 0 if none was told
	at    time.Duration // guarded by mu; when it was told, by the node's monotonic clock
}

// Tell takes in the cluster clock of a term's leader at the time now of the node's monotonic
// clock, unless a leader of a later term has told it.
func (c *Count) Tell(term uint64, clock int64, now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if term >= c.term {
		c.term, c.clock, c.at = term, clock, now
	}
}

// At returns the cluster clock at the time now of the node's monotonic clock, and whether one was
// told.
func (c *Count) At(now time.Duration) (clock int64, told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock + int64(now-c.at), c.clock != 0
}
