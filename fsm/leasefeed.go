package fsm

import (
	"sync"

	"github.com/kvorum/kvorum/kv"
)

// leaseFeed implements kv.LeaseFeed.
type leaseFeed struct {
	f       *FSM
	changed chan struct{} // has one place

	mu      sync.Mutex
	changes []kv.LeaseChange // guarded by mu; those that were not taken
	cut     bool             // guarded by mu; the feed has ended
}

// FollowLeases returns a feed that begins with all leases. It replaces the one that it returned
// before, whose changes end. It blocks the state machine while it lists the leases.
func (f *FSM) FollowLeases() kv.LeaseFeed {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state.Load()
	feed := &leaseFeed{f: f, changed: make(chan struct{}, 1), changes: make([]kv.LeaseChange, 0, s.leases.order.Len())}
	s.leases.order.Ascend(func(l lease) bool {
		feed.changes = append(feed.changes, l.made())
		return true
	})
	s.leases.feed.end()
	s.leases.feed = feed
	return feed
}

// Close implements kv.LeaseFeed.
func (f *leaseFeed) Close() error {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	if s := f.f.state.Load(); s.leases.feed == f {
		s.leases.feed = nil
	}
	f.end()
	return nil
}

// Take implements kv.LeaseFeed.
func (f *leaseFeed) Take() (changes []kv.LeaseChange, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes, f.changes = f.changes, nil
	return changes, !f.cut
}

// Changed implements kv.LeaseFeed.
func (f *leaseFeed) Changed() <-chan struct{} { return f.changed }

// add adds a change. A nil feed has no effect.
func (f *leaseFeed) add(c kv.LeaseChange) {
	if f == nil {
		return
	}
	f.mu.Lock()
	if !f.cut {
		f.changes = append(f.changes, c)
	}
	f.mu.Unlock()
	f.wake()
}

// end makes all further Takes return false. A nil feed has no effect.
func (f *leaseFeed) end() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.cut, f.changes = true, nil
	f.mu.Unlock()
	f.wake()
}

func (f *leaseFeed) wake() {
	select {
	case f.changed <- struct{}{}:
	default: // the receiver has not looked since the last time
	}
}
