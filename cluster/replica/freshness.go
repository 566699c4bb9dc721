package replica

import (
	"math"
	"sync"
	"time"
)

// freshness knows how old a follower's state is: the age of the newest message of
// its leader, an append or a heartbeat, whose commit index the state machine has
// reached. The time that the message took is not known, and does not count. It is safe for
// concurrent use.
type freshness struct {
	mu      sync.Mutex
	reached time.Time // guarded by mu; zero before the first
	pending time.Time // guarded by mu; of the oldest message that is not reached; zero if there is none
	commit  uint64    // guarded by mu; of that message
}

// heard takes in a message that arrived at that time. An append has waited for the disk since
// then, and that time counts as age. Meanwhile a heartbeat may overtake it.
func (f *freshness) heard(commit, applied uint64, arrived time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settleLocked(applied)
	switch {
	case applied >= commit:
		if !f.pending.IsZero() && !f.pending.After(arrived) {
			return // an earlier message had a higher commit index, which this leader does not know yet
		}
		if arrived.After(f.reached) {
			f.reached = arrived
		}
	case f.pending.IsZero():
		f.pending, f.commit = arrived, commit
	}
}

// age returns how old the state is now; the maximum duration if that is not known.
func (f *freshness) age(applied uint64, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settleLocked(applied)
	if f.reached.IsZero() {
		return math.MaxInt64
	}
	return now.Sub(f.reached)
}

func (f *freshness) settleLocked(applied uint64) {
	if !f.pending.IsZero() && applied >= f.commit {
		f.reached, f.pending = f.pending, time.Time{}
	}
}
