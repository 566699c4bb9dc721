package propose

import (
	"sync"
	"time"
)

// attempts is what a proposer knows of its attempts to send batches to the leader. Each of
// them counts by itself: neither does one that fails hide that the leader answers none of
// the others, nor does one that is under way hide that it answers them. Safe for concurrent
// use.
type attempts struct {
	mu       sync.Mutex
	underWay map[*attempt]struct{} // guarded by mu
	answered time.Time             // guarded by mu; when the leader has answered one last
}

// attempt is one of them.
type attempt struct{ began time.Time }

func newAttempts() *attempts { return &attempts{underWay: make(map[*attempt]struct{})} }

func (a *attempts) begin() *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	begun := &attempt{time.Now()}
	a.underWay[begun] = struct{}{}
	return begun
}

// end ends an attempt, which the leader has answered, or not.
func (a *attempts) end(ended *attempt, answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.underWay, ended)
	if answered {
		a.answered = time.Now()
	}
}

// silentSince returns since when, after start, an attempt is under way while the leader has
// answered none: now, if none is under way.
func (a *attempts) silentSince(start time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	oldest := time.Now()
	for u := range a.underWay {
		if u.began.Before(oldest) {
			oldest = u.began
		}
	}
	for _, t := range []time.Time{start, a.answered} {
		if t.After(oldest) {
			oldest = t
		}
	}
	return oldest
}
