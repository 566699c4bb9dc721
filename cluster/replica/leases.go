package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/lessor"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
)

// The state machine has the leases. Only the leader knows when they run out, in its memory, and
// ends them by entries of the log. A leader arms all leases at the beginning of its term. It
// follows their changes from then on, so that what it knows is never older than an answer to a
// request.

const (
	// leasesPerEntry is the maximum number of leases that one entry ends. It ends no further one once
	// they have leaseKeysPerEntry keys. A lease ends as a whole, however many keys it has.
	leasesPerEntry    = 1000
	leaseKeysPerEntry = 1000
)

// leaseTerm has the leases of a term that this node leads.
type leaseTerm struct {
	term   *leadership.Term
	feed   kv.LeaseFeed
	lessor *lessor.Lessor
}

// leaseTerms has the present leaseTerm, if there is one. The loop of expireLeases and requests
// begin one, whichever comes first.
type leaseTerms struct {
	mu      sync.Mutex
	current *leaseTerm // guarded by mu
	begun   chan struct{}
}

// leasesOf returns the leases of a term, with all changes up to now. It returns nil if those of a
// later term have begun: they know which leases are being ended, and must not be lost.
func (r *Replica) leasesOf(term *leadership.Term) *leaseTerm {
	r.leases.mu.Lock()
	defer r.leases.mu.Unlock()
	if t := r.leases.current; t != nil {
		if t.term.Number() > term.Number() {
			return nil
		}
		if t.term == term && r.takeLeases(t, 0) {
			return t
		}
	}
	r.leases.endLocked()
	extra := r.cfg.Seams.Rearm(r.cfg.Timing.Election)
	for {
		t := &leaseTerm{term: term, feed: r.machine.FollowLeases(), lessor: lessor.New()}
		if r.takeLeases(t, extra) {
			r.leases.current = t
			select {
			case r.leases.begun <- struct{}{}:
			default:
			}
			return t
		}
	}
}

// endLocked ends the present leaseTerm, if there is one.
func (l *leaseTerms) endLocked() {
	if l.current != nil {
		_ = l.current.feed.Close() // always nil
		l.current = nil
	}
}

// end ends the present leaseTerm, if there is one.
func (l *leaseTerms) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked()
}

// takeLeases notes the changes of leases. It returns false if some may be missing.
func (r *Replica) takeLeases(t *leaseTerm, extra time.Duration) bool {
	changes, ok := t.feed.Take()
	if len(changes) > 0 {
		t.lessor.Apply(changes, later(t.term.Stamp()), extra)
	}
	return ok
}

// earlier and later return a time of the cluster clock in milliseconds, rounded down or up.
func earlier(clock int64) int64 { return clock / int64(time.Millisecond) }
func later(clock int64) int64   { return earlier(clock + int64(time.Millisecond) - 1) }

// expireLeases ends leases that have run out while this node leads, until ctx ends. It waits for
// the next deadline, for a change of the leases, for a correction of the clock, or for this node
// to lead.
func (r *Replica) expireLeases(ctx context.Context) {
	defer r.leases.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		state, changed := r.leaders.Current()
		timer.Stop()
		var news <-chan struct{}
		if state.Term == nil {
			r.leases.end()
		} else if t := r.leasesOf(state.Term); t != nil {
			news = t.feed.Changed()
			if next, some := t.lessor.Next(); some {
				timer.Reset(r.untilLease(ctx, t, next))
			}
		}
		select {
		case <-timer.C:
		case <-news:
		case <-r.leases.begun:
		case <-r.leaseClock:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// untilLease returns how long to wait for the next deadline of a lease, after it has ended those
// that are due. Timers don't follow the cluster clock, so of a long time it waits half.
func (r *Replica) untilLease(ctx context.Context, t *leaseTerm, next int64) time.Duration {
	const short = 100 * time.Millisecond
	wait := untilDeadline(next, t.term.Stamp())
	switch {
	case wait <= 0:
		return r.endLeases(ctx, t)
	case wait > short:
		return max(short, wait/2)
	}
	return max(wait, time.Millisecond) // the clock may stand still for a while
}

// endLeases ends leases that are due, a bounded number of them. It returns how long to wait after
// it. If the entry is not written, or its outcome is unknown, the leases remain those that are due:
// the next call ends them.
func (r *Replica) endLeases(ctx context.Context, t *leaseTerm) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	ids, granted := t.lessor.Due(earlier(t.term.Stamp()), leasesPerEntry, leaseKeysPerEntry, r.machine.LeaseLen)
	if len(ids) == 0 {
		return 0
	}
	_, err := r.proposer.Propose(ctx, r.machine.ExpireLeasesRequest(t.term.Number(), granted, ids), true)
	if err != nil {
		r.log.Debug("leases that are due not ended", "err", err)
		if errors.Is(err, propose.ErrAsking) || errors.Is(err, kv.ErrUnsupported) {
			return heldBack
		}
		return leadership.RetryDelay
	}
	return 0
}
