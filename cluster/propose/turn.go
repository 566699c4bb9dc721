package propose

import (
	"context"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// turn waits until the batch that begins with first may be handed on: at once where this
// node leads, else with one of the slots, which the caller gives back. It ends
// first and returns false where that must not be: what another node has forwarded is
// refused by a node that does not lead.
func (p *Proposer) turn(ctx context.Context, first *proposal) (leading, ok bool) {
	for {
		_, changed := p.leaders.Current()
		switch {
		case ctx.Err() != nil:
			first.finish(nil, kv.ErrClosed)
			return false, false
		case p.route.Leading():
			return true, true
		case first.leaderOnly:
			first.finish(nil, kv.ErrNotLeader)
			return false, false
		}
		if !p.awaitNewest(ctx, changed) {
			continue
		}
		slot, hung := p.awaitSlot(ctx, changed)
		if slot {
			return false, true
		}
		if hung {
			state, _ := p.leaders.Current()
			err := fmt.Errorf("%w: %s has answered no write for %v", kv.ErrTimeout, state.LeaderName(), p.hang)
			first.finish(nil, err)
			p.refuseQueued(ctx, changed, err)
			return false, false
		}
	}
}

// awaitNewest waits until the newest batch that was forwarded has ended, or takes long,
// and returns true, or false when leadership changes or ctx ends.
func (p *Proposer) awaitNewest(ctx context.Context, changed <-chan struct{}) bool {
	if p.newest.delivered == nil {
		return true
	}
	slow := time.After(time.Until(p.newest.began.Add(SlowForward)))
	for {
		select {
		case <-p.newest.delivered:
			return true
		case <-slow:
			return true
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrNotLeader)
		case <-changed:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// awaitSlot waits for a slot, until leadership changes, or until the leader hangs: for as
// long as hang, it has answered no attempt to send a batch, and one was under way.
func (p *Proposer) awaitSlot(ctx context.Context, changed <-chan struct{}) (slot, hung bool) {
	select {
	case p.slots <- struct{}{}:
		return true, false
	default:
	}
	began := time.Now()
	hang := time.After(p.hang)
	for {
		select {
		case p.slots <- struct{}{}:
			return true, false
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrNotLeader)
		case <-hang:
			left := time.Until(p.attempts.silentSince(began).Add(p.hang))
			if left <= 0 {
				return false, true
			}
			hang = time.After(left)
		case <-changed:
			return false, false
		case <-ctx.Done():
			return false, false
		}
	}
}

// refuseQueued ends what waits, and what comes, with err, until a forwarded batch ends
// or leadership changes.
func (p *Proposer) refuseQueued(ctx context.Context, changed <-chan struct{}, err error) {
	for {
		select {
		case p.slots <- struct{}{}:
			<-p.slots
			return
		case pr := <-p.queue:
			pr.finish(nil, err)
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrNotLeader)
		case <-changed:
			return
		case <-ctx.Done():
			return
		}
	}
}
